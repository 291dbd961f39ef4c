package sso

import (
	"testing"

	"holdfast/app/api"
	"holdfast/app/sso/issuertest"
)

// member has a link at the tenant's own provider, which may sign them in.
func memberOfAcme(t *testing.T) *world {
	t.Helper()
	w := newWorld(t)
	w.withProvider("acme-own", "t-acme", func(r *row) { r.setDomains([]string{"example.com"}) })
	w.people.add("member", "member@example.com", "t-acme")
	w.issuer.Is(map[string]any{"sub": "member", "email": "member@example.com"})
	equal(t, "member", w.browser().in("acme-own"), "member")
	equal(t, "scope", w.people.signedIn[0].Scope, "t-acme")
	return w
}

// TestATenantsProviderIsAskedAgainToStepUp: when it begins, and when it ends.
func TestATenantsProviderIsAskedAgainToStepUp(t *testing.T) {
	w := memberOfAcme(t)
	b := w.browser()
	b.as = "member"
	const begin = "/api/v1/session/step-up/sso/acme-own"
	b.finish(200, "", b.out("acme-own", begin))
	equal(t, "scope", w.people.stepped[0].Scope, "t-acme")
	half := b.out("acme-own", begin)
	w.people.change("member", func(p *Person) { p.Scopes = append(p.Scopes, Appliance) })
	b.finish(403, "roles-elsewhere", half)
	b.want(403, "roles-elsewhere", "POST", begin, Begin{})
	equal(t, "stepped", len(w.people.stepped), 1)
	ways, err := w.StepUps(t.Context(), "member")
	must(t, err)
	equal(t, "ways", len(ways), 0)
	linked, err := w.Linked(t.Context(), "member")
	must(t, err)
	equal(t, "a link that lets nobody in", linked, false)
}

// TestATenantsSessionMakesNoOtherWayIn: what came through a tenant's provider links no
// account elsewhere, by which it would stay in.
func TestATenantsSessionMakesNoOtherWayIn(t *testing.T) {
	w := memberOfAcme(t)
	w.withProvider("company", Appliance)
	b := w.browser()
	b.as = "member"
	const begin = "/api/v1/session/links/company"
	half := b.out("company", begin)
	w.people.tenant = "t-acme"
	b.finish(403, "tenant-session", half)
	b.want(403, "tenant-session", "POST", begin, Begin{})
	mine, err := w.linksOf(t.Context(), "member")
	must(t, err)
	b.want(403, "tenant-session", "DELETE", "/api/v1/session/links/"+mine[0].ID, nil)
	equal(t, "links", len(mine), 1)
}

// TestATenantsProviderLearnsNothing of accounts that are not its people's: there or
// not, or locked, the answer is one.
func TestATenantsProviderLearnsNothing(t *testing.T) {
	w := newWorld(t)
	w.withProvider("acme-own", "t-acme", func(r *row) { r.setDomains([]string{"example.com"}) })
	w.people.add("locked", "locked@example.com", "t-beta")
	w.people.change("locked", func(p *Person) { p.Active = false })
	for _, name := range []string{"olga", "locked", "nobody"} {
		w.issuer.Is(map[string]any{"sub": name, "email": name + "@example.com"})
		b := w.browser()
		f := b.begin("acme-own")
		got := decode[api.Problem](t, b.want(403, "no-account", "POST", "/api/v1/sso/finish", f))
		equal(t, "answer", got.Detail, "There is no account for "+name+"@example.com here. Ask who runs this appliance, or the tenant, to add you.")
	}
	equal(t, "made", len(w.people.made), 0)
}

// TestOperatorsConfirmJustInTime: whose addresses a tenant's provider makes accounts of
// is not the tenant's to say.
func TestOperatorsConfirmJustInTime(t *testing.T) {
	w := newWorld(t)
	b := w.browser()
	const path = "/api/v1/tenants/acme/identity-providers"
	w.people.runsNot = api.ErrForbidden
	n := NewProvider{ID: "own", Kind: OIDC, Issuer: w.issuer.URL, ClientID: issuertest.ClientID, ClientSecret: issuertest.Secret, Domains: []string{"acme.org"}, Role: "viewer"}
	b.want(403, "operator-confirms", "POST", path, n)
	role := n.Role
	n.Role = ""
	b.want(201, "", "POST", path, n)
	b.want(403, "operator-confirms", "PATCH", path+"/acme-own", ProviderChange{Role: &role})
	w.people.runsNot = nil
	b.want(200, "", "PATCH", path+"/acme-own", ProviderChange{Role: &role})
	w.people.runsNot = api.ErrForbidden
	name, more := "Ours", []string{"acme.org", "example.com"}
	b.want(200, "", "PATCH", path+"/acme-own", ProviderChange{Name: &name})
	b.want(403, "operator-confirms", "PATCH", path+"/acme-own", ProviderChange{Domains: &more})
	named, err := w.NamesRole(t.Context(), "t-acme", "viewer")
	must(t, err)
	equal(t, "names the role", named, true)
	n.ID, n.Role = "company", "support"
	b.want(201, "", "POST", "/api/v1/identity-providers", n) // the appliance's is the operators' anyway
}

// TestAdmits: a tenant's provider for its people alone, the appliance's for who is
// linked there or of its domains.
func TestAdmits(t *testing.T) {
	w := memberOfAcme(t)
	w.withProvider("company", Appliance, func(r *row) { r.setDomains([]string{"corp.org"}) })
	w.people.add("both", "both@example.com", "t-acme", "t-beta")
	w.people.add("staff", "staff@corp.org", "t-acme", "t-beta")
	for id, want := range map[string]bool{"member": true, "both": false, "staff": true} {
		got, err := w.Admits(t.Context(), id, "t-acme")
		must(t, err)
		equal(t, id, got, want)
	}
	must(t, w.link(t.Context(), must1(w.provider(t.Context(), "company")), "both", claims{Subject: "b"}))
	got, err := w.Admits(t.Context(), "both", "t-acme")
	must(t, err)
	equal(t, "linked", got, true)
}
