package cryptfs

import (
	"context"
	"errors"
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

func snapshot(t testing.TB, r *replica, tap *Tap) data.Commit {
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
	snapshot(t, r, tap)
	if tap.Dirty() != 0 {
		t.Fatalf("%d pages dirty after a snapshot", tap.Dirty())
	}
	run(t, c, "INSERT INTO t(x) SELECT hex(randomblob(300)) FROM generate_series(1,500)")
	dirty := tap.Dirty()
	if got := snapshot(t, r, tap); got.Pages != dirty || got.Pages == 0 {
		t.Fatalf("%d pages, %d were dirty", got.Pages, dirty)
	}
	run(t, c, "UPDATE t SET x='short' WHERE id=250")
	if got := snapshot(t, r, tap); got.Pages == 0 || got.Pages > 8 {
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
	if got := snapshot(t, r, tap); uint32(got.Pages) != got.DatabasePages || got.Pages == 0 {
		t.Fatalf("first snapshot: %+v", got)
	}
	if content(t, r.open(t)) != sum {
		t.Fatal("the replica differs")
	}
}
