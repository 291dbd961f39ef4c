package app_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	"filippo.io/age/armor"

	"holdfast/app/custody"
	"holdfast/data/keys"
)

const passphrase = "correct horse battery staple"

// recoveryKey is what the first start printed.
func (s *server) recoveryKey() string {
	s.t.Helper()
	found := regexp.MustCompile(`\n +([A-Z0-9]{4}(?:-[A-Z0-9]{4}){13})\n`).FindStringSubmatch(s.out.String())
	if found == nil {
		s.t.Fatalf("no recovery key in:\n%s", s.out.tail(2000))
	}
	return found[1]
}

// ok runs a command with standard input that has to succeed.
func (s *server) ok(stdin string, args ...string) string {
	s.t.Helper()
	d := s.cliInput(stdin, args...)
	if d.code != 0 {
		s.t.Fatalf("holdfast %s: exit code %d\n%s%s", strings.Join(args, " "), d.code, d.stdout, d.stderr)
	}
	return d.stdout
}

func jsonOf[T any](t testing.TB, text string) (v T) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%v in %q", err, text)
	}
	return v
}

type keysStatus struct {
	custody.Status
	Entries []custody.Entry
}

func (s *server) keysStatus(args ...string) keysStatus {
	s.t.Helper()
	return answer[keysStatus](s, append([]string{"keys", "status"}, args...)...)
}

func (s *server) slot(kind string) (id string) {
	s.t.Helper()
	for _, slot := range s.keysStatus().Slots {
		if slot.Kind == kind {
			id = slot.ID
		}
	}
	return id
}

// startSealed runs the server where nothing opens it.
func (s *server) startSealed() {
	s.t.Helper()
	s.launch()
	if err := s.awaitStatus("/healthz"); err != nil {
		s.t.Fatalf("%v; it said:\n%s", err, s.out.tail(2000))
	}
	if status, _ := plainGet(s.url() + "/readyz"); status != http.StatusServiceUnavailable {
		s.t.Fatalf("/readyz answers %d", status)
	}
}

func (s *server) postUnseal(body string) (status int, text string) {
	s.t.Helper()
	resp, err := (&http.Client{Transport: &http.Transport{}}).Post(s.url()+"/api/v1/unseal", "application/json", strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// Every kind of slot is added by the command line, proven, and unseals a server
// whose key file is gone; what was stored is there each time.
func TestEachSlotUnseals(t *testing.T) {
	t.Parallel()
	sequential(t)
	s := startServer(t)
	store := s.filled("acme", 20)
	code := s.recoveryKey()
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	s.ok(passphrase, "keys", "add-slot", "passphrase", "--passphrase-stdin")
	shares := jsonOf[custody.Added](t, s.ok("", "keys", "add-slot", "shares", "--json")).Shares
	begun := jsonOf[custody.Added](t, s.ok("", "keys", "add-slot", "age", "--recipient", identity.Recipient().String(), "--json"))
	s.ok(decryptChallenge(t, begun.Challenge, identity), "keys", "prove", begun.ID, "--age-answer-stdin")
	if len(shares) != 5 || s.slot("age") != begun.ID {
		t.Fatalf("shares %d, age slot %s", len(shares), s.slot("age"))
	}
	if d := s.cli("keys", "remove-slot", s.slot("key-file")); d.code == 0 || !strings.Contains(d.stderr, "--yes") {
		t.Errorf("the last unattended slot went without a word: %s", d.stderr)
	}
	s.must("keys", "remove-slot", s.slot("key-file"), "--yes")
	for name, open := range map[string]func(){
		"passphrase": func() { s.ok(passphrase, "unseal", "--passphrase-stdin") },
		"recovery":   func() { s.ok(code, "unseal", "--recovery-key-stdin") },
		"age":        func() { s.ok("# key\n"+identity.String()+"\n", "unseal", "--age-identity-stdin") },
		"shares":     func() { s.unsealByShares(shares) },
	} {
		s.stop()
		s.startSealed()
		open()
		if got := get[page](store, records("items")); got.TotalItems != 20 {
			t.Errorf("%s: %d records", name, got.TotalItems)
		}
		for _, slot := range s.keysStatus().Slots {
			if slot.Kind == name && slot.Proven == nil {
				t.Errorf("%s: the slot that opened does not count as proven", name)
			}
		}
		if log := s.must("audit", "list", "--json"); !strings.Contains(log, "appliance.unseal") {
			t.Errorf("%s: the log does not tell of it", name)
		}
	}
	s.saidNothingOf(passphrase, code, identity.String(), shares[0], shares[1])
}

func decryptChallenge(t *testing.T, challenge string, identity age.Identity) string {
	t.Helper()
	r, err := age.Decrypt(armor.NewReader(strings.NewReader(challenge)), identity)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// unsealByShares hands two shares in over the network, by two persons, and the third
// on the host.
func (s *server) unsealByShares(shares []string) {
	s.t.Helper()
	for i, share := range []string{shares[4], shares[0]} {
		status, body := s.postUnseal(fmt.Sprintf(`{"share":%q}`, share))
		if want := fmt.Sprintf(`"have":%d,"need":3`, i+1); status != 200 || !strings.Contains(body, want) {
			s.t.Fatalf("share %d: %d %s", i+1, status, body)
		}
	}
	if status, body := s.postUnseal(fmt.Sprintf(`{"share":%q}`, shares[0])); status != 409 || !strings.Contains(body, "2 of 3") {
		s.t.Errorf("the same share again: %d %s", status, body)
	}
	typo := strings.Replace(shares[1], shares[1][5:9], "0000", 1)
	if d := s.cliInput(typo, "unseal", "--shares-stdin"); d.code == 0 || !strings.Contains(d.stderr, "share") {
		s.t.Errorf("a mistyped share: %s%s", d.stdout, d.stderr)
	}
	s.eventually(shares[1]+"\n", "unseal", "--shares-stdin")
}

// eventually repeats a command that is told to wait.
func (s *server) eventually(stdin string, args ...string) {
	s.t.Helper()
	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(50 * time.Millisecond) {
		d := s.cliInput(stdin, args...)
		if d.code == 0 {
			return
		}
		if !strings.Contains(d.stderr, "Wait ") || time.Now().After(end) {
			s.t.Fatalf("holdfast %s: %s%s", strings.Join(args, " "), d.stdout, d.stderr)
		}
	}
}

func (s *server) saidNothingOf(secrets ...string) {
	s.t.Helper()
	for _, secret := range secrets {
		if strings.Contains(s.out.String(), secret) && strings.Count(s.out.String(), "Recovery key, shown this once") != strings.Count(s.out.String(), secret) {
			s.t.Errorf("the server's output shows a secret (%d letters)", len(secret))
		}
	}
}

// Wrong secrets wait longer and longer, over a restart too, and learn nothing.
func TestWrongSecretsWait(t *testing.T) {
	t.Parallel()
	sequential(t)
	s := startMoved(t)
	s.ok(passphrase, "keys", "add-slot", "passphrase", "--passphrase-stdin")
	s.stop()
	if err := os.Remove(s.keyFile()); err != nil {
		t.Fatal(err)
	}
	s.startSealed()
	wrong := `{"passphrase":"not this one, certainly"}`
	for i := range 6 { // then it waits for a minute, which is more than a start takes
		s.pass(time.Duration(i) * time.Hour)
		if status, said := s.postUnseal(wrong); status != 403 || strings.Contains(said, "passphrase") {
			t.Errorf("wrong: %d %s", status, said)
		}
	}
	s.stop()
	s.startSealed()
	if status, body := s.postUnseal(wrong); status != 429 || !strings.Contains(body, "Wait") {
		t.Errorf("a restart forgave: %d %s", status, body)
	}
	if status, body := s.postUnseal(`{"recoveryKey":"AAAA-BBBB"}`); status != 429 {
		t.Errorf("another kind need not wait: %d %s", status, body)
	}
	if status, body := s.postUnseal(`{}`); status != 422 {
		t.Errorf("nothing: %d %s", status, body)
	}
	s.eventually(passphrase, "unseal", "--passphrase-stdin") // who is on the host waits apart
	if log := s.must("audit", "list", "--json"); !strings.Contains(log, `"wrong tries before":"6"`) {
		t.Errorf("the log does not tell how often it was wrong: %s", log)
	}
}

// Key files that are lost come back from a copy and the recovery key.
func TestLostKeysComeBack(t *testing.T) {
	t.Parallel()
	sequential(t)
	s := startServer(t)
	store := s.filled("acme", 20)
	code, target := s.recoveryKey(), "file://"+filepath.Join(s.dir, "elsewhere")
	s.must("target", "add", "far", target)
	s.must("keys", "copies", "add", "far")
	s.filled("beta", 5)
	s.must("keys", "copies", "now")
	if st := s.keysStatus("--owner", "acme"); st.Copies.Targets[0].State != "current" || len(st.Entries) == 0 || st.Entries[0].Name != "acme/prod" {
		t.Errorf("status %+v", st)
	}
	s.stop()
	ring := filepath.Join(s.data(), "keys", "keyring")
	for _, name := range []string{ring, ring + ".prev"} {
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
	if d := s.cli("tenant", "list"); d.code == 0 || !strings.Contains(d.stderr, "keys restore --from") {
		t.Errorf("no word on what to restore: %s", d.stderr)
	}
	if err := os.RemoveAll(filepath.Join(s.data(), "keys")); err != nil {
		t.Fatal(err)
	}
	if d := s.cli("tenant", "list"); d.code == 0 || !strings.Contains(d.stderr, "keys restore --from") {
		t.Errorf("no word on what to restore: %s", d.stderr)
	}
	if d := s.cliInput("AAAA", "keys", "restore", "--from", target, "--recovery-key-stdin"); d.code == 0 {
		t.Errorf("a wrong recovery key: %s", d.stdout)
	}
	s.ok(code, "keys", "restore", "--from", target, "--recovery-key-stdin")
	s.start()
	if got := get[page](store, records("items")); got.TotalItems != 20 {
		t.Errorf("%d records", got.TotalItems)
	}
	if d := s.cliInput(code, "keys", "restore", "--from", target, "--recovery-key-stdin"); d.code == 0 {
		t.Error("restored under a running server")
	}
}

// The previous generation of the keyring brings a damaged one back.
func TestDamagedKeyringComesBack(t *testing.T) {
	t.Parallel()
	sequential(t)
	s := startServer(t)
	s.filled("acme", 5)
	s.must("tenant", "create", "later")
	s.stop()
	restore := flipByte(t, filepath.Join(s.data(), "keys", "keyring"), 0.5)
	defer restore()
	d := s.cli("tenant", "list")
	if d.code == 0 || !strings.Contains(d.stderr, "keys restore --previous") {
		t.Errorf("no word on what to restore: %s", d.stderr)
	}
	s.must("keys", "restore", "--previous")
	s.must("tenant", "list")
}

// A flipped bit anywhere in the slots or the keyring is told: 100 of 100 each.
func TestFlippedBitsInKeyFiles(t *testing.T) {
	t.Parallel()
	sequential(t)
	s := startServer(t)
	s.ok(passphrase, "keys", "add-slot", "passphrase", "--passphrase-stdin")
	s.filled("acme", 1)
	s.stop()
	dir := filepath.Join(s.data(), "keys")
	for _, name := range []string{keys.SlotsFile, keys.RingFile} {
		path := filepath.Join(dir, name)
		whole, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		found := 0
		for i := range 100 {
			b := bytes.Clone(whole)
			b[i*len(b)/100+i%7] ^= 1 << (i % 8)
			if err := os.WriteFile(path, b, 0o600); err != nil {
				t.Fatal(err)
			}
			if noticed(dir, s.keyFile()) {
				found++
			}
		}
		if err := os.WriteFile(path, whole, 0o600); err != nil {
			t.Fatal(err)
		}
		if found != 100 || noticed(dir, s.keyFile()) {
			t.Errorf("%s: %d of 100 found", name, found)
		}
	}
}

// noticed opens the keys as a start does.
func noticed(dir, keyFile string) bool {
	slots, err := keys.OpenSlots(filepath.Join(dir, keys.SlotsFile))
	if err != nil {
		return true
	}
	root, err := slots.Unlock(keys.KeyFile(keyFile))
	if err != nil {
		return true
	}
	ring, err := keys.OpenRing(dir, root)
	if err != nil {
		return true
	}
	defer ring.Seal()
	return slots.Check(root) != nil || ring.Check() != nil
}

// Rotation by the command line: a purpose, all of an owner's, the root key.
func TestRotation(t *testing.T) {
	t.Parallel()
	sequential(t)
	s := startServer(t)
	store := s.filled("acme", 200)
	s.must("keys", "rotate", "acme", "pages")
	s.must("keys", "rotate", "system")
	old := s.recoveryKey()
	root := answer[custody.NewRoot](s, "keys", "rotate", "root")
	if root.RecoveryKey == "" || root.RecoveryKey == old {
		t.Fatal("no new recovery key")
	}
	if got := get[page](store, records("items")); got.TotalItems != 200 {
		t.Errorf("%d records after rotation", got.TotalItems)
	}
	s.must("audit", "verify")
	made := jsonOf[custody.NewRecovery](t, s.ok("", "keys", "recovery", "--json"))
	p := jsonOf[custody.Proven](t, s.ok(made.RecoveryKey, "keys", "prove", made.ID, "--recovery-key-stdin", "--json"))
	if len(p.Removed) != 1 {
		t.Errorf("proof %+v", p)
	}
	s.stop()
	s.start() // by the key file, which goes on
	if got := get[page](store, records("items")); got.TotalItems != 200 {
		t.Errorf("%d records after a restart", got.TotalItems)
	}
	s.stop()
	if err := os.Remove(s.keyFile()); err != nil {
		t.Fatal(err)
	}
	s.startSealed()
	if d := s.cliInput(old, "unseal", "--recovery-key-stdin"); d.code == 0 {
		t.Error("the recovery key of the old root key opens")
	}
	s.eventually(made.RecoveryKey, "unseal", "--recovery-key-stdin")
}

// A credential of the service manager opens a start where there is no key file.
func TestCredentialOpensAStart(t *testing.T) {
	t.Parallel()
	sequential(t)
	s := newServer(t)
	dir := t.TempDir()
	s.env = append(s.env, "CREDENTIALS_DIRECTORY="+dir)
	s.start()
	if err := os.WriteFile(filepath.Join(dir, custody.CredentialName), []byte(s.must("keys", "new-credential")), 0o400); err != nil {
		t.Fatal(err)
	}
	s.stop()
	s.start() // the server takes it from its environment
	s.must("keys", "add-slot", "credential")
	s.must("keys", "remove-slot", s.slot("key-file"))
	s.stop()
	if err := os.Remove(s.keyFile()); err != nil {
		t.Fatal(err)
	}
	s.start()
	s.must("tenant", "create", "acme")
}

// No key lies outside of keys/ in any form, nor in what the server says.
func TestNoKeyMaterialElsewhere(t *testing.T) {
	t.Parallel()
	sequential(t)
	s := startServer(t)
	store := s.filled("acme", 500)
	s.must("target", "add", "far", "file://"+filepath.Join(s.dir, "elsewhere"))
	s.must("keys", "copies", "add", "far")
	s.must("snapshot", "now", "acme")
	s.must("keys", "rotate", "acme")
	s.must("snapshot", "now", "acme")
	get[page](store, records("items"))
	if runtime.GOOS == "linux" {
		limits, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", s.cmd.Process.Pid))
		if err != nil || !regexp.MustCompile(`Max core file size +0 +0 `).Match(limits) {
			t.Errorf("a crash would write a core file: %v\n%s", err, limits)
		}
	}
	s.stop()
	secrets := s.rawKeys()
	searched := 0
	err := filepath.WalkDir(s.dir, func(path string, e os.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() || path == s.keyFile() {
			return err
		}
		b, err := os.ReadFile(path)
		searched++
		for name, secret := range secrets {
			if bytes.Contains(b, secret) {
				t.Errorf("%s holds %s", path, name)
			}
		}
		return err
	})
	if err != nil || searched < 20 || len(secrets) < 40 {
		t.Errorf("%d files searched for %d forms: %v", searched, len(secrets), err)
	}
	for name, secret := range secrets {
		if strings.Contains(s.out.String(), string(secret)) {
			t.Errorf("the log holds %s", name)
		}
	}
}

// rawKeys are all keys of the keyring, the key file's own and what they could look like.
func (s *server) rawKeys() map[string][]byte {
	s.t.Helper()
	dir := filepath.Join(s.data(), "keys")
	slots, err := keys.OpenSlots(filepath.Join(dir, keys.SlotsFile))
	if err != nil {
		s.t.Fatal(err)
	}
	root, err := slots.Unlock(keys.KeyFile(s.keyFile()))
	if err != nil {
		s.t.Fatal(err)
	}
	ring, err := keys.OpenRing(dir, root)
	if err != nil {
		s.t.Fatal(err)
	}
	found := map[string][]byte{}
	for _, e := range ring.Entries() {
		key, err := ring.Archive(e.Owner, e.Purpose).Generation(e.Generation)
		if err != nil {
			continue // destroyed
		}
		for form, b := range map[string][]byte{
			"raw": key[:], "hex": []byte(hex.EncodeToString(key[:])), "base64": []byte(base64.StdEncoding.EncodeToString(key[:])[:40]),
		} {
			found[fmt.Sprintf("%s key of %s, generation %d, %s", e.Purpose, e.Owner, e.Generation, form)] = b
		}
	}
	file, err := os.ReadFile(s.keyFile())
	if err != nil {
		s.t.Fatal(err)
	}
	found["the key file"] = bytes.TrimSpace(file)[len("holdfast-key-file-1 "):]
	return found
}
