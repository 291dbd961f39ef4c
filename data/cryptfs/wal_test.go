package cryptfs

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"

	"github.com/ncruces/go-sqlite3"
	"github.com/ncruces/go-sqlite3/util/vfsutil"
	"github.com/ncruces/go-sqlite3/vfs"

	"holdfast/data"
)

// copyTo copies a database and its log, as a crash would leave them.
func copyTo(t testing.TB, from string) string {
	t.Helper()
	to := t.TempDir()
	for _, name := range []string{"data.db", "data.db-wal", "data.db-mark", "data.db-rekey"} {
		if b, err := os.ReadFile(filepath.Join(from, name)); err == nil {
			overwrite(t, filepath.Join(to, name), b)
		}
	}
	return to
}

// zeroSalts counts the frames whose header bears no salt, as SQLite leaves them
// while a transaction overwrites frames of its own.
func zeroSalts(t testing.TB, dir string, keys data.KeySource) (zero, all int) {
	t.Helper()
	b := slurp(t, filepath.Join(dir, "data.db-wal"))
	s := newSealer(keys, "wal", "acme/prod", "data.db")
	for frame := uint32(1); framePosition(frame)+frameSize <= int64(len(b)); frame++ {
		slot := b[framePosition(frame):][:slotSize]
		if err := openFrameHeader(s, slot, [8]byte(slot[saltAt:]), frame); err != nil {
			t.Fatal(frame, err)
		}
		if binary.BigEndian.Uint64(slot[8:]) == 0 {
			zero++
		}
		all++
	}
	return zero, all
}

func TestSpilledTransaction(t *testing.T) {
	dir, keys := t.TempDir(), newRing("a")
	fs := mount(t, dir, keys)
	tap, copied := openTap(t, fs, "data.db"), newReplica()
	c := connect(t, fs, "data.db")
	run(t, c, "PRAGMA cache_size=8; PRAGMA wal_autocheckpoint=0; CREATE TABLE t(id INTEGER PRIMARY KEY, x)")
	ship(t, copied, tap)
	run(t, c, "BEGIN; INSERT INTO t(x) SELECT hex(randomblob(400)) FROM generate_series(1,300)")
	run(t, c, "UPDATE t SET x='u'||x; UPDATE t SET x='v'||x WHERE id%%2")
	if zero, all := zeroSalts(t, dir, keys); zero == 0 || all < 50 {
		t.Fatalf("the transaction did not spill over itself: %d of %d frames", zero, all)
	}
	if got := ship(t, copied, tap); got.Pages != 0 {
		t.Fatalf("%d uncommitted pages handed out", got.Pages)
	}
	run(t, c, "COMMIT")
	if zero, _ := zeroSalts(t, dir, keys); zero != 0 {
		t.Fatalf("%d frames without salt after the commit", zero)
	}
	ship(t, copied, tap)
	sum := content(t, c)
	if content(t, copied.open(t)) != sum {
		t.Fatal("the replica differs")
	}
	crashed := connect(t, mount(t, copyTo(t, dir), keys), "data.db")
	want(t, crashed, "PRAGMA integrity_check", "ok")
	if content(t, crashed) != sum {
		t.Fatal("recovery lost the transaction")
	}
}

// TestTornLog: a frame that a crash cut through, of a commit that was not
// acknowledged, ends the log, and older frames behind it are no part of it.
func TestTornLog(t *testing.T) {
	dir, keys := t.TempDir(), newRing("a")
	fs := mountConfig(t, Config{Dir: dir, Identity: "acme/prod", Keys: keys, Durability: Shared})
	c := connect(t, fs, "data.db")
	run(t, c, "PRAGMA wal_autocheckpoint=0; CREATE TABLE t(x); INSERT INTO t SELECT randomblob(3000) FROM generate_series(1,50)")
	run(t, c, "PRAGMA wal_checkpoint(RESTART)") // the next generation overwrites the log from its start
	for i := range 5 {
		run(t, c, "INSERT INTO t VALUES(%d)", i)
	}
	path := filepath.Join(dir, "data.db-wal")
	_, frames := liveFrames(t, path)
	for _, cut := range []int64{slotSize + 100, 30, slotSize} { // in its page, in its header, between
		crashed := copyTo(t, dir)
		wal := filepath.Join(crashed, "data.db-wal")
		b := slurp(t, wal)
		clear(b[framePosition(frames)+cut:][:200]) // SQLite's own torn write; what follows is of the older generation
		overwrite(t, wal, b)
		c := connect(t, mount(t, crashed, keys), "data.db")
		want(t, c, "SELECT count(*) FROM t", "54")
		want(t, c, "PRAGMA integrity_check", "ok")
	}
}

// liveFrames counts the frames that bear the first frame's salt.
func liveFrames(t testing.TB, path string) (salt uint64, n uint32) {
	t.Helper()
	b := slurp(t, path)
	salt = binary.BigEndian.Uint64(b[slotSize+saltAt:])
	for framePosition(n+1)+frameSize <= int64(len(b)) && binary.BigEndian.Uint64(b[framePosition(n+1)+saltAt:]) == salt {
		n++
	}
	return salt, n
}

// TestGapsAreSealed: every page of the file authenticates, also those that
// SQLite never wrote.
func TestGapsAreSealed(t *testing.T) {
	fs := mount(t, t.TempDir(), newRing("a"))
	c := connect(t, fs, "data.db")
	run(t, c, "CREATE TABLE t(x); PRAGMA wal_checkpoint(TRUNCATE)")
	pointer, err := c.FileControl("main", sqlite3.FCNTL_FILE_POINTER)
	if err != nil {
		t.Fatal(err)
	}
	f, _ := vfsutil.UnwrapFile[*mainFile](pointer.(vfs.File))
	var page [data.PageSize]byte
	page[5] = 'x'
	if n, err := f.WriteAt(page[:], 20*data.PageSize); err != nil || n != data.PageSize {
		t.Fatal(n, err)
	}
	authenticate(t, fs, "data.db")
	if err := f.Truncate(30 * data.PageSize); err != nil {
		t.Fatal(err)
	}
	authenticate(t, fs, "data.db")
	if size, err := f.Size(); err != nil || size != 30*data.PageSize {
		t.Fatal(size, err)
	}
	if n, err := f.ReadAt(page[:], 20*data.PageSize); err != nil || n != data.PageSize || page[5] != 'x' {
		t.Fatal(n, err)
	}
}

// TestGapInTheLog: a page that no transaction wrote is handed out as zeros.
func TestGapInTheLog(t *testing.T) {
	fs := mount(t, t.TempDir(), newRing("a"))
	tap, copied := openTap(t, fs, "data.db"), newReplica()
	c := connect(t, fs, "data.db")
	run(t, c, "PRAGMA wal_autocheckpoint=0; CREATE TABLE t(x); CREATE TABLE u(x)")
	ship(t, copied, tap)
	track := &tap.db.track
	track.commit(track.salt, track.last+1, nil, track.pages+2) // as if it had added two
	if got := ship(t, copied, tap); got.Pages != 2 {
		t.Fatalf("%d pages", got.Pages)
	}
	if page := copied.pages[copied.size]; page == nil || [data.PageSize]byte(page) != ([data.PageSize]byte{}) {
		t.Fatal("not zeros")
	}
}

// authenticate opens every page of a database's file.
func authenticate(t testing.TB, fs *FS, name string) {
	t.Helper()
	b := slurp(t, filepath.Join(fs.Dir, name))
	s := newSealer(fs.Keys, "db", fs.Identity, name)
	for number := uint32(1); number <= uint32(len(b)/data.PageSize); number++ {
		page := b[pagePosition(number):][:data.PageSize]
		if err := openPage(s, page, page, number); err != nil {
			t.Fatalf("page %d: %v", number, err)
		}
	}
}
