package app_test

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// disposal is a destruction as the command line lists it.
type disposal struct {
	ID          string
	Tenant      struct{ ID, Slug string }
	Certified   string
	VerifierKey string
	Targets     int
}

func (s *server) disposals() (all []disposal) {
	s.t.Helper()
	for line := range strings.Lines(s.must("disposal", "list", "--json")) {
		var d disposal
		if err := json.Unmarshal([]byte(line), &d); err != nil {
			s.t.Fatal(err)
		}
		all = append(all, d)
	}
	return all
}

// certificateOf wants exactly one certified disposal of a tenant, checks its
// certificate as a stranger would, and counts its entries in the audit log.
func (s *server) certificateOf(slug string) disposal {
	s.t.Helper()
	all := slices.DeleteFunc(s.disposals(), func(d disposal) bool { return d.Tenant.Slug != slug })
	if len(all) != 1 || all[0].Certified == "" {
		s.t.Fatalf("disposals of %s: %+v, want one with a certificate; the log:\n%s", slug, all, s.out.tail(3000))
	}
	file := filepath.Join(s.t.TempDir(), "certificate.json")
	s.must("disposal", "show", slug, "-o", file)
	s.must("disposal", "verify", file, "--key", all[0].VerifierKey)
	entries := 0
	for line := range strings.Lines(s.must("audit", "list", "--json")) {
		if strings.Contains(line, `"disposal.certificate"`) && strings.Contains(line, all[0].ID) {
			entries++
		}
	}
	if entries != 1 {
		s.t.Errorf("the certificate of %s has %d entries in the audit log", slug, entries)
	}
	return all[0]
}

// target is a folder that snapshots and the ledger go to.
func (s *server) target(name string) string {
	s.t.Helper()
	dir := filepath.Join(s.dir, "targets", name)
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		s.t.Fatal(err)
	}
	s.must("target", "add", name, "file://"+dir)
	return dir
}

func (s *server) restart() {
	s.t.Helper()
	if code := s.stop(); code != 0 {
		s.t.Fatalf("exit code %d after SIGTERM:\n%s", code, s.out.tail(1500))
	}
	s.start()
}

// gone wants nothing of a destroyed tenant to be left.
func (s *server) gone(slug, id string) {
	s.t.Helper()
	if got := answer[struct{ State string }](s, "tenant", "show", slug).State; got != "destroyed" {
		s.t.Errorf("tenant %s is %s", slug, got)
	}
	for _, dir := range []string{"stores", filepath.Join("staging", "chains")} {
		if _, err := os.Lstat(filepath.Join(s.data(), dir, id)); err == nil {
			s.t.Errorf("%s of %s is still there", dir, slug)
		}
	}
	if d := s.cli("restore", slug, "--as", slug+"-again"); d.code != 3 || !strings.Contains(d.stderr, "destroyed") {
		s.t.Errorf("restore of %s: %d %s", slug, d.code, d.stderr)
	}
}

// TestDisposal lets the undelete window pass and then tries to get the tenant back
// from the target with a keyring from before.
func TestDisposal(t *testing.T) {
	t.Parallel()
	sequential(t)
	t.Run("folder", func(t *testing.T) { testDisposal(t, func(s *server) { s.target("local") }) })
	t.Run("bucket", func(t *testing.T) {
		b := startS3(t)
		testDisposal(t, func(s *server) {
			s.env = append(s.env, b.env()...)
			s.must("target", "add", "bucket", b.url())
		})
	})
}

func testDisposal(t *testing.T, addTarget func(*server)) {
	s := newServer(t)
	s.args = []string{"--undelete-window", "1ms"}
	s.start()
	admin := s.filled("acme", 50)
	s.must("tenant", "create", "acme/test")
	id := answer[struct{ ID string }](s, "tenant", "show", "acme").ID
	addTarget(s)
	s.must("snapshot", "now", "acme")
	oldKeys := copyOf(t, filepath.Join(s.data(), "keys"))
	s.must("tenant", "delete", "acme", "--yes")
	if len(s.disposals()) != 0 {
		t.Error("a parked tenant has a disposal")
	}
	s.restart() // time passes
	s.gone("acme", id)
	first := s.certificateOf("acme")
	if text := s.must("disposal", "show", first.ID); !strings.Contains(text, `"apiKeys":1`) || !strings.Contains(text, `"kind":"snapshots"`) {
		t.Errorf("certificate: %s", text)
	}
	if first.Targets != 1 {
		t.Errorf("the ledger's entry is on %d targets", first.Targets)
	}
	if r := admin.call("GET", records("items"), nil); r.status != 404 && r.status != 410 {
		t.Errorf("its API answers %d", r.status)
	}

	s.stop()
	replaceWith(t, filepath.Join(s.data(), "keys"), oldKeys)
	s.start()
	if !strings.Contains(s.out.String(), "was destroyed again") {
		t.Errorf("nothing is said of the keys that were back:\n%s", s.out.tail(2000))
	}
	s.gone("acme", id)
	if d := s.cli("restore", "acme", "--as", "back"); !strings.Contains(d.stderr, first.ID) {
		t.Errorf("the refusal does not name the certificate: %s", d.stderr)
	}
	if again := s.certificateOf("acme"); again.ID != first.ID {
		t.Errorf("another certificate %s, the first was %s", again.ID, first.ID)
	}
	s.must("tenant", "create", "acme") // the slug is free
	s.must("audit", "verify")
}

// TestCertificateIsStrict changes each byte of a certificate and of its signature.
func TestCertificateIsStrict(t *testing.T) {
	t.Parallel()
	sequential(t)
	s := startServer(t)
	s.must("tenant", "create", "acme")
	s.must("tenant", "delete", "acme", "--yes", "--now")
	d := s.certificateOf("acme")
	file := filepath.Join(t.TempDir(), "c.json")
	s.must("disposal", "show", d.ID, "-o", file)
	s.stop()
	offline := func() int {
		return s.cli("disposal", "verify", file, "--key", d.VerifierKey, "--data", "/nowhere").code
	}
	if offline() != 0 {
		t.Fatal("it does not verify offline")
	}
	for _, name := range []string{file, file + ".sig"} {
		whole, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(whole); i += 1 + len(whole)/40 {
			changed := slices.Clone(whole)
			changed[i] ^= 1
			write(t, name, changed)
			if offline() == 0 {
				t.Errorf("%s: a change of byte %d was not found", filepath.Base(name), i)
			}
		}
		write(t, name, whole)
	}
	other := "holdfast/0000000000000000+" + strings.SplitN(d.VerifierKey, "+", 2)[1]
	if s.cli("disposal", "verify", file, "--key", other).code == 0 {
		t.Error("another's key verifies it")
	}
}

// TestOldDataFolder puts a copy of the data folder back that is older than a
// destruction and an erasure.
func TestOldDataFolder(t *testing.T) {
	t.Parallel()
	sequential(t)
	s := startServer(t)
	admin := s.filled("acme", 20)
	s.must("tenant", "create", "stays")
	s.fill("stays", 20)
	id := answer[struct{ ID string }](s, "tenant", "show", "acme").ID
	dir := s.target("local")
	s.stop()
	old := copyOf(t, s.data())
	s.start()
	victim := s.ids("stays")[0]
	s.must("erase", "stays", "items", victim)
	s.must("tenant", "delete", "acme", "--yes", "--now")
	first := s.certificateOf("acme")
	s.stop()

	// No target can be reached: it is said that nobody could compare.
	away := dir + ".away"
	rename(t, dir, away)
	replaceWith(t, s.data(), old)
	s.start()
	if !strings.Contains(s.out.String(), "could not be compared") {
		t.Errorf("nothing is said of the target:\n%s", s.out.tail(2000))
	}
	if r := admin.call("GET", records("items"), nil); r.status != 200 {
		t.Errorf("without any ledger the old folder is what it was: %d", r.status)
	}

	rename(t, away, dir)
	s.restart()
	if !strings.Contains(s.out.String(), "it is an older copy") {
		t.Errorf("nothing is said of the old folder:\n%s", s.out.tail(2000))
	}
	s.gone("acme", id)
	if again := s.certificateOf("acme"); again.ID != first.ID {
		t.Errorf("another certificate %s, the first was %s", again.ID, first.ID)
	}
	if left := s.ids("stays"); slices.Contains(left, victim) || len(left) != 19 {
		t.Errorf("%d records, the erased one among them: %v", len(left), slices.Contains(left, victim))
	}
	s.must("audit", "verify")
	s.must("audit", "verify", "--tenant", "stays")
}

func (s *server) ids(tenant string) (ids []string) {
	s.t.Helper()
	for id := range s.exported(tenant) {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// TestErasedStaysErased restores to a moment before the erasure.
func TestErasedStaysErased(t *testing.T) {
	t.Parallel()
	sequential(t)
	s := startServer(t)
	s.must("tenant", "create", "acme")
	admin := s.tenant("acme", s.newKey("acme", "admin"))
	makePapers(admin)
	gone, kept := uploadPaper(admin, "gone", noise("gone")), uploadPaper(admin, "kept", noise("kept"))
	s.target("local")
	s.must("snapshot", "now", "acme")
	before := time.Now().UTC().Format(time.RFC3339Nano)
	if d := s.cli("erase", "acme", "papers"); d.code != 2 {
		t.Errorf("nothing named: %d %s", d.code, d.stderr)
	}
	if d := s.cli("erase", "acme", "papers", "nosuchrecord000"); d.code != 1 || !strings.Contains(d.stderr, "not found") {
		t.Errorf("no such record: %d %s", d.code, d.stderr)
	}
	e := answer[struct {
		ID               string
		Records, Targets int
	}](s, "erase", "acme", "papers", gone.ID)
	if e.ID == "" || e.Records != 1 || e.Targets != 1 {
		t.Errorf("erased: %+v", e)
	}
	if r := admin.call("GET", gone.path(), nil); r.status != 404 {
		t.Errorf("its file: %d", r.status)
	}
	s.must("snapshot", "now", "acme")
	s.kill()
	s.start()
	for as, args := range map[string][]string{"past": {"--at", before}, "newest": nil} {
		s.must(append([]string{"restore", "acme", "--as", as}, args...)...)
		copied := s.tenant(as, s.newKey(as, "admin"))
		if r := copied.call("GET", "/api/collections/papers/records/"+gone.ID, nil); r.status != 404 {
			t.Errorf("%s: the erased record: %d", as, r.status)
		}
		if r := copied.call("GET", gone.path(), nil); r.status != 404 {
			t.Errorf("%s: the erased file: %d", as, r.status)
		}
		if r := copied.call("GET", kept.path(), nil); r.status != 200 || len(r.body) != len(noise("kept")) {
			t.Errorf("%s: the other file: %d", as, r.status)
		}
	}
	var all strings.Builder
	for _, path := range regularFiles(t, filepath.Join(s.dir, "targets")) {
		if strings.Contains(path, "/ledger/") {
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			all.Write(b)
		}
	}
	if all.Len() == 0 || strings.Contains(all.String(), gone.ID) {
		t.Errorf("the ledger off this host names the record:\n%s", all.String())
	}
}

// TestKillDuringDestruction: whenever it was, the tenant ends destroyed, with one
// certificate, or was never touched.
func TestKillDuringDestruction(t *testing.T) {
	t.Parallel()
	sequential(t)
	s := startServer(t)
	s.target("local")
	operator := s.operator("owner@example.com")
	for cycle := range crashes() * 2 {
		slug := fmt.Sprintf("acme%d", cycle)
		s.filled(slug, 10)
		s.must("snapshot", "now", slug)
		id := answer[struct{ ID string }](s, "tenant", "show", slug).ID
		done, answered := make(chan struct{}), false
		go func() {
			defer close(done)
			// Not by a command: without a server it would open the folder itself.
			r, err := operator.send("DELETE", "/api/v1/tenants/"+slug+"?now=true", map[string]string{"confirm": slug})
			answered = err == nil && r.status == 200
		}()
		time.Sleep(time.Duration(rand.IntN(250)) * time.Millisecond)
		s.kill()
		<-done
		s.start()
		state := answer[struct{ State string }](s, "tenant", "show", slug).State
		t.Logf("cycle %d: %s after the crash, answered before: %v", cycle, state, answered)
		if state == "live" {
			s.must("tenant", "delete", slug, "--yes", "--now")
		}
		s.gone(slug, id)
		s.certificateOf(slug)
		s.auditHolds()
	}
}

// copyOf copies a folder into a new one.
func copyOf(t *testing.T, dir string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "copy")
	replaceWith(t, to, dir)
	return to
}

// replaceWith makes a folder a copy of another.
func replaceWith(t *testing.T, dir, from string) {
	t.Helper()
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	err := filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		to := filepath.Join(dir, strings.TrimPrefix(path, from))
		if d.IsDir() {
			return os.MkdirAll(to, 0o700)
		}
		if !d.Type().IsRegular() {
			return nil // the socket
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(to, b, 0o600)
	})
	if err != nil {
		t.Fatal(err)
	}
}

func rename(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, name string, content []byte) {
	t.Helper()
	if err := os.WriteFile(name, content, 0o600); err != nil {
		t.Fatal(err)
	}
}
