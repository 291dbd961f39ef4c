package sso

import (
	"testing"

	"holdfast/data"
)

// TestSwitchedOff: a provider that is switched off lets nobody in, not even who is on
// the way, and brings everybody back when it is switched on.
func TestSwitchedOff(t *testing.T) {
	w := newWorld(t)
	w.withProvider("company", Appliance)
	b := w.browser()
	equal(t, "person", b.in("company"), "olga")
	const path = "/api/v1/identity-providers/company"
	on, off := true, false
	half := b.begin("company")
	b.want(409, "last-way-in", "PATCH", path, ProviderChange{Enabled: &off}) // olga has nothing else
	w.people.other = true
	equal(t, "enabled", decode[Provider](t, b.want(200, "", "PATCH", path, ProviderChange{Enabled: &off})).Enabled, false)
	b.finish(401, "sign-in-expired", half)
	b.want(403, "provider-off", "POST", "/api/v1/sso/company/begin", Begin{})
	b.as = "olga"
	b.want(403, "provider-off", "POST", "/api/v1/session/step-up/sso/company", Begin{})
	equal(t, "ways", len(decode[Ways](t, b.want(200, "", "GET", "/api/v1/sso", nil)).Providers), 0)
	linked, err := w.Linked(t.Context(), "olga")
	must(t, err)
	equal(t, "linked", linked, false)
	name := "Renamed"
	equal(t, "stays off", decode[Provider](t, b.want(200, "", "PATCH", path, ProviderChange{Name: &name})).Enabled, false)
	b.want(200, "", "PATCH", path, ProviderChange{Enabled: &on})
	equal(t, "person", w.browser().in("company"), "olga")
	equal(t, "made", len(w.people.made), 0)
}

// TestTheLastIsNotSwitchedOff: where only providers sign in, one that is off is none.
func TestTheLastIsNotSwitchedOff(t *testing.T) {
	w := newWorld(t)
	w.people.other = true
	host := data.WithActor(t.Context(), data.Actor{Kind: data.Host})
	change := func(r row, disabled bool) error {
		r.Disabled = disabled
		return w.change(host, r)
	}
	company, spare := w.withProvider("company", Appliance), w.withProvider("spare", Appliance)
	must(t, change(spare, true))
	w.only.Store(&map[string]bool{Appliance: true})
	if err := change(company, true); err == nil {
		t.Fatal("nobody could sign in any more")
	}
	if err := w.drop(host, company); err == nil {
		t.Fatal("nobody could sign in any more")
	}
	must(t, change(spare, false))
	must(t, change(company, true))
}
