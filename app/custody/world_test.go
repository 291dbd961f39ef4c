package custody

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/app/api"
	"holdfast/backup"
	"holdfast/backup/objects"
	"holdfast/data"
	"holdfast/data/keys"
	"holdfast/data/system"
)

const (
	phrase = "correct horse battery staple"
	acme   = keys.Owner("t1/prod")
)

// world is the room over a real keyring, slots and system database.
type world struct {
	*Service
	t        *testing.T
	dir      string // the data folder
	config   Config
	ring     *keys.Ring
	db       *system.DB
	ops      *api.Operations
	log      recorder
	text     bytes.Buffer // what was logged
	clock    clock
	code     string // the first recovery key
	targets  []Target
	actor    data.Actor
	deny     api.Permission
	opened   string
	http     http.Handler
	targetMu sync.Mutex
}

type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

type recorder struct {
	mu     sync.Mutex
	events []api.Event
	fail   error
}

func (r *recorder) Record(_ context.Context, e api.Event) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fail != nil {
		return r.fail
	}
	r.events = append(r.events, e)
	return nil
}

func (r *recorder) actions() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []string
	for _, e := range r.events {
		all = append(all, e.Action)
	}
	return strings.Join(all, " ")
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, dir: filepath.Join(t.TempDir(), "data"), actor: data.Actor{Kind: data.Host, ID: "0"}}
	w.clock.now = time.Date(2026, 11, 22, 6, 0, 0, 0, time.UTC)
	rec, code := keys.NewRecovery()
	w.code = code
	root, err := keys.CreateSlots(w.in("keys", keys.SlotsFile), keys.KeyFile(w.keyFile()), rec)
	w.must(err)
	w.ring, err = keys.CreateRing(w.in("keys"), root)
	w.must(err)
	w.must(w.ring.Add(keys.System, keys.Pages, keys.Vault))
	w.must(w.ring.Add(acme, keys.Pages, keys.Files))
	w.db, err = system.Open(t.Context(), system.Config{Dir: w.dir, Keys: w.ring.Source(keys.System, keys.Pages)})
	w.must(err)
	t.Cleanup(func() { _ = w.db.Close() })
	w.ops, err = api.NewOperations(t.Context(), api.OperationsConfig{DB: w.db})
	w.must(err)
	t.Cleanup(func() { _ = w.ops.Close() })
	w.config = Config{
		Dir: w.in("keys"), Ring: w.ring, DB: w.db, Recorder: &w.log, Operations: w.ops, Targets: w.listTargets,
		Owner: w.findOwner, Name: func(_ context.Context, o keys.Owner) string { return strings.Replace(string(o), "t1", "acme", 1) },
		KeyFile: w.keyFile(), Clock: w.clock.Now, Logger: slog.New(slog.NewTextHandler(&w.text, nil)),
	}
	w.open()
	return w
}

func (w *world) in(name ...string) string { return filepath.Join(append([]string{w.dir}, name...)...) }

func (w *world) keyFile() string { return w.dir + ".key" }

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) want(err, want error) {
	w.t.Helper()
	if !errors.Is(err, want) {
		w.t.Fatalf("error %v, want %v", err, want)
	}
}

// wantProblem wants a problem of that code.
func (w *world) wantProblem(err error, code string) *api.Problem {
	w.t.Helper()
	var p *api.Problem
	if !errors.As(err, &p) || p.Code != code {
		w.t.Fatalf("error %v, want a problem %s", err, code)
	}
	return p
}

func (w *world) listTargets(context.Context) ([]Target, error) {
	w.targetMu.Lock()
	defer w.targetMu.Unlock()
	return w.targets, nil
}

func (w *world) findOwner(_ context.Context, name string) (keys.Owner, error) {
	if name != "acme" && name != "acme/prod" {
		return "", data.ErrNotFound
	}
	return acme, nil
}

// target adds a target that copies can be kept on.
func (w *world) target(name string, s backup.ObjectStore) {
	w.targetMu.Lock()
	defer w.targetMu.Unlock()
	w.targets = append(w.targets, Target{ID: "id-" + name, Name: name, URL: "mem:" + name, Open: func() (backup.ObjectStore, error) { return s, nil }})
}

// open opens the room anew, as after a restart.
func (w *world) open() {
	w.t.Helper()
	if w.Service != nil {
		w.must(w.Service.Close())
	}
	w.config.OpenedBy = w.opened
	s, err := New(w.t.Context(), w.config)
	w.must(err)
	w.Service = s
	w.t.Cleanup(func() { _ = s.Close() })
	router, err := api.NewRouter(api.Config{
		Authenticate: func(*http.Request) (data.Actor, error) { return data.Actor{Kind: data.Person, ID: "p"}, nil },
		Authorizer:   w, Assurer: trusting{}, Recorder: &w.log,
	})
	w.must(err)
	w.must(router.Add(s.Routes()...))
	w.http = router.Handler()
}

func (w *world) Authorize(_ context.Context, _ data.Actor, p api.Permission, _ api.Scope) error {
	if p == w.deny {
		return api.ErrForbidden
	}
	return nil
}

// ctx is the host's.
func (w *world) ctx() context.Context { return data.WithActor(w.t.Context(), w.actor) }

func (w *world) status() Status {
	w.t.Helper()
	st, err := w.Status(w.ctx())
	w.must(err)
	return st
}

// slotOf is the newest slot of a kind.
func (w *world) slotOf(kind string) (found Slot) {
	w.t.Helper()
	for _, s := range w.status().Slots {
		if s.Kind == kind {
			found = s
		}
	}
	return found
}

func (w *world) has(finding string) bool {
	for _, f := range w.status().Findings {
		if f.ID == finding {
			return true
		}
	}
	return false
}

func (w *world) send(method, path, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	rec := httptest.NewRecorder()
	w.http.ServeHTTP(rec, r)
	return rec
}

func decode[T any](t *testing.T, rec *httptest.ResponseRecorder, status int) (v T) {
	t.Helper()
	if rec.Code != status {
		t.Fatalf("status %d, want %d: %s", rec.Code, status, rec.Body)
	}
	if err := json.Unmarshal(rec.Body.Bytes(), &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// opens says whether a secret opens the slots on the disk now.
func (w *world) opens(way keys.Slot) bool {
	w.t.Helper()
	s, err := keys.OpenSlots(w.in("keys", keys.SlotsFile))
	w.must(err)
	root, err := s.Unlock(way)
	return err == nil && root.ID() == w.ring.Root().ID()
}

// faulty is an object store whose steps can be made to fail or to lie.
type faulty struct {
	backup.ObjectStore
	mu       sync.Mutex
	fail     error
	keepsAll bool // says that it deleted, and did not
}

func newFaulty() *faulty { return &faulty{ObjectStore: objects.NewMemory()} }

func (f *faulty) set(change func(*faulty)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(f)
}

func (f *faulty) List(ctx context.Context, prefix, after string, limit int) ([]backup.Info, error) {
	f.mu.Lock()
	err := f.fail
	f.mu.Unlock()
	if err != nil {
		return nil, err
	}
	return f.ObjectStore.List(ctx, prefix, after, limit)
}

func (f *faulty) Delete(ctx context.Context, name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.keepsAll {
		return nil
	}
	return f.ObjectStore.Delete(ctx, name)
}

func (f *faulty) names(t *testing.T) (names []string) {
	t.Helper()
	list, err := f.ObjectStore.List(t.Context(), "", "", 1000)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range list {
		names = append(names, o.Name)
	}
	return names
}

// trusting asks nobody for a factor.
type trusting struct{}

func (trusting) Assure(*http.Request, data.Actor, api.Assurance) error { return nil }
