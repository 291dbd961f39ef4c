package app_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// rotated is what "keys rotate" answers.
type rotated struct {
	Keys []struct {
		Purpose    string `json:"purpose"`
		Generation int    `json:"generation"`
		Retired    int    `json:"retired"`
	} `json:"keys"`
}

// of gives the live generation of a purpose and how many retired ones are left.
func (r rotated) of(purpose string) (generation, retired int) {
	for _, k := range r.Keys {
		if k.Purpose == purpose {
			return k.Generation, k.Retired
		}
	}
	return 0, -1
}

// TestKeysAreRotated gives a store and the appliance new keys while records are
// written, kills the server in the middle, and goes on: all records and files are
// there, and the old keys are gone.
func TestKeysAreRotated(t *testing.T) {
	t.Parallel()
	sequential(t)
	s := startServer(t)
	c := s.filled("acme", 3000)
	makePapers(c)
	content := noise("paper")
	p := uploadPaper(c, "kept", content)
	written := atomic.Int64{}
	write := func() bool {
		r, err := c.send("POST", records("items"), map[string]any{"n": 1, "title": "while keys change"})
		if err == nil && r.status == 200 {
			written.Add(1)
		}
		return err == nil
	}
	killed, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(killed)
		for i := 0; write(); i++ {
			if i == 10 {
				go func() { defer close(ended); s.cli("keys", "rotate", "acme") }()
			}
			if i == 25 {
				s.kill()
			}
		}
	}()
	<-killed
	<-ended // a command that comes after the kill holds the folder itself while it works
	s.start()
	for written.Load() < 60 && write() {
	}
	r := answer[rotated](s, "keys", "rotate", "acme", "--resume")
	for _, purpose := range []string{"pages", "files"} {
		if generation, retired := r.of(purpose); generation < 1 || retired != 0 {
			t.Errorf("%s: generation %d, %d retired ones are left", purpose, generation, retired)
		}
	}
	for _, purpose := range []string{"pages", "files"} {
		if _, retired := answer[rotated](s, "keys", "rotate", "acme", purpose).of(purpose); retired != 0 {
			t.Errorf("%s: %d retired ones are left", purpose, retired)
		}
		if _, retired := answer[rotated](s, "keys", "rotate", "system", purpose).of(purpose); retired != 0 {
			t.Errorf("system %s: %d retired ones are left", purpose, retired)
		}
	}
	for owner, purpose := range map[string]string{"acme": "fields", "system": "audit-signing"} { // nothing is under the one, the other's public half stays
		if _, retired := answer[rotated](s, "keys", "rotate", owner, purpose).of(purpose); retired != 0 {
			t.Errorf("%s of %s: %d retired ones are left", purpose, owner, retired)
		}
	}
	s.must("audit", "verify")
	if _, retired := answer[rotated](s, "keys", "rotate", "system", "vault").of("vault"); retired != 1 {
		t.Errorf("%d retired keys of the vault: badger's own encryption needs one until the next start", retired)
	}
	s.stop()
	s.start()
	if _, retired := answer[rotated](s, "keys", "rotate", "system", "vault", "--resume").of("vault"); retired != 0 {
		t.Errorf("%d retired keys of the vault after a start", retired)
	}
	if got := get[page](c, records("items", "perPage", "1")); int64(got.TotalItems) < 3000+written.Load() {
		t.Errorf("%d records of %d", got.TotalItems, 3000+written.Load())
	}
	if got := c.want(200, "GET", p.path(), nil); string(got.body) != string(content) {
		t.Error("the file is another")
	}
	s.must("audit", "verify")
	s.must("audit", "verify", "--tenant", "acme")
	if out := s.must("scrub", "acme"); !strings.Contains(out, "pages") {
		t.Error(out)
	}
}

// TestSnapshotKeysGo: a retired key of snapshots stays while one under it lies on a
// target, says so, and goes with the last of them.
func TestSnapshotKeysGo(t *testing.T) {
	sequential(t)
	s := startMoved(t)
	s.filled("acme", 10)
	s.must("target", "add", "local", "file://"+filepath.Join(s.dir, "snapshots"))
	s.must("snapshot", "now", "acme")
	if _, retired := answer[rotated](s, "keys", "rotate", "acme", "segments").of("segments"); retired != 1 {
		t.Fatalf("%d retired", retired)
	}
	s.must("snapshot", "now", "acme")
	s.pass(25 * time.Hour)
	if _, retired := answer[rotated](s, "keys", "rotate", "acme", "segments", "--resume").of("segments"); retired != 1 {
		t.Errorf("%d retired while a snapshot is under it", retired)
	}
	if out := s.must("keys", "status", "--owner", "acme"); !strings.Contains(out, "segments 1 stays: snapshots under it are on targets") {
		t.Error(out)
	}
	s.must("target", "remove", "local")
	if _, retired := answer[rotated](s, "keys", "rotate", "acme", "segments", "--resume").of("segments"); retired != 0 {
		t.Errorf("%d retired without a snapshot", retired)
	}
}

type scrubAnswer struct {
	OK       bool  `json:"ok"`
	Pages    int64 `json:"pages"`
	Compared int64 `json:"compared"`
	Findings []struct {
		File string `json:"file"`
		Page int    `json:"page"`
	} `json:"findings"`
}

// TestScrub finds a page that was put back to an older state, and a changed byte,
// while the server runs; the log has it.
func TestScrub(t *testing.T) {
	t.Parallel()
	sequential(t)
	s := startServer(t)
	c := s.filled("acme", 2000)
	s.must("target", "add", "local", "file://"+filepath.Join(s.dir, "snapshots"))
	// The first snapshot after a start takes what is on the disk for a change.
	if d := s.cliInput(`{"every_seconds": 0}`, "snapshot", "policy", "acme", "--stdin"); d.code != 0 {
		t.Fatal(d.stderr)
	}
	s.stop() // the log is in the database then
	database := filepath.Join(s.store("acme", "prod"), "data.db")
	old, err := os.ReadFile(database)
	if err != nil {
		t.Fatal(err)
	}
	s.start()
	for n := range 300 {
		c.want(200, "POST", records("items"), map[string]any{"n": n, "title": "more"})
	}
	s.must("snapshot", "now", "acme")
	if a := answer[scrubAnswer](s, "scrub", "acme"); !a.OK || a.Compared == 0 || len(a.Findings) != 0 {
		t.Fatalf("%+v", a)
	}
	s.stop()
	now, err := os.ReadFile(database)
	if err != nil {
		t.Fatal(err)
	}
	stale := staleOf(now, old)
	copy(now[stale*4096:(stale+1)*4096], old[stale*4096:])
	if err := os.WriteFile(database, now, 0o600); err != nil {
		t.Fatal(err)
	}
	s.start()
	d := s.cli("scrub", "acme", "--json")
	if d.code != 1 || !strings.Contains(d.stdout, fmt.Sprintf(`"page":%d`, stale+1)) || !strings.Contains(d.stderr, "older copy") {
		t.Fatalf("%d %s %s", d.code, d.stdout, d.stderr)
	}
	if out := s.must("audit", "list", "--tenant", "acme", "--json"); !strings.Contains(out, "store.scrub") || !strings.Contains(out, "failed") {
		t.Error("the log does not tell of it")
	}
	defer flipByte(t, database, 0.7)()
	if d := s.cli("scrub", "acme"); d.code != 1 || !strings.Contains(d.stderr, "in 2 places") {
		t.Fatalf("%d %s %s", d.code, d.stdout, d.stderr)
	}
	if d := s.cli("scrub", "nobody"); d.code == 0 {
		t.Fatal("scrubbed a tenant that is not there")
	}
}

// staleOf gives the last page that two copies of a database have otherwise.
func staleOf(now, old []byte) int {
	for i := len(old)/4096 - 1; i > 0; i-- {
		if string(now[i*4096:(i+1)*4096]) != string(old[i*4096:(i+1)*4096]) {
			return i
		}
	}
	return 0
}

// TestScrubsByTheClock: each store is read through without being asked, and what a
// rotation left to do is done.
func TestScrubsByTheClock(t *testing.T) {
	t.Parallel()
	sequential(t)
	s := startMoved(t)
	s.filled("acme", 10)
	s.pass(15 * time.Minute)
	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(200 * time.Millisecond) {
		if strings.Contains(s.must("operation", "list", "--json"), `"scrub"`) {
			return
		}
		if time.Now().After(end) {
			t.Fatal("no scrub though a quarter of an hour has passed")
		}
	}
}
