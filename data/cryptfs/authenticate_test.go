package cryptfs

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"github.com/ncruces/go-sqlite3"
	"github.com/ncruces/go-sqlite3/util/vfsutil"
	"github.com/ncruces/go-sqlite3/vfs"

	"holdfast/data"
)

// TestEveryReadAuthenticates reads by every form in which SQLite reads a database
// and its log. Outside recovery, one changed byte of the unit that is read is an
// error each time, and never zeros, nor the end of the file. (The only other read,
// of parts of page 1 while there is a log, is in mainFile.ReadAt.)
func TestEveryReadAuthenticates(t *testing.T) {
	dir, keys := t.TempDir(), newRing("a")
	fs, c := logged(t, dir, keys)
	run(t, c, "PRAGMA wal_checkpoint(PASSIVE)") // pages in the database, and the log still there
	main, log := fileOf[*mainFile](t, c, sqlite3.FCNTL_FILE_POINTER), fileOf[*walFile](t, c, sqlite3.FCNTL_JOURNAL_POINTER)
	frame3, page3 := int64(logHeader+2*logFrame), pagePosition(3)
	for _, test := range []struct {
		what   string
		file   vfs.File
		off    int64
		n      int
		suffix string
		units  [][2]int64 // of the file on disk, that the read depends on
	}{
		{"page", main, page3, data.PageSize, "", [][2]int64{{page3, data.PageSize}}},
		{"part of a page", main, page3 + 100, 16, "", [][2]int64{{page3, data.PageSize}}},
		{"page 1", main, 0, data.PageSize, "", [][2]int64{{0, data.PageSize}}},
		{"page of a frame", log, frame3 + frameHeader, data.PageSize, walSuffix, [][2]int64{{framePosition(3) + slotSize, data.PageSize}}},
		{"header of a frame", log, frame3, frameHeader, walSuffix, [][2]int64{{framePosition(3), slotSize}}},
		{"part of that", log, frame3 + 4, 4, walSuffix, [][2]int64{{framePosition(3), slotSize}}},
		{"whole frame", log, frame3, logFrame, walSuffix, [][2]int64{{framePosition(3), frameSize}}},
		{"part of the page of a frame", log, frame3 + frameHeader + 5, 50, walSuffix, [][2]int64{{framePosition(3) + slotSize, data.PageSize}}},
		{"part of the log's header", log, 16, 8, walSuffix, [][2]int64{{0, slotSize}}},
		{"the log's header", log, 0, logHeader, walSuffix, [][2]int64{{0, slotSize}}},
	} {
		path := filepath.Join(dir, "data.db"+test.suffix)
		good := slurp(t, path)
		p := make([]byte, test.n)
		log.recovering = false
		if n, err := test.file.ReadAt(p, test.off); n != test.n || err != nil {
			t.Fatalf("%s: %d, %v", test.what, n, err)
		}
		for _, unit := range test.units {
			for range 20 {
				overwrite(t, path, flip(good, int(unit[0]+rand.Int64N(unit[1]))))
				log.recovering = false
				n, err := test.file.ReadAt(p, test.off)
				if n != 0 || err == nil || err == io.EOF || !errors.Is(fs.Fault(), data.ErrTampered) {
					t.Errorf("%s: %d bytes, %v", test.what, n, err)
				}
			}
		}
		for _, size := range []int64{test.units[0][0], test.units[0][0] + 1} {
			overwrite(t, path, good[:size])
			log.recovering = false
			if n, err := test.file.ReadAt(p, test.off); n != 0 || err == nil || (err == io.EOF && test.suffix == "" && size > 0) {
				t.Errorf("%s, cut to %d: %d bytes, %v", test.what, size, n, err)
			}
		}
		overwrite(t, path, good)
	}
	want(t, c, "PRAGMA integrity_check", "ok")
}

// fileOf is a connection's file.
func fileOf[T vfs.File](t testing.TB, c *sqlite3.Conn, op sqlite3.FcntlOpcode) T {
	t.Helper()
	pointer, err := c.FileControl("main", op)
	if err != nil {
		t.Fatal(err)
	}
	f, ok := vfsutil.UnwrapFile[T](pointer.(vfs.File))
	if !ok {
		t.Fatalf("%T", pointer)
	}
	return f
}

// TestHundredFlips: whichever bit of a database, its log, its mark or its count of
// seals is changed while it is shut, it is found: 100 of 100. (Journals of SQLite
// and its temporary files are in memory; sealed files have TestChangedFiles.)
func TestHundredFlips(t *testing.T) {
	keys, closed := newRing("a"), t.TempDir()
	sample(t, closed, keys)
	crashed, _ := fiveCommits(t, keys, Full)
	for suffix, dir := range map[string]string{"": closed, walSuffix: crashed, markSuffix: crashed} {
		path := filepath.Join(dir, "data.db"+suffix)
		good := slurp(t, path)
		found := 0
		for range 100 {
			at := rand.IntN(len(good))
			if suffix == markSuffix { // between the slots there is nothing
				at = rand.IntN(2)*data.PageSize + rand.IntN(markSlotSize)
			}
			overwrite(t, path, flip(good, at))
			copied := copyTo(t, dir)
			fs, err := damaged(t, copied, keys)
			if err == nil {
				err = authenticateAll(fs)
			}
			if err != nil {
				found++
			}
		}
		overwrite(t, path, good)
		if found != 100 {
			t.Errorf("data.db%s: %d of 100", suffix, found)
		}
	}
}

// authenticateAll opens every page of the file, those too that the log has newer.
func authenticateAll(fs *FS) error {
	c, err := fs.connect(context.Background(), "data.db")
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = fs.Generations(context.Background())
	return err
}
