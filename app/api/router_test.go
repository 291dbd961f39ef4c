package api

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"holdfast/data"
)

func TestRoutesThatDoNotRegister(t *testing.T) {
	good := Route{Method: "GET", Path: "/a", Permission: Public, Handler: ok}
	for name, spoil := range map[string]func(*Route){
		"no permission":      func(r *Route) { r.Permission = "" },
		"unknown permission": func(r *Route) { r.Permission = "tenant.crate" },
		"no method":          func(r *Route) { r.Method = "" },
		"odd method":         func(r *Route) { r.Method = "get" },
		"no path":            func(r *Route) { r.Path = "" },
		"host in path":       func(r *Route) { r.Path = "example.com/a" },
		"broken pattern":     func(r *Route) { r.Path = "/{a" },
		"no handler":         func(r *Route) { r.Handler = nil },
		"odd limit":          func(r *Route) { r.BodyLimit = -2 },
	} {
		r := good
		spoil(&r)
		if err := newFixture(t).Add(r); err == nil {
			t.Errorf("%s: registered", name)
		}
	}
	f := newFixture(t, good)
	if err := f.Add(good); err == nil {
		t.Error("the same route twice: registered")
	}
	equal(t, "routes", len(f.Routes()), 1)
}

func TestNewRouterNeedsItsGuards(t *testing.T) {
	if _, err := NewRouter(Config{Recorder: &book{}}); err == nil {
		t.Error("no authorizer: made")
	}
	if _, err := NewRouter(Config{Authorizer: &table{}}); err == nil {
		t.Error("no recorder: made")
	}
}

func guardedRoute(h func(http.ResponseWriter, *http.Request) error) Route {
	return Route{
		Method: "POST", Path: "/api/v1/tenants/{slug}", Permission: TenantDelete, Handler: h,
		Scope: func(r *http.Request) Scope {
			return StoreScope(data.StoreID{Tenant: "id-" + r.PathValue("slug"), Environment: "prod"})
		},
	}
}

func TestPermissionIsAskedOnceInTheRoutesScope(t *testing.T) {
	var seen data.Actor
	f := newFixture(t, guardedRoute(func(w http.ResponseWriter, r *http.Request) error {
		seen = data.ActorFrom(r.Context())
		return NoContent(w)
	}))
	f.auth.allow["person:p1 tenant.delete id-acme"] = true
	equal(t, "status", f.send("POST", "/api/v1/tenants/acme", "person:p1", "").Code, 204)
	equal(t, "actor", seen.String(), "person:p1")
	equal(t, "questions", strings.Join(f.auth.asked, ","), "person:p1 tenant.delete id-acme")
}

// TestRecordsOfNoTenantAreNotLookedForAgain: a scope that was not found is the whole
// appliance, and a permission there opens no tenant that turns up a moment later.
func TestRecordsOfNoTenantAreNotLookedForAgain(t *testing.T) {
	f := newFixture(t, Route{
		Method: "POST", Path: "/api/v1/tenants/{slug}/keys", Permission: KeyManage, Scope: func(*http.Request) Scope { return Scope{} },
		Handler: func(http.ResponseWriter, *http.Request) error {
			t.Error("the handler ran")
			return nil
		},
	})
	f.auth.allow["person:p1 key.manage "] = true
	equal(t, "who may know", f.send("POST", "/api/v1/tenants/acme/keys", "person:p1", "").Code, 404)
	equal(t, "who may not", f.send("POST", "/api/v1/tenants/acme/keys", "person:p2", "").Code, 403)
}

func TestRefusalsAreRecordedAndMissingSignInIsNot(t *testing.T) {
	f := newFixture(t, guardedRoute(func(http.ResponseWriter, *http.Request) error {
		t.Fatal("the handler ran")
		return nil
	}))
	equal(t, "guest", f.send("POST", "/api/v1/tenants/acme", "", "").Code, 401)
	equal(t, "events after a 401", len(f.log.events), 0)
	w := f.send("POST", "/api/v1/tenants/acme", "person:p1", "")
	equal(t, "other person", w.Code, 403)
	equal(t, "code", problemOf(t, w).Code, "forbidden")
	equal(t, "events after a 403", len(f.log.events), 1)
	e := f.log.events[0]
	equal(t, "event", fmt.Sprint(e.Action, " ", e.Target, " ", e.Store, " ", e.Outcome),
		"tenant.delete /api/v1/tenants/acme id-acme/prod refused")
	equal(t, "its actor", f.log.actors[0].String(), "person:p1")
}

func TestRefusalByTheHandlerIsRecorded(t *testing.T) {
	f := newFixture(t, Route{Method: "GET", Path: "/x", Permission: Public, Handler: func(http.ResponseWriter, *http.Request) error {
		return fmt.Errorf("by rule: %w", ErrForbidden)
	}})
	equal(t, "status", f.send("GET", "/x", "person:p1", "").Code, 403)
	equal(t, "events", len(f.log.events), 1)
}

func TestRefusalHoldsWhenTheLogFails(t *testing.T) {
	f := newFixture(t, guardedRoute(ok))
	f.log.fail = errors.New("disk")
	equal(t, "status", f.send("POST", "/api/v1/tenants/acme", "person:p1", "").Code, 403)
}

func TestSystemCannotComeOverHTTP(t *testing.T) {
	f := newFixture(t, guardedRoute(ok))
	f.auth.allow["system tenant.delete id-acme"] = true
	equal(t, "status", f.send("POST", "/api/v1/tenants/acme", "system", "").Code, 401)
}

func TestHostActorOfTheSocketIsKept(t *testing.T) {
	f := newFixture(t, guardedRoute(ok))
	f.auth.allow["host:1000 tenant.delete id-acme"] = true
	r := httptest.NewRequest("POST", "/api/v1/tenants/acme", nil)
	r = r.WithContext(data.WithActor(r.Context(), data.Actor{Kind: data.Host, ID: "1000"}))
	equal(t, "status", f.do(r).Code, 204)
}

func TestMissesAreProblems(t *testing.T) {
	f := newFixture(t, Route{Method: "GET", Path: "/a", Permission: Public, Handler: ok},
		Route{Method: "POST", Path: "/a", Permission: Public, Handler: ok})
	w := f.send("GET", "/b", "", "")
	equal(t, "unknown path", w.Code, 404)
	equal(t, "code", problemOf(t, w).Code, "not-found")
	w = f.send("DELETE", "/a", "", "")
	equal(t, "other method", w.Code, 405)
	equal(t, "Allow", w.Header().Get("Allow"), "GET, HEAD, POST")
	equal(t, "head of a get", f.send("HEAD", "/a", "", "").Code, 204)
}

func TestHeadersOfEveryAnswer(t *testing.T) {
	f := newFixture(t, Route{Method: "GET", Path: "/a", Permission: Public, Handler: ok})
	ids := map[string]bool{}
	for _, path := range []string{"/a", "/missing"} {
		h := f.send("GET", path, "", "").Header()
		for name, want := range map[string]string{
			"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Cache-Control": "no-store",
			"Referrer-Policy": "no-referrer", "Cross-Origin-Resource-Policy": "same-origin",
		} {
			equal(t, path+" "+name, h.Get(name), want)
		}
		if !strings.Contains(h.Get("Content-Security-Policy"), "default-src 'none'") {
			t.Errorf("%s: no strict policy", path)
		}
		ids[h.Get("X-Request-Id")] = true
	}
	equal(t, "request ids", len(ids), 2)
}

func TestPanicIsAProblemWithoutInternals(t *testing.T) {
	f := newFixture(t, Route{Method: "GET", Path: "/a", Permission: Public, Handler: func(http.ResponseWriter, *http.Request) error {
		panic("secret of the inside")
	}})
	w := f.send("GET", "/a", "", "")
	equal(t, "status", w.Code, 500)
	if strings.Contains(w.Body.String(), "secret") {
		t.Fatal("the panic's text reached the client")
	}
}

func TestFailureAfterTheAnswerBeganCutsItOff(t *testing.T) {
	f := newFixture(t,
		Route{Method: "GET", Path: "/error", Permission: Public, Handler: func(w http.ResponseWriter, _ *http.Request) error {
			_, _ = w.Write([]byte("half"))
			return errors.New("broken")
		}},
		Route{Method: "GET", Path: "/panic", Permission: Public, Handler: func(w http.ResponseWriter, _ *http.Request) error {
			_, _ = w.Write([]byte("half"))
			panic("broken")
		}})
	server := httptest.NewServer(f.Handler())
	defer server.Close()
	for _, path := range []string{"/error", "/panic"} {
		resp, err := http.Get(server.URL + path)
		if err != nil {
			continue // cut off before the header: as good
		}
		buf := make([]byte, 100)
		for err == nil {
			_, err = resp.Body.Read(buf)
		}
		_ = resp.Body.Close()
		if err.Error() == "EOF" {
			t.Errorf("%s: half an answer looked whole", path)
		}
	}
}

func TestBodyLimits(t *testing.T) {
	read := func(w http.ResponseWriter, r *http.Request) error {
		var v struct{ A string }
		if err := Read(r, &v); err != nil {
			return err
		}
		return NoContent(w)
	}
	f := newFixture(t,
		Route{Method: "POST", Path: "/small", Permission: Public, BodyLimit: 20, Handler: read},
		Route{Method: "POST", Path: "/default", Permission: Public, Handler: read},
		Route{Method: "POST", Path: "/free", Permission: Public, BodyLimit: NoLimit, Handler: read})
	long := `{"a":"` + strings.Repeat("x", 2<<20) + `"}`
	for path, want := range map[string]int{"/small": 413, "/default": 413, "/free": 204} {
		w := f.send("POST", path, "", long)
		equal(t, path, w.Code, want)
		if want == 413 {
			equal(t, "code", problemOf(t, w).Code, "too-large")
		}
	}
	equal(t, "short enough", f.send("POST", "/small", "", `{"a":"x"}`).Code, 204)
}

func TestCrossOriginIsRefusedBeforeTheHandler(t *testing.T) {
	ran := 0
	f := newFixture(t, Route{Method: "POST", Path: "/a", Permission: Public, Handler: func(w http.ResponseWriter, _ *http.Request) error {
		ran++
		return NoContent(w)
	}})
	for name, c := range map[string]struct {
		header map[string]string
		want   int
	}{
		"cross-site":          {map[string]string{"Sec-Fetch-Site": "cross-site"}, 403},
		"a tenant's host":     {map[string]string{"Sec-Fetch-Site": "same-site"}, 403},
		"old browser, other":  {map[string]string{"Origin": "http://evil.example"}, 403},
		"sandboxed":           {map[string]string{"Origin": "null"}, 403},
		"own page":            {map[string]string{"Sec-Fetch-Site": "same-origin"}, 204},
		"old browser, own":    {map[string]string{"Origin": "http://example.com"}, 204},
		"a program, no words": {nil, 204},
	} {
		r := httptest.NewRequest("POST", "http://example.com/a", nil)
		for k, v := range c.header {
			r.Header.Set(k, v)
		}
		if got := f.do(r).Code; got != c.want {
			t.Errorf("%s: got %d, want %d", name, got, c.want)
		}
	}
	equal(t, "handler ran", ran, 3)
}

func TestPermissionNames(t *testing.T) {
	seen := map[Permission]bool{}
	for _, p := range Permissions() {
		if seen[p] || !p.Known() || p == Public || p == Signed {
			t.Errorf("%q: twice, unknown, or no grant", p)
		}
		seen[p] = true
	}
	if Permission("").Known() || Permission("tenant").Known() {
		t.Error("unknown names are known")
	}
}

func BenchmarkRouter(b *testing.B) {
	f := newFixture(b, guardedRoute(ok))
	f.auth.allow["person:p1 tenant.delete id-acme"] = true
	h := f.Handler()
	for b.Loop() {
		f.auth.asked = f.auth.asked[:0]
		r := httptest.NewRequest("POST", "/api/v1/tenants/acme", nil)
		r.Header.Set("As", "person:p1")
		h.ServeHTTP(httptest.NewRecorder(), r)
	}
}
