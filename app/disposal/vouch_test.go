package disposal

import (
	"testing"

	"holdfast/data/keys"
)

// TestVouched: older signing keys can go once each vouches for the next and the targets
// have that; a host that knew only the first accepts what the third signs.
func TestVouched(t *testing.T) {
	w := newWorld(t)
	store := w.target("one")
	w.must(w.CompareAll(t.Context()))
	w.destroy()
	want := func(yes bool) {
		t.Helper()
		if got, err := w.Vouched(t.Context()); err != nil || got != yes {
			t.Errorf("vouched: %t, %v; want %t", got, err, yes)
		}
	}
	want(true) // there is one key
	for range 2 {
		w.must(w.ring.Rotate(keys.System, keys.AuditSigning))
	}
	want(false)
	w.must(w.Vouch(t.Context()))
	want(true)
	before, err := store.List(t.Context(), "ledger/", "", 100)
	w.must(err)
	w.must(w.Vouch(t.Context())) // once is enough
	after, err := store.List(t.Context(), "ledger/", "", 100)
	w.must(err)
	if len(before) != len(after) {
		t.Errorf("%d entries, then %d", len(before), len(after))
	}
	known, err := w.trusted(t.Context())
	w.must(err)
	for g := uint32(1); g <= 2; g++ {
		w.must(w.ring.Drop(keys.System, keys.AuditSigning, g))
	}
	again, err := w.trusted(t.Context())
	if err != nil || len(again) != len(known) {
		t.Errorf("%d keys are known, before %d: %v", len(again), len(known), err)
	}
	w.must(w.CompareAll(t.Context()))
	want(true)
	fresh := w.twin() // has the newest key alone
	fresh.back[acme.Tenant] = true
	w.must(fresh.CompareAll(t.Context()))
	if id, err := fresh.Destroyed(t.Context(), acme); id == "" || err != nil {
		t.Errorf("what the first key signed is not known: %v", err)
	}
}
