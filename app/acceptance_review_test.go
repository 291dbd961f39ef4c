package app_test

import (
	"encoding/json"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const days = 24 * time.Hour

type reviewState struct {
	ID      string
	State   string
	Summary struct{ Items, Waiting, Confirmed, Revoked, Lapsed, Kept int }
}

// TestUnansweredReviewLapses lets three weeks go by over a review that nobody answers:
// what is in it is revoked, the last owner's role is not, and the signed report says so.
func TestUnansweredReviewLapses(t *testing.T) {
	t.Parallel()
	sequential(t)
	s := startMoved(t)
	s.operator("ada@example.com")
	s.operator("bob@example.com")
	s.must("tenant", "create", "acme")
	s.must("member", "add", "acme", "ada@example.com", "--role", "owner")
	s.must("member", "add", "acme", "bob@example.com", "--role", "developer")
	key := answer[struct{ ID, Key string }](s, "key", "create", "acme", "--name", "web", "--expires", "365d")
	s.must("member", "remove", "acme", "host") // which made it, and hands it over
	control := answer[struct{ ID, Key string }](s, "key", "create", "--appliance", "--name", "provisioning", "--permissions", "tenant.create,operator.read", "--expires", "365d")
	operators := newREST(t, s.url(), control.Key)
	operators.want(200, "GET", "/api/v1/operators", nil)
	operators.want(201, "POST", "/api/v1/tenants", map[string]string{"slug": "made-by-a-program"})
	operators.want(403, "GET", "/api/v1/audit", nil)

	r := answer[reviewState](s, "review", "start", "acme")
	if r.Summary.Waiting < 3 {
		t.Fatalf("%+v", r)
	}
	confirmed := confirmFirst(s, r.ID, "bob@example.com")
	s.pass(15 * days)
	s.awaitReview(r.ID, "notice")
	if d := s.cli("doctor"); d.code != 1 || !strings.Contains(d.stdout, "review-overdue") {
		t.Errorf("the doctor does not say that the review is overdue: %s", d.stdout)
	}
	s.pass(23 * days)
	s.awaitReview(r.ID, "closed")
	after := reviewOf(s, r.ID)
	if after.Summary.Confirmed != confirmed || after.Summary.Lapsed != 1 || after.Summary.Kept+after.Summary.Lapsed+confirmed != after.Summary.Items {
		t.Errorf("%+v", after)
	}
	s.tenant("acme", key.Key).want(http.StatusUnauthorized, "GET", records("items"), nil)
	if members := s.must("member", "list", "acme"); !strings.Contains(members, "ada@example.com") || !strings.Contains(members, "bob@example.com") {
		t.Errorf("the last owner, or who was confirmed, is gone:\n%s", members)
	}
	file := filepath.Join(s.dir, "work", "review.json")
	report := answer[struct {
		VerifierKey string `json:"verifier_key"`
	}](s, "review", "report", r.ID, "-o", file)
	s.must("review", "verify", file, "--key", report.VerifierKey)
	s.must("review", "report", r.ID, "-o", filepath.Join(s.dir, "work", "review.html"))
	s.auditHolds()
}

// confirmFirst confirms the role of one person, and gives how many it confirmed.
func confirmFirst(s *server, review, email string) (n int) {
	s.t.Helper()
	for _, item := range listed[struct{ ID, Detail, Decision string }](s, "review", "show", review) {
		if item.Detail == email {
			s.must("review", "decide", review, item.ID, "--confirm", "--note", "builds the shop")
			n++
		}
	}
	if n != 1 {
		s.t.Fatalf("%d items of %s", n, email)
	}
	return n
}

// listed runs a command that prints a list and decodes its lines.
func listed[T any](s *server, args ...string) (all []T) {
	s.t.Helper()
	for line := range strings.Lines(s.must(append(args, "--json")...)) {
		var one T
		if err := json.Unmarshal([]byte(line), &one); err != nil {
			s.t.Fatalf("holdfast %s --json: %v in %q", strings.Join(args, " "), err, line)
		}
		all = append(all, one)
	}
	return all
}

func reviewOf(s *server, id string) reviewState {
	s.t.Helper()
	for _, r := range listed[reviewState](s, "review", "list") {
		if r.ID == id {
			return r
		}
	}
	s.t.Fatalf("no review %s", id)
	return reviewState{}
}

func (s *server) awaitReview(id, want string) {
	s.t.Helper()
	var got string
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if got = reviewOf(s, id).State; got == want {
			return
		}
	}
	s.t.Fatalf("review %s is %s, not %s", id, got, want)
}
