package cryptfs

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"holdfast/data/cryptfs/disk"
)

// syncDisk counts the log's shared syncs, and may hold or fail them.
type syncDisk struct {
	disk.System
	syncs atomic.Int64
	fail  atomic.Bool
	held  chan struct{} // each sync takes one, unless nil
}

func (d *syncDisk) Open(name string, flag int, perm os.FileMode) (disk.File, error) {
	f, err := d.System.Open(name, flag, perm)
	if err == nil && strings.HasSuffix(name, walSuffix) {
		f = syncFile{f, d}
	}
	return f, err
}

type syncFile struct {
	disk.File
	d *syncDisk
}

func (f syncFile) Sync() error {
	f.d.syncs.Add(1)
	if f.d.held != nil {
		<-f.d.held
	}
	if f.d.fail.Load() {
		return syscall.EIO
	}
	return f.File.Sync()
}

func shared(t *testing.T, d *syncDisk) *FS {
	t.Helper()
	d.System = disk.OS()
	return mountConfig(t, Config{Dir: t.TempDir(), Identity: "acme/prod", Keys: newRing("a"), Durability: Shared, Disk: d})
}

func TestSyncLog(t *testing.T) {
	ctx, d := context.Background(), &syncDisk{}
	fs := shared(t, d)
	c := connect(t, fs, "data.db")
	run(t, c, "CREATE TABLE t(x)")
	for range 3 {
		if err := fs.SyncLog(ctx, "data.db"); err != nil {
			t.Fatal(err)
		}
	}
	if n := d.syncs.Load(); n != 1 {
		t.Fatalf("%d syncs for one commit", n)
	}
	for _, sql := range []string{"INSERT INTO t VALUES(1); PRAGMA wal_checkpoint(TRUNCATE)", "INSERT INTO t VALUES(2); PRAGMA wal_checkpoint(RESTART)"} {
		run(t, c, "%s", sql)
		if err := fs.SyncLog(ctx, "data.db"); err != nil || d.syncs.Load() != 1 {
			t.Fatalf("after a checkpoint: %v, %d syncs", err, d.syncs.Load())
		}
	}
	run(t, c, "INSERT INTO t VALUES(3)")
	c.Close() // deletes the log
	if err := fs.SyncLog(ctx, "data.db"); err != nil || d.syncs.Load() != 1 {
		t.Fatalf("after the log is gone: %v, %d syncs", err, d.syncs.Load())
	}
	c = connect(t, fs, "data.db")
	run(t, c, "INSERT INTO t VALUES(4)")
	if err := fs.SyncLog(ctx, "data.db"); err != nil || d.syncs.Load() != 2 {
		t.Fatalf("in the new log: %v, %d syncs", err, d.syncs.Load())
	}
	done, cancel := context.WithCancel(ctx)
	cancel()
	if err := fs.SyncLog(done, "data.db"); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
}

// TestSyncIsShared: who comes while a sync runs is served by the next, all
// together; who gives up does not keep the others from it.
func TestSyncIsShared(t *testing.T) {
	ctx, d := context.Background(), &syncDisk{held: make(chan struct{})}
	fs := shared(t, d)
	c := connect(t, fs, "data.db")
	run(t, c, "CREATE TABLE t(x)")
	db := fs.database(filepath.Join(fs.Dir, "data.db"))
	first, ran, err := db.joinRound()
	if err != nil || !ran {
		t.Fatal(ran, err)
	}
	var wg sync.WaitGroup
	run(t, c, "INSERT INTO t VALUES(1)")
	next, leads, _ := db.joinRound()
	gone, cancel := context.WithCancel(ctx)
	cancel()
	wg.Go(func() {
		if err := db.syncLog(gone); err != nil && !errors.Is(err, context.Canceled) { // nil where it came late, and all was synced
			t.Error(err)
		}
	})
	for range 20 {
		if r, leads, _ := db.joinRound(); r != next || leads {
			t.Fatal("not the shared round")
		}
		wg.Go(func() {
			if err := fs.SyncLog(ctx, "data.db"); err != nil {
				t.Error(err)
			}
		})
	}
	if leads || next == first {
		t.Fatal("served by the sync that ran already")
	}
	wg.Go(func() { db.runRound(first) })
	d.held <- struct{}{}
	d.held <- struct{}{}
	close(d.held)
	wg.Wait()
	if n := d.syncs.Load(); n > 3 || !db.track.durable() { // a late goroutine may need a third
		t.Fatalf("%d syncs", n)
	}
}

// TestSyncLogFails: an error reaches all who share the sync, and the log stays
// shut until the database is opened anew, although later syncs would succeed.
func TestSyncLogFails(t *testing.T) {
	ctx, d := context.Background(), &syncDisk{}
	fs := shared(t, d)
	tap := openTap(t, fs, "data.db")
	c := connect(t, fs, "data.db")
	run(t, c, "CREATE TABLE t(x); INSERT INTO t VALUES(1)")
	d.fail.Store(true)
	if err := fs.SyncLog(ctx, "data.db"); !errors.Is(err, ErrLogBroken) || !errors.Is(err, syscall.EIO) {
		t.Fatal(err)
	}
	d.fail.Store(false)
	if err := fs.SyncLog(ctx, "data.db"); !errors.Is(err, ErrLogBroken) {
		t.Fatal(err)
	}
	if err := c.Exec("INSERT INTO t VALUES(2)"); err == nil {
		t.Fatal("written into a log that is not trusted")
	}
	if _, err := newReplica().take(ctx, tap); !errors.Is(err, ErrLogBroken) {
		t.Fatalf("snapshot: %v", err)
	}
	want(t, c, "SELECT group_concat(x) FROM t", "1")
	c.Close()
	c = connect(t, fs, "data.db")
	run(t, c, "INSERT INTO t VALUES(3)")
	want(t, c, "SELECT group_concat(x) FROM t", "1,3")
	if err := fs.SyncLog(ctx, "data.db"); err != nil {
		t.Fatal(err)
	}
}

// TestSnapshotIsDurable: in clear goes only what a power cut cannot take back.
func TestSnapshotIsDurable(t *testing.T) {
	d := &syncDisk{}
	fs := shared(t, d)
	tap := openTap(t, fs, "data.db")
	c := connect(t, fs, "data.db")
	run(t, c, "CREATE TABLE t(x)")
	before := d.syncs.Load()
	ship(t, newReplica(), tap)
	if d.syncs.Load() != before+1 {
		t.Fatal("handed out before a sync")
	}
}

func TestSynchronous(t *testing.T) {
	for durability, level := range map[Durability]string{Full: "2", Shared: "1", Relaxed: "1"} {
		fs := mountConfig(t, Config{Dir: t.TempDir(), Identity: "acme/prod", Keys: newRing("a"), Durability: durability})
		c := connect(t, fs, "data.db")
		want(t, c, "PRAGMA synchronous", level)
		for _, off := range []string{"OFF", "0", "no", "false", "7", "8"} {
			if err := c.Exec("PRAGMA synchronous=" + off); err == nil {
				t.Errorf("synchronous=%s", off)
			}
		}
	}
	if _, err := Mount(Config{Dir: t.TempDir(), Identity: "a", Keys: newRing("a"), Durability: 3}); err == nil {
		t.Error("a durability that is none")
	}
}
