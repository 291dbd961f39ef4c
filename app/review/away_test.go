package review

import (
	"context"
	"testing"
	"time"
)

// restarted is the room after the appliance was off for a while.
func restarted(t testing.TB, s *Service, w *world, off time.Duration) *Service {
	t.Helper()
	w.pass(off)
	again, err := New(t.Context(), s.config)
	must(t, err)
	return again
}

func sweep(t testing.TB, s *Service, w *world) {
	t.Helper()
	must(t, s.Sweep(context.Background(), w.clock()))
}

// TestReviewsLeaveOutTheTimeOff: neither for the time to answer nor for the notice, and each
// time off only once.
func TestReviewsLeaveOutTheTimeOff(t *testing.T) {
	s, w := newService(t)
	r, err := s.Start(as(host), w.scopes[0])
	must(t, err)
	sweep(t, s, w)
	state := func(want string) Review {
		t.Helper()
		got, err := s.Get(t.Context(), r.ID)
		must(t, err)
		equal(t, "state", got.State, want)
		return got
	}
	due := r.Due
	s = restarted(t, s, w, 60*day)
	sweep(t, s, w)
	equal(t, "due", state("open").Due, due.Add(60*day))
	sweep(t, s, w)
	equal(t, "due still", state("open").Due, due.Add(60*day))
	s = restarted(t, s, w, 30*time.Minute) // too short to be told from a restart
	sweep(t, s, w)
	equal(t, "due after a restart", state("open").Due, due.Add(60*day))

	w.pass(14*day - 31*time.Minute)
	sweep(t, s, w)
	state("open")
	w.pass(time.Hour)
	sweep(t, s, w)
	ends := state("notice").Ends
	s = restarted(t, s, w, 20*day)
	sweep(t, s, w)
	equal(t, "ends", state("notice").Ends, ends.Add(20*day))
	w.pass(6 * day)
	sweep(t, s, w)
	state("notice")
	w.pass(day + time.Hour)
	sweep(t, s, w)
	state("closed")
}

// TestTimeOffOfReviewsIsRecorded leaves the review as it was, and nothing lapses.
func TestTimeOffOfReviewsIsRecorded(t *testing.T) {
	s, w := newService(t)
	r, err := s.Start(as(host), w.scopes[0])
	must(t, err)
	sweep(t, s, w)
	s = restarted(t, s, w, 60*day)
	w.mu.Lock()
	w.fail = context.Canceled
	w.mu.Unlock()
	if err := s.Sweep(context.Background(), w.clock()); err == nil {
		t.Error("not told")
	}
	w.mu.Lock()
	w.fail = nil
	w.mu.Unlock()
	sweep(t, s, w)
	got, err := s.Get(t.Context(), r.ID)
	must(t, err)
	equal(t, "state", got.State, "open")
	equal(t, "due", got.Due, r.Due.Add(60*day))
}
