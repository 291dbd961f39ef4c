package store

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"sync/atomic"

	"github.com/pocketbase/pocketbase/apis"
	"github.com/pocketbase/pocketbase/core"
	"github.com/pocketbase/pocketbase/tools/router"
)

// PocketBase copies each body so that it can be read twice, and net/http parses
// forms; both spill to the temporary folder, in clear, beyond 16 MiB. Here bodies
// stay in memory: a form is parsed before PocketBase sees it, the copy of any
// other body is told to keep to memory, and the pool's budget bounds it all.
// Within a batch PocketBase builds requests of its own, out of reach of this; so
// batches are limited to less than 16 MiB (see maxBatchBody).

var (
	errTooLarge = router.NewApiError(http.StatusRequestEntityTooLarge, "Request entity too large", nil)
	errNoMemory = router.NewApiError(http.StatusServiceUnavailable, "Too many large uploads at once, try again.", nil)
)

// bodyBudget counts the bytes of bodies in memory.
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

// countedBody reads within a limit and the budget, and gives the budget back when
// the request is over.
type countedBody struct {
	io.ReadCloser
	budget *bodyBudget
	limit  int64
	read   int64
}

func (c *countedBody) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	if n > 0 && !c.budget.take(int64(n)) {
		return 0, errNoMemory
	}
	if c.read += int64(n); c.read > c.limit {
		return 0, errTooLarge
	}
	return n, err
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
	counted := &countedBody{ReadCloser: copied.ReadCloser, budget: &s.pool.bodies, limit: limit}
	done = func() { counted.budget.give(counted.read) }
	copied.ReadCloser, copied.MaxMemory = counted, limit+1
	if strings.HasPrefix(e.Request.Header.Get("Content-Type"), "multipart/form-data") {
		if err := parseForm(e.Request, copied, counted); err != nil {
			done()
			return nil, err
		}
	}
	return done, nil
}

// parseForm reads a form into memory, past PocketBase's copying reader, and leaves
// the request as PocketBase finds it after parsing the form by itself.
func parseForm(r *http.Request, copied *router.RereadableReadCloser, counted *countedBody) error {
	r.Body = counted
	err := r.ParseMultipartForm(2 * counted.limit) // more than the body can hold: nothing spills
	copied.ReadCloser = http.NoBody
	r.Body = copied
	if r.ContentLength < 0 {
		r.ContentLength = counted.read // PocketBase compares it with its own limits
	}
	var refused *router.ApiError
	if errors.As(err, &refused) {
		return refused
	}
	if err != nil {
		return router.NewBadRequestError("Failed to read the form.", err)
	}
	return nil
}

// bodyLimit is PocketBase's own limit for the route, within the pool's.
func (s *Store) bodyLimit(e *core.RequestEvent) int64 {
	limit := apis.DefaultMaxBodySize
	switch e.Request.Pattern {
	case "POST /api/batch":
		limit = maxBatchBody
	case "POST /api/collections/{collection}/records", "PATCH /api/collections/{collection}/records/{id}":
		c, err := s.app.FindCachedCollectionByNameOrId(e.Request.PathValue("collection"))
		if err == nil {
			limit += fieldSizes(c)
		}
	}
	return min(limit, s.pool.config.MaxBody)
}

func fieldSizes(c *core.Collection) (sum int64) {
	for _, f := range c.Fields {
		if sized, ok := f.(core.MaxBodySizeCalculator); ok {
			sum += sized.CalculateMaxBodySize()
		}
	}
	return sum
}
