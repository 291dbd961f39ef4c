package audit

import (
	"flag"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/data/cryptfs/faultfs"
)

var powerCuts = flag.Int("audit.powercuts", 12, "cut the power this often")

// TestPowerCut cuts the power under a store that is written and followed, again and
// again: whatever was not synced is gone, in part, and in any order. Each
// acknowledged change is there and has exactly one leaf, and no leaf is of a change
// that the cut took back.
func TestPowerCut(t *testing.T) {
	if testing.Short() {
		t.Skip("it waits for the disk")
	}
	dir := filepath.Join(t.TempDir(), "x")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	prepare(t, dir)
	acked := int64(0)
	for i := range *powerCuts {
		acked += cutOnce(t, dir, rand.New(rand.NewPCG(uint64(i), 11))) //nolint:gosec // any moment
		checkChanges(t, dir, acked)
		if t.Failed() {
			t.Fatalf("cut %d", i+1)
		}
	}
	t.Logf("%d cuts, %d changes acknowledged", *powerCuts, acked)
}

func checkChanges(t *testing.T, dir string, acked int64) {
	t.Helper()
	h, err := openReal(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	defer h.end(t)
	r, err := h.Verify(t.Context(), acme.String())
	if err != nil || !r.OK || !r.Compared || r.Changes < acked {
		t.Errorf("%d changes were acknowledged; got %d, %v, %v", acked, r.Changes, r.Problems, err)
	}
}

// machine is a disk of one run of the system; the next run is another.
type machine struct {
	*faultfs.Disk
	boot [16]byte
}

// Boot names the run.
func (m machine) Boot() [16]byte { return m.boot }

// cutOnce writes for a while, cuts the power, puts what is left in the store's
// place and says how many changes were acknowledged.
func cutOnce(t *testing.T, dir string, r *rand.Rand) int64 {
	t.Helper()
	disk := machine{faultfs.NewVolatile(), [16]byte{byte(r.Uint32()), byte(r.Uint32()), 1}}
	h, err := openRealOn(t.Context(), dir, disk)
	if err != nil {
		t.Fatal(err)
	}
	var acked atomic.Int64
	var writers sync.WaitGroup
	for n := range 4 {
		writers.Go(func() {
			for h.change(t, 1+n) {
				acked.Add(int64(1 + n))
			}
		})
	}
	time.Sleep(time.Duration(20+r.IntN(150)) * time.Millisecond) // any moment will do
	disk.Off()
	writers.Wait()
	left := t.TempDir()
	folder := filepath.Join(dir, "stores", acme.Tenant, acme.Environment)
	if err := disk.Cut(r, folder, left); err != nil {
		t.Fatal(err)
	}
	_ = h.Close() // they complain of the dead disk
	_ = h.pool.Close()
	if err := h.vault.Close(); err != nil {
		t.Fatal(err)
	}
	replaceFiles(t, left, folder)
	return acked.Load()
}

// change is acknowledged where it is true; false: the power is off.
func (h *realHouse) change(t *testing.T, n int) bool {
	s, err := h.pool.Acquire(t.Context(), acme)
	if err != nil {
		return false
	}
	defer s.Release()
	return importSome(t.Context(), s, n) == nil
}

// replaceFiles puts the files of one folder in the place of another's databases.
func replaceFiles(t *testing.T, from, to string) {
	t.Helper()
	for _, e := range entries(t, to) {
		if strings.HasPrefix(e.Name(), "data.db") || strings.HasPrefix(e.Name(), "auxiliary.db") {
			if err := os.Remove(filepath.Join(to, e.Name())); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, e := range entries(t, from) {
		if err := os.Rename(filepath.Join(from, e.Name()), filepath.Join(to, e.Name())); err != nil {
			t.Fatal(err)
		}
	}
}

func entries(t *testing.T, dir string) []fs.DirEntry {
	t.Helper()
	all, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	return all
}
