package vault

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

const crashDir = "HOLDFAST_TEST_CRASH_DIR"

// crashKeys are the same in every process of the test.
func crashKeys() *testKeys {
	return &testKeys{last: 1, keys: map[uint32][32]byte{1: [32]byte(bytes.Repeat([]byte{7}, 32))}}
}

// TestMain is also the process that gets killed: it writes pairs without end and
// says what was acknowledged.
func TestMain(m *testing.M) {
	dir := os.Getenv(crashDir)
	if dir == "" {
		os.Exit(m.Run())
	}
	v, err := Open(dir, crashKeys())
	for i := 0; err == nil; i++ {
		key := fmt.Sprintf("%d-%d", os.Getpid(), i)
		value := bytes.Repeat([]byte(key), 1+i%200*20)
		err = v.Update(bg, func(tx *Tx) error {
			if err := tx.Set([]byte("a/"+key), value); err != nil {
				return err
			}
			return tx.Set([]byte("b/"+key), value)
		})
		if err == nil {
			fmt.Println(key)
		}
	}
	fmt.Println("failed", err)
	os.Exit(1)
}

// kill -9 at any moment: what was acknowledged is there, and each Update is
// there whole or not at all.
func TestKill(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "vault")
	acknowledged := map[string]bool{}
	cycles := 20
	if testing.Short() {
		cycles = 4
	}
	for cycle := range cycles {
		killAfter(t, dir, 20+cycle*3, acknowledged)
		v, err := Open(dir, crashKeys())
		must(t, err)
		for key := range acknowledged {
			if _, err := get(v, "a/"+key); err != nil {
				t.Fatalf("cycle %d: acknowledged %s: %v", cycle, key, err)
			}
		}
		if a, b := countKeys(t, v, "a/"), countKeys(t, v, "b/"); a != b || a < len(acknowledged) {
			t.Fatalf("cycle %d: %d and %d keys, %d acknowledged", cycle, a, b, len(acknowledged))
		}
		must(t, v.Close())
	}
	t.Logf("%d acknowledged over %d kills", len(acknowledged), cycles)
}

// A process that is killed just as badger makes a log leaves it without a byte.
func TestLogsThatWereNotBegun(t *testing.T) {
	v, dir, keys := newTest(t)
	set(t, v, "before", "kept")
	must(t, v.Close())
	must(t, os.Remove(filepath.Join(dir, sumsFile))) // as after a kill
	for _, name := range []string{"00099.mem", "000099.vlog"} {
		must(t, os.WriteFile(filepath.Join(dir, name), nil, 0o600))
	}
	v = openTest(t, dir, keys)
	wantValue(t, v, "before", "kept")
	set(t, v, "after", "kept too")
	must(t, v.Close())
	v = openTest(t, dir, keys)
	wantValue(t, v, "after", "kept too")
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
		if bytes.HasPrefix(lines.Bytes(), []byte("failed")) {
			t.Fatal(lines.Text())
		}
		acknowledged[lines.Text()] = true
		if i == n {
			must(t, cmd.Process.Kill())
		}
	}
	_ = cmd.Wait()
}

func countKeys(t *testing.T, v *Vault, prefix string) (n int) {
	t.Helper()
	must(t, v.View(bg, func(tx *Tx) error {
		return tx.Keys([]byte(prefix), nil, func([]byte) (bool, error) { n++; return true, nil })
	}))
	return n
}

// Collect gives back the room of values that were overwritten.
func TestCollect(t *testing.T) {
	v, dir, keys := newTest(t)
	for round := range 5 {
		for i := range 40 {
			set(t, v, fmt.Sprintf("big/%d", i), string(bytes.Repeat([]byte{byte(round)}, MaxValue/2)))
		}
	}
	must(t, v.Close())
	v = openTest(t, dir, keys)
	before := folderSize(t, dir)
	must(t, v.Collect(bg))
	if after := folderSize(t, dir); after > before {
		t.Errorf("%d bytes before, %d after", before, after)
	}
	for i := range 40 {
		wantValue(t, v, fmt.Sprintf("big/%d", i), string(bytes.Repeat([]byte{4}, MaxValue/2)))
	}
}

func folderSize(t *testing.T, dir string) (n int64) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	must(t, err)
	for _, e := range entries {
		if info, err := e.Info(); err == nil {
			n += info.Size()
		}
	}
	return n
}
