package identity

import (
	"errors"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"

	"holdfast/app/api"
	"holdfast/data"
)

func person(id string) data.Actor { return data.Actor{Kind: data.Person, ID: id} }

// TestAuthorize walks every permission with every kind of actor.
func TestAuthorize(t *testing.T) {
	h := newHouse(t)
	owner := h.owner("ada@example.com")
	member := h.member("mia@example.com", acme.Tenant)
	none := h.member("nil@example.com")
	own, other, appliance := api.Scope{Tenant: acme.Tenant}, api.Scope{Tenant: beta.Tenant}, api.Scope{}
	anywhere := api.Scope{Tenant: api.AnyTenant}
	check := func(who string, actor data.Actor, p api.Permission, s api.Scope, want error) {
		t.Helper()
		if got := h.Authorize(bg, actor, p, s); !errors.Is(got, want) {
			t.Errorf("%s, %s in %q: got %v, want %v", who, p, s.Tenant, got, want)
		}
	}
	for _, p := range api.Permissions() {
		var inOwn error
		if p.ApplianceOnly() {
			inOwn = api.ErrForbidden
		}
		for _, s := range []api.Scope{own, other, appliance, anywhere} {
			var operators error // see that a tenant is there, or is not, and never its records
			if p.Content() && s != appliance {
				operators = api.ErrForbidden
			}
			check("owner", person(owner.ID), p, s, operators)
			check("host", data.Actor{Kind: data.Host, ID: "0"}, p, s, operators)
			check("guest", data.Actor{Kind: data.Guest}, p, s, api.ErrUnauthenticated)
			check("system", data.Actor{Kind: data.System}, p, s, api.ErrUnauthenticated)
			check("key", data.Actor{Kind: data.Key, ID: "k"}, p, s, api.ErrUnauthenticated)
			check("user", data.Actor{Kind: data.User, ID: "users/u"}, p, s, api.ErrUnauthenticated)
			check("hook", data.Actor{Kind: data.Hook, ID: "h"}, p, s, api.ErrUnauthenticated)
			check("nobody", data.Actor{}, p, s, api.ErrUnauthenticated)
			check("unknown person", person("gone"), p, s, api.ErrUnauthenticated)
			check("person without grant", person(none.ID), p, s, api.ErrForbidden)
		}
		check("member", person(member.ID), p, own, inOwn)
		check("member", person(member.ID), p, anywhere, inOwn)
		check("member", person(member.ID), p, other, api.ErrForbidden)
		check("member", person(member.ID), p, appliance, api.ErrForbidden)
	}
	check("person without grant", person(none.ID), api.Signed, appliance, nil)
	check("guest", data.Actor{Kind: data.Guest}, api.Signed, appliance, api.ErrUnauthenticated)
}

func TestGrantsAreOfTheirTime(t *testing.T) {
	h := newHouse(t)
	m := h.member("mia@example.com")
	now := h.now()
	_, err := h.Grant(bg, Grant{Person: m.ID, Role: Owner, Scope: acme.Tenant, From: now.Add(time.Hour), Until: now.Add(2 * time.Hour), Why: "ticket"})
	must(t, err)
	ask := func() error {
		return h.Authorize(bg, person(m.ID), api.DataRead, api.Scope{Tenant: acme.Tenant})
	}
	wantErr(t, ask(), api.ErrForbidden)
	h.clock.add(time.Hour)
	must(t, ask())
	h.clock.add(time.Hour)
	wantErr(t, ask(), api.ErrForbidden)
}

func TestRevokedGrantEndsAtOnce(t *testing.T) {
	h := newHouse(t)
	m := h.member("mia@example.com")
	g, err := h.Grant(bg, Grant{Person: m.ID, Role: "developer", Scope: acme.Tenant})
	must(t, err)
	ask := func() error {
		return h.Authorize(bg, person(m.ID), api.DataRead, api.Scope{Tenant: acme.Tenant})
	}
	must(t, ask())
	must(t, h.RevokeGrant(bg, g.ID))
	wantErr(t, ask(), api.ErrForbidden)
	wantErr(t, h.RevokeGrant(bg, g.ID), data.ErrNotFound)
	var members int
	must(t, h.config.DB.View(bg, func(tx *sqlx.Tx) error {
		return tx.Get(&members, `SELECT count(*) FROM memberships WHERE person = ? AND tenant = ?`, m.ID, acme.Tenant)
	}))
	equal(t, "membership stays", members, 1)
}

func TestGrantThatCannotBeRecordedDoesNotHold(t *testing.T) {
	h := newHouse(t)
	m := h.member("mia@example.com")
	h.log.fail = errors.New("no log")
	if _, err := h.Grant(bg, Grant{Person: m.ID, Role: Owner, Scope: Appliance}); err == nil {
		t.Fatal("granted")
	}
	wantErr(t, h.Authorize(bg, person(m.ID), api.DataRead, api.Scope{}), api.ErrForbidden)
}

func TestReach(t *testing.T) {
	h := newHouse(t)
	owner, m := h.owner("ada@example.com"), h.member("mia@example.com", acme.Tenant, beta.Tenant)
	r, err := h.Reach(bg, person(owner.ID), api.TenantRead)
	must(t, err)
	equal(t, "owner", r.All, true)
	r, err = h.Reach(bg, person(m.ID), api.TenantRead)
	must(t, err)
	equal(t, "member", !r.All && len(r.Tenants) == 2 && r.Includes(acme.Tenant) && !r.Includes("t-other"), true)
	r, err = h.Reach(bg, person(m.ID), api.TenantCreate)
	must(t, err)
	equal(t, "member, appliance only", r.All || len(r.Tenants) > 0, false)
	_, err = h.Reach(bg, data.Actor{Kind: data.Guest}, api.TenantRead)
	wantErr(t, err, api.ErrUnauthenticated)
}

func TestMe(t *testing.T) {
	h := newHouse(t)
	h.member("mia@example.com", acme.Tenant, "t-gone")
	me := decode[Me](t, h.browser().signIn("mia@example.com").want(200, "GET", "/api/v1/session", ""))
	equal(t, "grants", len(me.Grants), 1)
	equal(t, "scope is the slug", me.Grants[0].Role+" "+me.Grants[0].Scope, "owner acme")
	for _, p := range me.Permissions {
		if p.ApplianceOnly() {
			t.Errorf("a member may %s", p)
		}
	}
}

func TestOperators(t *testing.T) {
	h := newHouse(t)
	h.owner("ada@example.com")
	h.owner("bob@example.com")
	h.member("mia@example.com", acme.Tenant)
	b := h.browser().signIn("ada@example.com")
	list := decode[api.Page[Operator]](t, b.want(200, "GET", "/api/v1/operators?sort=-email", ""))
	equal(t, "count", list.Total, 2)
	equal(t, "first", list.Items[0].Email, "bob@example.com")
	equal(t, "filtered", decode[api.Page[Operator]](t, b.want(200, "GET", "/api/v1/operators?filter=ADA", "")).Total, 1)
	b.want(422, "GET", "/api/v1/operators?sort=password", "")
	equal(t, "twice", codeOf(t, b.want(409, "POST", "/api/v1/operators",
		`{"email":"BOB@example.com","name":"B","password":"`+goodPassword+`"}`)), "exists")
	h.browser().signIn("mia@example.com").want(403, "GET", "/api/v1/operators", "")
	equal(t, "refusal recorded", h.log.last()[len("person:"):][15:], " operator.read  refused")
}

func BenchmarkAuthorize(b *testing.B) {
	h := newHouse(b)
	m := h.member("mia@example.com", acme.Tenant)
	actor, scope := person(m.ID), api.StoreScope(acme)
	b.ReportAllocs()
	for b.Loop() {
		if err := h.Authorize(bg, actor, api.DataRead, scope); err != nil {
			b.Fatal(err)
		}
	}
}
