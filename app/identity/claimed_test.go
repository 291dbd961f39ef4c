package identity

import (
	"testing"

	"github.com/jmoiron/sqlx"

	"holdfast/app/api"
	"holdfast/data"
)

// TestAClaimedAccountWaits: an account that somebody came in to, whose password single
// sign-on only took, reaches no records when a provider brings it by its address.
func TestAClaimedAccountWaits(t *testing.T) {
	h := newHouse(t)
	tina, tom := h.member("tina@example.com", acme.Tenant), h.member("tom@example.com", acme.Tenant)
	fresh, phone := h.member("fresh@example.com", acme.Tenant), h.member("phone@example.com", acme.Tenant)
	h.browser().signIn("tina@example.com")
	h.browser().signIn("phone@example.com").enrolPhone()
	for _, p := range []Operator{tina, fresh, phone} {
		must(t, h.dropPassword(bg, p.ID))
		must(t, h.Claimed(bg, p.ID, "company"))
	}
	equal(t, "came in before", h.may(tina.ID, api.DataRead), false)
	equal(t, "log", h.log.has("sso.claim "+acme.String()+" ok"), true)
	equal(t, "nobody came in yet", h.may(fresh.ID, api.DataRead), true)
	equal(t, "is asked for a factor of their own", h.may(phone.ID, api.DataRead), true)
	h.browser().signIn("tom@example.com").want(204, "POST", confirmAt+tina.ID+"/confirm", "")
	equal(t, "confirmed", h.may(tina.ID, api.DataRead), true)
	h.log.fail = errNoLog
	if err := h.Claimed(bg, tina.ID, "company"); err == nil {
		t.Error("not told that it could not be recorded")
	}
	_ = tom
}

// TestAClaimedOperatorIsNoSecondPerson, also one whom nobody came in to yet; and what a
// provider makes is made by who set it.
func TestAClaimedOperatorIsNoSecondPerson(t *testing.T) {
	h := newHouse(t)
	eve, ben := h.owner("eve@example.com"), h.owner("ben@example.com")
	byEve := data.WithActor(bg, data.Actor{Kind: data.Person, ID: eve.ID})
	must(t, h.Claimed(byEve, ben.ID, "company"))
	equal(t, "held", h.openedAnew(ben.ID), true)
	made, err := h.MakeFederated(byEve, "puppet@example.com", "Puppet", "admin", Appliance)
	must(t, err)
	var by string
	must(t, h.config.DB.View(bg, func(tx *sqlx.Tx) error {
		return tx.GetContext(bg, &by, `SELECT created_by FROM grants WHERE person = ?`, made.ID)
	}))
	equal(t, "made by", by, data.ActorFrom(byEve).String())
}
