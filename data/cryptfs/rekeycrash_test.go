package cryptfs

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"holdfast/data"
	"holdfast/data/cryptfs/faultfs"
)

// TestPowerCutRekey cuts the power at many points of a re-key beside a writer:
// whatever is left opens, every page authenticates, and every acknowledged row is
// there.
func TestPowerCutRekey(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	r, keys, acknowledged, cuts, journals := seeded(t), newRing("a"), 0, 0, 0
	d := faultfs.NewVolatile()
	fs := mountConfig(t, Config{Dir: t.TempDir(), Identity: "acme/prod", Keys: keys, Disk: d})
	c := filled(t, fs, "data.db")
	run(t, c, "CREATE TABLE n(i INTEGER); PRAGMA wal_checkpoint(TRUNCATE); PRAGMA cache_size=8; PRAGMA wal_autocheckpoint=20")
	next := d.Calls()
	d.Follow(func(call faultfs.Call) error {
		if call.Number > next && call.Op != faultfs.Read {
			next = call.Number + 1 + r.Int64N(1500)
			cuts++
			if exists(filepath.Join(fs.Dir, "data.db"+rekeySuffix)) {
				journals++
			}
			checkAfterCut(t, d, r, fs, acknowledged)
		}
		return nil
	})
	for range times(2) {
		run(t, c, "%s", act(c, r))
		run(t, c, "INSERT INTO n VALUES(%d)", acknowledged)
		acknowledged++
		keys.rotate()
		rekey(t, fs)
	}
	t.Logf("%d power cuts, %d with a journal", cuts, journals)
	if cuts == 0 {
		t.Error("no power cut")
	}
	d.Follow(nil)
	wantGenerations(t, fs, keys.newest)
}

// TestRekeyOnFailingDisk fails calls of a re-key, each in its turn: a reader sees
// all rows at any time, and the next Rekey ends the work.
func TestRekeyOnFailingDisk(t *testing.T) {
	r, keys, d := seeded(t), newRing("a"), faultfs.New()
	fs := mountConfig(t, Config{Dir: t.TempDir(), Identity: "acme/prod", Keys: keys, Disk: d})
	c := filled(t, fs, "data.db")
	run(t, c, "PRAGMA wal_checkpoint(TRUNCATE)")
	failed := 0
	for range times(25) {
		keys.rotate()
		at := d.Calls() + 1 + r.Int64N(60)
		d.Follow(func(call faultfs.Call) error {
			switch {
			case call.Number != at:
				return nil
			case call.Op == faultfs.Write && r.IntN(2) == 0:
				return &faultfs.Torn{Bytes: r.IntN(max(1, call.Len)) / sectorSize * sectorSize, Err: os.ErrDeadlineExceeded}
			}
			return os.ErrDeadlineExceeded
		})
		if err := fs.Rekey(context.Background(), nil); err != nil {
			failed++
		}
		d.Follow(nil)
		rekey(t, fs)
		want(t, c, "SELECT count(*) FROM t", "1500")
		wantGenerations(t, fs, keys.newest)
	}
	if failed == 0 {
		t.Error("no re-key failed")
	}
	want(t, c, "PRAGMA integrity_check", "ok")
}

// rekeyGeneration tells a child the newest generation.
const (
	rekeyDir        = "HOLDFAST_TEST_REKEY_DIR"
	rekeyGeneration = "HOLDFAST_TEST_REKEY_GENERATION"
)

// rekeyUntilKilled writes, and seals anew at the same time, and prints what it
// acknowledged and how often it sealed.
func rekeyUntilKilled(dir string) error {
	ctx, keys := context.Background(), newRing("a")
	for n, _ := strconv.Atoi(os.Getenv(rekeyGeneration)); int(keys.newest) < n; {
		keys.rotate()
	}
	fs, err := Mount(Config{Dir: dir, Identity: "acme/prod", Keys: keys})
	if err != nil {
		return err
	}
	c, err := fs.connect(ctx, "data.db")
	if err != nil {
		return err
	}
	files, err := OpenFiles(filepath.Join(dir, "files"), "acme/prod", keys)
	if err != nil {
		return err
	}
	if err := c.Exec("PRAGMA wal_autocheckpoint=60; CREATE TABLE IF NOT EXISTS t(id INTEGER PRIMARY KEY, x)"); err != nil {
		return err
	}
	failed := make(chan error, 1)
	go func() {
		for {
			keys.rotate() // the parent learns of it by the lines
			fmt.Println("generation", keys.newest)
			if err := fs.Rekey(ctx, nil); err != nil {
				failed <- err
			}
			if err := files.Rekey(ctx, nil); err != nil {
				failed <- err
			}
		}
	}()
	for len(failed) == 0 {
		if err := c.Exec("INSERT INTO t(x) VALUES(hex(randomblob(1000)))"); err != nil {
			return err
		}
		row := c.LastInsertRowID()
		fmt.Println("row", row)
		if row%7 == 0 {
			if _, err := files.Put(ctx, data.FileInfo{Name: fmt.Sprint("c/r/", row)}, strings.NewReader(fmt.Sprint(row))); err != nil {
				return err
			}
			fmt.Println("file", row)
		}
		seals, err := fs.Seals()
		if err != nil {
			return err
		}
		last := seals[len(seals)-1]
		fmt.Println("seals", last.Generation, last.Count)
	}
	return <-failed
}

// TestKillRekey kills a process that writes and seals anew, several times: rows and
// files are there, all authenticates, the counts never go back, and the next
// process ends what this one began.
func TestKillRekey(t *testing.T) {
	kills := 3
	if n, err := strconv.Atoi(os.Getenv(killCount)); err == nil {
		kills = n
	}
	dir, keys := t.TempDir(), newRing("a")
	acknowledged := map[string]bool{} // files, of all children
	for range kills {
		said := killRekey(t, dir, keys, 20+rand.IntN(150))
		for int64(keys.newest) <= said["generation"] { // it may have rotated once more
			keys.rotate()
		}
		for what := range said {
			if file, ok := strings.CutPrefix(what, "file "); ok {
				acknowledged[file] = true
			}
		}
		checkAfterKillRekey(t, dir, keys, said, acknowledged)
	}
}

// killRekey gives the last number that the child said of each kind.
func killRekey(t *testing.T, dir string, keys *ring, lines int) map[string]int64 {
	t.Helper()
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), rekeyDir+"="+dir, fmt.Sprint(rekeyGeneration, "=", keys.newest))
	child.Stderr = os.Stderr
	out, err := child.StdoutPipe()
	if err == nil {
		err = child.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	said, scanner := map[string]int64{}, bufio.NewScanner(out)
	for n := 0; scanner.Scan(); n++ {
		words := strings.Fields(scanner.Text())
		if len(words) > 1 {
			said[words[0]], _ = strconv.ParseInt(words[1], 10, 64)
			said[words[0]+" "+words[1]] = 1
		}
		if len(words) > 2 {
			said["count "+words[1]], _ = strconv.ParseInt(words[2], 10, 64)
		}
		if n == lines {
			if err := child.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	_ = child.Wait() // killed
	if said["row"] == 0 {
		t.Fatal("the child wrote nothing")
	}
	return said
}

func checkAfterKillRekey(t *testing.T, dir string, keys *ring, said map[string]int64, acknowledged map[string]bool) {
	t.Helper()
	fs, err := Mount(Config{Dir: dir, Identity: "acme/prod", Keys: keys})
	if err != nil {
		t.Fatal(err)
	}
	c := connect(t, fs, "data.db")
	want(t, c, "PRAGMA integrity_check", "ok")
	want(t, c, fmt.Sprint("SELECT count(*)=", said["row"], " FROM t WHERE id<=", said["row"]), "1")
	for _, s := range sealsOfFS(t, fs) {
		if said := said[fmt.Sprint("count ", s.Generation)]; s.Part == "log" && s.Count < said {
			t.Fatalf("generation %d: %d seals, %d before the kill", s.Generation, s.Count, said)
		}
	}
	rekey(t, fs)
	wantGenerations(t, fs, keys.newest)
	files := openFiles(t, filepath.Join(dir, "files"), keys)
	if err := files.Rekey(context.Background(), nil); err != nil {
		t.Fatal(err)
	}
	wantFileGenerations(t, files, keys.newest)
	for name := range acknowledged {
		if got, err := read(files, "c/r/"+name); err != nil || string(got) != name {
			t.Fatalf("file %s: %q, %v", name, got, err)
		}
	}
	if err := fs.Fault(); err != nil {
		t.Fatal(err)
	}
	c.Close()
	if err := fs.Close(); err != nil {
		t.Fatal(err)
	}
}
