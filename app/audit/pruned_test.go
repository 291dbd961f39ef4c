package audit

import (
	"strings"
	"testing"

	"holdfast/data"
)

// TestPrunedFeed: what the store's feed no longer has is still in the log, which is
// checked for gaps there, and compared behind it.
func TestPrunedFeed(t *testing.T) {
	w := newWorld(t)
	feed := newFeed()
	w.feeds[acme] = feed
	feed.write(20)
	w.catchUp(acme)
	feed.prune(10)
	feed.write(5)
	if r := w.verify(acme.String()); !r.OK || r.Changes != 25 || r.Pruned != 10 || !r.Compared {
		t.Errorf("%+v", r)
	}
	feed.restore(18)
	feed.write(4)
	w.catchUp(acme)
	feed.prune(20)
	if r := w.verify(acme.String()); !r.OK || r.Changes != 29 || r.Pruned != 20 || r.Withdrawn != 7 {
		t.Errorf("%+v", r)
	}
	if at, err := w.Followed(t.Context(), acme); err != nil || at != (data.Position{Incarnation: "life2", Sequence: 22}) {
		t.Error(at, err)
	}
}

func (w *world) catchUp(id data.StoreID) {
	w.t.Helper()
	if _, err := w.CatchUp(w.t.Context(), id); err != nil {
		w.t.Fatal(err)
	}
}

// TestPrunedBeyondTheLog: a log that was put back to before the floor goes on behind it,
// and says so for ever.
func TestPrunedBeyondTheLog(t *testing.T) {
	w := newWorld(t)
	feed := newFeed()
	w.feeds[acme] = feed
	feed.write(5)
	w.catchUp(acme)
	feed.write(20)
	feed.prune(15)
	w.catchUp(acme)
	feed.write(1)
	r := w.verify(acme.String())
	if r.OK || r.Changes != 16 || !strings.Contains(strings.Join(r.Problems, "\n"), "begins life life1 after 15") {
		t.Errorf("%+v", r)
	}
}
