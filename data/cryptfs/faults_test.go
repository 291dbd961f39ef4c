package cryptfs

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/ncruces/go-sqlite3"

	"holdfast/data"
	"holdfast/data/cryptfs/faultfs"
)

// The script's steps are transactions: step i makes row i, changes the rows of the
// five steps before, deletes that of eight steps before, and notes i; now and
// then one that spills the cache, a checkpoint, a VACUUM or a re-key comes between.
const (
	scriptSteps = 16
	scriptTable = "CREATE TABLE IF NOT EXISTS t(id INTEGER PRIMARY KEY, v INTEGER, x); CREATE TABLE IF NOT EXISTS n(i INTEGER PRIMARY KEY)"
	scriptRekey = 8 // the step after which the key is rotated
)

func scriptStep(i int) string {
	sql := fmt.Sprintf(`BEGIN IMMEDIATE; INSERT INTO t VALUES(%[1]d,0,hex(zeroblob(700))); UPDATE t SET v=v+1 WHERE id>%[1]d-5;
		DELETE FROM t WHERE id=%[1]d-8; INSERT INTO n VALUES(%[1]d);`, i)
	if i%7 == 4 { // overwrites frames of its own
		sql += "UPDATE t SET x=hex(zeroblob(3000)); UPDATE t SET x=hex(zeroblob(2900)); UPDATE t SET x=hex(zeroblob(700));"
	}
	return sql + "COMMIT;" + map[int]string{3: "PRAGMA wal_checkpoint(TRUNCATE)", 6: "PRAGMA wal_checkpoint(RESTART)", 9: "VACUUM", 13: "PRAGMA wal_checkpoint(PASSIVE)"}[i%16]
}

// scriptOutcome is what t must hold after some steps.
func scriptOutcome(done []string) string {
	rows := map[int]int{}
	for _, text := range done {
		var i int
		fmt.Sscan(text, &i)
		rows[i] = 0
		for id := range rows {
			if id > i-5 {
				rows[id]++
			}
		}
		delete(rows, i-8)
	}
	var b strings.Builder
	for _, id := range slices.Sorted(maps.Keys(rows)) {
		fmt.Fprintf(&b, "%d=%d ", id, rows[id])
	}
	return b.String()
}

// faulty is one run of the script.
type faulty struct {
	t     testing.TB
	disk  *faultfs.Disk
	fs    *FS
	conn  *sqlite3.Conn
	acked []string
	errs  []error
}

// step runs one step, again after an error if the connection is of no use.
func (f *faulty) step(i int) {
	if f.conn == nil && !f.open() {
		return
	}
	err := f.conn.Exec(scriptStep(i))
	if i == scriptRekey {
		f.rekey()
	}
	if err == nil && f.fs.Durability == Shared {
		err = f.fs.SyncLog(context.Background(), "data.db")
	}
	if err == nil {
		f.acked = append(f.acked, fmt.Sprint(i))
		return
	}
	f.errs = append(f.errs, err)
	if !f.conn.GetAutocommit() && f.conn.Exec("ROLLBACK") != nil || errors.Is(err, ErrLogBroken) || f.fs.database(filepath.Join(f.fs.Dir, "data.db")).trusted() != nil {
		f.conn.Close()
		f.conn = nil
	}
}

// rekey seals all under a new key, as far as the disk lets it.
func (f *faulty) rekey() {
	f.fs.Keys.(*ring).rotate()
	if err := f.fs.Rekey(context.Background(), nil); err != nil {
		f.errs = append(f.errs, err)
	}
}

func (f *faulty) open() bool {
	c, err := f.fs.connect(context.Background(), "data.db")
	if err == nil {
		if err = c.Exec("PRAGMA cache_size=8; PRAGMA wal_autocheckpoint=20;" + scriptTable); err != nil {
			c.Close()
		}
	}
	if err != nil {
		f.errs = append(f.errs, err)
		return false
	}
	f.conn = c
	return true
}

// verify opens a copy: it is whole, and has what was acknowledged.
func (f *faulty) verify(what, dir string, boot [16]byte) {
	f.t.Helper()
	fs, err := Mount(Config{Dir: dir, Identity: "acme/prod", Keys: f.fs.Keys, Disk: faultfs.NewVolatile()})
	if err != nil {
		f.t.Fatal(err)
	}
	fs.boot = boot
	defer fs.Close()
	c, err := fs.connect(context.Background(), "data.db")
	if err != nil {
		f.t.Fatalf("%s: %v, fault %v", what, err, fs.Fault())
	}
	defer c.Close()
	f.compare(what, c)
	if fs.Fault() != nil {
		f.t.Fatalf("%s: %v", what, fs.Fault())
	}
}

func (f *faulty) compare(what string, c *sqlite3.Conn) {
	f.t.Helper()
	if len(f.acked) == 0 {
		return // there may not even be tables
	}
	if whole, err := ask(c, "PRAGMA integrity_check"); err != nil || whole != "ok" {
		_, last := f.fs.Failures()
		f.t.Fatalf("%s: integrity %q, %v; fault %v, last failure %v; errors %v", what, whole, err, f.fs.Fault(), last, f.errs)
	}
	text, err := ask(c, "SELECT group_concat(i,' ') FROM (SELECT i FROM n ORDER BY i)")
	if err != nil {
		f.t.Fatalf("%s: %v", what, err)
	}
	done := strings.Fields(text)
	for _, i := range f.acked {
		if !slices.Contains(done, i) {
			f.t.Fatalf("%s: step %s was acknowledged and is gone; errors %v", what, i, f.errs)
		}
	}
	want(f.t, c, "SELECT group_concat(id||'='||v,' ')||' ' FROM (SELECT * FROM t ORDER BY id)", scriptOutcome(done))
}

// play runs the script under a plan and looks at the outcome: in the process,
// after it was killed, and after a power cut.
func play(t testing.TB, what string, durability Durability, r *rand.Rand, plan faultfs.Plan) *faulty {
	t.Helper()
	f := &faulty{t: t, disk: faultfs.NewVolatile()}
	f.fs = mountConfig(t, Config{Dir: t.TempDir(), Identity: "acme/prod", Keys: newRing("a"), Disk: f.disk, Durability: durability})
	f.disk.Follow(plan)
	for i := 1; i <= scriptSteps; i++ {
		f.step(i)
	}
	f.disk.Follow(nil)
	f.verify(what+", killed", copyTo(t, f.fs.Dir), f.fs.boot)
	cut := t.TempDir()
	if err := f.disk.Cut(r, f.fs.Dir, cut); err != nil {
		t.Fatal(err)
	}
	f.verify(what+", power cut", cut, [16]byte{1})
	if f.conn == nil && !f.open() {
		_, last := f.fs.Failures()
		t.Fatalf("%s: %v; fault %v, last failure %v", what, f.errs, f.fs.Fault(), last)
	}
	f.step(scriptSteps + 1)
	if len(f.acked) == 0 || f.acked[len(f.acked)-1] != fmt.Sprint(scriptSteps+1) {
		t.Fatalf("%s: after it, nothing can be written: %v", what, f.errs)
	}
	f.compare(what, f.conn)
	f.conn.Close()
	rekey(t, f.fs) // what the fault cut short is made good
	wantGenerations(t, f.fs, f.fs.Keys.(*ring).newest)
	authenticate(t, f.fs, "data.db")
	return f
}

// TestFaults fails the Nth call of the script, for as many N as
// HOLDFAST_TEST_FAULTS says (a million: for every N): with EIO, with a disk that is full once in
// the middle of a write, and with one that stays full for a hundred calls.
func TestFaults(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	r := seeded(t)
	for _, durability := range []Durability{Full, Shared} {
		calls := play(t, "no fault", durability, r, nil).disk.Calls()
		stride := max(1, calls/faultPoints())
		full, failed, runs := 0, 0, 0
		for n := 1 + r.Int64N(stride); n <= calls; n += stride {
			for kind, plan := range map[string]faultfs.Plan{"EIO": brokenOnce(n), "ENOSPC": fullFrom(n, n, r), "ENOSPC for long": fullFrom(n, n+100, r)} {
				f := play(t, fmt.Sprintf("%s at call %d, durability %d", kind, n, durability), durability, r, plan)
				failed, runs = failed+len(f.errs), runs+1
				for _, err := range f.errs {
					if errors.Is(err, sqlite3.FULL) {
						full++
					} else if kind != "EIO" && !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, sqlite3.FULL) && !errors.Is(err, data.ErrTampered) {
						t.Errorf("%s at call %d: %v", kind, n, err)
					}
				}
			}
		}
		t.Logf("durability %d: %d calls, %d runs, %d statements failed, %d of them full", durability, calls, runs, failed, full)
		if full == 0 || failed == full {
			t.Errorf("%d failed, %d full", failed, full)
		}
	}
}

// faultPoints is at how many calls of the script TestFaults fails.
func faultPoints() int64 {
	n, err := strconv.ParseInt(os.Getenv("HOLDFAST_TEST_FAULTS"), 10, 64)
	if err != nil || n < 1 {
		return 10
	}
	return n
}

func brokenOnce(n int64) faultfs.Plan {
	return func(c faultfs.Call) error {
		if c.Number == n {
			return syscall.EIO
		}
		return nil
	}
}

// fullFrom is a disk on which, between two calls, nothing can be written. Of the
// mark, nothing is written in part: a slot lies in one page of the system's
// memory, which fails before anything is copied into it. So does a page of the
// database; all the same, some of its sectors are.
func fullFrom(first, last int64, r *rand.Rand) faultfs.Plan {
	return func(c faultfs.Call) error {
		written := 0
		if c.Len > 0 && !strings.HasSuffix(c.Name, markSuffix) {
			written = r.IntN(c.Len)
		}
		if strings.HasSuffix(c.Name, ".db") {
			written -= written % sectorSize
		}
		switch {
		case c.Number < first || c.Number > last:
		case c.Op == faultfs.Write:
			return &faultfs.Torn{Bytes: written, Err: syscall.ENOSPC}
		case c.Op == faultfs.Sync:
			return syscall.ENOSPC
		}
		return nil
	}
}
