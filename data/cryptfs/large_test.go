package cryptfs

import (
	"context"
	"os"
	"testing"

	"holdfast/data"
)

// TestLarge goes past 1 GiB, where SQLite has a page that it never writes. It
// takes a minute and 2 GiB of disk: HOLDFAST_TEST_LARGE=1.
func TestLarge(t *testing.T) {
	if os.Getenv("HOLDFAST_TEST_LARGE") == "" {
		t.Skip("HOLDFAST_TEST_LARGE is not set")
	}
	dir, keys := t.TempDir(), newRing("a")
	fs := mount(t, dir, keys)
	tap := openTap(t, fs, "data.db")
	c := connect(t, fs, "data.db")
	run(t, c, "CREATE TABLE t(x)")
	for range 17 {
		run(t, c, "INSERT INTO t SELECT zeroblob(1<<20) FROM generate_series(1,64)")
	}
	const lockPage = 1<<30/data.PageSize + 1
	next := uint32(1)
	commit, err := tap.Snapshot(context.Background(), func(page uint32, image []byte) error {
		if page != next || page == lockPage && [data.PageSize]byte(image) != ([data.PageSize]byte{}) {
			t.Fatalf("page %d, after %d", page, next-1)
		}
		next++
		return nil
	})
	if err != nil || commit.DatabasePages <= lockPage || next != commit.DatabasePages+1 {
		t.Fatalf("%+v, up to page %d: %v", commit, next-1, err)
	}
	run(t, c, "PRAGMA wal_checkpoint(TRUNCATE)")
	c.Close()
	tap.Close()
	c = connect(t, mount(t, dir, keys), "data.db")
	want(t, c, "SELECT sum(length(x)) FROM t", itoa(17*64<<20))
	want(t, c, "PRAGMA quick_check", "ok")
	if err := fs.Fault(); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(dir + "/data.db"); err != nil || info.Size() != int64(commit.DatabasePages)*data.PageSize {
		t.Fatal(info, err)
	}
}
