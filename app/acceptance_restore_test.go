package app_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// lost is a new host in the place of s: nothing of its folders is there any more.
func (s *server) lost() *server {
	n := newServer(s.t)
	n.env = append(n.env, s.env...)
	return n
}

// TestBareHost loses the disk and comes back from the bucket and the recovery key.
func TestBareHost(t *testing.T) {
	t.Parallel()
	sequential(t)
	s3 := startS3(t)
	s := newServer(t)
	s.env = append(s.env, s3.env()...)
	s.start()
	code := s.recoveryKey()
	operator := s.operator("ada@example.com")
	s.filled("acme", 50)
	s.filled("gone", 5)
	key := s.newKey("acme", "read")
	revoked := answer[struct{ ID, Key string }](s, "key", "create", "acme", "--name", "revoked", "--scope", "read")
	s.must("target", "add", "far", s3.url())
	s.must("keys", "copies", "add", "far")
	s.must("tenant", "delete", "gone", "--yes", "--now")
	s.must("key", "revoke", "acme", revoked.ID)
	s.must("keys", "copies", "now")
	for _, what := range []string{"acme", "vault", "system"} {
		s.must("snapshot", "now", what)
	}
	if code := s.stop(); code != 0 {
		t.Fatal("stop:", code)
	}

	n := s.lost()
	if d := n.cliInput("AAAA", "restore", "--all", "--from", s3.url(), "--recovery-key-stdin"); d.code == 0 {
		t.Fatal("it is restored with a wrong key")
	}
	d := n.cliInput(code, "restore", "--all", "--from", s3.url(), "--recovery-key-stdin", "--json")
	if d.code != 0 || !strings.Contains(d.stdout, `"records":50`) {
		t.Fatalf("restore --all: %d\n%s%s", d.code, d.stdout, d.stderr)
	}
	if _, err := os.Stat(filepath.Join(n.data(), "restoring")); err == nil {
		t.Error("the restore leaves its folder")
	}
	if d := n.cliInput(code, "restore", "--all", "--from", s3.url(), "--recovery-key-stdin"); d.code == 0 || !strings.Contains(d.stderr, "not empty") {
		t.Errorf("restored over data: %d %s", d.code, d.stderr)
	}
	n.launch()
	if err := n.awaitStatus("/healthz"); err != nil {
		t.Fatal(err)
	}
	if d := n.cliInput(code, "unseal", "--recovery-key-stdin"); d.code != 0 {
		t.Fatal(d.stderr)
	}
	n.wantBack(key, revoked.Key)
	before := n.guest()
	before.session = operator.session
	before.want(401, "GET", "/api/v1/tenants", nil)
	n.signIn("ada@example.com").want(200, "GET", "/api/v1/tenants", nil)
	n.must("snapshot", "now", "acme") // shipping goes on
}

// wantBack looks at a host that came back.
func (s *server) wantBack(key, revoked string) {
	s.t.Helper()
	if got := get[page](s.tenant("acme", key), records("items")); got.TotalItems != 50 {
		s.t.Errorf("%d records", got.TotalItems)
	}
	s.tenant("acme", revoked).want(401, "GET", "/api/collections/items/records", nil)
	for _, args := range [][]string{{"audit", "verify"}, {"audit", "verify", "--tenant", "acme"}} {
		if out := answer[struct{ OK bool }](s, args...); !out.OK {
			s.t.Errorf("%v: %+v", args, s.must(args...))
		}
	}
	if out := s.must("audit", "list", "--json"); !strings.Contains(out, "log.epoch") {
		s.t.Error("the log does not name what was lost")
	}
}

// TestRestoreInPlaceByHand is the three ways through the command line, under writes.
func TestRestoreInPlaceByHand(t *testing.T) {
	t.Parallel()
	sequential(t)
	s := startServer(t)
	s.must("target", "add", "near", "file://"+filepath.Join(s.dir, "near"))
	acme := s.filled("acme", 20)
	first := answer[struct{ Seq int64 }](s, "snapshot", "now", "acme")
	for i := range 5 {
		acme.want(200, "POST", "/api/collections/items/records", map[string]any{"n": 100 + i})
	}
	s.must("snapshot", "now", "acme")
	seq := fmt.Sprint(first.Seq)
	if out := s.must("restore", "acme", "--in-place", "--sequence", seq, "--dry-run"); !strings.Contains(out, "5 removed") {
		t.Error(out)
	}
	got := answer[struct {
		ID     string
		Undone int64 `json:"undone_changes"`
	}](s, "restore", "acme", "--in-place", "--sequence", seq)
	if got.Undone != 5 {
		t.Errorf("%+v", got)
	}
	if got := get[page](acme, records("items")); got.TotalItems != 20 { // the key goes on
		t.Error(got.TotalItems)
	}
	s.must("restore", "acme", "--undo", got.ID)
	if got := get[page](acme, records("items")); got.TotalItems != 25 {
		t.Error(got.TotalItems)
	}
	s.must("snapshot", "now", "acme")
	s.must("restore", "acme", "--as", "copy", "--at", time.Now().UTC().Format(time.RFC3339Nano))
	if out := answer[struct{ OK bool }](s, "audit", "verify", "--tenant", "acme"); !out.OK {
		t.Error(s.must("audit", "verify", "--tenant", "acme"))
	}
	if out := s.must("restore", "acme", "--list"); !strings.Contains(out, "undone") {
		t.Error(out)
	}
}
