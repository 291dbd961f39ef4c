package edge

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"holdfast/app/api"
)

// forwarding headers are another's word about where a request came from; behind
// the edge there is only the connection's.
var forwarding = []string{
	"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-Ip",
	"Cf-Connecting-Ip", "True-Client-Ip", "Fly-Client-Ip", "X-Client-Ip",
}

// Handler serves the TCP listeners.
func (e *Edge) Handler() http.Handler { return e.paced(http.HandlerFunc(e.route)) }

// SocketHandler serves the local socket: the API alone.
func (e *Edge) SocketHandler() http.Handler {
	return e.paced(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		serve(e.config.Handlers.API, w, r)
	}))
}

func (e *Edge) route(w http.ResponseWriter, r *http.Request) {
	for _, h := range forwarding {
		r.Header.Del(h)
	}
	if r.TLS != nil {
		w.Header().Set("Strict-Transport-Security", "max-age=31536000")
	}
	w.Header().Set("X-Content-Type-Options", "nosniff")
	switch p := e.place(r); p.kind {
	case baseHost:
		e.serveBase(w, r)
	case tenantHost:
		e.serveStore(w, r, p, e.config.Handlers.Tenant)
	case studioHost:
		e.serveStore(w, r, p, e.config.Handlers.Studio)
	default:
		api.WriteProblem(w, api.Errorf(http.StatusMisdirectedRequest, "unknown-host", "This server does not answer for that host."))
	}
}

// place reads the request's host. The names of this very host count only on a
// connection that ends at loopback, an address only where the connection ended: a
// page of a stranger cannot get here by pointing its own name at us.
func (e *Edge) place(r *http.Request) place {
	name, ok := hostName(r.Host)
	if !ok {
		return place{}
	}
	end := localAddr(r)
	if ip, err := netip.ParseAddr(name); err == nil {
		if ip == end {
			return place{kind: baseHost}
		}
		return place{}
	}
	if isLocal(name) {
		if end.IsLoopback() {
			return locate(name, []string{local})
		}
		return place{}
	}
	return locate(name, e.config.Domains)
}

// localAddr is the address at which the request's connection ended.
func localAddr(r *http.Request) netip.Addr {
	addr, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if !ok {
		return netip.Addr{}
	}
	ap, err := netip.ParseAddrPort(addr.String())
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr().Unmap().WithZone("")
}

func (e *Edge) serveBase(w http.ResponseWriter, r *http.Request) {
	switch path := r.URL.Path; {
	case strings.HasPrefix(path, "/api/"), path == "/healthz", path == "/readyz":
		serve(e.config.Handlers.API, w, r)
	case strings.HasPrefix(path, "/t/"):
		e.servePath(w, r)
	default:
		consoleHeaders(w.Header())
		serve(e.config.Handlers.Console, w, r)
	}
}

func serve(h http.Handler, w http.ResponseWriter, r *http.Request) {
	if h == nil {
		h = http.HandlerFunc(notFound)
	}
	h.ServeHTTP(w, r)
}

func notFound(w http.ResponseWriter, _ *http.Request) {
	api.WriteProblem(w, api.Errorf(http.StatusNotFound, "not-found", "There is nothing here."))
}

// serveStore serves a tenant's or studio host.
func (e *Edge) serveStore(w http.ResponseWriter, r *http.Request, p place, h func(http.ResponseWriter, *http.Request, Target)) {
	id, err := e.config.Tenants.Resolve(r.Context(), p.slug, p.environment)
	if err != nil {
		api.WriteProblem(w, err)
		return
	}
	if h == nil {
		notFound(w, r)
		return
	}
	w.Header().Set("Referrer-Policy", "no-referrer")
	h(w, r, Target{Store: id, Slug: p.slug, Environment: p.environment})
}

// servePath serves a store under the base host, whose origin is the console's:
// whatever comes back must not be able to act as the console.
func (e *Edge) servePath(w http.ResponseWriter, r *http.Request) {
	slug, environment, rest, ok := pathTarget(r.URL.Path)
	if !ok || e.config.Handlers.Tenant == nil {
		notFound(w, r)
		return
	}
	id, err := e.config.Tenants.Resolve(r.Context(), slug, environment)
	if err != nil {
		api.WriteProblem(w, err)
		return
	}
	inner := r.Clone(r.Context())
	inner.URL = storeURL(r.URL, rest)
	inner.RequestURI = inner.URL.RequestURI()
	inner.Header.Del("Cookie")
	guarded := disarm(w)
	defer guarded.finish()
	e.config.Handlers.Tenant(guarded, inner, Target{Store: id, Slug: slug, Environment: environment, ByPath: true})
}

// storeURL keeps the query and, where it was escaped, the raw path's tail.
func storeURL(u *url.URL, rest string) *url.URL {
	out := *u
	out.Path = rest
	out.RawPath = ""
	if u.RawPath != "" {
		if _, _, raw, ok := pathTarget(u.RawPath); ok {
			out.RawPath = raw
		}
	}
	return &out
}

// BaseURL is where the console is, without a final slash.
func (e *Edge) BaseURL() string { return e.url("") }

// TenantURL is where a store's API is.
func (e *Edge) TenantURL(slug, environment string) string {
	return e.url(place{tenantHost, slug, environment}.label() + ".")
}

// StudioURL is where a store's dashboard is.
func (e *Edge) StudioURL(slug, environment string) string {
	return e.url(place{studioHost, slug, environment}.label() + ".")
}

// url is a host below the base host. Without a domain, tenants are below
// localhost and the base host is the address.
func (e *Edge) url(prefix string) string {
	if len(e.config.Domains) > 0 {
		return "https://" + prefix + e.config.Domains[0] + e.port("443")
	}
	if prefix != "" {
		return "http://" + prefix + local + e.port("80")
	}
	return fmt.Sprintf("http://%s", e.address())
}
