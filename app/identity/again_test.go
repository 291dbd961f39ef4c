package identity

import (
	"testing"
	"time"

	"holdfast/app/api"
	"holdfast/data"
)

// again says whether EndAgain found something to do, twice: the second time there is
// nothing left.
func (h *house) again(action, target string, detail map[string]string, at time.Time) bool {
	h.t.Helper()
	done, err := h.EndAgain(bg, action, target, detail, at)
	must(h.t, err)
	twice, err := h.EndAgain(bg, action, target, detail, at)
	must(h.t, err)
	equal(h.t, action+" twice", twice, false)
	return done
}

// TestWhatWasEndedEndsAgain: keys of the control plane, invites and disabled accounts
// of which a log knows more than the database.
func TestWhatWasEndedEndsAgain(t *testing.T) {
	h := newHouse(t)
	h.owner("ada@example.com")
	bob, mia := h.member("bob@example.com"), h.member("mia@example.com", acme.Tenant)
	control := h.controlKeyOf(data.ActorFrom(bg), api.TenantRead)
	invited, err := h.Invite(data.WithActor(bg, person(mia.ID)), acme.Tenant, InviteRequest{Email: "zoe@example.com"})
	must(t, err)
	h.clock.add(time.Hour)
	at := h.now()

	equal(t, "a key", h.again("key.revoke", control.ID, nil, at), true)
	equal(t, "recorded", h.log.last(), "host:1000 key.revoke  ok")
	equal(t, "state", h.shownKey("", control.ID).State, "revoked")
	equal(t, "a store's key is another log's", h.again("key.revoke", h.key(acme, NewKey{}).ID, nil, at), false)

	equal(t, "of another scope", h.again("invite.revoke", invited.ID, map[string]string{"scope": beta.Tenant}, at), false)
	equal(t, "an invite", h.again("invite.revoke", invited.ID, map[string]string{"scope": acme.Tenant}, at), true)
	equal(t, "its link", codeOf(t, h.browser().want(410, "POST", "/api/v1/invite", `{"token":"`+tokenOf(t, invited.Link)+`"}`)), "invite-revoked")

	equal(t, "an account", h.again("person.disable", bob.ID, nil, at), true)
	h.browser().want(401, "POST", "/api/v1/session", credentials("bob@example.com", goodPassword))
	must(t, h.setState(bg, "person.unlock", bob.ID, active))
	equal(t, "opened later", h.again("person.disable", bob.ID, nil, at.Add(-time.Minute)), false)
}

func TestTheLastOwnerIsNotDisabledAgain(t *testing.T) {
	h := newHouse(t)
	ada := h.owner("ada@example.com")
	h.clock.add(time.Hour)
	_, err := h.EndAgain(bg, "person.disable", ada.ID, nil, h.now())
	equal(t, "kept", IsLastOwner(err), true)
}

// TestAccessEndsAgain: requests and policies of which a log knows more than the database.
func TestAccessEndsAgain(t *testing.T) {
	h := newGlassHouse(t)
	h.owner.want(200, "PUT", accessPolicyPath, `{"emergency":true}`)
	given, open, other := h.ask(h.ada, `{"why":"x"}`), h.ask(h.ada, `{"why":"x","export":true}`), h.ask(h.sam, `{"why":"x"}`)
	h.owner.want(200, "POST", requestsPath+"/"+given.ID+"/approve", `{}`)
	h.clock.add(time.Minute)
	of := func(r AccessRequest) map[string]string { return map[string]string{"request": r.ID} }
	equal(t, "end", h.again("access.end", h.ids["ada"], of(given), h.now()), true)
	wantErr(t, h.reads("ada"), api.ErrForbidden)
	equal(t, "withdraw", h.again("access.withdraw", h.ids["ada"], of(open), h.now()), true)
	equal(t, "state", h.state(open.ID), requestWithdrawn)
	equal(t, "recorded", h.log.has("access.withdraw t-acme/prod ok"), true)
	equal(t, "of an approval that is lost", h.again("access.end", h.ids["sam"], of(other), h.now()), true)
	equal(t, "too late", codeOf(t, h.owner.want(409, "POST", requestsPath+"/"+other.ID+"/approve", `{}`)), "not-open")

	set := func(emergency bool, at time.Time) bool {
		done, err := h.AccessPolicyAgain(bg, acme.Tenant, emergency, at)
		must(t, err)
		return done
	}
	equal(t, "older than the database", set(false, h.now().Add(-time.Hour)), false)
	equal(t, "the same", set(true, h.now()), false)
	equal(t, "younger", set(false, h.now()), true)
	equal(t, "twice", set(false, h.now()), false)
	equal(t, "policy", decode[AccessPolicy](t, h.owner.want(200, "GET", accessPolicyPath, "")).Emergency, false)
}

// TestGlassDoesNotComeBack with a copy of the database, though no log tells of its end.
func TestGlassDoesNotComeBack(t *testing.T) {
	h := newGlassHouse(t)
	for _, b := range []*browser{h.ada, h.sam} {
		r := h.ask(b, `{"why":"x"}`)
		h.owner.want(200, "POST", requestsPath+"/"+r.ID+"/approve", `{}`)
	}
	n, err := h.EndGlass(bg, "restored")
	must(t, err)
	equal(t, "ended", n, 2)
	wantErr(t, h.reads("ada"), api.ErrForbidden)
	equal(t, "entry", h.log.has("access.end t-acme/prod ok"), true)
	n, err = h.EndGlass(bg, "restored")
	must(t, err)
	equal(t, "twice", n, 0)
}
