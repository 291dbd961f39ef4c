package sso

import (
	"testing"

	"github.com/jmoiron/sqlx"
)

// wantOnly sets a scope's rule as if its owner had.
func (w *world) wantOnly(scope string, on bool) {
	w.t.Helper()
	q := `DELETE FROM sso_only WHERE scope = ?`
	if on {
		q = `INSERT INTO sso_only (scope, updated, updated_by) VALUES (?, 1, 'host')`
	}
	must(w.t, w.config.DB.Update(w.t.Context(), func(tx *sqlx.Tx) error { _, err := tx.Exec(q, scope); return err }))
	must(w.t, w.loadPolicies(w.t.Context()))
}

// TestACopysPeopleComeThroughTheOriginal: a restore beside the original gives its people
// roles in two tenants, and shuts nobody out of either.
func TestACopysPeopleComeThroughTheOriginal(t *testing.T) {
	w := memberOfAcme(t)
	w.wantOnly("t-acme", true)
	must(t, w.Copy(t.Context(), "t-acme", "t-copy"))
	must(t, w.Copy(t.Context(), "t-copy", "t-again"))
	w.people.change("member", func(p *Person) { p.Scopes = []string{"t-acme", "t-copy", "t-again"} })
	for _, scope := range []string{"t-copy", "t-again"} {
		equal(t, "only, in "+scope, w.Only(scope), true)
		ok, err := w.Admits(t.Context(), "member", scope)
		must(t, err)
		equal(t, "admitted to "+scope, ok, true)
		equal(t, "covered: "+scope, w.Covers("t-acme", scope), true)
	}
	w.issuer.Is(map[string]any{"sub": "member", "email": "member@example.com"})
	equal(t, "comes in", w.browser().in("acme-own"), "member")

	equal(t, "not the other way round", w.Covers("t-copy", "t-acme"), false)
	r := w.withProvider("copy-own", "t-copy", func(r *row) { r.setDomains([]string{"example.com"}) })
	p, err := w.people.ByID(t.Context(), "member")
	must(t, err)
	if r.admits(p) == nil {
		t.Error("a copy's provider is good for the original")
	}
	w.people.change("member", func(p *Person) { p.Scopes = append(p.Scopes, "t-beta") })
	ok, err := w.Admits(t.Context(), "member", "t-copy")
	must(t, err)
	equal(t, "with a role elsewhere", ok, false)
}

// TestTheOriginalsProviderIsItsCopysLast, and is forgotten with the copy.
func TestTheOriginalsProviderIsItsCopysLast(t *testing.T) {
	w := memberOfAcme(t)
	w.wantOnly("t-acme", true)
	must(t, w.Copy(t.Context(), "t-acme", "t-beta"))
	w.wantOnly("t-acme", false)
	w.people.other = true
	own := must1(w.Service.provider(t.Context(), "acme-own"))
	if w.drop(t.Context(), own) == nil {
		t.Fatal("the copy's people have no way in any more")
	}
	must(t, w.EndTenant(t.Context(), "t-beta"))
	equal(t, "forgotten", w.Covers("t-acme", "t-beta"), false)
	must(t, w.drop(t.Context(), own))
}
