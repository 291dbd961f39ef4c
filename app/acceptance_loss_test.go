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
