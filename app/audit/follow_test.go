package audit

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"holdfast/data"
	"holdfast/data/vault"
)

// waitFor asks until the condition holds; it is for what another goroutine does.
func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

func (w *world) followed() data.Position {
	st, err := w.state(w.t.Context(), acme.String())
	if err != nil {
		w.t.Fatal(err)
	}
	return st.Follow
}

func (w *world) wantChanges(n, withdrawn int64) {
	w.t.Helper()
	if r := w.verify(acme.String()); !r.OK || r.Changes != n || r.Withdrawn != withdrawn {
		w.t.Errorf("got %d changes, %d withdrawn, %v; want %d, %d", r.Changes, r.Withdrawn, r.Problems, n, withdrawn)
	}
}

func TestNudgeIsFollowed(t *testing.T) {
	w := newWorld(t)
	feed := newFeed()
	w.feeds[acme] = feed
	feed.write(1234)
	w.Nudge(acme)
	waitFor(t, "1234 leaves", func() bool { return w.followed() == data.Position{Incarnation: "life1", Sequence: 1234} })
	feed.write(1)
	w.Nudge(acme)
	waitFor(t, "one more", func() bool { return w.followed().Sequence == 1235 })
	w.wantChanges(1235, 0)
}

func TestMarkedStoresAreCaughtUpAtStart(t *testing.T) {
	w := newWorld(t)
	feed := newFeed()
	w.feeds[acme] = feed
	feed.write(1)
	w.Nudge(acme)
	waitFor(t, "the first leaf", func() bool { return w.followed().Sequence == 1 })
	w.shut()
	feed.write(7) // committed, then the process ended before it could follow
	w.open()
	waitFor(t, "the rest", func() bool { return w.followed().Sequence == 8 })
}

func TestSweepUnmarksQuietStores(t *testing.T) {
	w := newWorld(t)
	w.feeds[acme] = newFeed()
	w.Nudge(acme)
	waitFor(t, "the mark", func() bool { return w.marks() == 1 })
	waitFor(t, "the begin", func() bool { return w.followed().Incarnation == "life1" })
	if err := w.Sweep(t.Context(), time.Now().Add(time.Minute)); err != nil || w.marks() != 1 {
		t.Errorf("got %d marks, %v", w.marks(), err)
	}
	if err := w.Sweep(t.Context(), time.Now().Add(time.Hour)); err != nil || w.marks() != 0 {
		t.Errorf("got %d marks, %v", w.marks(), err)
	}
}

func (w *world) marks() (n int) {
	err := w.vault.Sub("audit").View(w.t.Context(), func(t *vault.Tx) error {
		return t.Walk([]byte("o/"), nil, func(_, _ []byte) (bool, error) { n++; return true, nil })
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return n
}

func TestFailedFollowIsTriedAgainBySweep(t *testing.T) {
	w := newWorld(t)
	feed := newFeed()
	w.feeds[acme] = feed
	feed.write(3)
	feed.fail = errors.New("the disk is gone")
	w.Nudge(acme)
	waitFor(t, "the failure", func() bool { return len(w.follow.toRetry()) == 1 })
	if err := w.Sweep(t.Context(), time.Now().Add(time.Hour)); err != nil || w.marks() != 1 {
		t.Fatalf("a store that is behind lost its mark: %v", err)
	}
	feed.mu.Lock()
	feed.fail = nil
	feed.mu.Unlock()
	waitFor(t, "the second try", func() bool {
		if err := w.Sweep(t.Context(), time.Now()); err != nil {
			t.Fatal(err)
		}
		return w.followed().Sequence == 3
	})
}

func TestRestoredInPlace(t *testing.T) {
	w := newWorld(t)
	feed := newFeed()
	w.feeds[acme] = feed
	feed.write(100)
	w.wantChanges(100, 0)
	feed.restore(60)
	feed.write(20)
	w.wantChanges(120, 40)
	feed.restore(80) // after everything: nothing is taken back
	feed.write(5)
	w.wantChanges(125, 40)
	feed.restore(10)
	w.wantChanges(125, 115)
}

func TestRestoredAsAnotherStoreBeginsAfterWhatItInherited(t *testing.T) {
	w := newWorld(t)
	feed := newFeed()
	feed.write(50)
	feed.restore(50)
	feed.write(2)
	w.feeds[acme] = feed
	w.wantChanges(2, 0)
	got, _, err := w.List(t.Context(), acme.String(), Query{Action: actionBegin, Limit: 9})
	if err != nil || len(got) != 1 || got[0].Position.Sequence != 50 || got[0].Detail["reason"] != "restored" {
		t.Errorf("got %+v, %v", got, err)
	}
}

// TestManyFollowersMakeOneLeafEach lets the worker, Verify and callers race.
func TestManyFollowersMakeOneLeafEach(t *testing.T) {
	w := newWorld(t)
	feed := newFeed()
	w.feeds[acme] = feed
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for range 20 {
				feed.write(13)
				w.Nudge(acme)
				if _, err := w.CatchUp(context.WithoutCancel(t.Context()), acme); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	w.wantChanges(8*20*13, 0)
}

func TestParkedStoreIsNoFailure(t *testing.T) {
	w := newWorld(t)
	w.Nudge(data.StoreID{Tenant: "gone", Environment: data.Prod})
	waitFor(t, "the round", func() bool { return w.marks() == 1 })
	waitFor(t, "no retry", func() bool { return len(w.follow.toRetry()) == 0 })
	if _, err := w.CatchUp(t.Context(), data.StoreID{Tenant: "gone", Environment: data.Prod}); !errors.Is(err, data.ErrNotFound) {
		t.Errorf("got %v", err)
	}
}

func TestCloseFollowsWhatWasCommittedLast(t *testing.T) {
	w := newWorld(t)
	feed := newFeed()
	w.feeds[acme] = feed
	w.Nudge(acme)
	waitFor(t, "the begin", func() bool { return w.followed().Incarnation == "life1" })
	feed.write(900)
	w.Nudge(acme)
	w.shut()
	delete(w.feeds, acme)
	w.open()
	if got := w.followed().Sequence; got != 900 {
		t.Errorf("followed to %d of 900", got)
	}
}
