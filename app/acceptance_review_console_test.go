package app_test

import (
	"regexp"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// TestConsoleReview begins a review in the browser and decides it by keyboard, then
// makes a key for automation and rotates it.
func TestConsoleReview(t *testing.T) {
	sequential(t)
	s := startServer(t)
	b := startBrowser(t)
	b.setUp(s)
	s.operator("bob@example.com")
	s.must("tenant", "create", "acme")
	s.must("member", "add", "acme", "bob@example.com", "--role", "developer")
	s.must("member", "add", "acme", "olga@example.com", "--role", "owner")
	s.must("key", "create", "acme", "--name", "website")
	s.must("member", "remove", "acme", "host") // which made it, and hands it over

	b.goTo("/reviews")
	b.sees("No review yet")
	b.lookAt(s, map[string]string{"reviews-none": "/reviews"})
	b.click("Begin a review")
	b.until("the tenant can be chosen", `return [...top.querySelectorAll('option')].some(o => o.value === 'acme')`)
	b.fill("of", "acme")
	b.submit("Begin")
	b.sees("0 of 3")
	b.sees("somebody else decides") // olga's own role
	b.look("review", "/reviews", 1440, "light")
	b.look("review", "/reviews", 390, "dark")
	b.look("review", "/reviews", 390, "light")
	b.look("review", "/reviews", 1440, "dark")
	b.press(kb.ArrowDown)
	b.press("c")
	b.sees("1 of 3")
	b.until("the next row has the focus", `return document.activeElement?.dataset.item !== undefined`)
	b.press("r")
	b.fill("note", "nobody knows it")
	b.submit("Revoke")
	b.sees("2 of 3")
	b.sees("revoked")
	b.look("review-decided", "/reviews", 1440, "light")
	b.goTo("/tenants/acme/prod/keys")
	b.sees("revoked")
	id := listed[reviewState](s, "review", "list")[0].ID
	for _, item := range listed[struct{ ID, Decision string }](s, "review", "show", id) {
		if item.Decision == "" {
			s.must("review", "decide", id, item.ID, "--confirm") // the host decides for a sole owner
		}
	}
	b.goTo("/reviews")
	b.sees("closed")
	b.lookAt(s, map[string]string{"reviews": "/reviews"})
	b.automate(s)
	b.quiet()
}

// automate makes a key of the control plane and rotates it.
func (b *browser) automate(s *server) {
	b.t.Helper()
	b.goTo("/automation")
	b.click("Create key")
	b.fill("name", "provisioning")
	b.choose("operator.read")
	b.look("automation-create", "/automation", 1440, "light")
	b.look("automation-create", "/automation", 390, "dark")
	b.submit("Create key")
	b.sees("Copy the key now")
	first := regexp.MustCompile(`hfa_[A-Za-z0-9]{61}`).FindString(b.text())
	newREST(b.t, s.url(), first).want(200, "GET", "/api/v1/operators", nil)
	b.click("I have copied it")
	b.click("Rotate")
	b.submit("Make the new key")
	b.sees("goes on under its old key")
	b.click("I have copied it")
	b.sees("followed by")
	b.lookAt(s, map[string]string{"automation": "/automation", "keys-of-acme": "/tenants/acme/prod/keys"})
	newREST(b.t, s.url(), first).want(200, "GET", "/api/v1/operators", nil)
}

// press sends one key to whatever has the focus.
func (b *browser) press(key string) {
	b.t.Helper()
	b.run(chromedp.KeyEvent(key))
}
