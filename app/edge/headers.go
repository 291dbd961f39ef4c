package edge

import (
	"mime"
	"net/http"
	"slices"
	"strings"
)

const consolePolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; " +
	"connect-src 'self'; font-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"

// consoleHeaders are those of the console's pages.
func consoleHeaders(h http.Header) {
	h.Set("Content-Security-Policy", consolePolicy)
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Permissions-Policy", "camera=(), microphone=(), geolocation=(), payment=(), usb=()")
}

// disarmed lets nothing of a tenant's answer act with the console's origin: no
// cookie, no page, no script, no word to the browser about the whole origin.
type disarmed struct {
	http.ResponseWriter
	ours http.Header // what the edge itself has said
	done bool
}

func disarm(w http.ResponseWriter) *disarmed {
	return &disarmed{ResponseWriter: w, ours: w.Header().Clone()}
}

// harmless media types may be shown as what they are.
var harmless = []string{
	"application/json", "application/problem+json", "text/event-stream", "text/plain", "text/csv",
	"image/png", "image/jpeg", "image/gif", "image/webp", "image/avif",
}

// forOrigin are headers that speak for the whole origin.
var forOrigin = []string{
	"Set-Cookie", "Clear-Site-Data", "Service-Worker-Allowed", "Strict-Transport-Security", "Alt-Svc",
	"Access-Control-Allow-Credentials", "Refresh", "Link", "Nel", "Report-To", "Reporting-Endpoints",
	"Set-Login", "Content-Location", "SourceMap", "X-Sourcemap",
}

func (d *disarmed) finish() {
	if d.done {
		return
	}
	d.done = true
	h := d.Header()
	for _, name := range forOrigin {
		h.Del(name)
		if ours := d.ours.Get(name); ours != "" {
			h.Set(name, ours)
		}
	}
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'; sandbox")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
	d.disarmType(h)
}

// disarmType makes anything that a browser could run into a download.
func (d *disarmed) disarmType(h http.Header) {
	if h.Get("Content-Type") == "" {
		h.Set("Content-Type", "application/octet-stream") // else it would be guessed from the bytes
		return
	}
	mediaType, _, err := mime.ParseMediaType(h.Get("Content-Type"))
	if err == nil && slices.Contains(harmless, strings.ToLower(mediaType)) {
		return
	}
	h.Set("Content-Type", "application/octet-stream")
	if !strings.HasPrefix(strings.ToLower(h.Get("Content-Disposition")), "attachment") {
		h.Set("Content-Disposition", "attachment")
	}
}

func (d *disarmed) WriteHeader(status int) {
	if status >= http.StatusOK {
		d.finish()
	}
	d.ResponseWriter.WriteHeader(status)
}

func (d *disarmed) Write(p []byte) (int, error) {
	d.finish()
	return d.ResponseWriter.Write(p)
}

// Unwrap lets http.ResponseController reach the connection.
func (d *disarmed) Unwrap() http.ResponseWriter { return d.ResponseWriter }

// Flush is for handlers that ask for http.Flusher.
func (d *disarmed) Flush() {
	d.finish()
	_ = http.NewResponseController(d.ResponseWriter).Flush() // nothing to do where it cannot
}
