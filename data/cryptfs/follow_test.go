package cryptfs

import "testing"

// TestFollowers: each follower is handed what changed since its own last
// snapshot, whatever the others were handed, and each names its own base.
func TestFollowers(t *testing.T) {
	fs := mount(t, t.TempDir(), newRing("a"))
	tap := openTap(t, fs, "data.db")
	c := connect(t, fs, "data.db")
	one, two, copies := tap.View("one"), tap.View("two"), map[string]*replica{"one": newReplica(), "two": newReplica()}
	take := func(v *View) int {
		t.Helper()
		got, err := copies[v.name].take(t.Context(), v)
		if err != nil {
			t.Fatal(err)
		}
		if content(t, copies[v.name].open(t)) != content(t, c) {
			t.Fatalf("the replica of %s differs", v.name)
		}
		return got.Pages
	}
	run(t, c, "CREATE TABLE t(id INTEGER PRIMARY KEY, x); INSERT INTO t(x) SELECT hex(randomblob(300)) FROM generate_series(1,500)")
	all := take(one)
	run(t, c, "UPDATE t SET x='short' WHERE id=250")
	if n := take(one); n == 0 || n > all/4 {
		t.Fatalf("an update of one row handed out %d pages", n)
	}
	if n := take(two); n < all {
		t.Fatalf("the first snapshot of the second follower has %d pages of %d", n, all)
	}
	two.Rebase("two")
	run(t, c, "UPDATE t SET x='shorter' WHERE id=1")
	one.Rebase("one")
	base := tap.Base()
	defer base.Release()
	if base.Label() != "one" {
		t.Fatalf("the base is %q", base.Label())
	}
	if a, b := take(one), take(two); a == 0 || a != b {
		t.Fatalf("%d and %d pages", a, b)
	}
	two.MarkAll()
	if one.Dirty() != 0 || two.Dirty() == 0 {
		t.Fatalf("%d and %d pages changed", one.Dirty(), two.Dirty())
	}
	run(t, c, "DELETE FROM t; VACUUM")
	take(two)
	take(one)
}
