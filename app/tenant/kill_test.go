package tenant

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast/data"
	"holdfast/data/keys"
)

const killDir = "HOLDFAST_TENANT_KILL_DIR"

// TestVictim is the process that TestKill kills; by itself it does nothing.
func TestVictim(t *testing.T) {
	dir := os.Getenv(killDir)
	if dir == "" {
		t.Skip("run by TestKill")
	}
	w := reopened(t, dir)
	for n := 0; ; n++ {
		slug := fmt.Sprintf("v%d-%d", os.Getpid(), n)
		w.create(slug)
		fmt.Printf("\n%s %s\n", slug, Live)
		if n%3 == 0 {
			continue
		}
		now := n%3 == 2
		fmt.Printf("\n%s ?\n", slug)
		made, err := w.Delete(context.Background(), slug, now)
		w.must(err)
		fmt.Printf("\n%s %s\n", slug, made.State)
	}
}

// reopened opens what another process made, with the code that it left.
func reopened(t testing.TB, dir string) *world {
	code, err := os.ReadFile(filepath.Join(dir, "code"))
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, dir: dir, log: &recorder{}, clock: &clock{at: time.Now().UTC()}}
	slots, err := keys.OpenSlots(filepath.Join(dir, "root.slots"))
	w.must(err)
	w.root, err = slots.Unlock(keys.Recovery(string(code)))
	w.must(err)
	w.ring, err = keys.OpenRing(dir, w.root)
	w.must(err)
	w.open()
	return w
}

// TestKill kills a process that makes and deletes tenants, again and again: what it
// was told is so, and nothing is left between.
func TestKill(t *testing.T) {
	rounds := 12
	if testing.Short() {
		rounds = 2
	}
	dir := filepath.Join(t.TempDir(), "x")
	begin(t, dir)
	told := map[string]string{}
	for i := range rounds {
		runVictim(t, dir, time.Duration(50+i*53%400)*time.Millisecond, told)
	}
	w := reopened(t, dir)
	defer w.shut()
	for slug, state := range told {
		w.wantTold(slug, state)
	}
	if len(told) < rounds {
		t.Errorf("only %d tenants were told of", len(told))
	}
	if half, err := w.rows(t.Context(), "settled = 0"); err != nil || len(half) > 0 {
		t.Errorf("left half done: %+v, %v", half, err)
	}
}

func begin(t *testing.T, dir string) {
	t.Helper()
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	slot, code := keys.NewRecovery()
	root, err := keys.CreateSlots(filepath.Join(dir, "root.slots"), slot)
	if err != nil {
		t.Fatal(err)
	}
	ring, err := keys.CreateRing(dir, root)
	if err == nil {
		err = errors.Join(ring.Add(keys.System, keys.Pages, keys.Files), os.WriteFile(filepath.Join(dir, "code"), []byte(code), 0o600))
	}
	if err != nil {
		t.Fatal(err)
	}
}

func runVictim(t *testing.T, dir string, while time.Duration, told map[string]string) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestVictim$")
	cmd.Env = append(os.Environ(), killDir+"="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for first := true; lines.Scan(); {
		words := strings.Fields(lines.Text())
		if len(words) != 2 || !strings.HasPrefix(words[0], "v") {
			if len(words) > 0 && words[0] == "---" {
				t.Errorf("the victim failed: %s", lines.Text())
			}
			continue
		}
		if first {
			time.AfterFunc(while, func() { _ = cmd.Process.Kill() }) // it may have ended by itself
			first = false
		}
		told[words[0]] = words[1]
	}
	_ = cmd.Wait() // it was killed
}

// wantTold: a tenant is in the state that was told last; one whose deletion was on
// its way may be in either.
func (w *world) wantTold(slug, state string) {
	w.t.Helper()
	got, err := w.Get(w.t.Context(), slug)
	if err != nil || state != "?" && got.State != state {
		w.t.Errorf("%s was told to be %s, is %s (%v)", slug, state, got.State, err)
		return
	}
	id := data.StoreID{Tenant: got.ID, Environment: data.Prod}
	st, err := w.pool.Acquire(w.t.Context(), id)
	if err == nil {
		st.Release()
		err = w.pool.Evict(w.t.Context(), id)
	}
	want := map[string]error{Live: nil, Parked: data.ErrParked, Destroyed: data.ErrNotFound}[got.State]
	if !errors.Is(err, want) {
		w.t.Errorf("%s is %s, its store says %v", slug, got.State, err)
	}
}
