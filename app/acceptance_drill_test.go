package app_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// drilled has a tenant that was shipped three times, another one that was shipped
// once, and the folders of their chains.
func drilled(t *testing.T, s *server) (acme *rest, chain, foreign string) {
	t.Helper()
	target := filepath.Join(s.dir, "target")
	s.must("target", "add", "local", "file://"+target)
	acme = s.filled("acme", 200)
	s.must("snapshot", "now", "acme")
	for range 2 {
		acme.want(200, "POST", "/api/collections/items/records", map[string]any{"name": "later", "n": 7})
		s.must("snapshot", "now", "acme")
	}
	s.filled("beta", 20)
	s.must("snapshot", "now", "beta")
	in := func(slug string) string {
		return filepath.Join(target, "t", filepath.Base(filepath.Dir(s.store(slug, "prod"))), "prod")
	}
	return acme, in("acme"), in("beta")
}

// objectsIn lists a kind of object by name.
func objectsIn(t *testing.T, chain, kind string) []string {
	t.Helper()
	list, err := filepath.Glob(filepath.Join(chain, kind, "*"))
	if err != nil || len(list) == 0 {
		t.Fatalf("no %s in %s: %v", kind, chain, err)
	}
	return list
}

// overwrite puts other bytes in an object's place and returns what undoes it.
func overwrite(t *testing.T, path string, content []byte) (undo func()) {
	t.Helper()
	old, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	put := func(b []byte) {
		if err := errors.Join(os.Remove(path), os.WriteFile(path, b, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	put(content)
	return func() { put(old) }
}

func contentOf(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// tampering changes the newest three objects of pages and the newest manifests of a
// chain; what it changed is named.
type tampering func(pages, manifests []string) (named string, undo func())

// TestTamperedBucket changes a chain on its target in every way that a thief could:
// drill and verify find each of them and name the object, and pass again when it is
// put back. Verify has the chain go on with a new base, so each way has snapshots of
// its own.
func TestTamperedBucket(t *testing.T) {
	t.Parallel()
	sequential(t)
	s := startServer(t)
	acme, chain, foreign := drilled(t, s)
	for name, tamper := range map[string]tampering{
		"flipped": func(pages, _ []string) (string, func()) { return pages[0], flipByte(t, pages[0], 0.5) },
		"dropped": func(pages, _ []string) (string, func()) { return pages[1], dropped(t, pages[1]) },
		"swapped": func(pages, _ []string) (string, func()) {
			return pages[1], overwrite(t, pages[1], contentOf(t, pages[2]))
		},
		"foreign": func(pages, _ []string) (string, func()) {
			return pages[0], overwrite(t, pages[0], contentOf(t, objectsIn(t, foreign, "pages")[0]))
		},
		"old manifest": func(_, manifests []string) (string, func()) {
			newest := manifests[len(manifests)-1]
			return newest, overwrite(t, newest, contentOf(t, manifests[len(manifests)-2]))
		},
		"cut": func(_, manifests []string) (string, func()) {
			newest := manifests[len(manifests)-1]
			return newest, dropped(t, newest)
		},
	} {
		missed := ""
		for range 3 { // the clock's own look at a chain may come between
			if missed = s.tampered(t, acme, chain, tamper); missed == "" {
				break
			}
		}
		if missed != "" {
			t.Errorf("%s: %s", name, missed)
		}
	}
	if out := s.must("drill", "acme", "--json"); !strings.Contains(out, `"ok":true`) {
		t.Errorf("put back: %s", out)
	}
	s.must("snapshot", "verify", "acme")
	s.must("drill", "beta")
}

// tampered says what did not find a tampering, "" where both did.
func (s *server) tampered(t *testing.T, acme *rest, chain string, tamper tampering) (missed string) {
	t.Helper()
	for range 3 {
		acme.want(200, "POST", "/api/collections/items/records", map[string]any{"name": "later", "n": 7})
		s.must("snapshot", "now", "acme")
	}
	pages := objectsIn(t, chain, "pages")
	object, undo := tamper(pages[len(pages)-3:], objectsIn(t, chain, "manifest"))
	defer undo()
	want := object[strings.Index(object, "/t/")+1:]
	for _, command := range [][]string{{"drill", "acme"}, {"snapshot", "verify", "acme"}} {
		if d := s.cli(command...); d.code != 1 || !strings.Contains(d.stderr, want) {
			missed += fmt.Sprintf("%v: code %d, want 1 and %s in: %s\n", command, d.code, want, d.stderr)
		}
	}
	return missed
}

func dropped(t *testing.T, path string) (undo func()) {
	t.Helper()
	b := contentOf(t, path)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// scratches lists what drills and restores have under way in the stores' folder.
func (s *server) scratches() []string {
	found, err := filepath.Glob(filepath.Join(s.data(), "stores", ".scratch-*"))
	if err != nil {
		s.t.Fatal(err)
	}
	return found
}

// TestKilledDrill ends the server while a drill's scratch is on the disk: nothing in
// it can be read, the next start removes it, and the drill goes well then.
func TestKilledDrill(t *testing.T) {
	t.Parallel()
	sequential(t)
	s := startServer(t)
	drilled(t, s)
	for attempt := 0; ; attempt++ {
		ended := make(chan struct{})
		go func() { s.cli("drill", "acme"); close(ended) }()
		seen := s.awaitScratch(ended)
		if seen {
			s.kill()
		}
		<-ended
		if seen && len(s.scratches()) > 0 {
			break
		}
		if attempt == 20 {
			t.Fatal("no drill could be caught in the act")
		}
		if seen {
			s.start()
		}
	}
	for _, dir := range s.scratches() {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			if b := contentOf(t, path); bytes.Contains(b, []byte("SQLite format 3")) || bytes.Contains(b, []byte("later")) {
				t.Errorf("%s is in clear", path)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	s.start()
	if left := s.scratches(); len(left) > 0 {
		t.Errorf("left after the start: %v", left)
	}
	s.must("drill", "acme")
	if left := s.scratches(); len(left) > 0 {
		t.Errorf("left after a drill: %v", left)
	}
}

// awaitScratch looks until a drill has something on the disk, or has ended.
func (s *server) awaitScratch(ended chan struct{}) bool {
	for {
		for _, dir := range s.scratches() {
			if exists, _ := filepath.Glob(filepath.Join(dir, "data.db")); len(exists) > 0 {
				return true
			}
		}
		select {
		case <-ended:
			return false
		default:
		}
	}
}

// TestDrillsByTheClock lets weeks go by: drills come by themselves; when the target is
// away they fail and are overdue, which log, audit log and doctor say until one passes.
func TestDrillsByTheClock(t *testing.T) {
	t.Parallel()
	sequential(t)
	s := startMoved(t)
	drilled(t, s)
	s.pass(2 * 24 * time.Hour)
	s.awaitOutput(`"cause":"schedule"`, "drill", "list", "--json")
	target := filepath.Join(s.dir, "target")
	if err := os.Rename(target, target+".away"); err != nil {
		t.Fatal(err)
	}
	s.pass(20 * 24 * time.Hour)
	s.awaitOutput("drill-overdue", "doctor")
	s.awaitOutput("drill-failed", "doctor")
	s.awaitOutput(`"drill.overdue"`, "audit", "list", "--tenant", "acme", "--json")
	if !strings.Contains(s.out.String(), "a drill is overdue") {
		t.Errorf("the log does not say it:\n%s", s.out.tail(2000))
	}
	if list := s.must("audit", "list", "--tenant", "acme", "--json"); strings.Count(list, `"drill.overdue"`) != 1 {
		t.Errorf("the audit log has it not once:\n%s", list)
	}
	putBack(t, target)
	s.must("drill", "--all")
	if d := s.cli("doctor"); strings.Contains(d.stdout, "drill-") {
		t.Errorf("the doctor does not forget: %s", d.stdout)
	}
}

// putBack brings a target back that was moved away. The server, which goes on trying, may
// have made a folder of that name, at any moment.
func putBack(t *testing.T, target string) {
	t.Helper()
	for {
		if err := os.RemoveAll(target); err != nil && !errors.Is(err, syscall.ENOTEMPTY) {
			t.Fatal(err)
		}
		err := os.Rename(target+".away", target)
		if err == nil {
			return
		}
		if !errors.Is(err, fs.ErrExist) { // ENOTEMPTY, too
			t.Fatal(err)
		}
	}
}

// awaitOutput runs a command until it prints something.
func (s *server) awaitOutput(want string, args ...string) {
	s.t.Helper()
	var d done
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if d = s.cli(args...); strings.Contains(d.stdout, want) {
			return
		}
	}
	s.t.Fatalf("%v never printed %q: %s%s", args, want, d.stdout, d.stderr)
}
