package system

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jmoiron/sqlx"
)

const crashDir = "HOLDFAST_TEST_CRASH_DIR"

// crashKey is the same in every process of the test.
var crashKey = testKey{1, 2, 3}

// TestMain is also the process that gets killed: it writes pairs of rows without
// end and says what was acknowledged.
func TestMain(m *testing.M) {
	dir := os.Getenv(crashDir)
	if dir == "" {
		os.Exit(m.Run())
	}
	d, err := Open(bg, Config{Dir: dir, Keys: crashKey})
	if err == nil {
		err = d.Migrate(bg, "test", notes)
	}
	for i := 0; err == nil; i++ {
		id := fmt.Sprintf("%d-%d", os.Getpid(), i)
		if err = insertPair(d, id); err == nil {
			fmt.Println(id)
		}
	}
	fmt.Println("failed", err)
	os.Exit(1)
}

func insertPair(d *DB, id string) error {
	return d.Update(bg, func(tx *sqlx.Tx) error {
		for _, half := range []string{"a/", "b/"} {
			if _, err := tx.Exec("INSERT INTO notes (id, body) VALUES (?, ?)", half+id, strings.Repeat(id, 50)); err != nil {
				return err
			}
		}
		return nil
	})
}

// kill -9 at any moment: what was acknowledged is there, halves are not, and the
// database is whole.
func TestKill(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	acknowledged := map[string]bool{}
	cycles := 20
	if testing.Short() {
		cycles = 4
	}
	for cycle := range cycles {
		killAfter(t, dir, 5+cycle*2, acknowledged)
		d, err := Open(bg, Config{Dir: dir, Keys: crashKey})
		must(t, err)
		must(t, d.Check(bg))
		var ids []string
		must(t, d.View(bg, func(tx *sqlx.Tx) error { return tx.Select(&ids, "SELECT id FROM notes") }))
		found := map[string]bool{}
		for _, id := range ids {
			found[id] = true
		}
		for id := range acknowledged {
			if !found["a/"+id] || !found["b/"+id] {
				t.Fatalf("cycle %d: acknowledged %s is gone", cycle, id)
			}
		}
		if len(ids)%2 != 0 {
			t.Fatalf("cycle %d: half a transaction stayed", cycle)
		}
		must(t, d.Close())
	}
	t.Logf("%d acknowledged over %d kills", len(acknowledged), cycles)
}

func killAfter(t *testing.T, dir string, n int, acknowledged map[string]bool) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), crashDir+"="+dir)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	lines := bufio.NewScanner(out)
	for i := 0; lines.Scan(); i++ {
		if strings.HasPrefix(lines.Text(), "failed") {
			t.Fatal(lines.Text())
		}
		acknowledged[lines.Text()] = true
		if i == n {
			must(t, cmd.Process.Kill())
		}
	}
	_ = cmd.Wait()
}
