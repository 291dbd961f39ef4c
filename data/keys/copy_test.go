package keys

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"holdfast/data"
)

const goldenCopy = "testdata/v1.copy"

// newTestFolder is a keys folder as a server has it, with a recovery key.
func newTestFolder(t *testing.T) (dir string, ring *Ring, code string) {
	t.Helper()
	rec, code := NewRecovery()
	path, _, root := newTestSlots(t, rec)
	dir = filepath.Dir(path)
	ring, err := CreateRing(dir, root)
	must(t, err)
	must(t, ring.Add(acme, Pages))
	return dir, ring, code
}

func TestCopyBringsABareFolderBack(t *testing.T) {
	dir, ring, code := newTestFolder(t)
	_, key := current(t, ring.Source(acme, Pages))
	made := time.Date(2026, 11, 22, 6, 0, 0, 123456789, time.UTC)
	c, err := ReadCopy(dir, made)
	must(t, err)
	if c.Serial != ring.Serial() || c.RootID != ring.Root().ID() || c.Made != made.Truncate(time.Millisecond) || len(c.Slots()) != 2 {
		t.Errorf("copy %+v of serial %d", c, ring.Serial())
	}
	c, err = ParseCopy(c.Format())
	must(t, err)
	bare := filepath.Join(t.TempDir(), "keys")
	_, other := NewRecovery()
	_, err = c.Restore(bare, Recovery(other))
	wantErr(t, err, ErrWrongKey)
	back, err := c.Restore(bare, Recovery(code))
	must(t, err)
	if _, got := current(t, back.Source(acme, Pages)); got != key {
		t.Fatal("another key")
	}
	must(t, back.Add("new/prod", Pages))
	_, err = c.Restore(bare, Recovery(code))
	wantErr(t, err, data.ErrExists)
	openTestSlots(t, filepath.Join(bare, SlotsFile))
}

// Slots that were removed since the copy do not come back while the folder's own
// slots are whole.
func TestCopyKeepsNewerSlots(t *testing.T) {
	dir, ring, code := newTestFolder(t)
	c, err := ReadCopy(dir, time.Now())
	must(t, err)
	s := openTestSlots(t, filepath.Join(dir, SlotsFile))
	must(t, s.Remove(ring.Root(), s.List()[0].ID))
	must(t, os.WriteFile(filepath.Join(dir, RingFile), []byte("damaged"), 0o600))
	_, err = c.Restore(dir, Recovery(code))
	must(t, err)
	if n := len(openTestSlots(t, filepath.Join(dir, SlotsFile)).List()); n != 1 {
		t.Errorf("%d slots", n)
	}
	if b, err := os.ReadFile(filepath.Join(dir, RingFile+".replaced")); err != nil || string(b) != "damaged" {
		t.Errorf("what was replaced is not kept: %v", err)
	}
}

func TestCopyOfDamageIsRefused(t *testing.T) {
	dir, _, _ := newTestFolder(t)
	must(t, os.WriteFile(filepath.Join(dir, RingFile), []byte("damaged"), 0o600))
	_, err := ReadCopy(dir, time.Now())
	wantErr(t, err, data.ErrTampered)
	other, _, _ := newTestFolder(t)
	b, err := os.ReadFile(filepath.Join(other, RingFile))
	must(t, err)
	must(t, os.WriteFile(filepath.Join(dir, RingFile), b, 0o600))
	_, err = ReadCopy(dir, time.Now())
	wantErr(t, err, data.ErrTampered)
}

func TestFlippedByteInCopy(t *testing.T) {
	b := readGolden(t, goldenCopy)
	for i := range b {
		if i > 2*copyHeader && i%31 != 0 {
			continue // the same sum covers them all
		}
		b[i] ^= 1 << (i % 8)
		_, err := ParseCopy(b)
		wantErr(t, err, data.ErrTampered)
		b[i] ^= 1 << (i % 8)
	}
	_, err := ParseCopy(newer(b))
	wantErr(t, err, data.ErrNewer)
}

func TestGoldenCopy(t *testing.T) {
	want, err := newCopy(time.Date(2026, 11, 22, 6, 0, 0, 0, time.UTC), readGolden(t, goldenKinds), readGolden(t, goldenRing))
	must(t, err)
	if *update {
		must(t, os.WriteFile(goldenCopy, want.Format(), 0o600))
	}
	b := readGolden(t, goldenCopy)
	if !bytes.Equal(b, want.Format()) {
		t.Error("written otherwise than the golden file")
	}
	c, err := ParseCopy(b)
	must(t, err)
	ring, err := c.Restore(filepath.Join(t.TempDir(), "keys"), Shares(goldenSecrets(t)[4:7]...))
	must(t, err)
	if len(ring.Entries()) != 6 || c.Serial != ring.Serial() {
		t.Errorf("%d entries, serial %d", len(ring.Entries()), ring.Serial())
	}
}

func FuzzCopy(f *testing.F) {
	golden := readGolden(f, goldenCopy)
	f.Add(golden[:len(golden)-sumSize])
	f.Fuzz(func(t *testing.T, b []byte) {
		whole := addSum(bytes.Clone(b))
		c, err := ParseCopy(whole)
		if err == nil && !bytes.Equal(c.Format(), whole) {
			t.Fatal("written otherwise than read")
		}
		if err != nil && !refused(err) {
			t.Fatal(err)
		}
	})
}

func TestOnChange(t *testing.T) {
	_, ring, _ := newTestFolder(t)
	calls := 0
	ring.OnChange(func() { calls++ })
	before := ring.Serial()
	must(t, ring.Add("one/prod", Pages))
	must(t, ring.Park("one/prod"))
	must(t, ring.Park("one/prod")) // nothing to change
	must(t, ring.Destroy("one/prod"))
	if calls != 3 || ring.Serial() != before+3 {
		t.Errorf("%d calls, serial %d after %d", calls, ring.Serial(), before)
	}
}
