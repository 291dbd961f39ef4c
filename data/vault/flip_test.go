package vault

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dgraph-io/badger/v4"

	"holdfast/data"
)

// One bit flipped anywhere in the closed folder: the vault does not open.
func TestFlippedBitIsFound(t *testing.T) {
	dir, keys, want := closedVault(t)
	files, names := filesOf(t, dir)
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range 100 {
		name := names[i%len(names)]
		at, bit := rng.IntN(len(files[name])), rng.IntN(8)
		copied := copyWithFlip(t, files, name, at, bit)
		if wrong, refused := flipped(copied, keys, want); wrong != "" || !refused {
			t.Errorf("bit %d in byte %d of %s of %d bytes: %s", bit, at, name, len(files[name]), cmp.Or(wrong, "not found"))
		}
	}
	t.Logf("100 flips in %v", names)
}

// A process that was killed leaves no sums. Then a flipped bit is refused, or
// has no effect: never is anything served but what was written, or nothing in its place.
func TestFlippedBitAfterAKill(t *testing.T) {
	dir, keys, want := closedVault(t)
	must(t, os.Remove(filepath.Join(dir, sumsFile)))
	files, names := filesOf(t, dir)
	found, rng := 0, rand.New(rand.NewPCG(1, 2))
	for i := range 60 {
		name := names[i%len(names)]
		at := rng.IntN(len(files[name]))
		if wrong, refused := flipped(copyWithFlip(t, files, name, at, rng.IntN(8)), keys, want); wrong != "" {
			t.Errorf("bit in byte %d of %s: %s", at, name, wrong)
		} else if refused {
			found++
		}
	}
	t.Logf("%d of 60 refused, the rest without effect; files %v", found, names)
}

// A file that is not there any more, and one whose end was cut.
func TestSumsTellOfMissingFiles(t *testing.T) {
	dir, keys, want := closedVault(t)
	files, names := filesOf(t, dir)
	for _, name := range names {
		if name == sumsFile {
			continue
		}
		copied := copyWithFlip(t, files, name, 0, 0)
		must(t, os.Remove(filepath.Join(copied, name)))
		if _, refused := flipped(copied, keys, want); !refused {
			t.Errorf("opened without %s", name)
		}
	}
}

// closedVault holds small values, a large one, and what was there before it was changed.
func closedVault(t *testing.T) (dir string, keys data.KeySource, want map[string]string) {
	t.Helper()
	v, dir, keys := newTest(t)
	want = map[string]string{"big": strings.Repeat("b", 200<<10)}
	for i := range 200 {
		want[fmt.Sprintf("key/%03d", i)] = strings.Repeat(fmt.Sprint(i), 200)
	}
	for k, value := range want {
		set(t, v, k, "before "+value)
		set(t, v, k, value)
	}
	must(t, v.Close())
	return dir, keys, want
}

func filesOf(t *testing.T, dir string) (files map[string][]byte, names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	must(t, err)
	files = map[string][]byte{}
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		must(t, err)
		if files[e.Name()] = b; len(b) > 0 {
			names = append(names, e.Name())
		}
	}
	return files, names
}

func copyWithFlip(t *testing.T, files map[string][]byte, name string, at, bit int) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "vault")
	must(t, os.Mkdir(dir, 0o700))
	for n, b := range files {
		if n == name {
			b = bytes.Clone(b)
			b[at] ^= 1 << bit
		}
		must(t, os.WriteFile(filepath.Join(dir, n), b, 0o600))
	}
	return dir
}

func TestFlippedBitInManifest(t *testing.T) {
	v, dir, _ := newTest(t)
	for i := range 3 { // three flushes, each a record
		set(t, v, fmt.Sprint(i), "x")
		must(t, v.Close())
		v = openTest(t, dir, v.sealer.keys)
	}
	must(t, v.Close())
	b, err := os.ReadFile(filepath.Join(dir, badger.ManifestFilename))
	must(t, err)
	must(t, checkRecords(b[manifestHead:]))
	for i := manifestHead * 8; i < len(b)*8; i++ {
		b[i/8] ^= 1 << (i % 8)
		wantErr(t, checkRecords(b[manifestHead:]), data.ErrTampered)
		b[i/8] ^= 1 << (i % 8)
	}
	last := 0
	for at := manifestHead; at < len(b); {
		n, _ := record(b[at:])
		last, at = at, at+8+n
	}
	for cut := last + 1; cut < len(b); cut++ { // a torn last write is no damage
		must(t, checkRecords(b[manifestHead:cut]))
	}
}

func TestMissingFilesAreRefused(t *testing.T) {
	for _, name := range []string{badger.ManifestFilename, badger.KeyRegistryFileName, "000001.sst"} {
		v, dir, keys := newTest(t)
		set(t, v, "a", "x")
		must(t, v.Close())
		must(t, os.Remove(filepath.Join(dir, name)))
		if _, err := Open(dir, keys); err == nil {
			t.Errorf("opened without %s", name)
		}
		if left, _ := filepath.Glob(filepath.Join(dir, "*.vlog")); len(left) == 0 {
			t.Errorf("without %s the data was deleted", name)
		}
	}
}

// flipped says what is wrong with the answers, or whether there was a refusal.
func flipped(dir string, keys data.KeySource, want map[string]string) (wrong string, refused bool) {
	v, err := Open(dir, keys)
	if err != nil {
		return "", true
	}
	defer v.Close()
	for k, value := range want {
		got, err := get(v, k)
		switch {
		case errors.Is(err, data.ErrNotFound):
			return k + " vanished unsaid", false
		case err != nil:
			refused = true
		case got != value:
			return k + " is another value", false
		}
	}
	return "", refused
}
