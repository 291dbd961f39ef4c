package identity

import (
	"testing"
	"time"

	"holdfast/app/api"
	"holdfast/data"
)

// TestAccessEndsWithTheOperator: neither what was asked for nor what was given stays.
func TestAccessEndsWithTheOperator(t *testing.T) {
	h := newGlassHouse(t)
	given := h.ask(h.ada, `{"why":"x"}`)
	h.owner.want(200, "POST", requestsPath+"/"+given.ID+"/approve", `{}`)
	must(t, h.reads("ada"))
	open := h.ask(h.ada, `{"why":"x","export":true}`)
	h.sam.want(204, "DELETE", "/api/v1/operators/"+h.ids["ada"], "")
	wantErr(t, h.reads("ada"), api.ErrForbidden)
	equal(t, "the open one", codeOf(t, h.owner.want(409, "POST", requestsPath+"/"+open.ID+"/approve", `{}`)), "not-open")
}

// TestNobodyIsLetInWhoCouldNotAsk, however the role that asked was ended.
func TestNobodyIsLetInWhoCouldNotAsk(t *testing.T) {
	h := newGlassHouse(t)
	r := h.ask(h.ada, `{"why":"x"}`)
	h.sql(`UPDATE grants SET revoked = 1 WHERE person = ? AND scope = ?`, h.ids["ada"], Appliance)
	equal(t, "approved", codeOf(t, h.owner.want(409, "POST", requestsPath+"/"+r.ID+"/approve", `{}`)), "not-any-more")
	wantErr(t, h.reads("ada"), api.ErrForbidden)
}

// TestApprovalsOfWhoIsGoneDoNotCount: of the pair, both are operators at the second's word.
func TestApprovalsOfWhoIsGoneDoNotCount(t *testing.T) {
	h := newGlassHouse(t)
	h.owner.want(200, "PUT", accessPolicyPath, `{"emergency":true}`)
	r := h.ask(h.ada, `{"why":"fire","emergency":true}`)
	path := requestsPath + "/" + r.ID + "/emergency"
	h.sam.want(200, "POST", path, `{}`)
	must(t, h.setState(bg, "person.lock", h.ids["sam"], locked))
	eve := h.browser().signIn("eve@example.com")
	equal(t, "one is locked", decode[AccessRequest](t, eve.want(200, "POST", path, `{}`)).State, "open")
	wantErr(t, h.reads("ada"), api.ErrForbidden)
	must(t, h.setState(bg, "person.unlock", h.ids["sam"], active))
	equal(t, "both are there", decode[AccessRequest](t, eve.want(200, "POST", path, `{}`)).State, "approved")
}

// TestWhatIsOpenEndsWithTheRole: a stream does not outlive what it was opened with.
func TestWhatIsOpenEndsWithTheRole(t *testing.T) {
	h := newGlassHouse(t)
	h.gives("eve", "developer")
	ended := 0
	h.Service.config.Revoked = func(data.StoreID, data.Actor) { ended++ }
	h.owner.want(200, "PATCH", membersPath+"/"+h.ids["eve"], `{"role":"viewer"}`)
	equal(t, "changed", ended, 3)
	h.owner.want(204, "DELETE", membersPath+"/"+h.ids["eve"], "")
	equal(t, "removed", ended, 6)
}

// state is that of a request, as its tenant sees it.
func (h *glassHouse) state(id string) string {
	h.t.Helper()
	r, err := h.request(bg, acme.Tenant, id)
	must(h.t, err)
	return r.State
}

// TestAccessEndsWithTheAccount, and with another role on the appliance: what was asked
// for and what was given, for good, and with its entry.
func TestAccessEndsWithTheAccount(t *testing.T) {
	for name, end := range map[string]func(h *glassHouse){
		"locked":   func(h *glassHouse) { must(t, h.setState(bg, "person.lock", h.ids["ada"], locked)) },
		"disabled": func(h *glassHouse) { must(t, h.DisablePerson(bg, h.ids["ada"], "idle")) },
		"changed": func(h *glassHouse) {
			h.sam.want(200, "PATCH", "/api/v1/operators/"+h.ids["ada"], `{"role":"support"}`)
		},
		"locked again": func(h *glassHouse) {
			h.clock.add(time.Minute)
			equal(t, "done", h.again("person.lock", h.ids["ada"], nil, h.now()), true)
		},
	} {
		h := newGlassHouse(t)
		given := h.ask(h.ada, `{"why":"x"}`)
		h.owner.want(200, "POST", requestsPath+"/"+given.ID+"/approve", `{}`)
		open := h.ask(h.ada, `{"why":"x","export":true}`)
		theirs := h.ask(h.sam, `{"why":"x"}`)
		end(h)
		equal(t, name+": given", h.state(given.ID), requestEnded)
		equal(t, name+": open", h.state(open.ID), requestRefused)
		equal(t, name+": another's", h.state(theirs.ID), requestOpen)
		must(t, h.setState(bg, "person.unlock", h.ids["ada"], active))
		wantErr(t, h.reads("ada"), api.ErrForbidden)
		for _, entry := range []string{"access.end t-acme/prod ok", "access.end  ok", "access.refuse t-acme/prod ok", "access.refuse  ok"} {
			equal(t, name+": "+entry, h.log.has(entry), true)
		}
	}
}

// TestMembersRequestsEndWithTheRole: of what came of a request the list says that it
// ended, and what was asked for is not approved for who is not of the tenant any more.
func TestMembersRequestsEndWithTheRole(t *testing.T) {
	h := newGlassHouse(t)
	mia := h.member("mia@example.com")
	h.ids["mia"] = mia.ID
	h.gives("mia", "viewer")
	b := h.browser().signIn("mia@example.com")
	first, second := h.ask(b, `{"why":"x","role":"admin"}`), h.ask(b, `{"why":"x","role":"developer"}`)
	h.owner.want(200, "POST", requestsPath+"/"+first.ID+"/approve", `{}`)
	h.owner.want(204, "DELETE", membersPath+"/"+mia.ID, "")
	equal(t, "given", h.state(first.ID), requestEnded)
	equal(t, "open", h.state(second.ID), requestRefused)
	equal(t, "entry", h.log.has("access.end t-acme/prod ok"), true)
}

// TestAnEndedGrantEndsItsRequest, whichever way it was ended.
func TestAnEndedGrantEndsItsRequest(t *testing.T) {
	h := newGlassHouse(t)
	r := h.ask(h.ada, `{"why":"x"}`)
	h.owner.want(200, "POST", requestsPath+"/"+r.ID+"/approve", `{}`)
	row, err := h.request(bg, acme.Tenant, r.ID)
	must(t, err)
	h.owner.want(204, "DELETE", "/api/v1/tenants/acme/grants/"+row.Grant, "")
	equal(t, "request", h.state(r.ID), requestEnded)
	wantErr(t, h.reads("ada"), api.ErrForbidden)
}
