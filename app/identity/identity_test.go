package identity

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
	"time"

	"holdfast/app/api"
	"holdfast/data"
	"holdfast/data/system"
	"holdfast/data/vault"
)

var bg = data.WithActor(context.Background(), data.Actor{Kind: data.Host, ID: "1000"})

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

// cheap keeps tests fast; TestProductionCost uses the real one.
var cheap = Cost{Time: 1, Memory: 64, Threads: 1}

const goodPassword = "correct horse battery"

var (
	acme = data.StoreID{Tenant: "t-acme", Environment: "prod"}
	beta = data.StoreID{Tenant: "t-beta", Environment: "prod"}
)

// directory knows tenants acme and beta, both with prod and test.
type directory struct{}

func (directory) Store(_ context.Context, slug, environment string) (data.StoreID, error) {
	if (slug != "acme" && slug != "beta") || (environment != "prod" && environment != "test") {
		return data.StoreID{}, data.ErrNotFound
	}
	return data.StoreID{Tenant: "t-" + slug, Environment: environment}, nil
}

func (directory) Slug(_ context.Context, id string) (string, error) {
	if slug, ok := strings.CutPrefix(id, "t-"); ok && (slug == "acme" || slug == "beta") {
		return slug, nil
	}
	return "", data.ErrNotFound
}

// Collections are packages, a and b in every store; each id is "id-" and the name.
func (directory) Collections(context.Context, data.StoreID) ([]Collection, error) {
	return []Collection{{"id-packages", "packages"}, {"id-a", "a"}, {"id-b", "b"}}, nil
}

// book keeps events, or fails.
type book struct {
	mu     sync.Mutex
	events []string
	detail map[string]string // of the last one
	fail   error
}

func (b *book) Record(ctx context.Context, e api.Event) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fail != nil {
		return b.fail
	}
	b.events = append(b.events, data.ActorFrom(ctx).String()+" "+e.Action+" "+e.Store+" "+string(e.Outcome))
	b.detail = e.Detail
	return nil
}

func (b *book) last() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.events) == 0 {
		return ""
	}
	return b.events[len(b.events)-1]
}

type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time { c.mu.Lock(); defer c.mu.Unlock(); return c.now }
func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// testKey is a key source of one generation.
type testKey [32]byte

func newTestKey() (k testKey) { _, _ = rand.Read(k[:]); return k }

func (k testKey) Current() (uint32, [32]byte, error) { return 1, k, nil }
func (k testKey) Generation(g uint32) ([32]byte, error) {
	if g != 1 {
		return [32]byte{}, data.ErrNotFound
	}
	return k, nil
}

// house is a service over real storage, behind a real router.
type house struct {
	*Service
	t      testing.TB
	log    *book
	clock  *clock
	config Config
	router http.Handler
}

func newHouse(t testing.TB) *house {
	t.Helper()
	db, err := system.Open(bg, system.Config{Dir: t.TempDir() + "/data", Keys: newTestKey()})
	must(t, err)
	t.Cleanup(func() { _ = db.Close() })
	v, err := vault.Open(t.TempDir()+"/vault", newTestKey())
	must(t, err)
	t.Cleanup(func() { _ = v.Close() })
	h := &house{t: t, log: &book{}, clock: &clock{now: time.Now().Truncate(time.Minute)}}
	h.config = Config{
		DB: db, Sessions: VaultValues{v.Sub("identity/")}, Recorder: h.log, Tenants: directory{}, Collections: directory{},
		Clock: h.clock.Now, PasswordCost: cheap,
	}
	h.open()
	return h
}

// open makes the service anew over the same storage, as a restart would.
func (h *house) open() {
	h.t.Helper()
	s, err := New(bg, h.config)
	must(h.t, err)
	rt, err := api.NewRouter(api.Config{Authenticate: s.AuthenticateRequest, Authorizer: s, Assurer: s, Recorder: h.log})
	must(h.t, err)
	must(h.t, rt.Add(s.Routes()...))
	h.Service, h.router = s, rt.Handler()
}

// owner makes an operator.
func (h *house) owner(email string) Operator {
	h.t.Helper()
	o, err := h.CreateOperator(bg, NewOperator{NewPerson: NewPerson{Email: email, Name: "Some One", Password: goodPassword}})
	must(h.t, err)
	return o
}

// ownerOf makes an operator who owns tenants, too: as such alone none is open.
func (h *house) ownerOf(email string, tenants ...string) Operator {
	h.t.Helper()
	o := h.owner(email)
	for _, tenant := range tenants {
		_, err := h.Grant(bg, Grant{Person: o.ID, Role: Owner, Scope: tenant})
		must(h.t, err)
	}
	return o
}

// member makes a person who owns the tenants with these ids and nothing else.
func (h *house) member(email string, tenants ...string) Operator {
	h.t.Helper()
	n := NewPerson{Email: email, Name: "Some One", Password: goodPassword}
	id, err := h.newAccount(bg, n)
	must(h.t, err)
	o := Operator{Person: Person{ID: id, Email: email, Name: n.Name}}
	for _, tenant := range tenants {
		_, err := h.Grant(bg, Grant{Person: o.ID, Role: Owner, Scope: tenant})
		must(h.t, err)
	}
	return o
}

// browser sends requests with its cookies, from one address.
type browser struct {
	h       *house
	address string
	host    string
	cookies map[string]string
}

func (h *house) browser() *browser {
	return &browser{h: h, address: "192.0.2.1:4444", host: "127.0.0.1:8090", cookies: map[string]string{}}
}

func (b *browser) send(method, path, body string, headers ...string) *httptest.ResponseRecorder {
	b.h.t.Helper()
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.RemoteAddr, r.Host = b.address, b.host
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	for name, value := range b.cookies {
		r.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	w := httptest.NewRecorder()
	b.h.router.ServeHTTP(w, r)
	for _, c := range w.Result().Cookies() {
		b.cookies[c.Name] = c.Value
		if c.MaxAge < 0 {
			delete(b.cookies, c.Name)
		}
	}
	return w
}

func (b *browser) want(status int, method, path, body string, headers ...string) *httptest.ResponseRecorder {
	b.h.t.Helper()
	w := b.send(method, path, body, headers...)
	if w.Code != status {
		b.h.t.Fatalf("%s %s: got %d, want %d: %s", method, path, w.Code, status, w.Body)
	}
	return w
}

func (b *browser) signIn(email string) *browser {
	b.h.t.Helper()
	b.want(201, "POST", "/api/v1/session", credentials(email, goodPassword))
	return b
}

func credentials(email, password string) string {
	out, _ := json.Marshal(SignInRequest{email, password})
	return string(out)
}

func decode[T any](t testing.TB, w *httptest.ResponseRecorder) (v T) {
	t.Helper()
	must(t, json.Unmarshal(w.Body.Bytes(), &v))
	return v
}

func codeOf(t testing.TB, w *httptest.ResponseRecorder) string {
	t.Helper()
	return decode[api.Problem](t, w).Code
}
