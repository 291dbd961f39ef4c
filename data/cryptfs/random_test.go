package cryptfs

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/ncruces/go-sqlite3"
)

// act does one random thing to a database. A tiny cache makes transactions spill
// into the log before they commit, and overwrite their own frames there.
func act(c *sqlite3.Conn, r *rand.Rand) string {
	n := 1 + r.IntN(200)
	insert := fmt.Sprintf("INSERT INTO t(x) SELECT hex(randomblob(%d)) FROM generate_series(1,%d);", r.IntN(1500), n)
	update := fmt.Sprintf("UPDATE t SET x=hex(randomblob(%d)) WHERE id%%%d=0;", r.IntN(800), 2+r.IntN(9))
	remove := fmt.Sprintf("DELETE FROM t WHERE id%%%d=1;", 2+r.IntN(5))
	switch r.IntN(14) {
	case 0, 1:
		return insert
	case 2:
		return "BEGIN IMMEDIATE;" + insert + update + update + "COMMIT;"
	case 3:
		return "BEGIN IMMEDIATE;" + insert + update + "ROLLBACK;"
	case 4:
		return "BEGIN IMMEDIATE;" + insert + "SAVEPOINT s;" + update + insert + remove + "ROLLBACK TO s;" + insert + "COMMIT;"
	case 5:
		return "BEGIN IMMEDIATE; SAVEPOINT s;" + insert + update + "ROLLBACK TO s; RELEASE s;" + update + "COMMIT;"
	case 6:
		return remove
	case 7:
		return "VACUUM;"
	case 8: // pages that are added and freed in one transaction
		return "BEGIN IMMEDIATE; CREATE TABLE IF NOT EXISTS gone(x);" + "INSERT INTO gone SELECT randomblob(3000) FROM generate_series(1,80); DROP TABLE gone;" + insert + "COMMIT;"
	case 9:
		return "PRAGMA wal_checkpoint(TRUNCATE);"
	case 10:
		return "PRAGMA wal_checkpoint(RESTART);"
	case 11:
		return "PRAGMA wal_checkpoint(PASSIVE);"
	case 12:
		return "BEGIN IMMEDIATE; CREATE TABLE IF NOT EXISTS u(y); INSERT INTO u SELECT x FROM t LIMIT 50; DROP INDEX IF EXISTS j; CREATE INDEX j ON u(y); COMMIT;"
	default:
		return update
	}
}

func seeded(t testing.TB) *rand.Rand {
	seed := rand.Uint64()
	if given, err := strconv.ParseUint(os.Getenv("HOLDFAST_TEST_SEED"), 10, 64); err == nil {
		seed = given
	}
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 1))
}

// times is how often a random test acts; HOLDFAST_TEST_LONG makes it ten times n.
func times(n int) int {
	if os.Getenv("HOLDFAST_TEST_LONG") != "" {
		return 10 * n
	}
	return n
}

// TestRandomOperations compares the replica with the source after each step.
func TestRandomOperations(t *testing.T) {
	r := seeded(t)
	fs := mount(t, t.TempDir(), newRing("a"))
	tap, copied := openTap(t, fs, "data.db"), newReplica()
	a, b := connect(t, fs, "data.db"), connect(t, fs, "data.db")
	for _, c := range []*sqlite3.Conn{a, b} {
		run(t, c, "PRAGMA cache_size=8; PRAGMA wal_autocheckpoint=50")
	}
	run(t, a, "CREATE TABLE t(id INTEGER PRIMARY KEY, x); CREATE INDEX i ON t(x)")
	for i := range times(60) {
		run(t, a, "DELETE FROM t WHERE id < (SELECT max(id)-300 FROM t)")
		c := a
		if r.IntN(3) == 0 {
			c = b
		}
		sql := act(c, r)
		run(t, c, "%s", sql)
		if r.IntN(20) == 0 {
			tap.MarkAll()
		}
		if r.IntN(3) > 0 {
			continue
		}
		ship(t, copied, tap)
		if content(t, copied.open(t)) != content(t, a) {
			t.Fatalf("step %d: the replica differs after %s", i, sql)
		}
	}
	want(t, a, "PRAGMA integrity_check", "ok")
	if fs.Fault() != nil {
		t.Fatal(fs.Fault())
	}
}

// TestSnapshotsUnderWriters takes snapshots while two writers and a checkpointer
// work: each is one committed state.
func TestSnapshotsUnderWriters(t *testing.T) {
	r := seeded(t)
	fs := mount(t, t.TempDir(), newRing("a"))
	tap, copied := openTap(t, fs, "data.db"), newReplica()
	setup := connect(t, fs, "data.db")
	run(t, setup, `CREATE TABLE t(id INTEGER PRIMARY KEY, x); CREATE INDEX i ON t(x);
		CREATE TABLE pair(a INTEGER, b INTEGER); INSERT INTO pair VALUES(0,0)`)
	var stop atomic.Bool
	var commits atomic.Int64
	var wg sync.WaitGroup
	for range 2 {
		c, r := connect(t, fs, "data.db"), rand.New(rand.NewPCG(r.Uint64(), 2))
		run(t, c, "PRAGMA cache_size=8; PRAGMA wal_autocheckpoint=40")
		wg.Go(func() {
			for !stop.Load() {
				if err := c.Exec("BEGIN IMMEDIATE; UPDATE pair SET a=a+1; " + spill(r) + " UPDATE pair SET b=b+1; COMMIT"); errors.Is(err, sqlite3.BUSY) {
					continue // starved by the others
				} else if err != nil {
					t.Error(err)
					return
				}
				commits.Add(1)
			}
		})
	}
	checkpointer := connect(t, fs, "data.db")
	wg.Go(func() {
		for i := 0; !stop.Load(); i++ {
			mode := []string{"PASSIVE", "FULL", "RESTART", "TRUNCATE"}[i%4]
			_ = checkpointer.Exec("PRAGMA wal_checkpoint(" + mode + ")") // may be busy
		}
	})
	for n := 0; n < 30 || commits.Load() < 100; n++ {
		if _, err := copied.take(context.Background(), tap); err != nil {
			t.Error(err)
			break
		}
		want(t, copied.open(t), "SELECT a=b FROM pair", "1")
	}
	stop.Store(true)
	wg.Wait()
	ship(t, copied, tap)
	if content(t, copied.open(t)) != content(t, setup) {
		t.Fatal("the replica differs")
	}
	if fs.Fault() != nil {
		t.Fatal(fs.Fault())
	}
}

func spill(r *rand.Rand) string {
	return fmt.Sprintf("INSERT INTO t(x) SELECT hex(randomblob(400)) FROM generate_series(1,%d); UPDATE t SET x=x||'.' WHERE id%%7=0; DELETE FROM t WHERE id < (SELECT max(id)-300 FROM t);", r.IntN(60))
}
