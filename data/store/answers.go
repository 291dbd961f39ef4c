package store

import (
	"bytes"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/pocketbase/pocketbase/apis"
	"github.com/pocketbase/pocketbase/core"
	"github.com/pocketbase/pocketbase/tools/hook"
)

// answers keeps what lists and views were answered, until the store changes. An
// answer is given again only where the same would be computed:
//
//   - the same path and query, with no macro, function of time or random order in it;
//   - the same credential: record and collection of whoever PocketBase has just
//     authenticated, and a key's whole reach;
//   - no commit since before it was computed (its epoch), and none under way;
//   - the same collections: PocketBase's own cached ones, compared by identity, for
//     it loads rules anew only after their commit;
//   - rules and views that depend on nothing but records and the credential.
//
// Where one of these cannot be told, nothing is kept.
type answers struct {
	epoch atomic.Uint64 // odd while a commit is under way

	mu    sync.Mutex
	of    uint64 // the epoch of what is kept
	kept  map[string]answer
	bytes int

	judged []*core.Collection // whose steadiness is known
	steady bool
}

type answer struct {
	collections []*core.Collection
	contentType string
	body        []byte
}

// Bounds of one store's answers.
const (
	maxAnswers    = 4 << 20 // bytes in all
	maxAnswer     = 256 << 10
	answerWeight  = 512 // what an answer takes beside its body
	answersEpoch  = "hfEpoch"
	viewPattern   = "GET /api/collections/{collection}/records/{id}"
	afterAnything = apis.DefaultBodyLimitMiddlewarePriority + 1
)

// committing is called before a commit; from then on no answer from before is
// given any more, and until done none is kept. The writer calls it, so one is under
// way at a time.
func (a *answers) committing() (done func()) {
	a.epoch.Add(1)
	return func() { a.epoch.Add(1) }
}

// find gives an answer of this moment.
func (a *answers) find(key string, collections []*core.Collection) (answer, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.epoch.Load() != a.of {
		return answer{}, false
	}
	found, ok := a.kept[key]
	return found, ok && same(found.collections, collections)
}

// keep takes an answer that was computed in an epoch.
func (a *answers) keep(epoch uint64, key string, new answer) {
	weight := len(new.body) + len(key) + answerWeight
	if epoch%2 == 1 || len(new.body) > maxAnswer {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.epoch.Load() != epoch {
		return
	}
	if a.of != epoch || a.kept == nil || a.bytes+weight > maxAnswers {
		a.of, a.kept, a.bytes = epoch, map[string]answer{}, 0
	}
	if _, twice := a.kept[key]; !twice {
		a.kept[key] = new
		a.bytes += weight
	}
}

// weight is what is kept, in bytes.
func (a *answers) weight() int64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return int64(a.bytes)
}

// same says that two are the same slice, not that they are equal.
func same(a, b []*core.Collection) bool {
	return len(a) == len(b) && len(a) > 0 && &a[0] == &b[0]
}

// isSteady says whether rules and views depend on records and credentials alone.
func (a *answers) isSteady(collections []*core.Collection) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !same(a.judged, collections) {
		a.judged, a.steady = collections, !slices.ContainsFunc(collections, unsteady)
	}
	return a.steady
}

func unsteady(c *core.Collection) bool {
	for _, rule := range []*string{c.ListRule, c.ViewRule, c.CreateRule, c.UpdateRule, c.DeleteRule, c.AuthRule, c.ManageRule} {
		if rule != nil && (unsteadyText(steadyMacros.Replace(*rule))) {
			return true
		}
	}
	return c.IsView() && unsteadyView(c.ViewQuery)
}

// steadyMacros are what a rule may ask for: what an answer is told apart by.
var steadyMacros = strings.NewReplacer("@request.auth.", "", "@request.query.", "", "@collection.", "")

// unsteadyText finds macros (@now, @random, @request.headers, ...) and functions
// of time.
func unsteadyText(text string) bool {
	return strings.Contains(text, "@") || strings.Contains(strings.ToLower(text), "strftime")
}

// unsteadyView finds, rather once too often, what SQL has that changes by itself.
func unsteadyView(query string) bool {
	query = strings.ToLower(query)
	return slices.ContainsFunc([]string{"random", "now", "current_", "julian", "epoch", "date", "time", "changes", "rowid()"}, func(word string) bool {
		return strings.Contains(query, word)
	})
}

// bindAnswers puts the kept answers between PocketBase's middlewares, which have
// authenticated by then, and its handlers.
func (s *Store) bindAnswers(bind func(*hook.Handler[*core.RequestEvent])) {
	bind(&hook.Handler[*core.RequestEvent]{Id: "hfAnswers", Func: s.answerAgain, Priority: afterAnything})
}

// noteEpoch marks, before anything is read, when a request began.
func (s *Store) noteEpoch(e *core.RequestEvent) {
	if pattern := e.Request.Pattern; pattern == listPattern || pattern == viewPattern {
		e.Set(answersEpoch, s.answers.epoch.Load())
	}
}

func (s *Store) answerAgain(e *core.RequestEvent) error {
	epoch, ok := e.Get(answersEpoch).(uint64)
	if !ok || e.App.IsTransactional() {
		return e.Next()
	}
	collections, _ := s.app.Store().Get(core.StoreKeyCachedCollections).([]*core.Collection)
	key, ok := s.answerKey(e, collections)
	if !ok {
		return e.Next()
	}
	if found, ok := s.answers.find(key, collections); ok {
		e.Response.Header().Set("Content-Type", found.contentType)
		_, err := e.Response.Write(found.body)
		return err
	}
	return s.answerAndKeep(e, epoch, key, collections)
}

func (s *Store) answerAndKeep(e *core.RequestEvent, epoch uint64, key string, collections []*core.Collection) error {
	failures, _ := s.disk.Failures()
	outer := e.Response
	copied := &copiedAnswer{ResponseWriter: outer, status: http.StatusOK}
	e.Response = copied
	err := e.Next()
	e.Response = outer
	now, _ := s.disk.Failures()
	if err == nil && copied.status == http.StatusOK && copied.whole() && now == failures && !isEmptyList(copied.body.Bytes()) {
		s.answers.keep(epoch, key, answer{collections, outer.Header().Get("Content-Type"), copied.body.Bytes()})
	}
	return err
}

// isEmptyList finds lists that PocketBase slows down on purpose when somebody who
// is held by rules asks for many of them.
func isEmptyList(body []byte) bool {
	return bytes.Contains(body[:min(len(body), 200)], []byte(`"items":[]`))
}

// answerKey is what an answer is told apart by; not where it may change by itself,
// or where PocketBase counts requests.
func (s *Store) answerKey(e *core.RequestEvent, collections []*core.Collection) (string, bool) {
	if s.app.Settings().RateLimits.Enabled || !s.answers.isSteady(collections) {
		return "", false
	}
	for _, values := range e.Request.URL.Query() {
		if slices.ContainsFunc(values, unsteadyText) {
			return "", false
		}
	}
	var key strings.Builder
	key.WriteString(e.Request.URL.EscapedPath())
	key.WriteByte('\n')
	key.WriteString(e.Request.URL.RawQuery)
	if reach := reachFrom(e.Request.Context()); reach.Scope != Public {
		key.WriteString("\nkey " + strconv.Itoa(int(reach.Scope)) + " " + strconv.FormatBool(reach.Collections == nil) + " " + strings.Join(reach.Collections, ","))
	} else if e.Auth != nil {
		key.WriteString("\nuser " + e.Auth.Collection().Id + " " + e.Auth.Id)
	}
	return key.String(), true
}

// copiedAnswer copies what is answered, as long as it is not too large to keep.
type copiedAnswer struct {
	http.ResponseWriter
	status int
	size   int
	body   bytes.Buffer
}

func (c *copiedAnswer) WriteHeader(status int) {
	c.status = status
	c.ResponseWriter.WriteHeader(status)
}

func (c *copiedAnswer) Write(p []byte) (int, error) {
	if c.size += len(p); c.size <= maxAnswer {
		c.body.Write(p)
	}
	return c.ResponseWriter.Write(p)
}

func (c *copiedAnswer) whole() bool { return c.size == c.body.Len() }

// Unwrap lets http.ResponseController reach the connection.
func (c *copiedAnswer) Unwrap() http.ResponseWriter { return c.ResponseWriter }
