package tenant

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/app/api"
	"holdfast/data"
	"holdfast/data/cryptfs"
	"holdfast/data/keys"
	"holdfast/data/store"
	"holdfast/data/system"
)

// world is a tenant room over the real ground.
type world struct {
	*Service
	t    testing.TB
	dir  string
	root keys.Root
	ring *keys.Ring
	db   *system.DB
	pool *store.Pool

	warden *store.Warden
	ops    *api.Operations
	log    *recorder
	clock  *clock

	followed []data.StoreID // by CatchUp
	disposal Disposal       // nil in most tests
	founded  func(context.Context, Founding) error
}

// clock is a clock that a test moves.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// recorder keeps events, or fails.
type recorder struct {
	mu     sync.Mutex
	events []api.Event
	actors []string
	fail   error
}

func (r *recorder) Record(ctx context.Context, e api.Event) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fail != nil {
		return r.fail
	}
	r.events, r.actors = append(r.events, e), append(r.actors, data.ActorFrom(ctx).String())
	return nil
}

func (r *recorder) actions() (out []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.events {
		out = append(out, e.Action+":"+string(e.Outcome))
	}
	return out
}

// access lets persons named owner do all, and others only where their id says.
type access struct{ *world }

func (access) Authorize(_ context.Context, a data.Actor, _ api.Permission, s api.Scope) error {
	if a.ID == "owner" || a.Kind == data.System || s.Tenant == api.AnyTenant || s.Tenant == a.ID && a.ID != "" {
		return nil
	}
	return api.ErrForbidden
}

// Warrant opens the store of the scope, as far as the permission goes.
func (x access) Warrant(ctx context.Context, a data.Actor, p api.Permission, s api.Scope) (context.Context, error) {
	if err := x.Authorize(ctx, a, p, s); err != nil || s.Store == "" {
		return ctx, err
	}
	id, err := data.ParseStoreID(s.Store)
	return x.warden.Issue(ctx, store.Warrant{Store: id, Actor: a, Level: store.Manage}), err
}

func (access) Reach(_ context.Context, a data.Actor, _ api.Permission) (api.Reach, error) {
	if a.ID == "owner" {
		return api.Reach{All: true}, nil
	}
	return api.Reach{Tenants: []string{a.ID}}, nil
}

type storeKeys struct{ ring *keys.Ring }

func (k storeKeys) Pages(id data.StoreID) data.KeySource {
	return k.ring.Source(keys.Owner(id.String()), keys.Pages)
}

func (k storeKeys) Files(id data.StoreID) data.KeySource {
	return k.ring.Source(keys.Owner(id.String()), keys.Files)
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{t: t, dir: filepath.Join(t.TempDir(), "x"), log: &recorder{}, clock: &clock{at: time.Now().UTC().Truncate(time.Second)}}
	w.must(os.Mkdir(w.dir, 0o700))
	slot, _ := keys.NewRecovery()
	var err error
	w.root, err = keys.CreateSlots(filepath.Join(w.dir, "root.slots"), slot)
	w.must(err)
	w.ring, err = keys.CreateRing(w.dir, w.root)
	w.must(err)
	w.must(w.ring.Add(keys.System, keys.Pages, keys.Files))
	w.open()
	t.Cleanup(func() { w.shut() })
	return w
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) open() {
	w.t.Helper()
	var err error
	w.db, err = system.Open(w.t.Context(), system.Config{Dir: filepath.Join(w.dir, "data"), Keys: w.ring.Source(keys.System, keys.Pages)})
	w.must(err)
	w.pool, err = store.New(store.Config{Dir: w.stores(), Keys: storeKeys{w.ring}})
	w.must(err)
	w.warden, err = w.pool.Warden()
	w.must(err)
	w.ops, err = api.NewOperations(w.t.Context(), api.OperationsConfig{DB: w.db})
	w.must(err)
	staging, err := cryptfs.OpenFiles(filepath.Join(w.dir, "staging"), "staging", w.ring.Source(keys.System, keys.Files))
	w.must(err)
	w.Service, err = New(w.t.Context(), Config{
		DB: w.db, Ring: w.ring, Pool: w.pool, Recorder: w.log, Operations: w.ops, Access: access{w},
		Staging: staging, StoresDir: w.stores(), Clock: w.clock.now, Disposal: w.disposal, Founded: w.founded,
		URL:     func(slug, env string) string { return "http://" + slug + "." + env },
		CatchUp: func(_ context.Context, id data.StoreID) error { w.followed = append(w.followed, id); return nil },
	})
	w.must(err)
}

func (w *world) stores() string { return filepath.Join(w.dir, "data", "stores") }

func (w *world) shut() {
	w.t.Helper()
	w.must(errors.Join(w.ops.Close(), w.pool.Close(), w.db.Close()))
}

func (w *world) create(slug string) Tenant {
	w.t.Helper()
	t, err := w.Create(w.t.Context(), slug, "")
	w.must(err)
	return t
}

// wantErr fails unless err is the house's error.
func wantErr(t testing.TB, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("got %v, want %v", err, want)
	}
}

// wantStatus fails unless err is a problem of that status.
func wantStatus(t testing.TB, err error, status int) {
	t.Helper()
	if err == nil || api.AsProblem(err).Status != status {
		t.Errorf("got %v, want a %d", err, status)
	}
}

// call asks the room's routes through the real router.
func (w *world) call(actor, method, path, body string) *httptest.ResponseRecorder {
	w.t.Helper()
	rt, err := api.NewRouter(api.Config{Authorizer: access{w}, Assurer: trusting{}, Recorder: w.log, Authenticate: func(*http.Request) (data.Actor, error) {
		return data.Actor{Kind: data.Person, ID: actor}, nil
	}})
	w.must(err)
	w.must(rt.Add(w.Routes()...))
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	if !strings.Contains(path, "/import") && body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	answer := httptest.NewRecorder()
	rt.Handler().ServeHTTP(answer, r)
	return answer
}

func (w *world) wantActions(want ...string) {
	w.t.Helper()
	if got := w.log.actions(); !slices.Equal(got, want) {
		w.t.Errorf("got %v, want %v", got, want)
	}
}

// trusting asks nobody for a factor.
type trusting struct{}

func (trusting) Assure(*http.Request, data.Actor, api.Assurance) error { return nil }
