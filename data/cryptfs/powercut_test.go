package cryptfs

import (
	"context"
	"math/rand/v2"
	"strconv"
	"testing"

	"holdfast/data/cryptfs/faultfs"
)

// TestPowerCut cuts the power at many points: whatever is left opens, is whole
// and has every acknowledged row.
func TestPowerCut(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	t.Run("full", func(t *testing.T) { cutPower(t, Full) })
	t.Run("shared", func(t *testing.T) { cutPower(t, Shared) })
}

func cutPower(t *testing.T, durability Durability) {
	r, acknowledged, cuts := seeded(t), 0, 0
	d := faultfs.NewVolatile()
	fs := mountConfig(t, Config{Dir: t.TempDir(), Identity: "acme/prod", Keys: newRing("a"), Disk: d, Durability: durability})
	next, every := int64(0), int64(4)
	d.Follow(func(call faultfs.Call) error {
		if call.Number > next && call.Op != faultfs.Read {
			next = call.Number + r.Int64N(every)
			cuts++
			checkAfterCut(t, d, r, fs, acknowledged)
		}
		return nil
	})
	c := connect(t, fs, "data.db")
	run(t, c, "CREATE TABLE t(id INTEGER PRIMARY KEY, x); CREATE TABLE n(i INTEGER); PRAGMA wal_checkpoint(TRUNCATE); PRAGMA cache_size=8; PRAGMA wal_autocheckpoint=20")
	every = 200
	for range times(20) {
		run(t, c, "%s", act(c, r))
		run(t, c, "DELETE FROM t WHERE id < (SELECT max(id)-60 FROM t)")
		run(t, c, "INSERT INTO n VALUES(%d)", acknowledged)
		if err := fs.SyncLog(context.Background(), "data.db"); err != nil {
			t.Fatal(err)
		}
		acknowledged++
	}
	t.Logf("%d power cuts", cuts)
	if cuts < 10 {
		t.Errorf("only %d power cuts", cuts)
	}
}

func checkAfterCut(t *testing.T, d *faultfs.Disk, r *rand.Rand, source *FS, acknowledged int) {
	t.Helper()
	dir := t.TempDir()
	if err := d.Cut(r, source.Dir, dir); err != nil {
		t.Fatal(err)
	}
	fs, err := Mount(Config{Dir: dir, Identity: "acme/prod", Keys: source.Keys})
	if err != nil {
		t.Fatal(err)
	}
	fs.boot = [16]byte{1} // the system starts anew
	c, err := fs.connect(context.Background(), "data.db")
	if err != nil {
		_, why := fs.Failures()
		t.Fatalf("%v: %v", err, why)
	}
	want(t, c, "PRAGMA integrity_check", "ok")
	if acknowledged == 0 {
		run(t, c, "CREATE TABLE IF NOT EXISTS n(i)")
	}
	got, err := ask(c, "SELECT count(*) FROM n")
	if n, _ := strconv.Atoi(got); err != nil || n < acknowledged {
		t.Fatalf("%s rows of %d, %v", got, acknowledged, err)
	}
	if err := fs.Fault(); err != nil {
		t.Fatal(err)
	}
	run(t, c, "VACUUM; PRAGMA wal_checkpoint(TRUNCATE)")
	authenticate(t, fs, "data.db")
	c.Close()
	if err := fs.Close(); err != nil {
		t.Fatal(err)
	}
}
