package store

import (
	"net/http"
	"strings"
)

// closingPage stands for the dashboard's page to which PocketBase sends a browser
// after an OAuth2 sign-in: the dashboard is not on the tenant's host.
type closingPage struct{ http.ResponseWriter }

const (
	signInPath = "../_/#/auth/oauth2-redirect-"
	pageHead   = `<!doctype html><meta charset="utf-8"><title>Sign-in</title><p>`
	signedIn   = pageHead + `You are signed in. You can close this window and go back to the app.`
	notSigned  = pageHead + `The sign-in failed. You can close this window and try again in the app.`
)

func (p *closingPage) WriteHeader(code int) {
	outcome, ok := strings.CutPrefix(p.Header().Get("Location"), signInPath)
	if !ok {
		p.ResponseWriter.WriteHeader(code)
		return
	}
	h := p.Header()
	h.Del("Location")
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	h.Set("Cache-Control", "no-store")
	p.ResponseWriter.WriteHeader(http.StatusOK)
	page := signedIn
	if outcome != "success" {
		page = notSigned
	}
	_, _ = p.ResponseWriter.Write([]byte(page)) // the client may be gone
}

// Unwrap serves http.ResponseController.
func (p *closingPage) Unwrap() http.ResponseWriter { return p.ResponseWriter }
