package cryptfs

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"holdfast/data"
)

// pagesOf serves a replica to WriteDatabase.
func (r *replica) next(number uint32, page []byte) error {
	copy(page, r.pages[number])
	return nil
}

func TestWriteDatabase(t *testing.T) {
	keys, ctx := newRing("a"), context.Background()
	fs := mount(t, t.TempDir(), keys)
	tap, copied := openTap(t, fs, "data.db"), newReplica()
	c := connect(t, fs, "data.db")
	run(t, c, "CREATE TABLE t(id INTEGER PRIMARY KEY, x); INSERT INTO t(x) SELECT hex(randomblob(300)) FROM generate_series(1,500)")
	ship(t, copied, tap)
	to := Config{Dir: filepath.Join(t.TempDir(), "scratch"), Identity: "other/prod", Keys: newRing("b")}
	if err := WriteDatabase(ctx, to, "data.db", copied.size, copied.next); err != nil {
		t.Fatal(err)
	}
	restored := mountConfig(t, to)
	again, second := openTap(t, restored, "data.db"), newReplica()
	d := connect(t, restored, "data.db")
	want(t, d, "PRAGMA integrity_check", "ok")
	want(t, d, "PRAGMA journal_mode", "wal")
	if content(t, d) != content(t, c) {
		t.Fatal("the restored database differs")
	}
	run(t, d, "INSERT INTO t(x) VALUES('more')")
	ship(t, second, again)
	second.open(t)
	if err := WriteDatabase(ctx, to, "data.db", copied.size, copied.next); !errors.Is(err, data.ErrExists) {
		t.Fatalf("over an existing one: %v", err)
	}
}

func TestWriteDatabaseFails(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	fs := mount(t, t.TempDir(), newRing("a"))
	tap, copied := openTap(t, fs, "data.db"), newReplica()
	run(t, connect(t, fs, "data.db"), "CREATE TABLE t(x)")
	ship(t, copied, tap)
	to := Config{Dir: t.TempDir(), Identity: "other/prod", Keys: newRing("b")}
	lost := errors.New("lost")
	broken := func(number uint32, page []byte) error {
		if number == 2 {
			return lost
		}
		return copied.next(number, page)
	}
	zero := func(uint32, []byte) error { return nil }
	if err := WriteDatabase(ctx, to, "data.db", copied.size, broken); !errors.Is(err, lost) {
		t.Error(err)
	}
	if err := WriteDatabase(ctx, to, "data.db", copied.size+1, copied.next); err == nil {
		t.Error("wrote another size than page 1 says")
	}
	if err := WriteDatabase(ctx, to, "data.db", 3, zero); err == nil {
		t.Error("wrote a page 1 that is none")
	}
	if err := WriteDatabase(ctx, to, "../data.db", copied.size, copied.next); err == nil {
		t.Error("wrote elsewhere")
	}
	cancel()
	if err := WriteDatabase(ctx, to, "data.db", copied.size, copied.next); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if entries, err := os.ReadDir(to.Dir); err != nil || len(entries) != 0 {
		t.Fatalf("left behind: %v %v", entries, err)
	}
	overwrite(t, filepath.Join(to.Dir, "data.db-wal"), []byte("left over"))
	if err := WriteDatabase(context.Background(), to, "data.db", copied.size, copied.next); !errors.Is(err, data.ErrExists) {
		t.Fatalf("beside a log: %v", err)
	}
}
