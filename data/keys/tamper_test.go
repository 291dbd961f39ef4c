package keys

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/data"
)

// Every single byte of the keyring counts.
func TestFlippedByteInRing(t *testing.T) {
	r, dir, root := newTestRing(t)
	must(t, r.Add(acme, Pages, Files))
	must(t, r.Destroy(acme))
	must(t, r.Add(System, Vault))
	path := filepath.Join(dir, RingFile)
	b, err := os.ReadFile(path)
	must(t, err)
	for i := range b {
		b[i] ^= 1 << (i % 8)
		_, err := parseRing(root, b)
		wantErr(t, err, data.ErrTampered)
		b[i] ^= 1 << (i % 8)
	}
	for _, changed := range [][]byte{b[:len(b)-1], append(bytes.Clone(b), 0), {}} {
		must(t, os.WriteFile(path, changed, 0o600))
		_, err = OpenRing(dir, root)
		wantErr(t, err, data.ErrTampered)
		if !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), PreviousFile) {
			t.Errorf("names neither the file nor the way out: %v", err)
		}
	}
}

// Who mends the sum after a change is still found: by the tags inside.
func TestChangedRingWithRightSum(t *testing.T) {
	r, dir, root := newTestRing(t)
	must(t, r.Add(acme, Pages))
	b, err := os.ReadFile(filepath.Join(dir, RingFile))
	must(t, err)
	for i := 10; i < len(b)-sumSize; i++ {
		changed := bytes.Clone(b)
		changed[i] ^= 0x40
		_, err := parseRing(root, addSum(changed[:len(b)-sumSize]))
		if !errors.Is(err, data.ErrTampered) && (i < 16 || i >= 32 || !errors.Is(err, ErrWrongKey)) {
			t.Fatalf("byte %d: %v", i, err)
		}
	}
}

// A wrap moved to another entry, or to another state, does not open there.
func TestWrapIsBound(t *testing.T) {
	r, _, root := newTestRing(t)
	must(t, r.Add(acme, Pages))
	k := r.owners[acme][0]
	for _, change := range []func(*record){
		func(k *record) { k.owner = "x" + k.owner },
		func(k *record) { k.purpose = Files },
		func(k *record) { k.generation++ },
		func(k *record) { k.state = Parked },
		func(k *record) { k.owner, k.purpose = k.owner+"p", "ages" },
	} {
		moved := k
		change(&moved)
		_, err := unwrap(root, moved)
		wantErr(t, err, data.ErrTampered)
	}
}

func TestAnotherRootIsToldApart(t *testing.T) {
	_, dir, _ := newTestRing(t)
	_, err := OpenRing(dir, newTestRoot())
	wantErr(t, err, ErrWrongKey)
	if errors.Is(err, data.ErrTampered) {
		t.Errorf("a wrong root key passes for damage: %v", err)
	}
	_, err = OpenRing(dir, Root{})
	wantErr(t, err, data.ErrSealed)
}

func TestMissingRing(t *testing.T) {
	r, dir, root := newTestRing(t)
	_, err := CreateRing(dir, root)
	wantErr(t, err, data.ErrExists)
	must(t, r.Add(acme, Pages))
	must(t, os.Remove(filepath.Join(dir, RingFile)))
	_, err = OpenRing(dir, root)
	wantErr(t, err, data.ErrNotFound)
	if !strings.Contains(err.Error(), PreviousFile) {
		t.Errorf("no word on what to restore: %v", err)
	}
	_, err = CreateRing(dir, root)
	wantErr(t, err, data.ErrExists) // a previous one is there: never start anew over it
	must(t, os.Remove(filepath.Join(dir, PreviousFile)))
	_, err = OpenRing(dir, root)
	if !errors.Is(err, data.ErrNotFound) || !strings.Contains(err.Error(), "off-host") {
		t.Errorf("no word on what to restore: %v", err)
	}
}

func TestRecoverRing(t *testing.T) {
	r, dir, root := newTestRing(t)
	must(t, r.Add(acme, Pages))
	must(t, r.Add(System, Vault))
	_, key := current(t, r.Source(acme, Pages))
	_, err := RecoverRing(dir, root)
	wantErr(t, err, data.ErrExists)
	path := filepath.Join(dir, RingFile)
	must(t, os.WriteFile(path, []byte("damaged"), 0o600))
	wantErr(t, r.Add(System, Pages), data.ErrTampered)
	wantErr(t, r.Check(), data.ErrTampered)
	r, err = RecoverRing(dir, root)
	must(t, err)
	if _, got := current(t, r.Source(acme, Pages)); got != key {
		t.Fatal("another key")
	}
	must(t, r.Check())
	if b, err := os.ReadFile(path + ".damaged"); err != nil || string(b) != "damaged" {
		t.Errorf("the damaged file was not kept: %v", err)
	}
	must(t, r.Add("new/prod", Pages))
}

// Every single byte of the slots counts, and takes at most its own slot with it.
func TestFlippedByteInSlots(t *testing.T) {
	rec, code := NewRecovery()
	path, key, root := newTestSlots(t, rec)
	b, err := os.ReadFile(path)
	must(t, err)
	for i := range b {
		changed := bytes.Clone(b)
		changed[i] ^= 1 << (i % 8)
		s := &Slots{path: path}
		must(t, s.parse(changed))
		wantErr(t, s.Check(root), data.ErrTampered)
		if i%97 != 0 {
			continue
		}
		other := Slot(KeyFile(key))
		if i < cellSize {
			other = Recovery(code)
		}
		if _, err := s.Unlock(other); err != nil {
			t.Fatalf("byte %d took the other slot along: %v", i, err)
		}
	}
}

func TestDamagedSlot(t *testing.T) {
	rec, code := NewRecovery()
	path, key, root := newTestSlots(t, rec)
	b, err := os.ReadFile(path)
	must(t, err)
	b[1000] ^= 1
	must(t, os.WriteFile(path, b, 0o600))
	s := openTestSlots(t, path)
	_, err = s.Unlock(KeyFile(key))
	wantErr(t, err, data.ErrTampered)
	if !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "slot 1") {
		t.Errorf("names neither file nor slot: %v", err)
	}
	_, err = s.Unlock(Recovery(code))
	must(t, err)
	list := s.List()
	if !list[0].Damaged || list[1].Damaged || len(list) != 2 {
		t.Fatalf("slots %+v", list)
	}
	wantErr(t, s.Remove(root, list[1].ID), ErrLastSlot) // the damaged one does not count
	must(t, s.Remove(root, list[0].ID))
	added(t)(s.Add(root, KeyFile(key)))
	s = openTestSlots(t, path)
	_, err = s.Unlock(KeyFile(key))
	must(t, err)
	must(t, s.Check(root))
}

func TestSlotsCutOff(t *testing.T) {
	rec, code := NewRecovery()
	path, _, root := newTestSlots(t, rec)
	b, err := os.ReadFile(path)
	must(t, err)
	for _, n := range []int{2 * cellSize, 2*cellSize + 5, 3*cellSize - 1} { // the seal is gone, slots are whole
		s := &Slots{path: path}
		must(t, s.parse(b[:n]))
		wantErr(t, s.Check(root), data.ErrTampered)
		_, err := s.Unlock(Recovery(code))
		must(t, err)
	}
	for _, n := range []int{0, 100} {
		wantErr(t, (&Slots{}).parse(b[:n]), data.ErrTampered)
	}
	removed := append(bytes.Clone(b[:cellSize]), b[2*cellSize:]...)
	s := &Slots{}
	must(t, s.parse(removed))
	wantErr(t, s.Check(root), data.ErrTampered)
}

// A slot that says its passphrase costs a terabyte is damage, not work.
func TestAbsurdCostIsRefused(t *testing.T) {
	for _, k := range []cost{{}, {1, 1 << 30, 1}, {1 << 20, 64, 1}, {1, 64 << 10, 255}, {1, 1, 1}} {
		_, err := Passphrase([]byte(phrase)).secret(cell{kind: KindPassphrase, cost: k})
		wantErr(t, err, data.ErrTampered)
	}
}

func TestTwoRingsOnOneFile(t *testing.T) {
	r, dir, root := newTestRing(t)
	other := reopen(t, dir, root)
	must(t, r.Add(acme, Pages))
	wantErr(t, other.Add("other/prod", Pages), data.ErrBusy)
	if states := statesOf(other, acme); !strings.HasPrefix(states, "pages1:live") {
		t.Errorf("the refused ring did not take up what is on disk: %q", states)
	}
	must(t, other.Add("other/prod", Pages))
}

func TestExposedFiles(t *testing.T) {
	r, dir, root := newTestRing(t)
	must(t, r.Add(acme, Pages))
	path := filepath.Join(dir, RingFile)
	for _, name := range []string{path, filepath.Join(dir, PreviousFile)} {
		if info, err := os.Stat(name); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: mode %v, %v", name, info.Mode(), err)
		}
	}
	must(t, os.Chmod(path, 0o644))
	_, err := OpenRing(dir, root)
	wantErr(t, err, ErrExposed)
	must(t, os.Chmod(path, 0o600))
	must(t, os.Chmod(dir, 0o750))
	_, err = OpenRing(dir, root)
	if !errors.Is(err, ErrExposed) || !strings.Contains(err.Error(), "chmod 700 "+dir) {
		t.Fatalf("error %v", err)
	}
}
