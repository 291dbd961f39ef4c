package app_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestCutInAMovedBucket takes the newest part of a tenant's chain away where the restored
// system database cannot know of it, because the bucket was moved: the log, which is
// shipped apart from it, tells of changes that the chain does not hold.
func TestCutInAMovedBucket(t *testing.T) {
	t.Parallel()
	sequential(t)
	s := startMoved(t)
	target, elsewhere := filepath.Join(s.dir, "far"), filepath.Join(s.dir, "elsewhere")
	code := s.recoveryKey()
	s.must("target", "add", "far", "file://"+target)
	s.must("keys", "copies", "add", "far")
	acme := s.filled("acme", 10)
	s.must("keys", "copies", "now")
	first := answer[struct{ Seq int64 }](s, "snapshot", "now", "acme").Seq
	for hours := range 2 {
		s.pass(time.Duration(hours+1) * time.Hour)
		acme.want(200, "POST", records("items"), map[string]any{"n": hours})
		for _, what := range []string{"acme", "system", "vault"} {
			s.must("snapshot", "now", what)
		}
	}
	id := answer[struct{ ID string }](s, "tenant", "show", "acme").ID + "/prod"
	if code := s.stop(); code != 0 {
		t.Fatal("stop:", code)
	}
	if err := os.Rename(target, elsewhere); err != nil {
		t.Fatal(err)
	}
	cutAfter(t, elsewhere, id, first)

	n := s.lost()
	n.bin = moved // its clock is that of the host that was lost
	args := []string{"restore", "--all", "--from", "file://" + elsewhere, "--recovery-key-stdin"}
	d := n.cliInput(code, args...)
	for _, says := range []string{"acme/prod", "the log tells of change", "--accept-cut"} {
		if d.code == 0 || !strings.Contains(d.stderr, says) {
			t.Fatalf("a chain that was cut, %d, does not say %q: %s", d.code, says, d.stderr)
		}
	}
	back := jsonOf[bareDone](t, n.ok(code, append(args, "--accept-cut", "--json")...))
	if len(back.Stores) != 1 || back.Stores[0].Seq != first || !strings.Contains(fmt.Sprint(back.Warnings), "acme/prod: ") {
		t.Errorf("accepted: %+v", back)
	}
}
