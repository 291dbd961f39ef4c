package app_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// cutAfter takes a chain's manifests after a sequence away, as a thief would, or a bucket
// that lost its newest objects.
func cutAfter(t testing.TB, target, store string, sequence int64) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(target, "t", store, "manifest", "*"))
	if err != nil || len(names) == 0 {
		t.Fatalf("no manifest of %s: %v", store, err)
	}
	for _, name := range names {
		if filepath.Base(name) > fmt.Sprintf("%016x", sequence) {
			if err := os.Remove(name); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestBareHostOlderThanTheLog comes back with a system database that is older than the
// log: a deleted tenant can still be undeleted, who was locked stays locked, a revoked
// key stays revoked, what was refused stays refused, and nobody reads by glass. A chain that ends before what is known to be shipped is refused
// until somebody accepts it.
func TestBareHostOlderThanTheLog(t *testing.T) {
	t.Parallel()
	sequential(t)
	s := startServer(t)
	target := filepath.Join(s.dir, "far")
	code, from := s.recoveryKey(), "file://"+target
	s.operator("ada@example.com")
	s.operator("mia@example.com")
	s.must("target", "add", "far", from)
	s.must("keys", "copies", "add", "far")
	acme := s.filled("acme", 40)
	s.filled("gone", 7)
	key := answer[struct{ ID, Key string }](s, "key", "create", "acme", "--name", "revoked", "--scope", "read")
	s.must("snapshot", "now", "gone")
	s.must("tenant", "delete", "gone", "--yes")
	s.must("keys", "copies", "now")
	s.must("snapshot", "now", "acme")
	refused := s.letInByGlass("ada@example.com")
	s.must("approval", "approve", approvalOf(s.signIn("ada@example.com"), "POST", slots, slotOrder("")))
	before := answer[struct{ Seq int64 }](s, "snapshot", "now", "system").Seq
	s.must("access", "refuse", "acme", refused)
	s.must("approval", "policy", "on")
	s.signIn("tom@example.com").want(200, "PUT", "/api/v1/tenants/acme/policies/access", map[string]any{"emergency": true})
	s.must("person", "lock", "mia@example.com")
	s.must("key", "revoke", "acme", key.ID)
	acme.want(200, "POST", records("items"), map[string]any{"n": 1})
	id := answer[struct{ ID string }](s, "tenant", "show", "acme").ID
	for _, what := range []string{"acme", "vault"} {
		s.must("snapshot", "now", what)
	}
	if code := s.stop(); code != 0 {
		t.Fatal("stop:", code)
	}
	cutAfter(t, target, "system", before)

	n := s.lost()
	back := jsonOf[bareDone](t, n.ok(code, "restore", "--all", "--from", from, "--recovery-key-stdin", "--json"))
	if fmt.Sprint(back.Parked) != "[gone/prod]" || len(back.Stores) != 2 || back.Ended != 6 || back.Revoked != 1 || len(back.Warnings) > 0 {
		t.Errorf("came back: %+v", back)
	}
	n.unsealed(code)
	if r := n.guest().call("POST", "/api/v1/session", map[string]string{"email": "mia@example.com", "password": password}); r.status == 201 {
		t.Error("who was locked signs in")
	}
	ada := n.signIn("ada@example.com")
	ada.want(403, "GET", "/api/v1/stores/acme/prod/collections/items/records", nil) // glass does not come back
	if p := get[struct{ Emergency bool }](n.signIn("tom@example.com"), "/api/v1/tenants/acme/policies/access"); !p.Emergency {
		t.Error("the policy of access is the older one")
	}
	if d := n.cli("access", "approve", "acme", refused); d.code == 0 {
		t.Error("what was refused can be approved")
	}
	if list := n.must("approval", "list", "--state", "approved"); strings.Contains(list, "Add a way") {
		t.Error("an approval came back:", list)
	}
	if p := n.must("approval", "policy", "--json"); !strings.Contains(p, `"on"`) {
		t.Error("whether two persons are asked for is the older setting:", p)
	}
	n.tenant("acme", key.Key).want(401, "GET", records("items"), nil)
	if d := n.cli("key", "list", "gone"); d.code == 0 {
		t.Error("a deleted tenant is live")
	}
	n.must("tenant", "undelete", "gone")
	if got := get[page](n.tenant("gone", n.newKey("gone", "read")), records("items")); got.TotalItems != 7 {
		t.Errorf("the undeleted tenant has %d records", got.TotalItems)
	}
	for _, tenant := range []string{"acme", "gone"} {
		n.auditHolds("--tenant", tenant)
		n.must("snapshot", "now", tenant)
	}
	n.stop()
	s.cutChain(code, from, target, id)
}

// letInByGlass has an operator let into acme to read, and another request of theirs open,
// whose id it gives. Tom owns acme besides the host.
func (s *server) letInByGlass(email string) (open string) {
	s.t.Helper()
	s.operator("tom@example.com")
	s.joins("tom@example.com", "acme")
	ada := s.signIn(email)
	const asked = "/api/v1/tenants/acme/access-requests"
	given := recordID(ada.want(201, "POST", asked, map[string]any{"why": "ticket", "lasts": "8h"}))
	open = recordID(ada.want(201, "POST", asked, map[string]any{"why": "ticket", "export": true}))
	s.must("access", "approve", "acme", given)
	ada.want(200, "GET", "/api/v1/stores/acme/prod/collections/items/records", nil)
	return open
}

// cutChain takes away what the system database knows to be shipped.
func (s *server) cutChain(code, from, target, id string) {
	s.t.Helper()
	cutAfter(s.t, target, id+"/prod", 0)
	n := s.lost()
	args := []string{"restore", "--all", "--from", from, "--recovery-key-stdin"}
	d := n.cliInput(code, args...)
	if d.code == 0 || !strings.Contains(d.stderr, "the chain ends at 0") || !strings.Contains(d.stderr, "--accept-cut") {
		s.t.Errorf("a chain that was cut: %d %s", d.code, d.stderr)
	}
	back := jsonOf[bareDone](s.t, n.ok(code, append(args, "--accept-cut", "--json")...))
	if fmt.Sprint(back.Missing) != "[acme/prod]" || len(back.Warnings) != 1 {
		s.t.Errorf("accepted: %+v", back)
	}
	n.unsealed(code)
	if out := n.must("audit", "list", "--json"); !strings.Contains(out, "were accepted") {
		s.t.Error("the log does not tell that a cut was accepted")
	}
}

// unsealed starts a host that came back, with the recovery key.
func (s *server) unsealed(code string) {
	s.t.Helper()
	s.launch()
	if err := s.awaitStatus("/healthz"); err != nil {
		s.t.Fatal(err)
	}
	s.ok(code, "unseal", "--recovery-key-stdin")
	if status, err := plainGet(s.url() + "/readyz"); err != nil || status != http.StatusOK {
		s.t.Fatalf("unsealed, and not ready: %d %v", status, err)
	}
}
