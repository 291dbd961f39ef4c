package keys

import (
	"fmt"
	"testing"

	"holdfast/data"
)

// Many owners get their keys with one write, which lasts; all of them or none.
func TestAddMany(t *testing.T) {
	ring, dir, root := newTestRing(t)
	must(t, ring.Add("old/prod", Pages))
	serial := ring.Serial()
	var owners []Owner
	for i := range 300 {
		owners = append(owners, Owner(fmt.Sprintf("t%d/prod", i)))
	}
	must(t, ring.AddMany(owners, Segments, Pages))
	if ring.Serial() != serial+1 {
		t.Error("serial", serial, "became", ring.Serial())
	}
	again := reopen(t, dir, root)
	seen := map[[32]byte]bool{}
	for _, o := range owners {
		for _, p := range []Purpose{Pages, Segments} {
			_, key := current(t, ring.Source(o, p))
			if _, same := current(t, again.Source(o, p)); same != key || seen[key] {
				t.Fatal(o, p, "has another key, or one twice")
			}
			seen[key] = true
		}
	}
	must(t, again.Rotate(owners[7], Pages))
	must(t, again.Destroy(owners[8]))
	wantErr(t, again.AddMany([]Owner{"new/prod", owners[8]}, Pages), data.ErrExists)
	wantErr(t, again.AddMany([]Owner{"new/prod", "old/prod"}, Pages), data.ErrExists)
	if _, err := again.State("new/prod"); err == nil {
		t.Error("one of them got keys")
	}
	if err := again.AddMany([]Owner{"a b"}, Pages); err == nil {
		t.Error("a name that is none")
	}
	again.Seal()
	wantErr(t, again.AddMany([]Owner{"x/prod"}, Pages), data.ErrSealed)
}
