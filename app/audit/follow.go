package audit

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"holdfast/data"
	"holdfast/data/vault"
)

const (
	// pace is the least time between two rounds of the follower, so that a busy
	// store's commits are followed by the hundred, not one by one.
	pace = 250 * time.Millisecond
	// quiet is how long a store stays marked after its last commit.
	quiet = 5 * time.Minute
	// lastRound bounds how long Close follows; what is left is marked.
	lastRound = 10 * time.Second
)

// follower turns nudges into leaves, in one goroutine. It does nothing while
// nobody commits. A store that was nudged is marked in the vault, so that the
// next start catches it up; the mark is taken away when the store has been
// quiet. A crash between a commit and its mark delays the leaf until the
// store's next commit or Verify; it loses nothing.
type follower struct {
	service *Service
	ctx     context.Context
	cancel  context.CancelFunc
	wake    chan struct{}
	done    sync.WaitGroup

	mu      sync.Mutex
	pending map[data.StoreID]bool
	marked  map[data.StoreID]time.Time // time of the newest nudge
	failed  map[data.StoreID]bool      // to be tried again by Sweep

	marking sync.Mutex // one of: writing marks, taking them away
}

func newFollower(s *Service) *follower {
	ctx, cancel := context.WithCancel(context.Background())
	return &follower{
		service: s, ctx: ctx, cancel: cancel, wake: make(chan struct{}, 1),
		pending: map[data.StoreID]bool{}, marked: map[data.StoreID]time.Time{}, failed: map[data.StoreID]bool{},
	}
}

// Nudge says that a store has committed (or was opened). It never blocks, so it
// can be called from under the database.
func (s *Service) Nudge(id data.StoreID) { s.follow.nudge(id) }

func (f *follower) nudge(id data.StoreID) {
	f.mu.Lock()
	f.pending[id] = true
	f.mu.Unlock()
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// start nudges the stores that were marked before the last stop.
func (f *follower) start(ctx context.Context) error {
	if f.service.config.Stores == nil {
		return nil
	}
	marks, err := f.marks(ctx)
	if err != nil {
		return err
	}
	for _, id := range marks {
		f.marked[id] = f.service.config.Clock()
		f.nudge(id)
	}
	f.done.Go(f.run)
	return nil
}

func (f *follower) marks(ctx context.Context) (ids []data.StoreID, err error) {
	err = f.service.config.Vault.View(ctx, func(t *vault.Tx) error {
		return t.Walk([]byte("o/"), nil, func(key, _ []byte) (bool, error) {
			id, err := data.ParseStoreID(strings.TrimPrefix(string(key), "o/"))
			ids = append(ids, id)
			return true, err
		})
	})
	return ids, err
}

// close follows once more what was nudged: after it nobody commits, and a command
// that ends with its process should leave no change without its leaf.
func (f *follower) close() {
	f.cancel()
	f.done.Wait()
	if f.service.config.Stores == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), lastRound)
	defer cancel()
	f.round(ctx)
}

func (f *follower) run() {
	for {
		select {
		case <-f.ctx.Done():
			return
		case <-f.wake:
		}
		f.round(f.ctx)
		select {
		case <-f.ctx.Done():
			return
		case <-time.After(pace):
		}
	}
}

// round marks, then follows, every store that was nudged.
func (f *follower) round(ctx context.Context) {
	ids, err := f.take(ctx)
	if err != nil {
		f.service.config.Logger.Error("stores were not marked as followed", "error", err)
	}
	for _, id := range ids {
		f.one(ctx, id)
	}
}

// take empties pending and marks the stores in it that are not marked yet.
func (f *follower) take(ctx context.Context) (ids []data.StoreID, err error) {
	f.marking.Lock()
	defer f.marking.Unlock()
	now := f.service.config.Clock()
	var fresh []data.StoreID
	f.mu.Lock()
	for id := range f.pending {
		ids = append(ids, id)
		if _, ok := f.marked[id]; !ok {
			fresh = append(fresh, id)
		}
		f.marked[id] = now
	}
	clear(f.pending)
	f.mu.Unlock()
	return ids, f.write(ctx, fresh, func(t *vault.Tx, key []byte) error { return t.Set(key, []byte{1}) })
}

func (f *follower) write(ctx context.Context, ids []data.StoreID, do func(*vault.Tx, []byte) error) error {
	if len(ids) == 0 {
		return nil
	}
	return f.service.config.Vault.Update(ctx, func(t *vault.Tx) error {
		for _, id := range ids {
			if err := do(t, openKey(id.String())); err != nil {
				return err
			}
		}
		return nil
	})
}

// one follows a store. A store that is parked or gone has nothing to follow; any
// other failure is told, and tried again by Sweep.
func (f *follower) one(ctx context.Context, id data.StoreID) {
	_, err := f.service.CatchUp(ctx, id)
	if gone(err) {
		err = nil
	}
	if err != nil && ctx.Err() == nil {
		f.service.config.Logger.Error("a store's changes were not followed", "store", id.String(), "error", err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if delete(f.failed, id); err != nil {
		f.failed[id] = true
	}
}

func gone(err error) bool {
	return errors.Is(err, data.ErrNotFound) || errors.Is(err, data.ErrDestroyed) || errors.Is(err, data.ErrParked)
}

// Sweep takes the marks of stores that have been quiet away and tries failed
// ones again. The one clock calls it; it wakes no store without work.
func (s *Service) Sweep(ctx context.Context, now time.Time) error {
	f := s.follow
	f.marking.Lock()
	defer f.marking.Unlock()
	err := f.write(ctx, f.quietSince(now.Add(-quiet)), func(t *vault.Tx, key []byte) error { return t.Delete(key) })
	for _, id := range f.toRetry() {
		f.nudge(id)
	}
	return err
}

// quietSince takes stores that are caught up and quiet off the list.
func (f *follower) quietSince(limit time.Time) (ids []data.StoreID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for id, last := range f.marked {
		if !f.pending[id] && !f.failed[id] && last.Before(limit) {
			ids = append(ids, id)
			delete(f.marked, id)
		}
	}
	return ids
}

func (f *follower) toRetry() []data.StoreID {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Collect(maps.Keys(f.failed))
}

// state reads a log's head.
func (s *Service) state(ctx context.Context, log string) (st state, err error) {
	err = s.config.Vault.View(ctx, func(t *vault.Tx) error {
		st, err = loadState(t, log)
		return err
	})
	return st, err
}
