package app_test

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// lastRestore is the newest restore of acme, or an empty one.
func (s *server) lastRestore() (r struct{ ID, State, Error string }) {
	s.t.Helper()
	first, _, _ := strings.Cut(s.must("restore", "acme", "--list", "--json"), "\n")
	if first != "" {
		if err := json.Unmarshal([]byte(first), &r); err != nil {
			s.t.Fatal(err)
		}
	}
	return r
}

// TestKillDuringRestoreInPlace ends the server without warning while a restore in place
// is under way: what is there afterwards is one state or the other, whole, and the restore
// goes on to its end.
func TestKillDuringRestoreInPlace(t *testing.T) {
	t.Parallel()
	sequential(t)
	s := startServer(t)
	s.must("target", "add", "near", "file://"+filepath.Join(s.dir, "near"))
	acme := s.filled("acme", 300)
	seq := answer[struct{ Seq json.Number }](s, "snapshot", "now", "acme").Seq.String()
	for range 5 {
		acme.want(200, "POST", records("items"), map[string]any{"n": 1})
	}
	for range crashes() {
		s.killRestore(seq)
		s.start()
		if n := get[page](acme, records("items")).TotalItems; n != 300 && n != 305 {
			t.Fatalf("half a tenant: %d records", n)
		}
		r := s.lastRestore()
		for end := time.Now().Add(time.Minute); r.State == "running" || r.State == "swapping"; r = s.lastRestore() {
			if time.Now().After(end) {
				t.Fatalf("the restore does not go on: %+v", r)
			}
			time.Sleep(20 * time.Millisecond)
		}
		switch {
		case r.State == "kept":
			if n := get[page](acme, records("items")).TotalItems; n != 300 {
				t.Errorf("restored %d records", n)
			}
			s.must("restore", "acme", "--undo", r.ID)
		case r.ID != "" && r.State != "undone": // else it was killed before it was accepted
			t.Errorf("%+v", r)
		}
		if n := get[page](acme, records("items")).TotalItems; n != 305 {
			t.Errorf("after the undo: %d records", n)
		}
	}
	if out := answer[struct{ OK bool }](s, "audit", "verify", "--tenant", "acme"); !out.OK {
		t.Error(s.must("audit", "verify", "--tenant", "acme"))
	}
}

// killRestore begins a restore and ends the server some time after.
func (s *server) killRestore(seq string) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	cmd := s.command(ctx, "restore", "acme", "--in-place", "--sequence", seq)
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	time.Sleep(time.Duration(50+rand.IntN(900)) * time.Millisecond)
	s.kill()
	cancel()
	_ = cmd.Wait()
}

// TestKillDuringBareRestore ends `restore --all` without warning: run again, it ends well.
func TestKillDuringBareRestore(t *testing.T) {
	t.Parallel()
	sequential(t)
	s := startServer(t)
	code, from := s.recoveryKey(), "file://"+filepath.Join(s.dir, "far")
	s.must("target", "add", "far", from)
	s.must("keys", "copies", "add", "far")
	for _, slug := range []string{"acme", "beta"} {
		s.filled(slug, 200)
	}
	s.must("keys", "copies", "now")
	for _, what := range []string{"acme", "beta", "vault", "system"} {
		s.must("snapshot", "now", what)
	}
	s.stop()
	for range crashes() {
		n := s.lost()
		for i := 1; !n.bareOrKilled(code, from, time.Duration(i)*300*time.Millisecond); i++ {
		}
		n.launch()
		if err := n.awaitStatus("/healthz"); err != nil {
			t.Fatal(err)
		}
		n.ok(code, "unseal", "--recovery-key-stdin")
		for _, slug := range []string{"acme", "beta"} {
			if got := get[page](n.tenant(slug, n.newKey(slug, "read")), records("items")); got.TotalItems != 200 {
				t.Errorf("%s: %d records", slug, got.TotalItems)
			}
			if out := answer[struct{ OK bool }](n, "audit", "verify", "--tenant", slug); !out.OK {
				t.Error(n.must("audit", "verify", "--tenant", slug))
			}
		}
		n.kill()
	}
}

// bareOrKilled restores and says whether it came to its end: it has a little longer
// each time, so that some run does.
func (s *server) bareOrKilled(code, from string, patience time.Duration) bool {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience+time.Duration(rand.IntN(300))*time.Millisecond)
	defer cancel()
	cmd := s.command(ctx, "restore", "--all", "--from", from, "--recovery-key-stdin")
	cmd.Stdin = strings.NewReader(code)
	out, err := cmd.CombinedOutput()
	if err != nil && ctx.Err() == nil {
		s.t.Fatalf("restore --all, run again: %v\n%s", err, out)
	}
	return err == nil || s.restored() // killed after its last step
}

// restored says that a restore of the whole appliance came to its end here.
func (s *server) restored() bool {
	s.t.Helper()
	_, begun := os.Stat(filepath.Join(s.data(), "restoring"))
	_, keys := os.Stat(filepath.Join(s.data(), "keys"))
	return errors.Is(begun, fs.ErrNotExist) && keys == nil
}
