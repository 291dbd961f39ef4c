package keys

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"

	"holdfast/data"
)

// waitFor returns when so many edits wait.
func waitFor(r *Ring, edits int) {
	for waiting := 0; waiting < edits; runtime.Gosched() {
		r.queue.Lock()
		waiting = len(r.edits)
		r.queue.Unlock()
	}
}

// TestSharedWrites: edits that come while the file is being written share the next
// write, each with its own outcome, and all of them last.
func TestSharedWrites(t *testing.T) {
	ring, dir, root := newTestRing(t)
	must(t, ring.Add("old/prod", Pages))
	serial := ring.Serial()
	ring.change.Lock() // a change is under way
	var all sync.WaitGroup
	refused := make(chan error, 40)
	for i := range 20 {
		all.Go(func() {
			if err := ring.Add(Owner(fmt.Sprintf("t%d/prod", i)), Pages, Files); err != nil {
				t.Error(err)
			}
		})
		all.Go(func() { refused <- ring.Add("old/prod", Pages) })
		all.Go(func() { refused <- ring.Park("nobody/prod") })
	}
	waitFor(ring, 60)
	ring.change.Unlock()
	all.Wait()
	close(refused)
	for err := range refused {
		if !errors.Is(err, data.ErrExists) && !errors.Is(err, data.ErrNotFound) {
			t.Error(err)
		}
	}
	if ring.Serial() != serial+1 {
		t.Errorf("%d writes", ring.Serial()-serial)
	}
	again := reopen(t, dir, root)
	for i := range 20 {
		owner := Owner(fmt.Sprintf("t%d/prod", i))
		_, key := current(t, ring.Source(owner, Files))
		if _, same := current(t, again.Source(owner, Files)); same != key {
			t.Error(owner, "has another key")
		}
	}
}

// TestSharedWriteFails: nobody whose edit was in a write that failed is told that it
// happened, not even who found it done by another edit of the same write.
func TestSharedWriteFails(t *testing.T) {
	ring, dir, root := newTestRing(t)
	must(t, ring.Add(acme, Pages))
	other := reopen(t, dir, root)
	must(t, other.Add("other/prod", Pages)) // now ring is behind the file
	ring.change.Lock()
	outcomes := make(chan error, 3)
	for range 2 {
		go func() { outcomes <- ring.Park(acme) }()
	}
	go func() { outcomes <- ring.Add("new/prod", Pages) }()
	waitFor(ring, 3)
	ring.change.Unlock()
	for range 3 {
		if err := <-outcomes; !errors.Is(err, data.ErrBusy) {
			t.Errorf("%v", err)
		}
	}
	if s, err := ring.State(acme); s != Live || err != nil {
		t.Error(s, err)
	}
	must(t, ring.Add("new/prod", Pages)) // it has read the file again
}
