package api

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"holdfast/data"
	"holdfast/data/system"
)

var bg = context.Background()

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantErr(t testing.TB, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("got error %v, want %v", err, want)
	}
}

func equal[T comparable](t testing.TB, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Fatalf("%s: got %v, want %v", what, got, want)
	}
}

// table authorizes by what it holds, and keeps what it was asked.
type table struct {
	allow map[string]bool // "actor permission tenant"
	asked []string
}

func (a *table) Authorize(_ context.Context, actor data.Actor, p Permission, s Scope) error {
	q := actor.String() + " " + string(p) + " " + s.Tenant
	a.asked = append(a.asked, q)
	switch {
	case actor.Kind == data.Guest:
		return ErrUnauthenticated
	case a.allow[q]:
		return nil
	}
	return ErrForbidden
}

// book keeps events, or fails.
type book struct {
	mu     sync.Mutex
	events []Event
	actors []data.Actor
	fail   error
}

func (b *book) Record(ctx context.Context, e Event) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fail != nil {
		return b.fail
	}
	b.events = append(b.events, e)
	b.actors = append(b.actors, data.ActorFrom(ctx))
	return nil
}

// fixture is a router with its doubles; the header As says who asks.
type fixture struct {
	*Router
	auth *table
	log  *book
}

func newFixture(t testing.TB, routes ...Route) *fixture {
	t.Helper()
	f := &fixture{auth: &table{allow: map[string]bool{}}, log: &book{}}
	rt, err := NewRouter(Config{
		Authorizer: f.auth, Recorder: f.log,
		Authenticate: func(r *http.Request) (data.Actor, error) {
			if as := r.Header.Get("As"); as != "" {
				return data.ParseActor(as), nil
			}
			return data.Actor{Kind: data.Guest}, nil
		},
	})
	must(t, err)
	must(t, rt.Add(routes...))
	f.Router = rt
	return f
}

func (f *fixture) do(r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	f.Handler().ServeHTTP(w, r)
	return w
}

func (f *fixture) send(method, path, as, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.Header.Set("As", as)
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	return f.do(r)
}

func problemOf(t testing.TB, w *httptest.ResponseRecorder) Problem {
	t.Helper()
	equal(t, "content type", w.Header().Get("Content-Type"), "application/problem+json")
	var p Problem
	must(t, json.Unmarshal(w.Body.Bytes(), &p))
	equal(t, "status in the body", p.Status, w.Code)
	return p
}

func ok(w http.ResponseWriter, _ *http.Request) error { return NoContent(w) }

// testKey is a key source of one generation.
type testKey [32]byte

func (k testKey) Current() (uint32, [32]byte, error) { return 1, k, nil }
func (k testKey) Generation(g uint32) ([32]byte, error) {
	if g != 1 {
		return [32]byte{}, data.ErrNotFound
	}
	return k, nil
}

func newDB(t testing.TB) *system.DB {
	t.Helper()
	var k testKey
	_, _ = rand.Read(k[:])
	db, err := system.Open(bg, system.Config{Dir: t.TempDir() + "/data", Keys: k})
	must(t, err)
	t.Cleanup(func() { _ = db.Close() })
	return db
}
