package store

import (
	"context"
	"slices"
	"sync"
)

// turn says whose the writer's connection is: who comes gets it in order of arrival.
// A statement that waits for it may instead be run by whoever has it (see merge.go),
// and then never has it itself.
type turn struct {
	mu    sync.Mutex
	taken bool
	queue []*waiter
	crowd int // turns for which there is taken to be a crowd still
}

// waiter waits for the turn, or for its statement to have been run.
type waiter struct {
	ready     chan struct{} // closed when it has the turn, or is done
	statement *statement    // that others may run for it, or nil
}

// crowdLasts is for how many turns somebody who had to wait is taken for a crowd.
const crowdLasts = 64

// crowded says whether others are likely to come while the turn is taken. Who has it
// asks.
func (t *turn) crowded() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.crowd = max(t.crowd-1, 0)
	return t.crowd > 0
}

// enter gives the turn at once where it is nobody's; else w is to wait until it is
// ready.
func (t *turn) enter(w *waiter) (mine bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.taken {
		t.taken = true
		return true
	}
	t.crowd = crowdLasts
	w.ready = make(chan struct{})
	t.queue = append(t.queue, w)
	return false
}

// take waits for the turn.
func (t *turn) take(ctx context.Context) error {
	w := &waiter{}
	if t.enter(w) {
		return nil
	}
	select {
	case <-w.ready:
		return nil
	case <-ctx.Done():
	}
	if !t.remove(w) { // it was given the turn just now
		t.give()
	}
	return ctx.Err()
}

func (t *turn) remove(w *waiter) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	i := slices.Index(t.queue, w)
	if i >= 0 {
		t.queue = slices.Delete(t.queue, i, i+1)
	}
	return i >= 0
}

// give hands the turn to who has waited longest.
func (t *turn) give() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.queue) == 0 {
		t.taken = false
		return
	}
	next := t.queue[0]
	t.queue = slices.Delete(t.queue, 0, 1)
	close(next.ready)
}

// statements takes up to most of those that wait out of the queue: whoever has the
// turn runs them.
func (t *turn) statements(most int) (out []*statement) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.queue = slices.DeleteFunc(t.queue, func(w *waiter) bool {
		if w.statement == nil || len(out) == most {
			return false
		}
		out = append(out, w.statement)
		return true
	})
	return out
}
