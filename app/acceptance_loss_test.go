package app_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestAcceptLoss cuts logs that a kill left. A store does not open until somebody says
// that what is missing is given up, then goes on and its log agrees; so does the
// appliance's own database.
func TestAcceptLoss(t *testing.T) {
	t.Parallel()
	sequential(t)
	s := startServer(t)
	c := s.filled("acme", 20)
	if out := s.must("accept-loss", "acme"); !strings.Contains(out, "whole") {
		t.Errorf("nothing is missing: %s", out)
	}
	log := filepath.Join(s.store("acme", "prod"), "data.db-wal")
	c.want(200, "POST", records("items"), map[string]any{"n": 1, "title": "the last"})
	s.kill()
	cutTail(t, log, 3000)
	s.start()
	if r := c.call("GET", records("items"), nil); r.status < 500 {
		t.Errorf("a store whose log was cut answers %v", r)
	}
	told := s.cli("accept-loss", "acme")
	if told.code != 1 || !strings.Contains(told.stdout, "data.db-wal, frame ") || !strings.Contains(told.stderr, "--yes") {
		t.Errorf("%+v", told)
	}
	var state struct {
		Cut      bool `json:"cut"`
		Position struct {
			Sequence int64 `json:"sequence"`
		} `json:"position"`
	}
	if err := json.Unmarshal([]byte(s.must("accept-loss", "acme", "--yes", "--json")), &state); err != nil || !state.Cut || state.Position.Sequence == 0 {
		t.Fatalf("%+v, %v", state, err)
	}
	c.want(200, "POST", records("items"), map[string]any{"n": 1, "title": "after"})
	s.must("audit", "verify", "--tenant", "acme")
	if out := s.must("audit", "list", "--tenant", "acme"); !strings.Contains(out, "store.accept-loss") {
		t.Errorf("the decision is not in the log:\n%s", out)
	}
	s.systemLoss()
	s.systemPutBack()
}

// systemPutBack puts an older system database back, with all that lies beside it: nothing
// starts until the newest is there again, or somebody says that it is to be this one.
func (s *server) systemPutBack() {
	t := s.t
	t.Helper()
	s.stop()
	old := s.systemFiles()
	s.must("tenant", "create", "later")
	newest := s.systemFiles()
	s.laySystem(old)
	for _, command := range [][]string{{"tenant", "list"}, {"accept-loss", "system"}} {
		if told := s.cli(command...); told.code != 1 || !strings.Contains(told.stderr, "holdfast accept-loss system --yes") {
			t.Errorf("%v: %+v", command, told)
		}
	}
	s.laySystem(newest)
	if out := s.must("tenant", "list"); !strings.Contains(out, "later") {
		t.Errorf("with the newest put back:\n%s", out)
	}
	s.laySystem(old)
	if out := s.must("accept-loss", "system", "--yes"); !strings.Contains(out, "opens again") {
		t.Error(out)
	}
	if out := s.must("tenant", "list"); strings.Contains(out, "later") {
		t.Errorf("the older one was accepted, and tells:\n%s", out)
	}
	if out := s.must("audit", "list"); strings.Count(out, "system.accept-loss") != 2 {
		t.Errorf("the decision is not in the log:\n%s", out)
	}
	s.start()
}

// systemFiles are those of the system database while nothing has it open.
func (s *server) systemFiles() map[string][]byte {
	s.t.Helper()
	names, err := filepath.Glob(filepath.Join(s.data(), "system.db*"))
	files := map[string][]byte{}
	for _, name := range names {
		if files[name], err = os.ReadFile(name); err != nil {
			break
		}
	}
	if err != nil || len(files) == 0 {
		s.t.Fatal(len(files), err)
	}
	return files
}

func (s *server) laySystem(files map[string][]byte) {
	s.t.Helper()
	for name := range s.systemFiles() {
		if err := os.Remove(name); err != nil {
			s.t.Fatal(err)
		}
	}
	for name, b := range files {
		if err := os.WriteFile(name, b, 0o600); err != nil {
			s.t.Fatal(err)
		}
	}
}

func (s *server) systemLoss() {
	t := s.t
	t.Helper()
	s.must("key", "create", "acme", "--name", "last", "--scope", "read")
	s.kill()
	cutTail(t, filepath.Join(s.data(), "system.db-wal"), 3000)
	if told := s.cli("accept-loss", "system"); told.code != 1 || !strings.Contains(told.stderr, "system.db-wal") {
		t.Errorf("%+v", told)
	}
	if out := s.must("accept-loss", "system", "--yes"); !strings.Contains(out, "opens again") {
		t.Error(out)
	}
	s.start()
	if out := s.must("audit", "list"); !strings.Contains(out, "system.accept-loss") {
		t.Errorf("the decision is not in the log:\n%s", out)
	}
	s.must("audit", "verify")
}

func cutTail(t testing.TB, path string, n int64) {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, info.Size()-n); err != nil {
		t.Fatal(err)
	}
}
