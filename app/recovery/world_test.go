package recovery

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/app/api"
	"holdfast/backup"
	"holdfast/backup/objects"
	"holdfast/data"
	"holdfast/data/keys"
	"holdfast/data/store"
	"holdfast/data/system"
)

// world is a recovery room over the real ground: keyring, system database,
// stores. Its directory of tenants is a map.
type world struct {
	*Service
	t    *testing.T
	dir  string
	ring *keys.Ring
	db   *system.DB
	pool *store.Pool
	ops  *api.Operations
	log  recorder
	http http.Handler

	mu      sync.Mutex
	tenants map[string]*entry
	deny    api.Permission // refused to everybody

	// Of the room that open opens.
	openStore func(string, objects.Credentials) (backup.ObjectStore, error)
	own       map[string]Own
	staged    int64 // bound of a chain's staging; 0: the chain's own
	clock     func() time.Time
	good      []int64     // what drills found good
	drilled   atomic.Bool // each store was
	told      atomic.Pointer[Service]
}

// Good and Last are Drills'.
func (w *world) Good(context.Context, string, string) ([]int64, error) { return w.good, nil }

func (w *world) Last(_ context.Context, store string) (*LastDrill, error) {
	if !w.drilled.Load() {
		return nil, nil
	}
	return &LastDrill{At: time.UnixMilli(1), Target: "of " + store, OK: true, Met: true}, nil
}

type entry struct {
	id     data.StoreID
	closed error
}

type recorder struct {
	mu     sync.Mutex
	events []api.Event
	fail   error
}

func (r *recorder) Record(_ context.Context, e api.Event) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, e)
	return r.fail
}

func (r *recorder) last() api.Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.events[len(r.events)-1]
}

type storeKeys struct{ ring *keys.Ring }

func (k storeKeys) Pages(id data.StoreID) data.KeySource {
	return k.ring.Source(keys.Owner(id.String()), keys.Pages)
}

func (k storeKeys) Files(id data.StoreID) data.KeySource {
	return k.ring.Source(keys.Owner(id.String()), keys.Files)
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, dir: filepath.Join(t.TempDir(), "data"), tenants: map[string]*entry{}}
	w.must(os.Mkdir(w.dir, 0o700))
	root, err := keys.CreateSlots(filepath.Join(w.dir, "keys", "root.slots"), keys.KeyFile(filepath.Join(t.TempDir(), "key")))
	w.must(err)
	w.ring, err = keys.CreateRing(filepath.Join(w.dir, "keys"), root)
	w.must(err)
	w.must(w.ring.Add(keys.System, keys.Pages))
	w.db, err = system.Open(t.Context(), system.Config{Dir: w.dir, Keys: w.ring.Source(keys.System, keys.Pages), OnCommit: func() {
		if s := w.told.Load(); s != nil {
			s.NudgeOwn(SystemChain)
		}
	}})
	w.must(err)
	t.Cleanup(func() { _ = w.db.Close() })
	w.pool, err = store.New(store.Config{Dir: filepath.Join(w.dir, "stores"), Keys: storeKeys{w.ring}, OnCommit: func(id data.StoreID) {
		if s := w.told.Load(); s != nil {
			s.Nudge(id)
		}
	}})
	w.must(err)
	t.Cleanup(func() { _ = w.pool.Close() })
	w.ops, err = api.NewOperations(t.Context(), api.OperationsConfig{DB: w.db})
	w.must(err)
	t.Cleanup(func() { _ = w.ops.Close() })
	w.open()
	return w
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// open opens the room anew, as after a restart.
func (w *world) open() {
	w.t.Helper()
	if w.Service != nil {
		w.must(w.Service.Close())
	}
	s, err := New(w.t.Context(), Config{
		DB: w.db, Stores: w.pool, Tenants: directory{w}, Recorder: &w.log, Operations: w.ops, Access: allow{w},
		Segments: func(id data.StoreID) data.KeySource { return w.ring.Source(keys.Owner(id.String()), keys.Segments) },
		Archive:  func(id data.StoreID) data.KeySource { return w.ring.Archive(keys.Owner(id.String()), keys.Segments) },
		Staging:  filepath.Join(w.dir, "staging"), Open: w.openStore, Own: w.own, Clock: w.clock, Drills: w, Live: w.live,
		MaxStaging: w.staged,
	})
	w.must(err)
	w.Service = s
	w.told.Store(s)
	w.t.Cleanup(func() { _ = s.Close() })
	router, err := api.NewRouter(api.Config{
		Authenticate: func(*http.Request) (data.Actor, error) { return data.Actor{Kind: data.Person, ID: "p"}, nil },
		Authorizer:   allow{w}, Assurer: trusting{}, Recorder: &w.log,
	})
	w.must(err)
	w.must(router.Add(s.Routes()...))
	w.http = router.Handler()
}

type allow struct{ *world }

func (a allow) Authorize(_ context.Context, _ data.Actor, p api.Permission, _ api.Scope) error {
	if p == a.deny {
		return api.ErrForbidden
	}
	return nil
}

type directory struct{ *world }

func (d directory) Find(_ context.Context, slug, environment string) (data.StoreID, error, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	e := d.tenants[slug]
	if e == nil || environment != data.Prod {
		return data.StoreID{}, nil, data.ErrNotFound
	}
	return e.id, e.closed, nil
}

func (d directory) Adopt(ctx context.Context, slug, _ string, _ data.StoreID, install func(context.Context, data.StoreID) error) error {
	return d.make(ctx, slug, install)
}

func (w *world) make(ctx context.Context, slug string, fill func(context.Context, data.StoreID) error) error {
	id := data.StoreID{Tenant: system.NewID(), Environment: data.Prod}
	owner := keys.Owner(id.String())
	if err := w.ring.Add(owner, keys.Pages, keys.Files, keys.Segments); err != nil {
		return err
	}
	if err := fill(ctx, id); err != nil {
		return errors.Join(err, w.ring.Destroy(owner))
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.tenants[slug] = &entry{id: id}
	return nil
}

// tenant makes a tenant with a collection, records and files.
func (w *world) tenant(slug string, records int) {
	w.t.Helper()
	w.must(w.make(w.t.Context(), slug, w.pool.Create))
	w.with(slug, func(s *store.Store) {
		w.must(s.CreateCollection(w.t.Context(), "notes", []store.Field{{Name: "title", Type: "text"}}))
		w.must(w.put(s, "a/b/hello.txt", "hello"))
	})
	w.add(slug, "first", records)
}

func (w *world) with(slug string, fn func(*store.Store)) {
	w.t.Helper()
	s, err := w.pool.Acquire(w.t.Context(), w.tenants[slug].id)
	w.must(err)
	defer s.Release()
	fn(s)
}

func (w *world) put(s *store.Store, name, body string) error {
	_, err := s.Files().Put(w.t.Context(), data.FileInfo{Name: name, ContentType: "text/plain"}, strings.NewReader(body))
	return err
}

func (w *world) add(slug, title string, n int) {
	w.t.Helper()
	i := 0
	w.with(slug, func(s *store.Store) {
		_, err := s.Import(w.t.Context(), "notes", store.ImportOptions{}, func() (map[string]any, int, error) {
			if i++; i > n {
				return nil, 0, io.EOF
			}
			return map[string]any{"title": fmt.Sprintf("%s %d", title, i)}, i, nil
		}, func(store.ImportProgress) {})
		w.must(err)
	})
}

// content is everything of a store that a restore must bring back.
func (w *world) content(slug string) string {
	w.t.Helper()
	var b bytes.Buffer
	w.with(slug, func(s *store.Store) {
		w.must(s.Export(w.t.Context(), "notes", func(r map[string]any) error { return json.NewEncoder(&b).Encode(r) }))
		list, err := s.Files().List(w.t.Context(), "", "", 1000)
		w.must(err)
		for _, info := range list {
			r, _, err := s.Files().Open(w.t.Context(), info.Name)
			w.must(err)
			body, err := io.ReadAll(r)
			w.must(errors.Join(err, r.Close()))
			fmt.Fprintf(&b, "%s %d %s\n", info.Name, info.Size, body)
		}
	})
	return b.String()
}

// call makes a request and decodes the answer.
func (w *world) call(method, path, body string, status int, answer any) string {
	w.t.Helper()
	r := httptest.NewRequest(method, "/api/v1"+path, strings.NewReader(body))
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	rec := httptest.NewRecorder()
	w.http.ServeHTTP(rec, r)
	text := rec.Body.String()
	if rec.Code != status {
		w.t.Fatalf("%s %s: %d instead of %d: %s", method, path, rec.Code, status, text)
	}
	if answer != nil {
		w.must(json.Unmarshal([]byte(text), answer))
	}
	return text
}

// done makes a request that starts an operation and waits for its end.
func (w *world) done(path, body string, result any) api.Operation {
	w.t.Helper()
	var op api.Operation
	w.call("POST", path, body, 202, &op)
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
	defer cancel()
	op, err := w.ops.Wait(ctx, op.ID)
	w.must(err)
	if result != nil {
		if op.State != api.Done {
			w.t.Fatalf("%s: %s: %+v", path, op.State, op.Error)
		}
		w.must(json.Unmarshal(op.Result, result))
	}
	return op
}

// failed wants an operation to end with a problem.
func (w *world) failed(path, body, code string) *api.Problem {
	w.t.Helper()
	op := w.done(path, body, nil)
	if op.State != api.OpFailed || op.Error == nil || op.Error.Code != code {
		w.t.Fatalf("%s: %s %+v, want it to fail with %q", path, op.State, op.Error, code)
	}
	return op.Error
}

// folder adds a target in a folder.
func (w *world) folder(name string) string {
	w.t.Helper()
	dir := w.t.TempDir()
	w.call("POST", "/targets", fmt.Sprintf(`{"name":%q,"url":"file://%s"}`, name, dir), 201, nil)
	return dir
}

func (w *world) ship(slug string) (s Shipped) {
	w.t.Helper()
	w.done("/stores/"+slug+"/prod/snapshots", "", &s)
	return s
}

// trusting asks nobody for a factor.
type trusting struct{}

func (trusting) Assure(*http.Request, data.Actor, api.Assurance) error { return nil }
