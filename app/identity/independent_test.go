package identity

import (
	"context"
	"strings"
	"testing"
	"time"

	"holdfast/app/api"
	"holdfast/data"
)

// asks has somebody ask for what takes two persons, and gives the request's id.
func (h *pairHouse) asks(b *browser, body string) string {
	h.t.Helper()
	return strings.TrimPrefix(b.want(403, "POST", slotsPath, body).Header().Get("Location"), pairsPath+"/")
}

// makes has somebody make an owner of the appliance, a second later.
func (h *pairHouse) makes(by, name string) {
	h.t.Helper()
	h.clock.add(time.Second)
	ctx := data.WithActor(bg, person(h.ids[by]))
	o, err := h.CreateOperator(ctx, NewOperator{NewPerson: NewPerson{Email: name + "@example.com", Name: "Some One", Password: goodPassword}, Role: Owner})
	must(h.t, err)
	h.ids[name] = o.ID
}

func (h *pairHouse) in(name string) *browser { return h.browser().signIn(name + "@example.com") }

// resets has somebody take the second factors of another one, which they may sit in after.
func (h *pairHouse) resets(by, whom string) {
	h.t.Helper()
	must(h.t, h.resetFactors(data.WithActor(bg, person(h.ids[by])), h.ids[whom]))
}

// TestPuppetsAreNoSecondPersons: in neither direction, by no chain, and not for each other.
func TestPuppetsAreNoSecondPersons(t *testing.T) {
	h := newPairHouse(t, "ada", "sam")
	h.asked(slotBody) // since now two persons are asked for
	h.makes("ada", "puppet")
	h.makes("puppet", "second")
	h.makes("puppet", "third")
	h.clock.add(time.Minute)
	for _, try := range [][2]string{{"puppet", "ada"}, {"ada", "puppet"}, {"ada", "second"}, {"second", "ada"}, {"second", "third"}} {
		id := h.asks(h.in(try[0]), `{"kind":"`+try[0]+try[1]+`"}`)
		equal(t, try[1]+" for "+try[0], codeOf(t, h.approve(h.in(try[1]), 403, id)), "not-independent")
	}
	must(t, h.endingGrants(bg, Appliance, `person = ? AND scope = ?`, h.ids["puppet"], Appliance))
	equal(t, "who was between is gone", codeOf(t, h.approve(h.in("second"), 403, h.asks(h.ada, `{"kind":"x"}`))), "not-independent")
	h.approve(h.sam, 200, h.asks(h.ada, `{"kind":"x"}`))
	h.approve(h.sam, 200, h.asks(h.in("second"), `{"kind":"y"}`))

	h.clock.add(PairRests + time.Second) // the others had the time to notice
	h.signIn()
	h.approve(h.ada, 200, h.asks(h.in("second"), `{"kind":"z"}`))
	h.approve(h.in("third"), 200, h.asks(h.ada, `{"kind":"z"}`))
}

// TestResetAccountsAreNoSecondPersons: not to ask, nor by a puppet's hand, nor after a
// later reset by somebody else.
func TestResetAccountsAreNoSecondPersons(t *testing.T) {
	h := newPairHouse(t, "ada", "sam", "tom", "eve")
	h.resets("ada", "sam")
	equal(t, "sam asks", codeOf(t, h.approve(h.ada, 403, h.asks(h.in("sam"), slotBody))), "not-independent")
	h.resets("eve", "sam")
	equal(t, "sam approves", codeOf(t, h.approve(h.in("sam"), 403, h.asks(h.ada, slotBody))), "not-independent")
	h.makes("ada", "puppet")
	h.resets("puppet", "tom")
	equal(t, "tom approves", codeOf(t, h.approve(h.in("tom"), 403, h.asks(h.ada, slotBody))), "not-independent")
	h.approve(h.in("eve"), 200, h.asks(h.ada, slotBody))
	h.ada.want(200, "POST", slotsPath, slotBody)
}

// TestWhoResetsTheAskerCarriesNothingOut: neither what they approved nor what the host did.
func TestWhoResetsTheAskerCarriesNothingOut(t *testing.T) {
	h := newPairHouse(t, "ada", "sam")
	h.approve(h.sam, 200, h.asks(h.ada, slotBody))
	other := h.asks(h.ada, `{"kind":"other"}`)
	host := data.WithActor(bg, data.Actor{Kind: data.Host, ID: "0"})
	_, err := h.ApprovePair(host, other, "")
	must(t, err)
	h.clock.add(time.Second)
	h.resets("sam", "ada")
	hijacked := h.in("ada")
	equal(t, "sam's", codeOf(t, hijacked.want(403, "POST", slotsPath, slotBody)), "approver-gone")
	equal(t, "the host's", codeOf(t, hijacked.want(403, "POST", slotsPath, `{"kind":"other","passphrase":"x"}`)), "approver-gone")
	equal(t, "done", h.done(), "")
	_, err = h.ApprovePair(host, h.asks(hijacked, slotBody), "") // the host knows of it now
	must(t, err)
	hijacked.want(200, "POST", slotsPath, slotBody)
}

// TestOneOperatorBreaksNoGlassAlone: who asks and the two who approve are three.
func TestOneOperatorBreaksNoGlassAlone(t *testing.T) {
	h := newGlassHouse(t)
	h.owner.want(200, "PUT", accessPolicyPath, `{"emergency":true}`)
	as := func(who string) context.Context { return data.WithActor(bg, person(h.ids[who])) }
	for _, name := range []string{"puppet", "other"} {
		o, err := h.CreateOperator(as("ada"), NewOperator{NewPerson: NewPerson{Email: name + "@example.com", Name: "Some One", Password: goodPassword}, Role: Owner})
		must(t, err)
		h.ids[name] = o.ID
	}
	h.clock.add(time.Minute)
	ask := func(who string) string {
		r, err := h.AskAccess(as(who), acme.Tenant, NewAccessRequest{Why: "x", Emergency: true})
		must(t, err)
		return r.ID
	}
	approve := func(who, id string) string {
		r, err := h.ApproveEmergency(as(who), acme.Tenant, id, "")
		if err != nil {
			return api.AsProblem(err).Code
		}
		return r.State
	}
	first := ask("puppet")
	equal(t, "ada for her puppet", approve("ada", first), "not-independent")
	equal(t, "puppets for each other", approve("other", first), "not-independent")
	sams := ask("sam")
	equal(t, "one", approve("ada", sams), requestOpen)
	equal(t, "her puppet is no second", approve("other", sams), "not-independent")
	equal(t, "two", approve("eve", sams), requestApproved)

	h.clock.add(RecoveredAlone)
	h.clock.add(time.Minute)
	again := ask("other") // a team whose first one made the others
	equal(t, "one", approve("ada", again), requestOpen)
	equal(t, "two", approve("puppet", again), requestApproved)
}

// TestARoleGivenAnewKeepsItsMaker: the same or less makes nobody a puppet, nor is it a way
// out of being one; more does.
func TestARoleGivenAnewKeepsItsMaker(t *testing.T) {
	h := newPairHouse(t, "ada", "sam", "tom")
	_, err := h.CreateOperator(bg, NewOperator{NewPerson: NewPerson{Email: "low@example.com", Name: "Some One", Password: goodPassword}, Role: "admin"})
	must(t, err)
	low, err := h.personByEmail(bg, "low@example.com")
	must(t, err)
	h.ids["low"] = low.ID
	h.asked(slotBody)
	h.clock.add(time.Second)
	gives := func(by, whom, role string) {
		_, err := h.change(data.WithActor(bg, person(h.ids[by])), Grant{Person: h.ids[whom], Role: role, Scope: Appliance})
		must(t, err)
	}
	gives("ada", "sam", Owner)
	h.approve(h.sam, 200, h.asks(h.ada, slotBody))
	h.makes("ada", "puppet")
	gives("tom", "puppet", Owner)
	gives("ada", "low", Owner)
	h.clock.add(time.Second)
	for _, name := range []string{"puppet", "low"} {
		equal(t, name, codeOf(t, h.approve(h.in(name), 403, h.asks(h.ada, `{"kind":"x"}`))), "not-independent")
	}
	h.clock.add(PairRests)
	h.signIn()
	gives("ada", "low", "admin") // less
	h.approve(h.in("puppet"), 200, h.asks(h.ada, `{"kind":"x"}`))
}
