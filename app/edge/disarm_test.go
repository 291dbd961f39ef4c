package edge

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestPathTenantsCannotActAsTheConsole: what a tenant serves under /t/ has the
// console's origin, and must be able to do nothing with it.
func TestPathTenantsCannotActAsTheConsole(t *testing.T) {
	for name, c := range map[string]struct {
		contentType, shown string
		download           bool
	}{
		"JSON":              {"application/json; charset=utf-8", "application/json; charset=utf-8", false},
		"events":            {"text/event-stream", "text/event-stream", false},
		"picture":           {"image/png", "image/png", false},
		"page":              {"text/html; charset=utf-8", "application/octet-stream", true},
		"page in capitals":  {"TEXT/HTML", "application/octet-stream", true},
		"script":            {"text/javascript", "application/octet-stream", true},
		"style":             {"text/css", "application/octet-stream", true},
		"drawing":           {"image/svg+xml", "application/octet-stream", true},
		"XML":               {"application/xml", "application/octet-stream", true},
		"XHTML":             {"application/xhtml+xml", "application/octet-stream", true},
		"document":          {"application/pdf", "application/octet-stream", true},
		"nonsense":          {"text/html;;;", "application/octet-stream", true},
		"nothing, a page":   {"", "application/octet-stream", false},
		"two types at once": {"application/json, text/html", "application/octet-stream", true},
	} {
		e, err := New(Config{Tenants: twoTenants{}, Handlers: Handlers{Tenant: func(w http.ResponseWriter, r *http.Request, _ Target) {
			equal(t, "cookies that came", r.Header.Get("Cookie"), "")
			for _, h := range forOrigin {
				w.Header().Set(h, "x")
			}
			w.Header().Set("Content-Security-Policy", "default-src *")
			if c.contentType != "" {
				w.Header().Set("Content-Type", c.contentType)
			}
			_, _ = w.Write([]byte("<script>alert(1)</script>"))
		}}})
		must(t, err)
		r := httptest.NewRequest("GET", "/t/acme/api/files/a/b/c", nil)
		r.AddCookie(&http.Cookie{Name: "__Host-holdfast", Value: "secret"})
		w := httptest.NewRecorder()
		e.servePath(w, r)
		h := w.Header()
		for _, gone := range forOrigin {
			equal(t, name+" "+gone, h.Get(gone), "")
		}
		equal(t, name+" type", h.Get("Content-Type"), c.shown)
		equal(t, name+" download", strings.HasPrefix(h.Get("Content-Disposition"), "attachment"), c.download)
		equal(t, name+" policy", h.Get("Content-Security-Policy"), "default-src 'none'; frame-ancestors 'none'; sandbox")
		equal(t, name+" sniffing", h.Get("X-Content-Type-Options"), "nosniff")
	}
}

func TestDisarmedEvenWithoutABody(t *testing.T) {
	e, err := New(Config{Tenants: twoTenants{}, Handlers: Handlers{Tenant: func(w http.ResponseWriter, _ *http.Request, _ Target) {
		w.Header().Set("Set-Cookie", "a=b")
	}}})
	must(t, err)
	w := httptest.NewRecorder()
	e.servePath(w, httptest.NewRequest("GET", "/t/acme/api/x", nil))
	equal(t, "cookie", w.Header().Get("Set-Cookie"), "")
}

func TestOwnTransportHeaderStays(t *testing.T) {
	w := httptest.NewRecorder()
	w.Header().Set("Strict-Transport-Security", "max-age=31536000")
	d := disarm(w)
	d.Header().Set("Strict-Transport-Security", "max-age=0")
	d.WriteHeader(200)
	equal(t, "HSTS", w.Header().Get("Strict-Transport-Security"), "max-age=31536000")
}
