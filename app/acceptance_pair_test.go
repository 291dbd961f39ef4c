package app_test

import (
	"strings"
	"testing"
	"time"
)

const (
	slots    = "/api/v1/keys/slots"
	onlyAdas = "only ada knows this one"
)

// slotOrder asks for a slot that opens with a passphrase; the first time without it.
func slotOrder(passphrase string) map[string]string {
	if passphrase == "" {
		return map[string]string{"kind": "passphrase"}
	}
	return map[string]string{"kind": "passphrase", "passphrase": passphrase}
}

// approvalOf asks for something that takes two persons, and gives the request's id.
func approvalOf(c *rest, method, path string, body any) string {
	c.t.Helper()
	r := c.want(403, method, path, body)
	id, ok := strings.CutPrefix(r.header.Get("Location"), "/api/v1/approvals/")
	if !ok {
		c.t.Fatalf("no request of %s %s: %v", method, path, r)
	}
	return id
}

// TestTwoPersons: one operator alone adds no slot; another approves, once and not for
// ever; the command line of the host can do it alone, and it is told.
func TestTwoPersons(t *testing.T) {
	t.Parallel()
	sequential(t)
	s := startMoved(t)
	ada, sam := s.operator("ada@example.com"), s.operator("sam@example.com")
	id := approvalOf(ada, "POST", slots, slotOrder(""))
	ada.want(403, "POST", "/api/v1/approvals/"+id+"/approve", map[string]string{})
	sam.want(200, "POST", "/api/v1/approvals/"+id+"/approve", map[string]string{"note": "we spoke"})
	sam.want(403, "POST", slots, slotOrder(onlyAdas)) // it was ada's
	ada.want(422, "POST", slots, slotOrder("short"))  // and was not used up by that
	ada.want(201, "POST", slots, slotOrder(onlyAdas))
	s.slot("passphrase")
	ada.want(403, "POST", slots, slotOrder(onlyAdas+" as well"))

	late := approvalOf(ada, "DELETE", slots+"/"+s.slot("key-file")+"?sure=true", nil)
	s.must("approval", "approve", late)
	s.pass(25 * time.Hour)
	ada, sam = s.signIn("ada@example.com"), s.signIn("sam@example.com")
	if approvalOf(ada, "DELETE", slots+"/"+s.slot("key-file")+"?sure=true", nil) == late {
		t.Error("an approval that is over counts")
	}

	s.ok(passphrase, "keys", "add-slot", "passphrase", "--passphrase-stdin") // the host's own
	list := s.must("approval", "list", "--state", "alone")
	if !strings.Contains(list, "Add a way to open the root key (kind passphrase)") {
		t.Errorf("the host's own is not told:\n%s", list)
	}
	if d := s.cli("doctor").stdout; !strings.Contains(d, "Add a way to open the root key") {
		t.Errorf("the doctor says nothing of it:\n%s", d)
	}
	off := approvalOf(ada, "PUT", "/api/v1/policies/two-persons", map[string]string{"mode": "off"})
	sam.want(200, "POST", "/api/v1/approvals/"+off+"/refuse", map[string]string{})
	if p := s.must("approval", "policy", "off"); !strings.Contains(p, "one is enough") {
		t.Errorf("the policy: %s", p)
	}
	ada.want(201, "POST", slots, slotOrder(onlyAdas+" as well"))
	s.pairsAreInTheLog()
	s.saidNothingOf(onlyAdas, passphrase)
}

// pairsAreInTheLog looks for each step.
func (s *server) pairsAreInTheLog() {
	s.t.Helper()
	counts := map[string]int{}
	for _, e := range listed[struct{ Action string }](s, "audit", "list", "--last", "200") {
		counts[e.Action]++
	}
	for action, want := range map[string]int{"approval.request": 6, "approval.approve": 2, "approval.use": 2, "approval.refuse": 1, "approval.alone": 2, "two-persons.set": 1} {
		if counts[action] != want {
			s.t.Errorf("%s is %d times in the log, want %d: %v", action, counts[action], want, counts)
		}
	}
	s.auditHolds()
}
