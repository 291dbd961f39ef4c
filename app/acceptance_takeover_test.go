package app_test

import (
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// fencedOut wants what this host ships to be refused, because another goes on with it.
func (s *server) fencedOut(stores ...string) {
	s.t.Helper()
	for _, store := range stores {
		if d := s.cli("snapshot", "now", store); d.code == 0 || !strings.Contains(d.stderr, "Another appliance") {
			s.t.Errorf("snapshot now %s: %d %s%s", store, d.code, d.stdout, d.stderr)
		}
	}
	if out := s.must("snapshot", "overview"); strings.Count(out, "fenced") < len(stores) {
		s.t.Errorf("overview:\n%s", out)
	}
}

// operationDone waits until an operation has ended well.
func (c *rest) operationDone(id string) {
	c.t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		op := get[struct{ State string }](c, "/api/v1/operations/"+id)
		if op.State == "done" {
			return
		}
		if op.State == "failed" || time.Now().After(end) {
			c.t.Fatalf("operation %s is %s: %s", id, op.State, c.call("GET", "/api/v1/operations/"+id, nil).body)
		}
	}
}

// TestTakeOver: a host is replaced by one that comes back from the bucket. When the first
// is started again it notices at its next shipment, stops and says so; its writers go on.
// It takes over all that is fenced with one command; then it is the other that stops, and
// takes one tenant back over REST.
func TestTakeOver(t *testing.T) {
	t.Parallel()
	sequential(t)
	s := startServer(t)
	code, from := s.recoveryKey(), "file://"+filepath.Join(s.dir, "far")
	s.operator("ada@example.com")
	s.must("target", "add", "far", from)
	s.must("keys", "copies", "add", "far")
	acme := s.filled("acme", 10)
	s.must("keys", "copies", "now")
	all := []string{"acme", "vault", "system"}
	for _, what := range all {
		s.must("snapshot", "now", what)
	}
	if d := s.cli("snapshot", "takeover", "--all", "--target", "nosuch"); d.code != 1 || !strings.Contains(d.stderr, "nosuch") {
		t.Errorf("a target that is not there: %d %s", d.code, d.stderr)
	}
	if out := s.must("snapshot", "takeover", "--all", "--target", "far"); !strings.Contains(out, "no chain on far is fenced") {
		t.Error(out)
	}
	s.stop()

	n := s.lost()
	n.ok(code, "restore", "--all", "--from", from, "--recovery-key-stdin")
	n.unsealed(code)
	n.tenant("acme", n.newKey("acme", "write")).want(200, "POST", records("items"), map[string]any{"n": 100})
	for _, what := range all {
		n.must("snapshot", "now", what)
	}

	s.start()
	acme.want(200, "POST", records("items"), map[string]any{"n": 200}) // nobody who writes waits
	s.fencedOut(all...)
	if d := s.cli("doctor"); d.code != 1 || !strings.Contains(d.stdout, "shipping-fenced") && !strings.Contains(d.stdout, "takeover") {
		t.Errorf("doctor: %d %s%s", d.code, d.stdout, d.stderr)
	}
	if out := s.must("audit", "list", "--json"); !strings.Contains(out, "snapshot.fenced") {
		t.Error("the log of the appliance does not tell")
	}
	out := s.must("snapshot", "takeover", "--all", "--target", "far")
	for _, what := range []string{"acme/prod is shipped to far", "vault is shipped", "system is shipped"} {
		if !strings.Contains(out, what) {
			t.Errorf("takeover: %s", out)
		}
	}
	acme.want(200, "POST", records("items"), map[string]any{"n": 201})
	for _, what := range all {
		s.must("snapshot", "now", what)
	}
	s.must("snapshot", "verify", "acme")

	n.tenant("acme", n.newKey("acme", "write")).want(200, "POST", records("items"), map[string]any{"n": 101})
	n.fencedOut(all...)
	ada := n.signIn("ada@example.com")
	const path = "/api/v1/stores/acme/prod/snapshots/takeover"
	ada.want(404, "POST", path, map[string]string{"target": "nosuch"})
	ada.want(422, "POST", path, map[string]string{})
	op := decoded[struct{ ID string }](ada, ada.want(202, "POST", path, map[string]string{"target": "far"}))
	ada.operationDone(op.ID)
	if out := n.must("snapshot", "status", "acme"); !strings.Contains(out, "far") || strings.Contains(out, "fenced") {
		t.Error(out)
	}
	acme.want(200, "POST", records("items"), map[string]any{"n": 202})
	s.fencedOut("acme")
}
