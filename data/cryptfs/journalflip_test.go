package cryptfs

import (
	"context"
	"math/rand/v2"
	"path/filepath"
	"syscall"
	"testing"

	"holdfast/data"
	"holdfast/data/cryptfs/faultfs"
)

// TestFlippedJournal: a re-key was killed in the middle of a page. The journal
// makes the page whole; of a journal in which a bit was flipped nothing is taken,
// and the page that is torn still is named.
func TestFlippedJournal(t *testing.T) {
	keys := newRing("a")
	killed := tornRekey(t, keys)
	path := filepath.Join(killed, "data.db"+rekeySuffix)
	good, found := slurp(t, path), 0
	for range 100 {
		overwrite(t, path, flip(good, rand.IntN(len(good))))
		fs, err := damaged(t, copyTo(t, killed), keys)
		wantPageError(t, "flipped journal", fs, err, filepath.Join(fs.Dir, "data.db"), 3)
		if err != nil {
			found++
		}
	}
	t.Logf("journal of %d bytes: %d of 100", len(good), found)
	overwrite(t, path, good)
	if fs, err := damaged(t, killed, keys); err != nil || fs.Fault() != nil {
		t.Errorf("the journal was not followed: %v, %v", err, fs.Fault())
	}
}

// tornRekey is a folder with a page that is half old, half new, and the journal.
func tornRekey(t *testing.T, keys *ring) string {
	t.Helper()
	dir, d := t.TempDir(), faultfs.New()
	sample(t, dir, keys)
	keys.rotate()
	d.Follow(func(c faultfs.Call) error {
		if c.Op == faultfs.Write && c.Name == "data.db" && c.Off == 2*data.PageSize {
			return &faultfs.Torn{Bytes: 3 * sectorSize, Err: syscall.EIO}
		}
		return nil
	})
	fs := mountConfig(t, Config{Dir: dir, Identity: "acme/prod", Keys: keys, Disk: d})
	if err := fs.Rekey(context.Background(), nil); err == nil {
		t.Fatal("the disk did not fail")
	}
	return copyTo(t, dir)
}
