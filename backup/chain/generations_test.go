package chain_test

import (
	"fmt"
	"testing"
	"time"

	"holdfast/backup/chain"
	"holdfast/backup/objects"
)

// TestGenerations rotates the segments key under a chain: the old generation is in use
// until prunes have taken the last object under it that any kept point needs.
func TestGenerations(t *testing.T) {
	r := newRig(t, objects.NewMemory())
	k := r.keeper()
	want := func(what, generations string) {
		t.Helper()
		got, err := k.Generations(t.Context(), time.Now().Add(time.Hour))
		if err != nil || fmt.Sprint(got) != generations {
			t.Errorf("%s: %v, %v, want %s", what, got, err, generations)
		}
	}
	r.ship()
	want("one snapshot", "[1]")
	if staged, err := chain.StagedGenerations(r.dir); err != nil || fmt.Sprint(staged) != "[1]" {
		t.Errorf("staged under %v, %v", staged, err)
	}
	r.keys.Rotate()
	for range 30 {
		r.now = r.now.Add(12 * time.Hour)
		r.write(uint32(r.writes%50+1), fmt.Sprint("page ", r.writes)) //nolint:gosec // small
		r.ship()
		r.compact(k)
	}
	want("after a rotation", "[1 2]")
	for range 2 {
		if _, err := k.Prune(t.Context(), chain.PruneOrder{Policy: chain.Policy{Last: 1}, Verified: r.writes, Grace: chain.MinGrace}); err != nil {
			t.Fatal(err)
		}
		r.now = r.now.Add(5 * time.Hour)
	}
	want("after a prune", "[2]")
	r.verified()
}
