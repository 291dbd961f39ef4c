package sso

import (
	"strings"
	"testing"
	"time"

	"holdfast/app/api"
)

// atAcme is a world with a provider of acme that makes accounts of example.com.
func atAcme(t *testing.T) *world {
	w := newWorld(t)
	w.withProvider("acme-own", "t-acme", func(r *row) { r.setDomains([]string{"example.com"}); r.Role = "viewer" })
	return w
}

// lastLink is the token in the last letter, which must be to an address.
func (w *world) lastLink(to string) string {
	w.t.Helper()
	letter := w.people.letters[len(w.people.letters)-1]
	_, rest, ok := strings.Cut(letter, "http://127.0.0.1:8090/sso#confirm=")
	if !ok || !strings.HasPrefix(letter, to+"\n") {
		w.t.Fatal(letter)
	}
	token, _, _ := strings.Cut(rest, "\n")
	return token
}

// TestATenantsProviderTellsNoForeignAccountFromANewOne: before the mailbox is asked,
// both are answered alike, with mail and without.
func TestATenantsProviderTellsNoForeignAccountFromANewOne(t *testing.T) {
	w := atAcme(t)
	w.people.add("foreign", "foreign@example.com", "t-beta")
	w.people.add("locked", "locked@example.com", "t-beta")
	w.people.change("locked", func(p *Person) { p.Active = false })
	answer := func(name, code string) string {
		w.issuer.Is(map[string]any{"sub": name, "email": name + "@example.com"})
		b := w.browser()
		return strings.ReplaceAll(decode[api.Problem](t, b.want(403, code, "POST", "/api/v1/sso/finish", b.begin("acme-own"))).Detail, name, "NAME")
	}
	want := answer("nobody", "confirm-by-mail")
	equal(t, "foreign", answer("foreign", "confirm-by-mail"), want)
	equal(t, "locked", answer("locked", "confirm-by-mail"), want)
	equal(t, "letters", len(w.people.letters), 3)
	equal(t, "the letters", strings.ReplaceAll(strings.Split(w.people.letters[1], "#")[0], "foreign", "NAME"), strings.ReplaceAll(strings.Split(w.people.letters[0], "#")[0], "nobody", "NAME"))
	w.people.noMail = true
	want = answer("nobody", "no-account")
	equal(t, "foreign without mail", answer("foreign", "no-account"), want)
	equal(t, "made", len(w.people.made), 0)
}

// TestNewcomersConfirmTheirAddress: the link makes the account, once, and who has the
// mailbox then signs in at the provider.
func TestNewcomersConfirmTheirAddress(t *testing.T) {
	w := atAcme(t)
	w.people.add("foreign", "foreign@example.com", "t-beta")
	w.issuer.Is(map[string]any{"sub": "nina", "email": "nina@example.com"})
	b := w.browser()
	b.finish(403, "confirm-by-mail", b.begin("acme-own"))
	token := w.lastLink("nina@example.com")
	b.want(404, "confirm-unknown", "POST", "/api/v1/sso/confirm", Confirm{token + "x"})
	out := decode[Confirmed](t, b.want(200, "", "POST", "/api/v1/sso/confirm", Confirm{token}))
	equal(t, "where", out.Provider.ID+" "+out.Tenant, "acme-own acme")
	equal(t, "made", strings.Join(w.people.made, ";"), "nina@example.com viewer t-acme")
	b.want(410, "confirm-used", "POST", "/api/v1/sso/confirm", Confirm{token})
	equal(t, "signs in", w.browser().in("acme-own"), "new-nina@example.com")

	w.issuer.Is(map[string]any{"sub": "foreign", "email": "foreign@example.com"})
	b.finish(403, "confirm-by-mail", b.begin("acme-own"))
	b.want(409, "has-account", "POST", "/api/v1/sso/confirm", Confirm{w.lastLink("foreign@example.com")})

	w.issuer.Is(map[string]any{"sub": "late", "email": "late@example.com"})
	b.finish(403, "confirm-by-mail", b.begin("acme-own"))
	late := w.lastLink("late@example.com")
	b.finish(403, "confirm-by-mail", b.begin("acme-own"))
	role := ""
	b.want(200, "", "PATCH", "/api/v1/tenants/acme/identity-providers/acme-own", ProviderChange{Role: &role})
	b.want(410, "confirm-void", "POST", "/api/v1/sso/confirm", Confirm{late})
	w.clock.add(confirmLife + time.Second)
	b.want(410, "confirm-expired", "POST", "/api/v1/sso/confirm", Confirm{late})
	w.clock.add(confirmKept)
	must(t, w.Sweep(t.Context()))
	b.want(404, "confirm-unknown", "POST", "/api/v1/sso/confirm", Confirm{late})
	equal(t, "made", len(w.people.made), 1)
}

// TestNewcomersAreNotWrittenToWithoutEnd.
func TestNewcomersAreNotWrittenToWithoutEnd(t *testing.T) {
	w := atAcme(t)
	w.issuer.Is(map[string]any{"sub": "nina", "email": "nina@example.com"})
	for range mostLetters {
		b := w.browser()
		b.finish(403, "confirm-by-mail", b.begin("acme-own"))
	}
	b := w.browser()
	b.finish(429, "too-many", b.begin("acme-own"))
	w.clock.add(letterWindow)
	b = w.browser()
	b.finish(403, "confirm-by-mail", b.begin("acme-own"))
	equal(t, "letters", len(w.people.letters), mostLetters+1)
}

// TestAClaimIsHeld: an account of a tenant, or an operator's, that a provider of the appliance takes over by
// its address is held before it is linked.
func TestAClaimIsHeld(t *testing.T) {
	w := newWorld(t)
	w.withProvider("company", Appliance)
	w.people.add("tina", "tina@example.com", "t-acme")
	w.issuer.Is(map[string]any{"sub": "s-tina", "email": "tina@example.com"})
	equal(t, "in", w.browser().in("company"), "tina")
	equal(t, "again", w.browser().in("company"), "tina")
	equal(t, "held", strings.Join(w.people.claimed, ";"), "tina company")
	w.people.add("otto", "otto@example.com", Appliance)
	w.issuer.Is(map[string]any{"sub": "s-otto", "email": "otto@example.com"})
	equal(t, "operator", w.browser().in("company"), "otto")
	equal(t, "held", len(w.people.claimed), 2)
}
