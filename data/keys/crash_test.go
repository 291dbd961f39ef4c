package keys

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/data"
)

const crashDir = "HOLDFAST_TEST_CRASH_DIR"

// TestMain is also the process that gets killed: it changes the keyring without
// end and says what was acknowledged.
func TestMain(m *testing.M) {
	dir := os.Getenv(crashDir)
	if dir == "" {
		os.Exit(m.Run())
	}
	r, err := OpenRing(dir, goldenRoot())
	for i := 0; err == nil; i++ {
		owner := Owner(fmt.Sprintf("p%d-%d/prod", os.Getpid(), i))
		if err = r.Add(owner, Pages); err == nil {
			fmt.Println("live", owner)
		}
		if err == nil && i%2 == 1 {
			if err = r.Destroy(owner); err == nil {
				fmt.Println("destroyed", owner)
			}
		}
	}
	fmt.Println("failed", err)
	os.Exit(1)
}

// kill -9 at any moment: the keyring opens, what was acknowledged stands, and no
// acknowledged destruction comes back in either file.
func TestKill(t *testing.T) {
	dir, root := filepath.Join(t.TempDir(), "keys"), goldenRoot()
	_, err := CreateRing(dir, root)
	must(t, err)
	want := map[Owner]State{}
	for cycle := range 20 {
		killAfter(t, dir, 2+cycle%7, want)
		r := reopen(t, dir, root)
		for owner, state := range want {
			if got, err := r.State(owner); err != nil || got != state && got != Destroyed {
				t.Fatalf("cycle %d: %s is %s (%v), was acknowledged %s", cycle, owner, got, err, state)
			}
		}
		previous, err := readRing(filepath.Join(dir, PreviousFile), root)
		must(t, err)
		for _, k := range previous.records {
			if want[k.owner] == Destroyed && k.wrap != nil {
				t.Fatalf("cycle %d: the previous generation holds the destroyed key of %s", cycle, k.owner)
			}
		}
		must(t, r.Check())
	}
	if len(want) < 20 {
		t.Fatalf("only %d changes were acknowledged", len(want))
	}
}

// killAfter kills the process once it has acknowledged n changes, and notes them.
func killAfter(t *testing.T, dir string, n int, want map[Owner]State) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), crashDir+"="+dir)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	lines := bufio.NewScanner(out)
	for i := 0; lines.Scan(); i++ {
		state, owner, _ := strings.Cut(lines.Text(), " ")
		if state == "failed" {
			t.Fatal(lines.Text())
		}
		want[Owner(owner)] = State(state)
		if i == n {
			must(t, cmd.Process.Kill())
		}
	}
	_ = cmd.Wait()
}

// A folder that cannot be written changes nothing, in memory neither.
func TestFailedWriteChangesNothing(t *testing.T) {
	r, dir, root := newTestRing(t)
	must(t, r.Add(acme, Pages))
	moved := dir + ".moved"
	must(t, os.Rename(dir, moved))
	if err := r.Destroy(acme); err == nil {
		t.Fatal("Destroy without a folder")
	}
	current(t, r.Source(acme, Pages))
	must(t, os.Rename(moved, dir))
	must(t, r.Destroy(acme))
	_, _, err := reopen(t, dir, root).Source(acme, Pages).Current()
	wantErr(t, err, data.ErrDestroyed)
}
