package keys

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"holdfast/data"
)

const acme Owner = "k2j4h5g6f7d8s9a/prod"

func newTestRoot() Root {
	key := random32()
	return Root{&key}
}

func newTestRing(t *testing.T) (*Ring, string, Root) {
	t.Helper()
	dir, root := filepath.Join(t.TempDir(), "keys"), newTestRoot()
	r, err := CreateRing(dir, root)
	if err != nil {
		t.Fatal(err)
	}
	return r, dir, root
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantErr(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("got error %v, want %v", err, want)
	}
}

func current(t *testing.T, s data.KeySource) (uint32, [32]byte) {
	t.Helper()
	g, key, err := s.Current()
	must(t, err)
	if key == [32]byte{} {
		t.Fatal("the key is all zeros")
	}
	return g, key
}

func reopen(t *testing.T, dir string, root Root) *Ring {
	t.Helper()
	r, err := OpenRing(dir, root)
	must(t, err)
	return r
}

func TestKeysSurviveReopen(t *testing.T) {
	r, dir, root := newTestRing(t)
	must(t, r.Add(acme, Pages, Files))
	must(t, r.Add(System, Pages))
	_, pages := current(t, r.Source(acme, Pages))
	_, files := current(t, r.Source(acme, Files))
	_, system := current(t, r.Source(System, Pages))
	if pages == files || pages == system {
		t.Fatal("two purposes or owners share a key")
	}
	again := reopen(t, dir, root)
	if _, key := current(t, again.Source(acme, Pages)); key != pages {
		t.Fatal("another key after reopening")
	}
	_, _, err := again.Source(acme, Segments).Current()
	wantErr(t, err, data.ErrNotFound)
	wantErr(t, again.Add(acme, Segments, Pages), data.ErrExists)
	if _, _, err := again.Source(acme, Segments).Current(); err == nil {
		t.Fatal("a refused Add left a key")
	}
}

func TestRotate(t *testing.T) {
	r, dir, root := newTestRing(t)
	must(t, r.Add(acme, Pages, Files))
	_, first := current(t, r.Source(acme, Pages))
	must(t, r.Rotate(acme, Pages))
	wantErr(t, r.Rotate(acme, Vault), data.ErrNotFound)
	r = reopen(t, dir, root)
	g, second := current(t, r.Source(acme, Pages))
	if g != 2 || second == first {
		t.Fatalf("generation %d after one rotation", g)
	}
	old, err := r.Source(acme, Pages).Generation(1)
	must(t, err)
	if old != first {
		t.Fatal("the retired generation changed")
	}
	_, err = r.Source(acme, Pages).Generation(3)
	wantErr(t, err, data.ErrNotFound)
	wantErr(t, r.Drop(acme, Pages, 2), ErrInUse)
	must(t, r.Drop(acme, Pages, 1))
	_, err = r.Source(acme, Pages).Generation(1)
	wantErr(t, err, data.ErrDestroyed)
}

func TestParkUnparkDestroy(t *testing.T) {
	r, dir, root := newTestRing(t)
	must(t, r.Add(acme, Pages, Files))
	must(t, r.Rotate(acme, Pages))
	_, key := current(t, r.Source(acme, Pages))
	must(t, r.Park(acme))
	must(t, r.Park(acme))
	r = reopen(t, dir, root)
	_, _, err := r.Source(acme, Pages).Current()
	wantErr(t, err, data.ErrParked)
	_, err = r.Source(acme, Pages).Generation(1)
	wantErr(t, err, data.ErrParked)
	if _, archived := current(t, r.Archive(acme, Pages)); archived != key {
		t.Fatal("the archive gives another key")
	}
	wantErr(t, r.Add(acme, Segments), data.ErrParked)
	must(t, r.Unpark(acme))
	if states := statesOf(r, acme); states != "files1:live pages1:retired pages2:live " {
		t.Fatalf("after unpark: %s", states)
	}
	must(t, r.Park(acme))
	must(t, r.Destroy(acme))
	must(t, r.Destroy(acme))
	for _, s := range []data.KeySource{r.Source(acme, Pages), r.Archive(acme, Pages), reopen(t, dir, root).Archive(acme, Files)} {
		_, _, err = s.Current()
		wantErr(t, err, data.ErrDestroyed)
	}
	wantErr(t, r.Unpark(acme), data.ErrDestroyed)
	wantErr(t, r.Add(acme, Segments), data.ErrDestroyed)
	wantErr(t, r.Destroy("nobody/prod"), data.ErrNotFound)
	wantErr(t, r.Destroy(System), ErrInUse)
}

func statesOf(r *Ring, owner Owner) (s string) {
	for _, e := range r.Entries() {
		if e.Owner == owner {
			s += string(e.Purpose) + string('0'+rune(e.Generation)) + ":" + string(e.State) + " "
		}
	}
	return s
}

func TestDestroyLeavesFingerprintAndNoWrap(t *testing.T) {
	r, dir, root := newTestRing(t)
	must(t, r.Add(acme, Pages))
	must(t, r.Add("other/prod", Pages))
	before := r.Entries()[0]
	must(t, r.Destroy(acme))
	after := r.Entries()[0]
	if after.State != Destroyed || after.Fingerprint != before.Fingerprint || len(after.Fingerprint) != 32 {
		t.Fatalf("tombstone %+v of %+v", after, before)
	}
	for _, name := range []string{RingFile, PreviousFile} {
		c, err := readRing(filepath.Join(dir, name), root)
		must(t, err)
		for _, k := range c.records {
			if k.owner == acme && k.wrap != nil {
				t.Fatalf("%s still holds the destroyed key", name)
			}
		}
	}
}

// A crash between the two files of a Destroy leaves the key in the previous
// generation; opening finishes the work.
func TestOpenFinishesDestroy(t *testing.T) {
	r, dir, root := newTestRing(t)
	must(t, r.Add(acme, Pages))
	must(t, r.Add(acme, Files))
	prev := filepath.Join(dir, PreviousFile)
	old, err := os.ReadFile(prev)
	must(t, err)
	must(t, r.Destroy(acme))
	must(t, os.WriteFile(prev, old, 0o600))
	reopen(t, dir, root)
	c, err := readRing(prev, root)
	must(t, err)
	if len(c.records) != 2 || c.records[0].wrap != nil || c.records[1].wrap != nil {
		t.Fatalf("the previous generation still holds keys: %d records", len(c.records))
	}
}
