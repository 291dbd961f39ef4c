package system

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/data"
	"holdfast/data/cryptfs"
)

// One bit flipped anywhere in the database file, its log or its mark: the database
// does not open, or says so when it is read through.
func TestHundredFlips(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	c, closed, crashed := twoFolders(t)
	rng := rand.New(rand.NewPCG(3, 4)) //nolint:gosec // which bit is no secret
	for _, name := range []string{Database, Database + "-wal", Database + "-mark"} {
		found, files := 0, crashed
		if name == Database { // a page that the log has newer is written over, whatever it held
			files = closed
		}
		for range 100 {
			at := rng.IntN(len(files[name]))
			if strings.HasSuffix(name, "-mark") { // between its two slots there is nothing
				at = rng.IntN(2)*data.PageSize + rng.IntN(len(files[name])-data.PageSize)
			}
			if err := flipped(t, c, files, name, at, 1<<rng.IntN(8)); err == nil {
				t.Errorf("%s, byte %d of %d: not found", name, at, len(files[name]))
			} else if !errors.Is(err, data.ErrTampered) {
				t.Errorf("%s, byte %d: %v", name, at, err)
			} else {
				found++
			}
		}
		t.Logf("%s, %d bytes: %d of 100", name, len(files[name]), found)
	}
	if err := flipped(t, c, crashed, Database, 0, 0); err != nil {
		t.Errorf("nothing was changed: %v", err)
	}
}

// twoFolders are one that was closed, and what a process that was killed leaves: rows
// in the file and in the log.
func twoFolders(t *testing.T) (c Config, closed, crashed map[string][]byte) {
	t.Helper()
	d, c := newTest(t)
	must(t, d.Migrate(bg, "test", notes))
	for i := range 20 {
		must(t, insert(d, fmt.Sprint("old", i), strings.Repeat("x", 4000)))
	}
	must(t, d.Close())
	closed = folder(t, c.Dir)
	d = openTest(t, c)
	for i := range 5 {
		must(t, insert(d, fmt.Sprint("new", i), strings.Repeat("y", 2000)))
	}
	return c, closed, folder(t, c.Dir)
}

func folder(t testing.TB, dir string) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	for _, suffix := range []string{"", "-wal", "-mark", "-seals"} {
		b, err := os.ReadFile(filepath.Join(dir, Database+suffix))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		must(t, err)
		files[Database+suffix] = b
	}
	return files
}

// flipped opens a copy in which some bits of a byte are others, and reads it through.
func flipped(t *testing.T, c Config, files map[string][]byte, name string, at int, bits byte) error {
	t.Helper()
	c.Dir = t.TempDir()
	must(t, os.Chmod(c.Dir, 0o700))
	files[name][at] ^= bits
	defer func() { files[name][at] ^= bits }()
	for name, b := range files {
		must(t, os.WriteFile(filepath.Join(c.Dir, name), b, 0o600))
	}
	d, err := Open(bg, c)
	if err != nil {
		return err
	}
	defer d.Close()
	err = d.Check(bg)
	if serr := d.Scrub(bg, func(p cryptfs.Progress) {
		if p.Finding != nil {
			err = fmt.Errorf("%s: %w", p.Finding.Reason, data.ErrTampered)
		}
	}); err == nil {
		err = serr
	}
	return err
}
