package cryptfs

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ncruces/go-sqlite3"

	"holdfast/data"
)

// sample makes a closed database of some pages, overflow pages among them, and
// gives its path.
func sample(t testing.TB, dir string, keys data.KeySource) string {
	t.Helper()
	fs := mount(t, dir, keys)
	c := connect(t, fs, "data.db")
	run(t, c, "CREATE TABLE t(id INTEGER PRIMARY KEY, x); CREATE INDEX i ON t(x)")
	run(t, c, "INSERT INTO t(x) SELECT hex(randomblob(200)) FROM generate_series(1,300)")
	run(t, c, "INSERT INTO t(x) VALUES(hex(randomblob(50000)))")
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "data.db")
}

const everything = "SELECT sum(length(x)) FROM (SELECT x FROM t NOT INDEXED UNION ALL SELECT x FROM t INDEXED BY i ORDER BY x)"

// damaged opens a database and reads all of it, and gives what went wrong.
func damaged(t testing.TB, dir string, keys data.KeySource) (*FS, error) {
	t.Helper()
	fs := mount(t, dir, keys)
	c, err := fs.connect(context.Background(), "data.db")
	if err != nil {
		return fs, err
	}
	defer c.Close()
	_, err = ask(c, everything)
	return fs, err
}

func wantPageError(t testing.TB, what string, fs *FS, err error, file string, page uint32) {
	t.Helper()
	var pe *PageError
	if !errors.Is(err, sqlite3.IOERR_DATA) {
		t.Errorf("%s: error %v", what, err)
		return
	}
	if !errors.As(fs.Fault(), &pe) || !errors.Is(fs.Fault(), data.ErrTampered) {
		t.Errorf("%s: fault %v", what, fs.Fault())
		return
	}
	if n, last := fs.Failures(); n == 0 || !errors.Is(last, data.ErrTampered) {
		t.Errorf("%s: %d failures, the last %v", what, n, last)
	}
	if pe.File != file || (page != 0 && pe.Page != page) {
		t.Errorf("%s: names %s, page %d; want %s, page %d", what, pe.File, pe.Page, file, page)
	}
}

func overwrite(t testing.TB, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

func slurp(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestFlippedByte(t *testing.T) {
	dir, keys := t.TempDir(), newRing("a")
	path := sample(t, dir, keys)
	good := slurp(t, path)
	if fs, err := damaged(t, dir, keys); err != nil || fs.Fault() != nil {
		t.Fatal(err, fs.Fault())
	}
	for i := range 60 {
		at := rand.IntN(len(good))
		if i < Reserved { // each byte of a reserved tail
			at = 5*data.PageSize - 1 - i
		}
		overwrite(t, path, flip(good, at))
		fs, err := damaged(t, dir, keys)
		wantPageError(t, fmt.Sprintf("byte %d", at), fs, err, path, uint32(at/data.PageSize)+1)
	}
}

func TestSwappedPages(t *testing.T) {
	dir, keys := t.TempDir(), newRing("a")
	path := sample(t, dir, keys)
	good := slurp(t, path)
	page := func(n int) []byte { return good[(n-1)*data.PageSize : n*data.PageSize] }
	bad := slices.Clone(good)
	copy(bad[2*data.PageSize:], page(4))
	copy(bad[3*data.PageSize:], page(3))
	overwrite(t, path, bad)
	fs, err := damaged(t, dir, keys)
	wantPageError(t, "pages 3 and 4", fs, err, path, 0)
	if text := fs.Fault().Error(); !strings.Contains(text, "data.db: page ") {
		t.Errorf("the error names no page: %s", text)
	}
}

func TestPageOfAnotherDatabase(t *testing.T) {
	dir, keys := t.TempDir(), newRing("a")
	path := sample(t, dir, keys)
	elsewhere := sample(t, t.TempDir(), newRing("b"))
	bad := slurp(t, path)
	copy(bad[4*data.PageSize:5*data.PageSize], slurp(t, elsewhere)[4*data.PageSize:])
	overwrite(t, path, bad)
	fs, err := damaged(t, dir, keys)
	wantPageError(t, "another key's page", fs, err, path, 5)

	if err := os.Rename(path, filepath.Join(dir, "auxiliary.db")); err != nil {
		t.Fatal(err)
	}
	fs = mount(t, dir, keys)
	_, err = fs.connect(context.Background(), "auxiliary.db")
	wantPageError(t, "another name", fs, err, filepath.Join(dir, "auxiliary.db"), 1)
}

func TestWrongKey(t *testing.T) {
	dir := t.TempDir()
	path := sample(t, dir, newRing("a"))
	fs, err := damaged(t, dir, newRing("b"))
	wantPageError(t, "another key", fs, err, path, 1)
	fs = mountConfig(t, Config{Dir: dir, Identity: "acme/test", Keys: newRing("a")})
	_, err = fs.connect(context.Background(), "data.db")
	wantPageError(t, "another identity", fs, err, path, 1)
}

// TestWrongKeyWithLog: where there is a log, page 1 may be torn, but a wrong key
// is still no key.
func TestWrongKeyWithLog(t *testing.T) {
	dir := t.TempDir()
	logged(t, dir, newRing("a"))
	copied := copyTo(t, dir)
	fs, err := damaged(t, copied, newRing("b"))
	wantPageError(t, "another key", fs, err, filepath.Join(copied, "data.db-wal"), 0)
}

func TestDestroyedKey(t *testing.T) {
	dir, keys := t.TempDir(), newRing("a")
	sample(t, dir, keys)
	for _, gone := range []error{data.ErrDestroyed, data.ErrParked, data.ErrSealed} {
		keys.refuse(gone)
		if fs, err := damaged(t, dir, keys); !errors.Is(err, gone) || fs.Fault() != nil {
			t.Errorf("%v: %v, fault %v", gone, err, fs.Fault())
		}
	}
}

// TestParkedWhileOpen: an open database takes no more writes.
func TestParkedWhileOpen(t *testing.T) {
	keys := newRing("a")
	fs := mount(t, t.TempDir(), keys)
	c := connect(t, fs, "data.db")
	run(t, c, "CREATE TABLE t(x)")
	keys.refuse(data.ErrParked)
	before, _ := fs.Failures()
	if err := c.Exec("INSERT INTO t VALUES(1)"); err == nil {
		t.Fatal("written without a key")
	}
	if after, err := fs.Failures(); after == before || !errors.Is(err, data.ErrParked) {
		t.Fatalf("%d failures, before %d: %v", after, before, err)
	}
	keys.refuse(nil)
	run(t, c, "INSERT INTO t VALUES(2)")
	want(t, c, "SELECT group_concat(x) FROM t", "2")
}

func TestShortFile(t *testing.T) {
	dir, keys := t.TempDir(), newRing("a")
	path := sample(t, dir, keys)
	good := slurp(t, path)
	pages := uint32(len(good) / data.PageSize)
	for size, page := range map[int]uint32{len(good) - 1: pages, len(good) - data.PageSize: pages, data.PageSize: 2, 100: 1} {
		overwrite(t, path, good[:size])
		fs, err := damaged(t, dir, keys)
		wantPageError(t, fmt.Sprintf("cut to %d bytes", size), fs, err, path, page)
	}
}

func TestZeroedPage(t *testing.T) {
	dir, keys := t.TempDir(), newRing("a")
	path := sample(t, dir, keys)
	good := slurp(t, path)
	for page := uint32(1); page < uint32(len(good)/data.PageSize); page += 3 {
		bad := slices.Clone(good)
		clear(bad[pagePosition(page):][:data.PageSize])
		overwrite(t, path, bad)
		fs, err := damaged(t, dir, keys)
		wantPageError(t, "zeros", fs, err, path, page)
	}
}

// logged makes a database whose log holds all rows, and keeps it open.
func logged(t testing.TB, dir string, keys data.KeySource) (*FS, *sqlite3.Conn) {
	t.Helper()
	fs := mount(t, dir, keys)
	c := connect(t, fs, "data.db")
	run(t, c, "PRAGMA wal_autocheckpoint=0; CREATE TABLE t(id INTEGER PRIMARY KEY, x); CREATE INDEX i ON t(x)")
	for range 5 {
		run(t, c, "INSERT INTO t(x) SELECT hex(randomblob(200)) FROM generate_series(1,60)")
	}
	return fs, c
}

func TestDamagedFrames(t *testing.T) {
	dir, keys := t.TempDir(), newRing("a")
	fs, _ := logged(t, dir, keys)
	path := filepath.Join(dir, "data.db"+walSuffix)
	good := slurp(t, path)
	frames := uint32((len(good) - slotSize) / frameSize)
	at := func(frame uint32) int { return int(framePosition(frame)) + slotSize } // its page
	swapped := slices.Clone(good)
	copy(swapped[at(frames):], good[at(frames-1):at(frames-1)+data.PageSize])
	for what, bad := range map[string][]byte{
		"flipped": flip(good, at(frames)+rand.IntN(data.PageSize)),
		"swapped": swapped,
		"cut":     good[:at(frames)+100],
	} {
		overwrite(t, path, bad)
		c := connect(t, fs, "data.db") // reads by the shared index, without recovery
		_, err := ask(c, everything)
		wantPageError(t, what, fs, err, path, frames)
		c.Close()
	}
	overwrite(t, path, good)
	c := connect(t, fs, "data.db")
	want(t, c, "PRAGMA integrity_check", "ok")
}

// TestDamagedLogHeader: an unreadable log is no empty log.
func TestDamagedLogHeader(t *testing.T) {
	dir, keys := t.TempDir(), newRing("a")
	logged(t, dir, keys)
	copied := t.TempDir()
	for _, name := range []string{"data.db", "data.db-wal", "data.db-mark"} {
		overwrite(t, filepath.Join(copied, name), slurp(t, filepath.Join(dir, name)))
	}
	path := filepath.Join(copied, "data.db"+walSuffix)
	good := slurp(t, path)
	overwrite(t, path, flip(good, rand.IntN(slotSize)))
	fs, err := damaged(t, copied, keys)
	wantPageError(t, "log header", fs, err, path, 0)

	overwrite(t, path, good)
	if _, err := damaged(t, copied, keys); err != nil {
		t.Fatal(err)
	}
	overwrite(t, path, good)
	overwrite(t, filepath.Join(copied, "data.db"), nil)
	fs, err = damaged(t, copied, keys)
	wantPageError(t, "log without a database", fs, err, filepath.Join(copied, "data.db"), 1)
}

// TestFramePadding keeps room for what later versions put there.
func TestFrameSalt(t *testing.T) {
	dir := t.TempDir()
	logged(t, dir, newRing("a"))
	b := slurp(t, filepath.Join(dir, "data.db"+walSuffix))
	first := binary.BigEndian.Uint64(b[slotSize+saltAt:])
	for off := slotSize; off < len(b); off += frameSize {
		if got := binary.BigEndian.Uint64(b[off+saltAt:]); got != first || got == 0 {
			t.Fatalf("frame at %d has salt %x, the first %x", off, got, first)
		}
	}
}

func TestGenerations(t *testing.T) {
	dir, keys := t.TempDir(), newRing("a")
	path := sample(t, dir, keys)
	keys.rotate()
	fs := mount(t, dir, keys)
	c := connect(t, fs, "data.db")
	sum := content(t, c)
	run(t, c, "INSERT INTO t(x) VALUES('new')")
	keys.rotate() // while it is open
	run(t, c, "INSERT INTO t(x) VALUES('newer')")
	want(t, c, "PRAGMA integrity_check", "ok")
	c.Close()
	generations := map[byte]int{}
	b := slurp(t, path)
	for end := data.PageSize; end <= len(b); end += data.PageSize {
		generations[b[end-2]]++
	}
	if generations[1] == 0 || generations[3] == 0 || generations[2] != 0 {
		t.Fatalf("pages by generation: %v", generations)
	}
	c = connect(t, mount(t, dir, keys), "data.db")
	want(t, c, "SELECT count(*) FROM t WHERE x IN ('new','newer')", "2")
	run(t, c, "DELETE FROM t WHERE x IN ('new','newer')")
	if content(t, c) != sum {
		t.Fatal("content changed")
	}
}
