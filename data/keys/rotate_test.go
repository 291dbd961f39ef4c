package keys

import (
	"os"
	"path/filepath"
	"testing"

	"holdfast/data"
)

// rotating is a folder with slots and keyring in use.
type rotating struct {
	path, dir, keyFile string
	old                Root
	slots              *Slots
	ring               *Ring
	key                [32]byte
}

func newRotating(t *testing.T) (r rotating) {
	t.Helper()
	r.path, r.keyFile, r.old = newTestSlots(t, Passphrase([]byte(phrase)))
	r.dir = filepath.Dir(r.path)
	ring, err := CreateRing(r.dir, r.old)
	must(t, err)
	must(t, ring.Add(acme, Pages))
	must(t, ring.Add(System, Pages))
	_, r.key = current(t, ring.Source(acme, Pages))
	r.ring, r.slots = ring, openTestSlots(t, r.path)
	return r
}

func (r rotating) wantKey(t *testing.T, slot Slot) {
	t.Helper()
	root, err := openTestSlots(t, r.path).Unlock(slot)
	must(t, err)
	ring := reopen(t, r.dir, root)
	if _, got := current(t, ring.Source(acme, Pages)); got != r.key {
		t.Fatal("another key")
	}
	must(t, ring.Check())
	must(t, openTestSlots(t, r.path).Check(root))
}

func TestRotateRoot(t *testing.T) {
	r := newRotating(t)
	rec, code := NewRecovery()
	root, err := r.slots.RotateRoot(r.ring, KeyFile(r.keyFile), rec)
	must(t, err)
	if root.ID() == r.old.ID() {
		t.Fatal("the same root key")
	}
	must(t, r.slots.Check(root))
	must(t, r.ring.Rotate(System, Pages))
	r.wantKey(t, KeyFile(r.keyFile))
	r.wantKey(t, Recovery(code))
	_, err = openTestSlots(t, r.path).Unlock(Passphrase([]byte(phrase)))
	wantErr(t, err, ErrWrongKey)
	_, err = OpenRing(r.dir, r.old)
	wantErr(t, err, ErrWrongKey)
	if left, _ := filepath.Glob(filepath.Join(r.dir, "*"+nextSuffix)); len(left) != 0 {
		t.Errorf("%v left behind", left)
	}
}

func TestRotateRootRefusals(t *testing.T) {
	r := newRotating(t)
	_, err := r.slots.RotateRoot(r.ring)
	wantErr(t, err, ErrLastSlot)
	_, err = r.slots.RotateRoot(r.ring, Passphrase([]byte("short")))
	wantErr(t, err, ErrWeak)
	other, _, _ := newTestRing(t)
	_, err = r.slots.RotateRoot(other, KeyFile(r.keyFile))
	wantErr(t, err, data.ErrNotFound)
	r.wantKey(t, KeyFile(r.keyFile))
	r.ring.Seal()
	_, err = r.slots.RotateRoot(r.ring, KeyFile(r.keyFile))
	wantErr(t, err, data.ErrSealed)
}

// A crash before, between and after the two files of the keyring.
func TestRotateRootCrashes(t *testing.T) {
	r := newRotating(t)
	ringBefore, prevBefore := readAll(t, r.dir, RingFile), readAll(t, r.dir, PreviousFile)
	slotsBefore := readAll(t, r.dir, filepath.Base(r.path))
	_, err := r.slots.RotateRoot(r.ring, KeyFile(r.keyFile))
	must(t, err)
	ringAfter, slotsAfter := readAll(t, r.dir, RingFile), readAll(t, r.dir, filepath.Base(r.path))
	for name, files := range map[string][4][]byte{ // slots, next, keyring, previous
		"next slots written":       {slotsBefore, slotsAfter, ringBefore, prevBefore},
		"keyring written":          {slotsBefore, slotsAfter, ringAfter, prevBefore},
		"previous written":         {slotsBefore, slotsAfter, ringAfter, ringAfter},
		"slots written, next left": {slotsAfter, slotsAfter, ringAfter, ringAfter},
		"next slots torn":          {slotsBefore, slotsAfter[:100], ringBefore, prevBefore},
	} {
		t.Run(name, func(t *testing.T) {
			for i, file := range []string{r.path, r.path + nextSuffix, filepath.Join(r.dir, RingFile), filepath.Join(r.dir, PreviousFile)} {
				must(t, os.WriteFile(file, files[i], 0o600))
			}
			r.wantKey(t, KeyFile(r.keyFile))
		})
	}
}

func readAll(t *testing.T, dir, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, name))
	must(t, err)
	return b
}

// A disk that fails after the keyring was put under the new root key does not leave
// slots of one root key and a keyring of the other.
func TestRotateRootWithAPreviousThatCannotBeWritten(t *testing.T) {
	dir, ring, _ := newTestFolder(t)
	slots := openTestSlots(t, filepath.Join(dir, SlotsFile))
	previous := filepath.Join(dir, PreviousFile)
	must(t, os.Remove(previous))
	must(t, os.MkdirAll(filepath.Join(previous, "in the way"), 0o700))
	rec, code := NewRecovery()
	root, err := slots.RotateRoot(ring, rec)
	must(t, err)
	if ring.Root().ID() != root.ID() || ring.Check() == nil {
		t.Fatalf("root %s, check %v", ring.Root().ID(), ring.Check())
	}
	must(t, os.RemoveAll(previous))
	must(t, ring.Add("new/prod", Pages))
	again, err := openTestSlots(t, filepath.Join(dir, SlotsFile)).Unlock(Recovery(code))
	must(t, err)
	must(t, reopen(t, dir, again).Check())
}

// A key that is asked for while it is rotated is the one before or the one after,
// never an error: a write must not fail for it.
func TestSourceWhileRotating(t *testing.T) {
	r, _, _ := newTestRing(t)
	must(t, r.Add(acme, Pages))
	source := r.Source(acme, Pages)
	stale := r.owners[acme][0]
	must(t, r.Rotate(acme, Pages))
	_, err := r.unwrapped(stale)
	wantErr(t, err, errMoved)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 20 {
			if err := r.Rotate(acme, Pages); err != nil {
				t.Error(err)
			}
		}
	}()
	for asked, last := 0, uint32(0); ; asked++ {
		g, _, err := source.Current()
		if err != nil || g < last {
			t.Fatalf("asked %d times: generation %d after %d, %v", asked, g, last, err)
		}
		last = g
		select {
		case <-done:
			return
		default:
		}
	}
}
