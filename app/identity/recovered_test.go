package identity

import (
	"testing"
	"time"

	"holdfast/app/api"
	"holdfast/data"
)

// may asks about a permission of a person on acme.
func (h *house) may(person string, p api.Permission) bool {
	h.t.Helper()
	err := h.Authorize(bg, data.Actor{Kind: data.Person, ID: person}, p, api.Scope{Tenant: acme.Tenant})
	if err != nil && api.AsProblem(err).Status != 403 {
		h.t.Fatal(err)
	}
	return err == nil
}

func (h *house) resetBy(b *browser, person string) {
	h.t.Helper()
	token := tokenOf(h.t, decode[ResetLink](h.t, b.want(201, "POST", "/api/v1/people/"+person+"/reset", "")).Link)
	h.browser().want(204, "POST", "/api/v1/reset/password", `{"token":"`+token+`","password":"`+newPassword+`"}`)
}

const confirmAt = "/api/v1/tenants/acme/members/"

// TestARecoveredOwnerWaits: an operator who opens an owner's account anew reaches no
// record with it until another owner of the tenant confirms; and the tenant is told.
func TestARecoveredOwnerWaits(t *testing.T) {
	h := newHouse(t)
	h.owner("ada@example.com")
	tina, tom := h.member("tina@example.com", acme.Tenant), h.member("tom@example.com", acme.Tenant)
	op := h.browser().signIn("ada@example.com")
	h.resetBy(op, tina.ID)
	for _, p := range []api.Permission{api.DataRead, api.MemberManage, api.KeyManage, api.TenantDelete} {
		equal(t, string(p), h.may(tina.ID, p), false)
	}
	equal(t, "what is no record", h.may(tina.ID, api.SnapshotRead), true)
	equal(t, "the other", h.may(tom.ID, api.DataRead), true)
	for _, action := range []string{"password.reset-link", "password.reset"} {
		equal(t, action, h.log.has(action+" "+acme.String()+" ok"), true)
	}
	h.clock.add(2 * RecoveredFor) // there is another owner: time alone does not do
	equal(t, "later", h.may(tina.ID, api.DataRead), false)
	op.signIn("ada@example.com")
	op.want(403, "POST", confirmAt+tina.ID+"/confirm", "")
	h.browser().signIn("tom@example.com").want(204, "POST", confirmAt+tina.ID+"/confirm", "")
	equal(t, "confirmed", h.may(tina.ID, api.DataRead) && h.may(tina.ID, api.TenantDelete), true)
	equal(t, "log", h.log.has("member.confirm "+acme.String()+" ok"), true)
	h.browser().signIn("tom@example.com").want(404, "POST", confirmAt+tina.ID+"/confirm", "")
	op.want(204, "DELETE", "/api/v1/people/"+tina.ID+"/factors", "")
	equal(t, "factors taken", h.may(tina.ID, api.DataRead), false)
	equal(t, "log", h.log.has("factor.reset "+acme.String()+" ok"), true)
}

// TestTheOnlyOwnerWaitsADay, and so in a copy of the tenant; what is given to the
// person afterwards is not held.
func TestTheOnlyOwnerWaitsADay(t *testing.T) {
	h := newHouse(t)
	h.owner("ada@example.com")
	tina := h.member("tina@example.com", acme.Tenant)
	h.clock.add(1e9)
	h.resetBy(h.browser().signIn("ada@example.com"), tina.ID)
	h.clock.add(RecoveredFor - 2e9)
	must(t, h.Inherit(bg, acme.Tenant, "t-copy"))
	inCopy := func() error {
		return h.Authorize(bg, data.Actor{Kind: data.Person, ID: tina.ID}, api.DataRead, api.Scope{Tenant: "t-copy"})
	}
	wantErr(t, inCopy(), api.ErrForbidden)
	equal(t, "before", h.may(tina.ID, api.DataRead), false)
	_, err := h.Grant(bg, Grant{Person: tina.ID, Role: Owner, Scope: beta.Tenant})
	must(t, err)
	must(t, h.Authorize(bg, data.Actor{Kind: data.Person, ID: tina.ID}, api.DataRead, api.Scope{Tenant: beta.Tenant}))
	h.clock.add(2e9)
	equal(t, "after a day", h.may(tina.ID, api.DataRead), true)
	must(t, inCopy())
}

// TestTwoRecoveredOwnersDoNotConfirmEachOther, nor does anybody confirm themselves.
func TestTwoRecoveredOwnersDoNotConfirmEachOther(t *testing.T) {
	h := newHouse(t)
	h.owner("ada@example.com")
	tina, tom := h.member("tina@example.com", acme.Tenant), h.member("tom@example.com", acme.Tenant)
	op := h.browser().signIn("ada@example.com")
	h.resetBy(op, tina.ID)
	h.resetBy(op, tom.ID)
	b := h.browser()
	b.want(201, "POST", "/api/v1/session", credentials("tina@example.com", newPassword))
	b.want(403, "POST", confirmAt+tom.ID+"/confirm", "")
	b.want(403, "POST", confirmAt+tina.ID+"/confirm", "")
	equal(t, "tina", h.may(tina.ID, api.DataRead), false)
	equal(t, "tom", h.may(tom.ID, api.DataRead), false)
}

// TestOnesOwnResetHoldsNothing: the link went to the person's own mail.
func TestOnesOwnResetHoldsNothing(t *testing.T) {
	h := newHouse(t)
	box := withMail(h)
	tina := h.member("tina@example.com", acme.Tenant)
	h.browser().want(202, "POST", "/api/v1/reset", asked("tina@example.com"))
	h.settle()
	token := tokenOf(t, box.of("reset", "tina@example.com")[0].Text)
	h.browser().want(204, "POST", "/api/v1/reset/password", `{"token":"`+token+`","password":"`+newPassword+`"}`)
	equal(t, "hers", h.may(tina.ID, api.DataRead), true)
	equal(t, "the tenant sees it", h.log.has("password.reset "+acme.String()+" ok"), true)
}

// TestACopyHasItsSourcesRules of signing in: its records are the same.
func TestACopyHasItsSourcesRules(t *testing.T) {
	h := newHouse(t)
	h.member("tina@example.com", acme.Tenant)
	must(t, h.setPolicy(bg, acme.Tenant, SignInPolicy{Required: true}))
	must(t, h.Inherit(bg, acme.Tenant, "t-copy"))
	equal(t, "second factor", (*h.policies.Load())["t-copy"].Required, true)
}

// TestLockingTheOtherOwnersGainsNothing: an operator who locks them first waits two weeks,
// not a day; and one who is let in again has to confirm, as ever.
func TestLockingTheOtherOwnersGainsNothing(t *testing.T) {
	h := newHouse(t)
	h.owner("ada@example.com")
	tina, tom := h.member("tina@example.com", acme.Tenant), h.member("tom@example.com", acme.Tenant)
	op := h.browser().signIn("ada@example.com")
	op.want(204, "POST", "/api/v1/people/"+tom.ID+"/lock", "")
	h.resetBy(op, tina.ID)
	h.clock.add(RecoveredAlone - time.Second)
	equal(t, "before", h.may(tina.ID, api.DataRead), false)
	must(t, h.setState(bg, "person.unlock", tom.ID, active))
	h.clock.add(time.Second)
	equal(t, "another can confirm", h.may(tina.ID, api.DataRead), false)
	must(t, h.setState(bg, "person.lock", tom.ID, locked))
	equal(t, "nobody can", h.may(tina.ID, api.DataRead), true)
}
