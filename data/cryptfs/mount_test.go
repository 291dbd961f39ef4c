package cryptfs

import (
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"holdfast/data"
)

func TestCreateAndReopen(t *testing.T) {
	dir, keys := t.TempDir(), newRing("a")
	fs := mount(t, dir, keys)
	c := connect(t, fs, "data.db")
	run(t, c, "CREATE TABLE t(x TEXT); INSERT INTO t VALUES('hello')")
	want(t, c, "PRAGMA journal_mode", "wal")
	want(t, c, "PRAGMA synchronous", "2")
	want(t, c, "PRAGMA integrity_check", "ok")
	if err := fs.Close(); err == nil {
		t.Fatal("closed under an open connection")
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(filepath.Join(dir, "data.db"))
	if err != nil || info.Mode().Perm() != 0o600 || info.Size()%data.PageSize != 0 {
		t.Fatalf("database file: %v %v", info, err)
	}
	c = connect(t, mount(t, dir, keys), "data.db")
	want(t, c, "SELECT x FROM t", "hello")
}

func TestTwoConnections(t *testing.T) {
	fs := mount(t, t.TempDir(), newRing("a"))
	a, b := connect(t, fs, "data.db"), connect(t, fs, "data.db")
	run(t, a, "CREATE TABLE t(x)")
	for i := range 300 {
		w, r := a, b
		if i%2 == 1 {
			w, r = b, a
		}
		run(t, w, "INSERT INTO t VALUES(randomblob(3000))")
		if i%50 == 0 { // the next writer begins a new generation of the log
			run(t, r, "PRAGMA wal_checkpoint(RESTART)")
		}
		if i%20 == 0 {
			want(t, r, "SELECT count(length(x)) FROM t", itoa(i+1))
		}
	}
	want(t, a, "PRAGMA integrity_check", "ok")
}

func TestOnCommit(t *testing.T) {
	var commits atomic.Int64
	c := Config{Dir: t.TempDir(), Identity: "system", Keys: newRing("a")}
	c.OnCommit = func(name string) {
		if name != "data.db" {
			t.Errorf("commit of %q", name)
		}
		commits.Add(1)
	}
	fs := mountConfig(t, c)
	db := connect(t, fs, "data.db")
	run(t, db, "CREATE TABLE t(x)")
	before := commits.Load()
	run(t, db, "INSERT INTO t VALUES(1)")
	run(t, db, "BEGIN; INSERT INTO t VALUES(2); INSERT INTO t VALUES(3); COMMIT")
	run(t, db, "BEGIN; INSERT INTO t VALUES(4); ROLLBACK")
	run(t, db, "BEGIN IMMEDIATE; SELECT * FROM t; COMMIT")
	if n := commits.Load() - before; n != 2 {
		t.Fatalf("%d commits announced, want 2", n)
	}
}

func TestRefusals(t *testing.T) {
	fs := mount(t, t.TempDir(), newRing("a"))
	c := connect(t, fs, "data.db")
	run(t, c, "CREATE TABLE t(x)")
	for _, sql := range []string{"PRAGMA journal_mode=DELETE", "PRAGMA journal_mode=OFF", "PRAGMA temp_store=FILE", "PRAGMA page_size=8192",
		"ATTACH 'file:/tmp/elsewhere.db?vfs=" + fs.name + "' AS other"} {
		if err := c.Exec(sql); err == nil {
			t.Errorf("%s: allowed", sql)
		}
	}
	want(t, c, "PRAGMA journal_mode", "wal")
}

func TestBadConfig(t *testing.T) {
	for _, c := range []Config{{}, {Dir: "x"}, {Dir: "x", Identity: "a|b", Keys: newRing("a")}, {Dir: "x", Identity: "a"}} {
		if _, err := Mount(c); err == nil {
			t.Errorf("mounted %+v", c)
		}
	}
}
