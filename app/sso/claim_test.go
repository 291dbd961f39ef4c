package sso

import (
	"testing"

	"github.com/jmoiron/sqlx"

	"holdfast/app/api"
	"holdfast/data"
)

func (b *book) of(action, tenant string) (n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range b.events {
		if e.Action == action && e.Store == (data.StoreID{Tenant: tenant, Environment: data.Prod}).String() && e.Outcome == api.OK {
			n++
		}
	}
	return n
}

// TestAProviderOfTheApplianceClaimsNoTenantsAccount: who runs the appliance can have
// its providers say anything, and signs in as nobody of a tenant with that.
func TestAProviderOfTheApplianceClaimsNoTenantsAccount(t *testing.T) {
	w := newWorld(t)
	w.withProvider("evil", Appliance, func(r *row) { r.MFA = true })
	w.people.add("tina", "tina@example.com", "t-acme")
	w.people.other = true
	w.issuer.Is(map[string]any{"sub": "s-tina", "email": "tina@example.com", "amr": []string{"mfa"}})
	b := w.browser()
	b.finish(403, "link-first", b.begin("evil"))
	equal(t, "sessions", len(w.people.signedIn), 0)
	equal(t, "links of it", w.log.of("sso.link", "t-acme"), 0)
	b.as = "tina" // who is signed in links it
	equal(t, "purpose", b.finish(200, "", b.out("evil", "/api/v1/session/links/evil")).Purpose, "link")
	equal(t, "by the link", w.browser().in("evil"), "tina")
	w.withProvider("other", Appliance)
	w.people.other = false // the link is a way in, too
	b = w.browser()
	b.finish(403, "link-first", b.begin("other"))
}

// TestAProviderOfTheApplianceClaimsNoOperator who has another way in, and what it makes is
// made by who set it.
func TestAProviderOfTheApplianceClaimsNoOperator(t *testing.T) {
	w := newWorld(t)
	by := data.Actor{Kind: data.Person, ID: "eve"}
	w.withProvider("evil", Appliance)
	must(t, w.Service.config.DB.Update(t.Context(), func(tx *sqlx.Tx) error {
		_, err := tx.Exec(`UPDATE sso_providers SET updated_by = ?`, by.String())
		return err
	}))
	w.people.add("eve", "eve@example.com", Appliance)
	w.people.add("ben", "ben@example.com", Appliance)
	w.people.other = true
	w.issuer.Is(map[string]any{"sub": "s-ben", "email": "ben@example.com"})
	b := w.browser()
	b.finish(403, "link-first", b.begin("evil"))
	equal(t, "sessions", len(w.people.signedIn), 0)
	w.issuer.Is(map[string]any{"sub": "s-eve", "email": "eve@example.com"})
	equal(t, "who set it", w.browser().in("evil"), "eve")
	equal(t, "in whose name", data.ActorFrom(row{Scope: Appliance, By: by.String()}.inItsName(t.Context())), by)
	equal(t, "a tenant's", data.ActorFrom(row{Scope: "t-acme", By: by.String()}.inItsName(t.Context())).Kind, data.System)
}

// TestTheTenantSeesANewLink, and each sign-in by it while it is new; its person is told.
func TestTheTenantSeesANewLink(t *testing.T) {
	w := newWorld(t)
	w.withProvider("company", Appliance)
	w.people.add("tina", "tina@example.com", Appliance, "t-acme", "t-beta")
	w.issuer.Is(map[string]any{"sub": "s-tina", "email": "tina@example.com"})
	equal(t, "first", w.browser().in("company"), "tina")
	equal(t, "again", w.browser().in("company"), "tina")
	for _, tenant := range []string{"t-acme", "t-beta"} {
		equal(t, "links", w.log.of("sso.link", tenant), 1)
		equal(t, "sign-ins", w.log.of("sso.sign-in", tenant), 2)
	}
	equal(t, "alerts", len(w.people.alerts), 1)
	w.clock.add(linkNew + 1e9)
	equal(t, "later", w.browser().in("company"), "tina")
	equal(t, "sign-ins", w.log.of("sso.sign-in", "t-acme"), 2)
}
