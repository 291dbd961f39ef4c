package edge

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"holdfast/data"
	"holdfast/data/vault"
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

// twoTenants knows acme with prod and test, and gone, which is parked.
type twoTenants struct{}

func (twoTenants) Resolve(_ context.Context, slug, environment string) (data.StoreID, error) {
	switch {
	case slug == "gone":
		return data.StoreID{}, data.ErrParked
	case slug == "acme" && (environment == data.Prod || environment == data.Test):
		return data.StoreID{Tenant: "t-acme", Environment: environment}, nil
	}
	return data.StoreID{}, data.ErrNotFound
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

func newVault(t testing.TB) *vault.Vault {
	t.Helper()
	v, err := vault.Open(t.TempDir()+"/vault", newTestKey())
	must(t, err)
	t.Cleanup(func() { _ = v.Close() })
	return v.Sub("certificates/")
}

// says answers with what was reached, and sets what a tenant may try.
func says(name string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprintf(w, "%s %s %s", name, data.ActorFrom(r.Context()), r.URL.RequestURI())
	})
}

func storeSays(name string) func(http.ResponseWriter, *http.Request, Target) {
	return func(w http.ResponseWriter, r *http.Request, t Target) {
		w.Header().Set("Content-Type", "text/plain")
		_, _ = fmt.Fprintf(w, "%s %s %s", name, t.Store, r.URL.RequestURI())
	}
}

func handlers() Handlers {
	return Handlers{API: says("api"), Console: says("console"), Tenant: storeSays("tenant"), Studio: storeSays("studio")}
}

// running is an edge that serves until the test ends.
type running struct {
	*Edge
	stop func() error
}

func start(t testing.TB, c Config) *running {
	t.Helper()
	if c.Tenants == nil {
		c.Tenants = twoTenants{}
	}
	if c.Addr == "" {
		c.Addr = "127.0.0.1:0"
	}
	e, err := New(c)
	must(t, err)
	must(t, e.Listen(bg))
	ctx, cancel := context.WithCancel(bg)
	done := make(chan error, 1)
	go func() { done <- e.Serve(ctx) }()
	stopped := false
	r := &running{Edge: e, stop: func() error {
		if stopped {
			return nil
		}
		stopped = true
		cancel()
		return <-done
	}}
	t.Cleanup(func() { must(t, r.stop()) })
	return r
}

// client speaks to the edge whatever the URL's host is.
func (r *running) client() *http.Client {
	return &http.Client{
		Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", r.Addr().String())
		}, DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

func (r *running) get(t testing.TB, url string) (int, string, http.Header) {
	t.Helper()
	resp, err := r.client().Get(url)
	must(t, err)
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	must(t, err)
	return resp.StatusCode, string(body), resp.Header
}

func TestHostsLeadToTheirPlaces(t *testing.T) {
	r := start(t, Config{Handlers: handlers()})
	for url, want := range map[string]string{
		"http://127.0.0.1/":                              "200 console system /",
		"http://localhost/tenants?page=2":                "200 console system /tenants?page=2",
		"http://LOCALHOST.:1234/x":                       "200 console system /x",
		"http://127.0.0.1/api/v1/status":                 "200 api system /api/v1/status",
		"http://127.0.0.1/healthz":                       "200 api system /healthz",
		"http://acme.localhost/api/x?y=1":                "200 tenant t-acme/prod /api/x?y=1",
		"http://acme--test.localhost/":                   "200 tenant t-acme/test /",
		"http://acme--studio.localhost/_/":               "200 studio t-acme/prod /_/",
		"http://acme--test--studio.localhost/":           "200 studio t-acme/test /",
		"http://127.0.0.1/t/acme/api/collections?a=%2F":  "200 tenant t-acme/prod /api/collections?a=%2F",
		"http://127.0.0.1/t/acme/test/api/x":             "200 tenant t-acme/test /api/x",
		"http://127.0.0.1/t/acme/prod/api/x":             "200 tenant t-acme/prod /api/x",
		"http://127.0.0.1/t/acme/api/files/a/b/c%20d%2F": "200 tenant t-acme/prod /api/files/a/b/c%20d%2F",
		"http://nobody.localhost/":                       "404 not-found",
		"http://acme--dev.localhost/":                    "404 not-found",
		"http://nobody--studio.localhost/":               "404 not-found",
		"http://gone.localhost/":                         "410 parked",
		"http://127.0.0.1/t/nobody/api/x":                "404 not-found",
		"http://127.0.0.1/t/gone/api/x":                  "410 parked",
		"http://127.0.0.1/t/acme/":                       "404 not-found",
		"http://127.0.0.1/t/acme/_/":                     "404 not-found",
		"http://127.0.0.1/t/acme/apix":                   "404 not-found",
		"http://127.0.0.1/t/":                            "404 not-found",
		"http://acme--prod.localhost/":                   "421 unknown-host",
		"http://acme--studio--test.localhost/":           "421 unknown-host",
		"http://a.acme.localhost/":                       "421 unknown-host",
		"http://--studio.localhost/":                     "421 unknown-host",
		"http://evil.example/":                           "421 unknown-host",
		"http://127.0.0.2/":                              "421 unknown-host",
		"http://[::1]/":                                  "421 unknown-host",
	} {
		status, body, _ := r.get(t, url)
		if i := strings.Index(body, `"code":"`); i > 0 {
			body, _, _ = strings.Cut(body[i+len(`"code":"`):], `"`)
		}
		if got := fmt.Sprint(status, " ", body); got != want {
			t.Errorf("%s: got %q, want %q", url, got, want)
		}
	}
}

func TestURLs(t *testing.T) {
	r := start(t, Config{Handlers: handlers()})
	port := r.Addr().(*net.TCPAddr).Port
	equal(t, "base", r.BaseURL(), fmt.Sprintf("http://127.0.0.1:%d", port))
	equal(t, "tenant", r.TenantURL("acme", "prod"), fmt.Sprintf("http://acme.localhost:%d", port))
	equal(t, "studio", r.StudioURL("acme", "test"), fmt.Sprintf("http://acme--test--studio.localhost:%d", port))
	e, err := New(Config{Domains: []string{"Data.Example.com."}, Tenants: twoTenants{}, Certificates: newVault(t)})
	must(t, err)
	equal(t, "base with domain", e.BaseURL(), "https://data.example.com")
	equal(t, "tenant with domain", e.TenantURL("acme", "dev"), "https://acme--dev.data.example.com")
	e.tls.close()
}

func TestDomainsAreBaseAndTenantHosts(t *testing.T) {
	e, err := New(Config{Domains: []string{"data.example.com", "alt.example"}, Tenants: twoTenants{}, Certificates: newVault(t), Handlers: handlers()})
	must(t, err)
	defer e.tls.close()
	for host, want := range map[string]int{
		"data.example.com": 200, "alt.example:443": 200, "acme.data.example.com": 200, "acme.alt.example": 200,
		"example.com": 421, "xdata.example.com": 421, "localhost": 421, "acme.localhost": 421,
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.Host = host
		remote := &net.TCPAddr{IP: net.IPv4(203, 0, 113, 5), Port: 443} // the connection came from outside
		r = r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, net.Addr(remote)))
		w := httptest.NewRecorder()
		e.Handler().ServeHTTP(w, r)
		equal(t, host, w.Code, want)
	}
}

func TestCertificatesOnlyForWhatIsThere(t *testing.T) {
	e, err := New(Config{Domains: []string{"data.example.com"}, Tenants: twoTenants{}, Certificates: newVault(t)})
	must(t, err)
	defer e.tls.close()
	for name, allowed := range map[string]bool{
		"data.example.com": true, "acme.data.example.com": true, "acme--test--studio.data.example.com": true,
		"gone.data.example.com": true, "nobody.data.example.com": false, "acme--prod.data.example.com": false,
		"a.acme.data.example.com": false, "evil.example": false, "": false, "127.0.0.1": false, "localhost": false,
	} {
		if err := e.mayHaveCertificate(bg, name); (err == nil) != allowed {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestConfigThatIsRefused(t *testing.T) {
	for name, c := range map[string]Config{
		"all addresses":    {Addr: "0.0.0.0:8090"},
		"no address":       {Addr: ":8090"},
		"IPv6 all":         {Addr: "[::]:8090"},
		"another host's":   {Addr: "192.0.2.1:8090"},
		"a name":           {Addr: "box.lan:8090"},
		"not an address":   {Addr: "8090"},
		"looks like local": {Addr: "localhost.evil.example:80"},
	} {
		c.Tenants = twoTenants{}
		_, err := New(c)
		if !errors.Is(err, ErrInsecure) {
			t.Errorf("%s: %v", name, err)
		}
		c.InsecureHTTP = true
		if _, err := New(c); err != nil {
			t.Errorf("%s, told so: %v", name, err)
		}
	}
	for _, d := range []string{"localhost", "a.localhost", "bad_name.example", "", "http://x.example"} {
		if _, err := New(Config{Domains: []string{d}, Tenants: twoTenants{}, Certificates: newVault(t)}); err == nil {
			t.Errorf("domain %q was taken", d)
		}
	}
	if _, err := New(Config{Domains: []string{"x.example"}, Tenants: twoTenants{}}); err == nil {
		t.Error("a domain without a place for certificates was taken")
	}
}

func TestAddressInUseIsNamed(t *testing.T) {
	r := start(t, Config{Handlers: handlers()})
	e, err := New(Config{Addr: r.Addr().String(), Tenants: twoTenants{}})
	must(t, err)
	err = e.Listen(bg)
	if err == nil || !strings.Contains(err.Error(), r.Addr().String()) {
		t.Fatalf("got %v", err)
	}
}

func TestConsoleHeaders(t *testing.T) {
	r := start(t, Config{Handlers: handlers()})
	_, _, h := r.get(t, "http://127.0.0.1/")
	equal(t, "policy", h.Get("Content-Security-Policy"), "default-src 'none'; script-src 'self'; style-src 'self'; "+
		"img-src 'self' data:; connect-src 'self'; font-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'")
	equal(t, "sniffing", h.Get("X-Content-Type-Options"), "nosniff")
	equal(t, "no HSTS without TLS", h.Get("Strict-Transport-Security"), "")
}

func TestForwardingHeadersAreNobodysWord(t *testing.T) {
	seen := make(chan http.Header, 1)
	c := Config{Handlers: Handlers{Console: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { seen <- r.Header })}}
	r := start(t, c)
	req, _ := http.NewRequest("GET", "http://127.0.0.1/", nil)
	for _, h := range forwarding {
		req.Header.Set(h, "198.51.100.9")
	}
	resp, err := r.client().Do(req)
	must(t, err)
	_ = resp.Body.Close()
	for name, values := range <-seen {
		if strings.Contains(strings.Join(values, " "), "198.51.100.9") {
			t.Errorf("%s came through", name)
		}
	}
}

func TestDrainFinishesRequestsAndEndsStreams(t *testing.T) {
	begun, finish := make(chan struct{}, 2), make(chan struct{})
	h := Handlers{API: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/api/stream" {
			w.Header().Set("Content-Type", "text/event-stream")
			w.WriteHeader(200)
			must(t, http.NewResponseController(w).Flush())
			begun <- struct{}{}
			<-r.Context().Done()
			return
		}
		begun <- struct{}{}
		<-finish
		_, _ = w.Write([]byte("finished"))
	})}
	r := start(t, Config{Handlers: h})
	bodies := make(chan string, 2)
	for _, path := range []string{"/api/stream", "/api/slow"} {
		go func() {
			resp, err := r.client().Get("http://127.0.0.1" + path)
			if err != nil {
				bodies <- err.Error()
				return
			}
			b, _ := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			bodies <- string(b)
		}()
	}
	<-begun
	<-begun
	stopped := make(chan error, 1)
	go func() { stopped <- r.stop() }()
	equal(t, "the stream ends first", <-bodies, "")
	if _, err := net.DialTimeout("tcp", r.Addr().String(), time.Second); err == nil {
		t.Error("still listening")
	}
	close(finish)
	equal(t, "the request under way", <-bodies, "finished")
	must(t, <-stopped)
}

func TestDrainHasAnEnd(t *testing.T) {
	begun := make(chan struct{})
	r := start(t, Config{Drain: 50 * time.Millisecond, Handlers: Handlers{
		API: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { close(begun); <-r.Context().Done() }),
	}})
	go func() { _, _ = r.client().Get("http://127.0.0.1/api/x") }()
	<-begun
	must(t, r.stop())
}

func TestPanicBehindTheEdge(t *testing.T) {
	r := start(t, Config{Handlers: Handlers{
		API: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("secret") }),
	}})
	resp, err := r.client().Get("http://127.0.0.1/api/x")
	if err == nil { // a connection cut off would do as well
		b, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		equal(t, "status", resp.StatusCode, 500)
		equal(t, "secret", strings.Contains(string(b), "secret"), false)
	}
}
