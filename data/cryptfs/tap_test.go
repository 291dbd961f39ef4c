package cryptfs

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"holdfast/data"
)

func itoa(i int) string { return strconv.Itoa(i) }

func openTap(t testing.TB, fs *FS, database string) *Tap {
	t.Helper()
	tap, err := fs.OpenTap(context.Background(), database)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tap.Close() })
	return tap
}

func ship(t testing.TB, r *replica, tap *Tap) data.Commit {
	t.Helper()
	c, err := r.take(context.Background(), tap)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestTapFollows(t *testing.T) {
	fs := mount(t, t.TempDir(), newRing("a"))
	tap := openTap(t, fs, "data.db")
	c := connect(t, fs, "data.db")
	r := newReplica()
	run(t, c, "CREATE TABLE t(id INTEGER PRIMARY KEY, x); CREATE INDEX i ON t(x)")
	ship(t, r, tap)
	if tap.Dirty() != 0 {
		t.Fatalf("%d pages dirty after a snapshot", tap.Dirty())
	}
	run(t, c, "INSERT INTO t(x) SELECT hex(randomblob(300)) FROM generate_series(1,500)")
	dirty := tap.Dirty()
	if got := ship(t, r, tap); got.Pages != dirty || got.Pages == 0 {
		t.Fatalf("%d pages, %d were dirty", got.Pages, dirty)
	}
	run(t, c, "UPDATE t SET x='short' WHERE id=250")
	if got := ship(t, r, tap); got.Pages == 0 || got.Pages > 20 {
		t.Fatalf("an update of one row handed out %d pages", got.Pages)
	}
	if content(t, r.open(t)) != content(t, c) {
		t.Fatal("the replica differs")
	}
}

func TestTapFailureKeepsPages(t *testing.T) {
	fs := mount(t, t.TempDir(), newRing("a"))
	tap := openTap(t, fs, "data.db")
	c := connect(t, fs, "data.db")
	run(t, c, "CREATE TABLE t(x); INSERT INTO t SELECT randomblob(1000) FROM generate_series(1,100)")
	before, full := tap.Dirty(), errors.New("disk full")
	n := 0
	_, err := tap.Snapshot(context.Background(), func(uint32, []byte) error {
		if n++; n == 5 {
			return full
		}
		return nil
	})
	if !errors.Is(err, full) || tap.Dirty() != before {
		t.Fatalf("error %v, dirty %d, before %d", err, tap.Dirty(), before)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := tap.Snapshot(ctx, nil); !errors.Is(err, context.Canceled) || tap.Dirty() != before {
		t.Fatalf("error %v, dirty %d, before %d", err, tap.Dirty(), before)
	}
}

func TestTapOnce(t *testing.T) {
	fs := mount(t, t.TempDir(), newRing("a"))
	tap := openTap(t, fs, "data.db")
	if _, err := fs.OpenTap(context.Background(), "data.db"); !errors.Is(err, data.ErrExists) {
		t.Fatalf("second tap: %v", err)
	}
	tap.Close()
	if _, err := tap.Snapshot(context.Background(), nil); !errors.Is(err, errClosed) {
		t.Fatalf("snapshot of a closed tap: %v", err)
	}
	openTap(t, fs, "data.db")
}

func TestTapReopen(t *testing.T) {
	dir, keys := t.TempDir(), newRing("a")
	fs := mount(t, dir, keys)
	c := connect(t, fs, "data.db")
	run(t, c, "CREATE TABLE t(x); INSERT INTO t SELECT randomblob(1000) FROM generate_series(1,100)")
	sum := content(t, c)
	c.Close()
	tap, r := openTap(t, fs, "data.db"), newReplica()
	if got := ship(t, r, tap); uint32(got.Pages) != got.DatabasePages || got.Pages == 0 {
		t.Fatalf("first snapshot: %+v", got)
	}
	if content(t, r.open(t)) != sum {
		t.Fatal("the replica differs")
	}
}

// TestWritersGoOn changes everything while a snapshot is handed out: it still
// shows the state that it began with, whether its pages lay in the database file
// or in the log, and whether they are overwritten or cut off.
func TestWritersGoOn(t *testing.T) {
	update := "UPDATE t SET x=x||'!'; PRAGMA wal_checkpoint(PASSIVE); UPDATE t SET x=x||'?'; PRAGMA wal_checkpoint(RESTART); UPDATE t SET x='now' WHERE id=1"
	shrink := "DELETE FROM t WHERE id>10; PRAGMA wal_checkpoint(TRUNCATE); VACUUM; PRAGMA wal_checkpoint(TRUNCATE); INSERT INTO t(x) VALUES('new')"
	empty := "DELETE FROM t; VACUUM; PRAGMA wal_checkpoint(TRUNCATE)" // touches few of the pages that it cuts off
	for _, before := range []string{"PRAGMA wal_checkpoint(TRUNCATE)", "SELECT 1"} {
		for _, meanwhile := range [][]string{{update, shrink}, {shrink, update}, {empty}} {
			goOn(t, maxKept, before, meanwhile)
		}
	}
	goOn(t, 2, "PRAGMA wal_checkpoint(TRUNCATE)", []string{update, shrink}) // what memory has no room for
	goOn(t, 2, "SELECT 1", []string{shrink, update})
}

func goOn(t *testing.T, room int, before string, meanwhile []string) {
	t.Helper()
	fs := mount(t, t.TempDir(), newRing("a"))
	tap, copied := openTap(t, fs, "data.db"), newReplica()
	tap.db.track.room = room
	c := connect(t, fs, "data.db")
	run(t, c, "PRAGMA wal_autocheckpoint=0; CREATE TABLE t(id INTEGER PRIMARY KEY, x)")
	run(t, c, "INSERT INTO t(x) SELECT hex(randomblob(300)) FROM generate_series(1,500)")
	run(t, c, "%s", before)
	sum, handed := content(t, c), 0
	_, err := tap.Snapshot(context.Background(), func(page uint32, image []byte) error {
		if handed++; handed%3 == 0 && len(meanwhile) > 0 {
			run(t, c, "%s", meanwhile[0])
			meanwhile = meanwhile[1:]
		}
		copied.pages[page] = bytes.Clone(image)
		copied.size = max(copied.size, page)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if content(t, copied.open(t)) != sum {
		t.Fatalf("after %q the snapshot mixes states", before)
	}
	if left := there(fs.Dir, "data.db"+keptSuffix); left {
		t.Fatal("what was kept for the snapshot is still there")
	}
	ship(t, copied, tap)
	if content(t, copied.open(t)) != content(t, c) {
		t.Fatalf("after %q the next snapshot differs", before)
	}
}

func there(dir, name string) bool {
	_, err := os.Stat(filepath.Join(dir, name))
	return err == nil
}

// TestFramesOfTwo: a transaction that was rolled back leaves frames behind, which
// another connection overwrites; the first goes on after them.
func TestFramesOfTwo(t *testing.T) {
	fs := mount(t, t.TempDir(), newRing("a"))
	tap, copied := openTap(t, fs, "data.db"), newReplica()
	a, b := connect(t, fs, "data.db"), connect(t, fs, "data.db")
	run(t, a, "PRAGMA cache_size=8; PRAGMA wal_autocheckpoint=0; CREATE TABLE t(id INTEGER PRIMARY KEY, x); CREATE TABLE u(x)")
	run(t, a, "INSERT INTO t(x) SELECT hex(randomblob(400)) FROM generate_series(1,300)")
	run(t, a, "BEGIN; UPDATE t SET x=x||'!'; ROLLBACK")
	ship(t, copied, tap)
	run(t, b, "INSERT INTO u VALUES(1)")
	run(t, a, "INSERT INTO u VALUES(2)")
	if got := ship(t, copied, tap); got.Pages > 3 {
		t.Fatalf("%d pages, of rows that were rolled back among them", got.Pages)
	}
	if content(t, copied.open(t)) != content(t, a) {
		t.Fatal("the replica differs")
	}
}

// TestTapAfterRecovery recovers the log while the tap follows it.
func TestTapAfterRecovery(t *testing.T) {
	dir, keys := t.TempDir(), newRing("a")
	logged(t, dir, keys)
	fs := mount(t, copyTo(t, dir), keys)
	c := connect(t, fs, "data.db") // recovers, and keeps the log
	tap, copied := openTap(t, fs, "data.db"), newReplica()
	path := filepath.Join(fs.Dir, "data.db-shm")
	run(t, c, "UPDATE t SET x='longer'; PRAGMA wal_checkpoint(RESTART); INSERT INTO t(x) VALUES('one')")
	ship(t, copied, tap)
	overwrite(t, path, make([]byte, len(slurp(t, path)))) // a lost index: recovery while it runs
	run(t, c, "INSERT INTO t(x) VALUES('two')")
	ship(t, copied, tap)
	if content(t, copied.open(t)) != content(t, c) {
		t.Fatal("the replica differs")
	}
}

func TestTapWhileBusy(t *testing.T) {
	fs := mount(t, t.TempDir(), newRing("a"))
	c := connect(t, fs, "data.db")
	run(t, c, "CREATE TABLE t(x); INSERT INTO t VALUES(1); BEGIN; SELECT * FROM t")
	// a reader of the log keeps it from being truncated
	if _, err := fs.OpenTap(context.Background(), "data.db"); !errors.Is(err, data.ErrBusy) {
		t.Fatalf("opened over a reader: %v", err)
	}
	run(t, c, "COMMIT")
	openTap(t, fs, "data.db")
}
