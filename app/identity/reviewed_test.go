package identity

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"holdfast/app/api"
	"holdfast/data"
)

func TestIdleAccountIsDisabledAndOpenedAgain(t *testing.T) {
	h := newHouse(t)
	h.owner("ada@example.com")
	bob := h.member("bob@example.com")
	b := h.browser().signIn("bob@example.com")
	h.clock.add(91 * day)
	h.browser().signIn("ada@example.com")
	idle, err := h.IdleAccounts(bg, h.now().Add(-90*day))
	must(t, err)
	equal(t, "idle", len(idle) == 1 && idle[0].ID == bob.ID, true)
	must(t, h.DisablePerson(bg, bob.ID, "no sign-in for 90 days"))
	equal(t, "recorded", h.log.last(), "host:1000 person.disable  ok")
	wantErr(t, h.DisablePerson(bg, bob.ID, "again"), data.ErrNotFound)
	b.want(401, "GET", "/api/v1/session", "")
	h.browser().want(401, "POST", "/api/v1/session", credentials("bob@example.com", goodPassword))
	h.browser().signIn("ada@example.com").want(204, "POST", "/api/v1/people/"+bob.ID+"/unlock", "")
	h.browser().signIn("bob@example.com")
	idle, err = h.IdleAccounts(bg, h.now().Add(-90*day))
	must(t, err)
	equal(t, "idle after", len(idle), 0)
}

func TestTheLastOwnersAccountIsNotDisabled(t *testing.T) {
	h := newHouse(t)
	ada := h.owner("ada@example.com")
	mia := h.member("mia@example.com", acme.Tenant)
	for who, id := range map[string]string{"of the appliance": ada.ID, "of a tenant": mia.ID} {
		if err := h.DisablePerson(bg, id, "idle"); !IsLastOwner(err) {
			t.Errorf("%s: %v", who, err)
		}
	}
	h.browser().signIn("ada@example.com")
	h.owner("bob@example.com")
	must(t, h.DisablePerson(bg, ada.ID, "idle"))
}

func TestDisablingThatCannotBeRecordedDoesNotHappen(t *testing.T) {
	h := newHouse(t)
	h.owner("ada@example.com")
	bob := h.member("bob@example.com")
	h.log.fail = errNoLog
	if err := h.DisablePerson(bg, bob.ID, "idle"); err == nil {
		t.Fatal("disabled")
	}
	h.log.fail = nil
	h.browser().signIn("bob@example.com")
}

// TestEndGrantIsNoWayUp: who reviews ends no role that may more than their own.
func TestEndGrantIsNoWayUp(t *testing.T) {
	h := newHouse(t)
	mia := h.member("mia@example.com", acme.Tenant)
	bob := h.member("bob@example.com", acme.Tenant)
	r := h.member("rev@example.com")
	_, err := h.CreateRole(data.WithActor(bg, person(mia.ID)), acme.Tenant, RoleRequest{Name: "reviewer", Allow: []api.Permission{api.ReviewRead, api.ReviewManage}})
	must(t, err)
	_, err = h.Grant(bg, Grant{Person: r.ID, Role: "reviewer", Scope: acme.Tenant})
	must(t, err)
	live, err := h.LiveGrants(bg, acme.Tenant)
	must(t, err)
	for _, g := range live {
		if g.Person != bob.ID {
			continue
		}
		equal(t, "by less", api.AsProblem(h.EndGrant(data.WithActor(bg, person(r.ID)), g.ID)).Code, "more-than-own")
		must(t, h.EndGrant(data.WithActor(bg, data.Actor{Kind: data.System}), g.ID))
	}
	live, err = h.LiveGrants(bg, acme.Tenant)
	must(t, err)
	equal(t, "left", len(live), 2)
}

func BenchmarkAssure(b *testing.B) {
	h := newHouse(b)
	o := h.owner("ada@example.com")
	must(b, h.setPolicy(bg, Appliance, SignInPolicy{Required: true}))
	token, err := h.sessions.create(bg, Session{Person: o.ID, Address: "x", Agent: "y", Fresh: h.now().Add(time.Minute), Strong: true})
	must(b, err)
	r := httptest.NewRequest("GET", "/", nil)
	r.AddCookie(&http.Cookie{Name: cookieName, Value: token})
	h.clock.add(2 * time.Minute)
	b.ReportAllocs()
	for b.Loop() {
		if err := h.Assure(r, person(o.ID), api.Fresh); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAuthorizeKey(b *testing.B) {
	h := newHouse(b)
	k := h.controlKeyOf(data.ActorFrom(bg), api.SnapshotRead)
	actor, scope := keyActor(k), api.StoreScope(acme)
	b.ReportAllocs()
	for b.Loop() {
		if err := h.Authorize(bg, actor, api.SnapshotRead, scope); err != nil {
			b.Fatal(err)
		}
	}
}

// TestTheSystemKeepsTheLastOwnersRole: also of somebody who is locked out, whom a
// review left unanswered would take it from; a person may.
func TestTheSystemKeepsTheLastOwnersRole(t *testing.T) {
	h := newHouse(t)
	h.owner("ada@example.com")
	system := data.WithActor(bg, data.Actor{Kind: data.System})
	h.member("mia@example.com", acme.Tenant)
	h.member("bob@example.com", acme.Tenant)
	h.lock("mia@example.com")
	h.lock("bob@example.com")
	live, err := h.LiveGrants(bg, acme.Tenant)
	must(t, err)
	equal(t, "owners", len(live), 2)
	must(t, h.EndGrant(system, live[0].ID))
	equal(t, "the last one", IsLastOwner(h.EndGrant(system, live[1].ID)), true)
	must(t, h.RevokeGrant(bg, live[1].ID))
}
