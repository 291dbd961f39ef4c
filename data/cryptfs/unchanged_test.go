package cryptfs

import (
	"crypto/sha256"
	"path/filepath"
	"testing"
)

// shipTo ships to a follower as chains do: what is as it was is left out, what is
// not although it did not change is found.
func (s shipped) shipTo(t testing.TB, v *View, label, next string) (found []uint32, changed int) {
	t.Helper()
	unchanged := v.Unchanged(label)
	_, err := v.Snapshot(t.Context(), func(pgno uint32, page []byte) error {
		sum := sha256.Sum256(page)
		switch {
		case s[pgno] == sum:
		case unchanged != nil && unchanged(pgno):
			found = append(found, pgno)
		default:
			s[pgno] = sum
			changed++
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	v.Rebase(next)
	return found, changed
}

// TestPutBackWhileClosed: after a clean close each follower knows which pages are as
// they were when it shipped last. One that is not was put back.
func TestPutBackWhileClosed(t *testing.T) {
	dir, keys := t.TempDir(), newRing("a")
	fs := mount(t, dir, keys)
	tap := openTap(t, fs, "data.db")
	c := filled(t, fs, "data.db")
	run(t, c, "PRAGMA wal_checkpoint(TRUNCATE)")
	path := filepath.Join(fs.Dir, "data.db")
	old := slurp(t, path)
	run(t, c, "UPDATE t SET x=x||'.'")
	one, two := shipped{}, shipped{}
	one.shipTo(t, tap.View("one"), "", "one/1")
	run(t, c, "UPDATE t SET x='changed' WHERE id=3")
	two.shipTo(t, tap.View("two"), "", "two/1")
	run(t, c, "UPDATE t SET x='changed' WHERE id=900")
	c.Close()
	for round := range 2 { // the second time, nothing was shipped meanwhile
		tap.Close()
		if round == 1 {
			putPage(t, path, 40, old)
		}
		tap = openTap(t, fs, "data.db")
	}
	if base := tap.Base(); base == nil || base.Label() != "two/1" {
		t.Fatalf("the newest base is %+v", base)
	}
	if tap.View("one").Unchanged("one/2") != nil || tap.View("three").Unchanged("one/1") != nil {
		t.Fatal("a base of another snapshot")
	}
	for name, s := range map[string]shipped{"one": one, "two": two} {
		found, changed := s.shipTo(t, tap.View(name), name+"/1", name+"/2")
		if len(found) != 1 || found[0] != 40 || changed == 0 || changed > 10 {
			t.Errorf("%s: found %v, %d changed", name, found, changed)
		}
	}
}

// TestUncleanStopShipsAll: after a kill nobody knows what changed, so all that is not
// what was shipped counts as changed.
func TestUncleanStopShipsAll(t *testing.T) {
	dir, keys := t.TempDir(), newRing("a")
	fs := mount(t, dir, keys)
	tap := openTap(t, fs, "data.db")
	c := filled(t, fs, "data.db")
	sums := shipped{}
	sums.shipTo(t, tap.View("one"), "", "one/1")
	c.Close()
	tap.Close() // there is a base
	tap = openTap(t, fs, "data.db")
	c = connect(t, fs, "data.db")
	run(t, c, "UPDATE t SET x='changed' WHERE id%%50=3")
	want := tap.Dirty()
	again := openTap(t, mount(t, copyAll(t, dir), keys), "data.db")
	if again.View("one").Unchanged("one/1") != nil {
		t.Fatal("a base after a kill")
	}
	found, changed := sums.shipTo(t, again.View("one"), "one/1", "one/2")
	if len(found) != 0 || changed == 0 || changed > want {
		t.Fatalf("found %v, %d changed of %d", found, changed, want)
	}
}
