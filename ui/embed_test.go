package ui

import (
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"testing"
)

var console = sync.OnceValue(Console)

func ask(t *testing.T, method, target string, headers ...string) *http.Response {
	t.Helper()
	request := httptest.NewRequest(method, target, nil)
	for i := 0; i+1 < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	console().ServeHTTP(w, request)
	return w.Result()
}

func text(t *testing.T, response *http.Response) string {
	t.Helper()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

func TestClientRoutesServeTheConsole(t *testing.T) {
	for _, target := range []string{
		"/", "/tenants", "/tenants/acme", "/tenants/acme/prod", "/tenants/acme/prod/collections/packages",
		"/tenants/acme/test/keys", "/operations/abc", "/setup", "/signin", "/audit",
	} {
		response := ask(t, "GET", target)
		if response.StatusCode != 200 || !strings.Contains(text(t, response), `<div id="app">`) {
			t.Errorf("%s: status %d, want the console", target, response.StatusCode)
		}
		if got := response.Header.Get("Cache-Control"); got != revalidate {
			t.Errorf("%s: Cache-Control %q, want %q", target, got, revalidate)
		}
	}
}

func TestUnknownAddresses(t *testing.T) {
	response := ask(t, "GET", "/nothing/here")
	if response.StatusCode != 404 || !strings.Contains(text(t, response), `<div id="app">`) {
		t.Errorf("unknown page: status %d, want 404 drawn by the console", response.StatusCode)
	}
	response = ask(t, "GET", "/assets/gone-12345678.js")
	if response.StatusCode != 404 || strings.Contains(text(t, response), "<div") {
		t.Errorf("missing asset: status %d, want a plain 404", response.StatusCode)
	}
	if status := ask(t, "POST", "/tenants").StatusCode; status != http.StatusMethodNotAllowed {
		t.Errorf("POST: status %d, want 405", status)
	}
}

func TestPolicyAllowsOnlyOurOwnFiles(t *testing.T) {
	for _, target := range []string{"/", "/docs/", "/assets/gone.js", "/theme.js"} {
		h := ask(t, "GET", target).Header
		policy := h.Get("Content-Security-Policy")
		if !strings.Contains(policy, "default-src 'none'") || strings.Contains(policy, "unsafe") {
			t.Errorf("%s: policy %q", target, policy)
		}
		if h.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: no nosniff", target)
		}
	}
	if policy := ask(t, "GET", "/docs/").Header.Get("Content-Security-Policy"); strings.Contains(policy, "script-src") {
		t.Errorf("docs allow scripts: %q", policy)
	}
}

// Inline code would be refused by the policy above.
var inline = regexp.MustCompile(`(?i)<script(?:\s[^>]*)?>[^<\s]|<style|\sstyle=|\son[a-z]+=|javascript:`)

func TestPagesHaveNothingInline(t *testing.T) {
	for _, target := range []string{"/", "/docs/", "/docs/nothing"} {
		if found := inline.FindString(text(t, ask(t, "GET", target))); found != "" {
			t.Errorf("%s holds inline code: %q", target, found)
		}
	}
}

func TestHashedAssetsAreImmutableAndPacked(t *testing.T) {
	page := text(t, ask(t, "GET", "/"))
	assets := regexp.MustCompile(`/assets/[^"]+\.(?:js|css)`).FindAllString(page, -1)
	if len(assets) < 2 {
		t.Fatalf("the page names %d assets, want a script and a style", len(assets))
	}
	for _, target := range assets {
		response := ask(t, "GET", target, "Accept-Encoding", "gzip")
		if response.StatusCode != 200 || response.Header.Get("Content-Encoding") != "gzip" {
			t.Errorf("%s: status %d, encoding %q", target, response.StatusCode, response.Header.Get("Content-Encoding"))
		}
		if got := response.Header.Get("Cache-Control"); got != immutable {
			t.Errorf("%s: Cache-Control %q", target, got)
		}
	}
}

func TestUnchangedPageIsNotSentAgain(t *testing.T) {
	etag := ask(t, "GET", "/").Header.Get("ETag")
	response := ask(t, "GET", "/", "If-None-Match", etag)
	if response.StatusCode != http.StatusNotModified || text(t, response) != "" {
		t.Errorf("status %d, want 304 without a body", response.StatusCode)
	}
}

// The handler is made at every start, which has 300 ms in all.
func BenchmarkConsole(b *testing.B) {
	for b.Loop() {
		Console()
	}
}
