package identity

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"

	"holdfast/app/api"
	"holdfast/data"
)

// TestApprovalsEndWithTheAccountAndTheRole: what was asked for or approved before is not
// carried out after the account was opened, or the role given, again.
func TestApprovalsEndWithTheAccountAndTheRole(t *testing.T) {
	h := newPairHouse(t, "ada", "sam", "tom")
	ada := h.ids["ada"]
	regive := func(role string) {
		_, err := h.replace(bg, Grant{Person: ada, Role: role, Scope: Appliance})
		must(t, err)
	}
	for name, end := range map[string]func(){
		"locked": func() {
			must(t, h.setState(bg, "person.lock", ada, locked))
			must(t, h.setState(bg, "person.unlock", ada, active))
		},
		"disabled": func() {
			must(t, h.DisablePerson(bg, ada, "idle"))
			must(t, h.setState(bg, "person.unlock", ada, active))
		},
		"ended": func() {
			must(t, h.endingGrants(bg, Appliance, `person = ? AND scope = ?`, ada, Appliance))
			_, err := h.Grant(bg, Grant{Person: ada, Role: Owner, Scope: Appliance})
			must(t, err)
		},
		"changed": func() { regive("admin"); regive(Owner) },
	} {
		h.ada = h.in("ada")
		approved, open := h.asks(h.ada, `{"kind":"`+name+`"}`), h.asks(h.ada, slotBody)
		h.approve(h.in("sam"), 200, approved)
		end()
		h.clock.add(time.Second)
		h.ada = h.in("ada")
		for _, id := range []string{approved, open} {
			equal(t, name, decode[Approval](t, h.ada.want(200, "GET", pairsPath+"/"+id, "")).State, requestExpired)
		}
		equal(t, name+" asks anew", h.asks(h.ada, `{"kind":"`+name+`"}`) != approved, true)
	}
	equal(t, "in the log", strings.Contains(strings.Join(h.log.events, "\n"), "approval.expire  ok"), true)
	equal(t, "done", h.done(), "")
}

// TestApprovalsDoNotComeBack: a copy's are none after a restore, and the log's newest
// word on whether two persons are asked for holds.
func TestApprovalsDoNotComeBack(t *testing.T) {
	h := newPairHouse(t, "ada", "sam")
	approved, open := h.asks(h.ada, slotBody), h.asks(h.ada, `{"kind":"x"}`)
	h.approve(h.sam, 200, approved)
	n, err := h.EndApprovals(bg, "the appliance was restored")
	must(t, err)
	equal(t, "ended", n, 2)
	equal(t, "recorded", h.log.last(), "host:1000 approval.expire  ok")
	equal(t, "asks anew", h.asks(h.ada, slotBody) != approved, true)
	equal(t, "the open one", codeOf(t, h.approve(h.sam, 409, open)), "not-open")

	h.clock.add(time.Hour)
	mode := func() string {
		p, err := h.PairPolicy(bg)
		must(t, err)
		return p.Mode
	}
	newest := h.now()
	equal(t, "set again", h.again("two-persons.set", PairOn, nil, newest), true)
	equal(t, "older ones", h.again("two-persons.set", PairOff, nil, newest.Add(-time.Minute)), false)
	equal(t, "nonsense", h.again("two-persons.set", "maybe", nil, newest.Add(time.Minute)), false)
	equal(t, "mode", mode(), PairOn)
	h.clock.add(time.Hour)
	_, err = h.SetPairPolicy(bg, PairAuto)
	must(t, err)
	equal(t, "of before it", h.again("two-persons.set", PairOff, nil, newest), false)
	equal(t, "mode", mode(), PairAuto)
}

// TestOneQuestionOfEach: whoever asks the same twice at once has one question, the limit
// of them holds, and an approval that is given back is the one there is.
func TestOneQuestionOfEach(t *testing.T) {
	h := newPairHouse(t, "ada", "sam")
	asking := api.Asking{Action: "slot.add", Title: "x", Permission: api.CustodyManage, Digest: "d"}
	ctx := data.WithActor(bg, person(h.ids["ada"]))
	first, err := h.askPair(ctx, h.ids["ada"], asking, nil)
	must(t, err)
	twice, err := h.askPair(ctx, h.ids["ada"], asking, nil)
	must(t, err)
	equal(t, "the same", twice.ID, first.ID)

	h.approve(h.sam, 200, first.ID)
	first.State = requestApproved
	must(t, h.movePair(ctx, first, requestApproved, pairUsed))
	meanwhile, err := h.askPair(ctx, h.ids["ada"], asking, nil)
	must(t, err)
	must(t, h.giveBack(ctx, first))
	now, err := h.pairOf(ctx, h.ids["ada"], "d")
	must(t, err)
	equal(t, "the one there is", now.ID+" "+now.State, first.ID+" "+requestApproved)
	equal(t, "asked meanwhile", decode[Approval](t, h.sam.want(200, "GET", pairsPath+"/"+meanwhile.ID, "")).State, requestExpired)

	h.clock.add(PairGood) // over, and not swept
	_, err = h.askPair(ctx, h.ids["ada"], asking, nil)
	must(t, err)
	var all sync.WaitGroup
	for i := range 2 * maxOpenRequests {
		a := asking
		a.Digest = strings.Repeat("d", i+2)
		all.Go(func() { _, _ = h.askPair(ctx, h.ids["ada"], a, nil) })
	}
	all.Wait()
	var open int
	must(t, h.config.DB.View(bg, func(tx *sqlx.Tx) error {
		return tx.Get(&open, `SELECT count(*) FROM pair_requests WHERE state = 'open'`)
	}))
	equal(t, "at most", open, maxOpenRequests)
}
