package sso

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/app/api"
	"holdfast/app/sso/issuertest"
	"holdfast/data"
	"holdfast/data/system"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func equal[T comparable](t testing.TB, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Fatalf("%s: got %v, want %v", what, got, want)
	}
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

type testKey [32]byte

func (k testKey) Current() (uint32, [32]byte, error)          { return 1, k, nil }
func (k testKey) Generation(g uint32) (key [32]byte, _ error) { return k, nil }

// crowd is People in memory.
type crowd struct {
	mu       sync.Mutex
	all      []Person
	made     []string // "address role scope"
	signedIn []Vouched
	stepped  []Vouched
	alerts   []string
	claimed  []string // "person provider"
	letters  []string
	noMail   bool
	enforced int
	came     bool
	other    bool
	mayNot   error
	runsNot  error
	owners   []string
	tenant   string // that the session rests on

	asksTooMuch error
}

func (c *crowd) add(id, email string, scopes ...string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all = append(c.all, Person{ID: id, Email: email, Name: id, Active: true, Scopes: scopes})
}

func (c *crowd) find(is func(Person) bool) (Person, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if i := slices.IndexFunc(c.all, is); i >= 0 {
		return c.all[i], nil
	}
	return Person{}, data.ErrNotFound
}

func (c *crowd) change(id string, fn func(*Person)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	fn(&c.all[slices.IndexFunc(c.all, func(p Person) bool { return p.ID == id })])
}

func (c *crowd) ByMail(_ context.Context, email string) (Person, error) {
	return c.find(func(p Person) bool { return p.Email == strings.ToLower(email) })
}

func (c *crowd) ByID(_ context.Context, id string) (Person, error) {
	return c.find(func(p Person) bool { return p.ID == id })
}

func (c *crowd) Make(ctx context.Context, email, _, role, scope string) (Person, error) {
	c.add("new-"+email, email, scope)
	c.mu.Lock()
	c.made = append(c.made, email+" "+role+" "+scope)
	c.mu.Unlock()
	return c.ByMail(ctx, email)
}

func (c *crowd) MayGive(context.Context, string, string) error { return c.mayNot }

func (c *crowd) MaySet(context.Context, string) error { return c.mayNot }

func (c *crowd) SignIn(_ http.ResponseWriter, _ *http.Request, v Vouched) (any, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.signedIn = append(c.signedIn, v)
	return map[string]string{"person": v.Person}, nil
}

func (c *crowd) StepUp(_ http.ResponseWriter, _ *http.Request, v Vouched) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stepped = append(c.stepped, v)
	return nil
}

func (c *crowd) CameThrough(*http.Request) (bool, error)          { return c.came, nil }
func (c *crowd) Runs(context.Context) error                       { return c.runsNot }
func (c *crowd) Owners(context.Context, string) ([]string, error) { return c.owners, nil }
func (c *crowd) Tenant(*http.Request) (string, error)             { return c.tenant, nil }
func (c *crowd) HasOtherWay(context.Context, string) (bool, error) {
	return c.other, nil
}
func (c *crowd) Alert(_ context.Context, person, _, _ string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.alerts = append(c.alerts, person)
}
func (c *crowd) Claimed(_ context.Context, person, provider string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.claimed = append(c.claimed, person+" "+provider)
	return nil
}
func (c *crowd) Writes(context.Context) (bool, error) { return !c.noMail, nil }
func (c *crowd) Write(_ context.Context, to, subject, text string, _ time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.letters = append(c.letters, to+"\n"+subject+"\n"+text)
	return nil
}
func (c *crowd) Enforce(context.Context) error { c.enforced++; return nil }
func (c *crowd) Address(*http.Request) string  { return "192.0.2.1" }
func (c *crowd) Ask(string) error              { return c.asksTooMuch }
func (c *crowd) Admit(string) error            { return nil }
func (c *crowd) Forgive(string)                {}

// book keeps events, or fails.
type book struct {
	mu     sync.Mutex
	events []api.Event
	fail   error
}

func (b *book) Record(_ context.Context, e api.Event) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fail == nil {
		b.events = append(b.events, e)
	}
	return b.fail
}

func (b *book) has(action string, o api.Outcome, code string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.ContainsFunc(b.events, func(e api.Event) bool { return e.Action == action && e.Outcome == o && e.Detail["code"] == code })
}

// world is the room over a real database, behind a real router, and one issuer.
type world struct {
	*Service
	t      testing.TB
	clock  *clock
	people *crowd
	log    *book
	issuer *issuertest.Issuer
	http   http.Handler
}

func (w *world) Store(_ context.Context, slug, _ string) (data.StoreID, error) {
	if slug != "acme" && slug != "beta" {
		return data.StoreID{}, data.ErrNotFound
	}
	return data.StoreID{Tenant: "t-" + slug, Environment: data.Prod}, nil
}

func (w *world) Slug(_ context.Context, id string) (string, error) {
	return strings.TrimPrefix(id, "t-"), nil
}

func (w *world) Authorize(context.Context, data.Actor, api.Permission, api.Scope) error { return nil }
func (w *world) Assure(*http.Request, data.Actor, api.Assurance) error                  { return nil }

func newWorld(t testing.TB) *world {
	t.Helper()
	var key testKey
	_, _ = rand.Read(key[:])
	db, err := system.Open(t.Context(), system.Config{Dir: t.TempDir() + "/data", Keys: key})
	must(t, err)
	t.Cleanup(func() { must(t, db.Close()) })
	w := &world{t: t, clock: &clock{now: time.Now().Truncate(time.Minute)}, people: &crowd{}, log: &book{}, issuer: newIssuer(t)}
	w.issuer.At(w.clock.Now)
	w.Service, err = New(t.Context(), Config{DB: db, People: w.people, Tenants: w, Recorder: w.log, Clock: w.clock.Now, Loopback: true,
		URL: func() string { return "http://127.0.0.1:8090" }})
	must(t, err)
	t.Cleanup(func() { must(t, w.Close()) })
	rt, err := api.NewRouter(api.Config{Authenticate: whoSays, Authorizer: w, Assurer: w, Recorder: w.log})
	must(t, err)
	must(t, rt.Add(w.Routes()...))
	w.http = rt.Handler()
	w.people.add("olga", "olga@example.com", Appliance)
	return w
}

func newIssuer(t testing.TB) *issuertest.Issuer {
	i := issuertest.New()
	t.Cleanup(i.Close)
	return i
}

// whoSays believes a header: who is signed in is not this room's to find out.
func whoSays(r *http.Request) (data.Actor, error) {
	if id := r.Header.Get("X-Person"); id != "" {
		return data.Actor{Kind: data.Person, ID: id}, nil
	}
	return data.Actor{Kind: data.Guest}, nil
}

func (w *world) withProvider(id, scope string, change ...func(*row)) row {
	w.t.Helper()
	r := NewProvider{ID: id, Kind: OIDC, Issuer: w.issuer.URL, ClientID: issuertest.ClientID, ClientSecret: issuertest.Secret}.row(scope)
	for _, fn := range change {
		fn(&r)
	}
	must(w.t, w.add(w.t.Context(), r))
	r, err := w.Service.provider(w.t.Context(), id)
	must(w.t, err)
	return r
}

// browser keeps its cookies; as is who is signed in there.
type browser struct {
	w       *world
	as      string
	cookies map[string]string
}

func (w *world) browser() *browser { return &browser{w: w, cookies: map[string]string{}} }

func (b *browser) send(method, path string, body any) *httptest.ResponseRecorder {
	b.w.t.Helper()
	text := ""
	if body != nil {
		raw, err := json.Marshal(body)
		must(b.w.t, err)
		text = string(raw)
	}
	r := httptest.NewRequest(method, path, strings.NewReader(text))
	r.Host = "127.0.0.1:8090"
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	if b.as != "" {
		r.Header.Set("X-Person", b.as)
	}
	for name, value := range b.cookies {
		r.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	rec := httptest.NewRecorder()
	b.w.http.ServeHTTP(rec, r)
	for _, c := range rec.Result().Cookies() {
		b.cookies[c.Name] = c.Value
		if c.MaxAge < 0 {
			delete(b.cookies, c.Name)
		}
	}
	return rec
}

func decode[T any](t testing.TB, rec *httptest.ResponseRecorder) (v T) {
	t.Helper()
	must(t, json.Unmarshal(rec.Body.Bytes(), &v))
	return v
}

// want sends and gives the problem's code, "" for a success.
func (b *browser) want(status int, code, method, path string, body any) *httptest.ResponseRecorder {
	b.w.t.Helper()
	rec := b.send(method, path, body)
	got := ""
	if rec.Code >= 400 {
		got = decode[api.Problem](b.w.t, rec).Code
	}
	if rec.Code != status || got != code {
		b.w.t.Fatalf("%s %s: got %d %q, want %d %q: %s", method, path, rec.Code, got, status, code, rec.Body)
	}
	return rec
}

// begin goes to the provider and comes back, as far as to what the console is told.
func (b *browser) begin(provider string) Finish {
	b.w.t.Helper()
	return b.out(provider, "/api/v1/sso/"+provider+"/begin")
}

func (b *browser) out(provider, begin string) Finish {
	b.w.t.Helper()
	address := decode[Begun](b.w.t, b.want(200, "", "POST", begin, Begin{Return: "/profile"})).URL
	back, err := b.w.issuer.Go(address)
	must(b.w.t, err)
	return b.callback(provider, back)
}

// callback is the redirect from another site: no cookie comes along.
func (b *browser) callback(provider string, back url.Values) Finish {
	b.w.t.Helper()
	rec := b.w.browser().want(303, "", "GET", "/api/v1/sso/"+provider+"/callback?"+back.Encode(), nil)
	path, fragment, _ := strings.Cut(rec.Header().Get("Location"), "#")
	equal(b.w.t, "landing page", path, "/sso")
	q, err := url.ParseQuery(fragment)
	must(b.w.t, err)
	return Finish{Provider: q.Get("provider"), State: q.Get("state"), Code: q.Get("code"), Iss: q.Get("iss"), Error: q.Get("error")}
}

func (b *browser) finish(status int, code string, f Finish) Finished {
	b.w.t.Helper()
	rec := b.want(status, code, "POST", "/api/v1/sso/finish", f)
	if rec.Code >= 400 {
		return Finished{}
	}
	return decode[Finished](b.w.t, rec)
}

// in signs in through a provider and gives who it was.
func (b *browser) in(provider string) string {
	b.w.t.Helper()
	out := b.finish(200, "", b.begin(provider))
	return fmt.Sprint(out.Answer.(map[string]any)["person"])
}
