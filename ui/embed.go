// Package ui embeds the console (built from console/ into dist/) and the user
// documentation. It serves files and nothing else: the console speaks only REST.
package ui

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strings"
	"sync"
)

//go:embed all:dist docs routes.json console/src/styles/tokens.css
var files embed.FS

const (
	consolePolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; font-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
	immutable     = "public, max-age=31536000, immutable"
	revalidate    = "no-cache"
)

// Console returns the handler of the base host's pages: the console, its assets
// and the documentation under /docs/. It answers only GET and HEAD, needs no
// session and reads nothing but the embedded files. It panics if those were not
// built into the binary, which its test would have shown.
func Console() http.Handler {
	mux := http.NewServeMux()
	dist := sub("dist")
	index := read(dist, "index.html")
	for _, name := range names(dist) {
		if name != "index.html" {
			mux.Handle("GET /"+name, read(dist, name))
		}
	}
	for _, pattern := range clientRoutes() {
		mux.Handle("GET "+pattern, index)
	}
	mux.Handle("GET /docs", http.RedirectHandler("/docs/", http.StatusMovedPermanently))
	mux.Handle("GET /docs/", lazyDocs())
	mux.Handle("GET /", missing(index))
	return secure(mux)
}

// clientRoutes are the addresses that the console itself draws. The console's
// router reads the same file.
func clientRoutes() []string {
	var table map[string]string
	raw, err := files.ReadFile("routes.json")
	if err == nil {
		err = json.Unmarshal(raw, &table)
	}
	if err != nil {
		panic(fmt.Sprintf("ui: read routes.json: %v", err))
	}
	patterns := make([]string, 0, len(table))
	for _, pattern := range table {
		if pattern == "/" {
			pattern = "/{$}"
		}
		patterns = append(patterns, pattern)
	}
	return patterns
}

// missing draws the console's own not-found page, with the true status.
// Something that looks like a file is refused without one.
func missing(index *asset) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if path.Ext(r.URL.Path) != "" {
			http.NotFound(w, r)
			return
		}
		index.serve(w, r, http.StatusNotFound)
	})
}

// secure sets what every page of this package needs, whatever stands in front.
func secure(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", consolePolicy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
		next.ServeHTTP(w, r)
	})
}

// asset is one embedded file, ready to be sent.
type asset struct {
	body    []byte
	kind    string
	etag    string
	caching string
	zipped  func() []byte // nil where the bytes are already packed
}

func newAsset(name string, body []byte) *asset {
	sum := sha256.Sum256(body)
	a := &asset{
		body:    body,
		kind:    contentType(name),
		etag:    `"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"`,
		caching: revalidate,
	}
	// Vite writes a hash of the content into the names below assets/.
	if strings.HasPrefix(name, "assets/") {
		a.caching = immutable
	}
	if !strings.HasPrefix(a.kind, "font/") {
		a.zipped = sync.OnceValue(func() []byte { return pack(body) })
	}
	return a
}

// contentType does not depend on the host's MIME tables.
func contentType(name string) string {
	switch path.Ext(name) {
	case ".js":
		return "text/javascript; charset=utf-8"
	case ".woff2":
		return "font/woff2"
	case ".txt":
		return "text/plain; charset=utf-8"
	default:
		return mime.TypeByExtension(path.Ext(name))
	}
}

func pack(body []byte) []byte {
	var out bytes.Buffer
	z, _ := gzip.NewWriterLevel(&out, gzip.BestCompression) // the level is valid
	_, _ = z.Write(body)                                    // a buffer takes all
	_ = z.Close()
	return out.Bytes()
}

func (a *asset) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.serve(w, r, http.StatusOK)
}

func (a *asset) serve(w http.ResponseWriter, r *http.Request, status int) {
	h := w.Header()
	h.Set("Content-Type", a.kind)
	h.Set("Cache-Control", a.caching)
	h.Set("Vary", "Accept-Encoding")
	h.Set("ETag", a.etag)
	if status == http.StatusOK && r.Header.Get("If-None-Match") == a.etag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	body := a.body
	if a.zipped != nil && strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		h.Set("Content-Encoding", "gzip")
		body = a.zipped()
	}
	h.Set("Content-Length", fmt.Sprint(len(body)))
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(body) // the reader may have gone
	}
}

func sub(dir string) fs.FS {
	tree, err := fs.Sub(files, dir)
	if err != nil {
		panic(fmt.Sprintf("ui: %v", err)) // dir is a constant
	}
	return tree
}

func read(tree fs.FS, name string) *asset {
	body, err := fs.ReadFile(tree, name)
	if err != nil {
		panic(fmt.Sprintf("ui: the console is not built: %v", err))
	}
	return newAsset(name, body)
}

func names(tree fs.FS) []string {
	var list []string
	err := fs.WalkDir(tree, ".", func(name string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			list = append(list, name)
		}
		return err
	})
	if err != nil {
		panic(fmt.Sprintf("ui: list the console's files: %v", err))
	}
	return list
}
