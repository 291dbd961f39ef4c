package store

import (
	"io"
	"net/http"
	"sync/atomic"

	"github.com/pocketbase/pocketbase/apis"
	"github.com/pocketbase/pocketbase/core"
	"github.com/pocketbase/pocketbase/tools/router"
)

// PocketBase copies each body so that it can be read twice, and net/http parses
// forms; both spill to the temporary folder, in clear, beyond 16 MiB. Here a form
// is read before PocketBase sees it (see intake), the copy of any other body is told
// to keep to memory, and the pool's budgets bound it all.
// Within a batch PocketBase builds requests of its own, out of reach of this; so
// batches are limited to less than 16 MiB (see maxBatchBody).

var (
	errTooLarge = router.NewApiError(http.StatusRequestEntityTooLarge, "Request entity too large", nil)
	errNoMemory = router.NewApiError(http.StatusServiceUnavailable, "Too many large uploads at once, try again.", nil)
)

// bodyBudget counts the bytes of bodies that are held at once.
type bodyBudget struct {
	most int64
	used atomic.Int64
}

func (b *bodyBudget) take(n int64) bool {
	if b.used.Add(n) <= b.most {
		return true
	}
	b.used.Add(-n)
	return false
}

func (b *bodyBudget) give(n int64) { b.used.Add(-n) }

// storeShare is the part of the pool's budget that one store may hold, so that no
// tenant's bodies keep out another's.
const storeShare = 4

// jsonWeight is what a byte of JSON takes in memory: itself, PocketBase's copy, and
// the values that are made of it.
const jsonWeight = 3

// countedBody reads within a limit and the budgets of store and pool, and gives
// back what it took when the request is over.
type countedBody struct {
	io.ReadCloser
	store, pool *bodyBudget
	limit       int64
	weight      int64 // of a byte in memory; 0: whoever reads counts
	read, taken int64
}

func (c *countedBody) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	if c.read += int64(n); c.read > c.limit {
		return 0, errTooLarge
	}
	if n > 0 && c.weight > 0 && !c.take(int64(n)*c.weight) {
		return 0, errNoMemory
	}
	return n, err
}

func (c *countedBody) take(n int64) bool {
	if !c.store.take(n) {
		return false
	}
	if !c.pool.take(n) {
		c.store.give(n)
		return false
	}
	c.taken += n
	return true
}

func (c *countedBody) done() {
	c.store.give(c.taken)
	c.pool.give(c.taken)
}

// keepBody makes the event's body safe to read and gives what to do at the end.
func (s *Store) keepBody(e *core.RequestEvent) (done func(), err error) {
	copied, ok := e.Request.Body.(*router.RereadableReadCloser)
	if !ok || e.Request.Body == nil || e.Request.ContentLength == 0 {
		return func() {}, nil
	}
	limit := s.bodyLimit(e)
	if e.Request.ContentLength > limit {
		return nil, errTooLarge
	}
	if isForm(e.Request) {
		return s.takeForm(e, copied, limit)
	}
	counted := &countedBody{ReadCloser: copied.ReadCloser, store: &s.bodies, pool: &s.pool.bodies, limit: limit, weight: jsonWeight}
	copied.ReadCloser, copied.MaxMemory = counted, limit+1
	return counted.done, nil
}

// smallBody is enough for what anybody may send: a sign-in, a subscription, a
// record but for its fields' own sizes.
const smallBody = 1 << 20

// bodyLimit is what the route can use, within the pool's limit: an admin's schema
// and settings have PocketBase's own limit, a record the sizes of its fields.
func (s *Store) bodyLimit(e *core.RequestEvent) int64 {
	limit := int64(smallBody)
	switch e.Request.Pattern {
	case "POST /api/batch":
		limit = maxBatchBody
	case createRecord, updateRecord:
		c, err := s.app.FindCachedCollectionByNameOrId(e.Request.PathValue("collection"))
		if err == nil && mayWrite(e.Request, c) {
			limit += fieldSizes(c, isForm(e.Request))
		}
		if spools(e.Request) {
			return min(limit, s.pool.config.MaxUpload)
		}
	default:
		if routes[e.Request.Pattern] == Admin {
			limit = apis.DefaultMaxBodySize
		}
	}
	return min(limit, s.pool.config.MaxBody)
}

// mayWrite is false for who cannot be let through: without a credential, where only
// superusers may write.
func mayWrite(r *http.Request, c *core.Collection) bool {
	rule := c.CreateRule
	if r.Pattern == updateRecord {
		rule = c.UpdateRule
	}
	return rule != nil || reachFrom(r.Context()).Scope != Public || r.Header.Get("Authorization") != ""
}

// spools says that the request's files may go to a spool: where a record is saved,
// they get their contents back. A batch makes forms of its own out of its parts.
func spools(r *http.Request) bool {
	return isForm(r) && (r.Pattern == createRecord || r.Pattern == updateRecord)
}

const (
	createRecord = "POST /api/collections/{collection}/records"
	updateRecord = "PATCH /api/collections/{collection}/records/{id}"
)

// fieldSizes is what the fields may hold; only a form brings files.
func fieldSizes(c *core.Collection, form bool) (sum int64) {
	for _, f := range c.Fields {
		switch f := f.(type) {
		case *core.FileField:
			if form {
				sum += f.CalculateMaxBodySize()
			}
		case *core.TextField:
			sum += textBytes * int64(f.Max)
		case core.MaxBodySizeCalculator:
			sum += f.CalculateMaxBodySize()
		}
	}
	return sum
}

// textBytes is the most that a character of a text takes.
const textBytes = 4
