package users

import (
	"testing"
	"time"
)

// TestShared: a flood at one store sheds nothing of another, and makes a key wait
// that else need not.
func TestShared(t *testing.T) {
	now := time.Unix(1000, 0)
	m := NewShared(func() time.Time { return now })
	id := m.begin(pending{store: "quiet", record: "ada"})
	for range 300 {
		if m.tooMany("flood", "192.0.2.1", true) {
			t.Fatal("a busy server has to wait")
		}
	}
	if !m.tooMany("flood", "192.0.2.1", false) {
		t.Error("somebody asks without end")
	}
	for range mostPending * 2 {
		m.begin(pending{store: "flood"})
	}
	if n := m.half.Count("flood"); n > pendingShare {
		t.Error("kept:", n)
	}
	if !m.tooMany("flood", "192.0.2.1", true) {
		t.Error("a key floods")
	}
	if _, ok := m.peek("flood", id); ok {
		t.Error("another store's")
	}
	if p, ok := m.attempt("quiet", id); !ok || p.record != "ada" {
		t.Error("shed by another store's flood")
	}
	now = now.Add(pendingLife)
	m.Sweep()
	if m.half.Len() != 0 {
		t.Error("left:", m.half.Len())
	}
}
