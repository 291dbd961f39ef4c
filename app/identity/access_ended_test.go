package identity

import (
	"testing"

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
	must(t, h.endingGrants(data.WithActor(bg, person(h.ids["sam"])), Appliance, `person = ? AND scope = ?`, h.ids["ada"], Appliance))
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
