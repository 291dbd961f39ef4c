package cryptfs

import (
	"errors"
	"math/rand/v2"
	"sync/atomic"
	"syscall"
	"testing"

	"holdfast/data/cryptfs/faultfs"
)

// failsAtTimes makes, while armed, one write in so many fail: full, in the middle of
// what was to be written, or at the sync.
func failsAtTimes(armed *atomic.Bool, r *rand.Rand) faultfs.Plan {
	return func(c faultfs.Call) error {
		if !armed.Load() {
			return nil
		}
		switch c.Op {
		case faultfs.Write:
			if r.IntN(12) == 0 {
				return &faultfs.Torn{Bytes: r.IntN(c.Len), Err: syscall.ENOSPC}
			}
		case faultfs.Truncate, faultfs.Sync:
			if r.IntN(12) == 0 {
				return syscall.EIO
			}
		}
		return nil
	}
}

// TestFailingDisk: a write that fails is an error, and afterwards database and
// tap agree still.
func TestFailingDisk(t *testing.T) {
	r, armed := seeded(t), new(atomic.Bool)
	d := faultfs.New()
	d.Follow(failsAtTimes(armed, r))
	fs := mountConfig(t, Config{Dir: t.TempDir(), Identity: "acme/prod", Keys: newRing("a"), Disk: d})
	tap, copied := openTap(t, fs, "data.db"), newReplica()
	c := connect(t, fs, "data.db")
	run(t, c, "CREATE TABLE t(id INTEGER PRIMARY KEY, x); CREATE INDEX i ON t(x); PRAGMA cache_size=8; PRAGMA wal_autocheckpoint=30")
	failed := 0
	for i := range times(90) {
		armed.Store(i%3 > 0)
		err := c.Exec(act(c, r))
		armed.Store(false)
		if err != nil {
			failed++
			if !c.GetAutocommit() {
				run(t, c, "ROLLBACK")
			}
		}
		run(t, c, "DELETE FROM t WHERE id < (SELECT max(id)-60 FROM t)")
		if i%4 == 0 {
			ship(t, copied, tap)
			if content(t, copied.open(t)) != content(t, c) {
				t.Fatalf("step %d (%d failed): the replica differs", i, failed)
			}
		}
	}
	if _, last := fs.Failures(); failed < 5 || !errors.Is(last, syscall.ENOSPC) && !errors.Is(last, syscall.EIO) {
		t.Fatalf("%d statements failed, the last for %v", failed, last)
	}
	want(t, c, "PRAGMA integrity_check", "ok")
	run(t, c, "VACUUM; PRAGMA wal_checkpoint(TRUNCATE)")
	authenticate(t, fs, "data.db")
}

// TestFailingSync: a commit whose sync fails was none, and its frames are
// overwritten by the next.
func TestFailingSync(t *testing.T) {
	armed := new(atomic.Bool)
	d := faultfs.New()
	d.Follow(func(c faultfs.Call) error {
		if armed.Load() && c.Op == faultfs.Sync {
			return syscall.EIO
		}
		return nil
	})
	fs := mountConfig(t, Config{Dir: t.TempDir(), Identity: "acme/prod", Keys: newRing("a"), Disk: d})
	tap, copied := openTap(t, fs, "data.db"), newReplica()
	c, other := connect(t, fs, "data.db"), connect(t, fs, "data.db")
	run(t, c, "PRAGMA wal_autocheckpoint=0; CREATE TABLE t(x); CREATE TABLE u(x); INSERT INTO u VALUES(1)")
	ship(t, copied, tap)
	armed.Store(true)
	if err := c.Exec("INSERT INTO t SELECT randomblob(2000) FROM generate_series(1,50)"); err == nil {
		t.Fatal("committed without a sync")
	}
	armed.Store(false)
	ship(t, copied, tap)
	if content(t, copied.open(t)) != content(t, other) {
		t.Fatal("after the failure the replica differs")
	}
	run(t, other, "INSERT INTO u VALUES(2)")
	ship(t, copied, tap)
	run(t, c, "INSERT INTO u VALUES(3)")
	ship(t, copied, tap)
	if content(t, copied.open(t)) != content(t, other) {
		t.Fatal("the replica differs")
	}
}

// TestFailingVacuum: the pages that a VACUUM would have cut off are there still when
// its commit fails, and those that were not handed out yet are handed out.
func TestFailingVacuum(t *testing.T) {
	armed := new(atomic.Bool)
	d := faultfs.New()
	d.Follow(func(c faultfs.Call) error {
		if armed.Load() && c.Op == faultfs.Sync {
			return syscall.EIO
		}
		return nil
	})
	fs := mountConfig(t, Config{Dir: t.TempDir(), Identity: "acme/prod", Keys: newRing("a"), Disk: d})
	tap, copied := openTap(t, fs, "data.db"), newReplica()
	c := connect(t, fs, "data.db")
	run(t, c, "CREATE TABLE t(x); CREATE TABLE u(x); INSERT INTO t SELECT randomblob(3000) FROM generate_series(1,60); INSERT INTO u SELECT randomblob(3000) FROM generate_series(1,60)")
	run(t, c, "DELETE FROM t; PRAGMA wal_checkpoint(TRUNCATE)")
	armed.Store(true)
	if err := c.Exec("VACUUM"); err == nil {
		t.Fatal("committed without a sync")
	}
	armed.Store(false)
	ship(t, copied, tap)
	if content(t, copied.open(t)) != content(t, c) {
		t.Fatal("the replica differs")
	}
}
