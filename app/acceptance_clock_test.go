package app_test

import (
	"strings"
	"testing"
	"time"
)

// TestUndeleteWindowPasses lets the days of the undelete window go by: the keys
// are destroyed by the clock, and nothing brings the tenant back.
func TestUndeleteWindowPasses(t *testing.T) {
	t.Parallel()
	sequential(t)
	s := startMoved(t)
	s.filled("acme", 5)
	s.must("tenant", "delete", "acme", "--yes")
	s.pass(6 * 24 * time.Hour)
	if state := answer[struct{ State string }](s, "tenant", "show", "acme").State; state != "parked" {
		t.Fatalf("after six days it is %s", state)
	}
	s.pass(8 * 24 * time.Hour)
	s.awaitState("acme", "destroyed")
	d := s.cli("tenant", "undelete", "acme")
	for strings.Contains(d.stderr, "in use") { // its files are being removed
		d = s.cli("tenant", "undelete", "acme")
	}
	if d.code == 0 || !strings.Contains(d.stderr, "destroyed") {
		t.Errorf("undelete after the window: %+v", d)
	}
}

func (s *server) awaitState(tenant, want string) {
	s.t.Helper()
	var got string
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if got = answer[struct{ State string }](s, "tenant", "show", tenant).State; got == want {
			return
		}
	}
	s.t.Fatalf("%s is %s, not %s", tenant, got, want)
}

// TestClockSetBack serves, and serves again two days earlier: it says so, once, and
// goes on.
func TestClockSetBack(t *testing.T) {
	t.Parallel()
	sequential(t)
	s := newServer(t)
	s.bin = moved
	s.env = append(s.env, "HOLDFAST_CLOCK="+s.clock())
	s.pass(48 * time.Hour)
	s.start()
	s.stop()
	s.pass(0)
	for range 2 {
		s.start()
		s.stop()
	}
	if got := strings.Count(s.out.String(), "behind the newest time seen"); got != 1 {
		t.Errorf("said %d times:\n%s", got, s.out.tail(2000))
	}
	if list := s.must("audit", "list", "--json"); strings.Count(list, "clock.setback") != 1 {
		t.Errorf("the log has it not once:\n%s", list)
	}
	s.auditHolds()
}
