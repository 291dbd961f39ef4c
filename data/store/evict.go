package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"holdfast/data"
	"holdfast/data/cryptfs"
)

// ClosedWell says whether a store was closed cleanly, after all that was shipped of
// it was named (Store.ShippedTo). It opens nothing. One that is open is not closed.
func (p *Pool) ClosedWell(id data.StoreID) bool {
	return checkID(id) == nil && exists(filepath.Join(p.path(id), dataFile+cryptfs.BaseSuffix))
}

// OpenCount is the number of stores open or opening.
func (p *Pool) OpenCount() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.stores)
}

// Evict closes a store: its event streams end at once, running requests are
// waited for. A store that is not open is no error.
func (p *Pool) Evict(ctx context.Context, id data.StoreID) error {
	p.mu.Lock()
	e := p.stores[id]
	p.mu.Unlock()
	if e == nil {
		return nil
	}
	select {
	case <-e.ready:
	case <-ctx.Done():
		return ctx.Err()
	}
	return p.bringDown(ctx, id, e)
}

// bringDown marks an entry as closing, waits for its holders, and shuts it. If ctx
// ends first the store closes in its own time all the same.
func (p *Pool) bringDown(ctx context.Context, id data.StoreID, e *entry) error {
	if p.beginClosing(e) {
		go p.finishClosing(id, e)
	}
	select {
	case <-e.gone:
		return e.err
	case <-ctx.Done():
		return fmt.Errorf("close store %s: %w", id, ctx.Err())
	}
}

func (p *Pool) beginClosing(e *entry) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return e.beginClosing()
}

// beginClosing wants the pool's lock.
func (e *entry) beginClosing() bool {
	if e.closing || e.store == nil {
		return false
	}
	e.closing, e.idle = true, make(chan struct{})
	if e.holds == 0 {
		close(e.idle)
	}
	return true
}

func (p *Pool) finishClosing(id data.StoreID, e *entry) {
	e.store.close() // ends the event streams
	<-e.idle
	e.err = e.store.shut()
	if e.err != nil {
		p.config.Logger.Error("close store", "store", id.String(), "error", e.err)
	}
	p.mu.Lock()
	delete(p.stores, id)
	p.mu.Unlock()
	close(e.gone)
}

// Sweep closes the stores that nobody has used since IdleAfter before now, and does
// the housekeeping of those that stay open. Stores with event streams are in use.
func (p *Pool) Sweep(now time.Time) {
	defer p.tend(now)
	p.users.Sweep()
	p.reckon(now)
	p.makeRoom()
	p.mu.Lock()
	var idle []data.StoreID
	for id, e := range p.stores {
		if e.store != nil && e.holds == 0 && !e.closing && now.Sub(e.used) >= p.config.IdleAfter {
			idle = append(idle, id)
		}
	}
	p.mu.Unlock()
	for _, id := range idle {
		_ = p.Evict(context.Background(), id) // logged where it happened
	}
}

// makeRoom closes the longest unused stores while there are more than MaxOpen, or
// they weigh more than the memory budget. Where all are at work, the limits are
// exceeded rather than a request cut; stores that are held by event streams alone
// come last.
func (p *Pool) makeRoom() {
	for {
		id, e := p.closeLeastUsed()
		if e == nil {
			return
		}
		p.finishClosing(id, e)
	}
}

// closeLeastUsed chooses and marks under one lock, so that no request slips in
// for which the opening of another store would then wait.
func (p *Pool) closeLeastUsed() (data.StoreID, *entry) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.tooMuch() {
		return data.StoreID{}, nil
	}
	var ids []data.StoreID
	for id, e := range p.stores {
		if e.store != nil && !e.closing && e.holds == e.streams {
			ids = append(ids, id)
		}
	}
	if len(ids) == 0 {
		return data.StoreID{}, nil
	}
	id := slices.MinFunc(ids, func(a, b data.StoreID) int { return p.stores[a].compare(p.stores[b]) })
	p.stores[id].beginClosing()
	return id, p.stores[id]
}

func (e *entry) compare(o *entry) int {
	if (e.streams > 0) != (o.streams > 0) {
		if e.streams > 0 {
			return 1
		}
		return -1
	}
	return e.used.Compare(o.used)
}

// Remove closes a store and deletes its folder. The keys are the caller's affair.
// Whoever asks for the store meanwhile is told data.ErrNotFound.
func (p *Pool) Remove(ctx context.Context, id data.StoreID) error {
	if err := checkID(id); err != nil {
		return err
	}
	if err := p.block(ctx, id); err != nil {
		return fmt.Errorf("remove store %s: %w", id, err)
	}
	defer p.unblock(id)
	dir := p.path(id)
	if !exists(dir) {
		return fmt.Errorf("remove store %s: %w", id, data.ErrNotFound)
	}
	p.forgetFiles(id)
	if err := errors.Join(os.RemoveAll(p.keptPath(id)), os.RemoveAll(dir)); err != nil {
		return fmt.Errorf("remove store %s: %w", id, err)
	}
	return syncDir(filepath.Dir(dir))
}

// block closes a store and puts an entry in its place that opens for nobody.
func (p *Pool) block(ctx context.Context, id data.StoreID) error {
	closed := make(chan struct{})
	close(closed)
	for {
		if err := p.Evict(ctx, id); err != nil {
			return err
		}
		p.mu.Lock()
		_, again := p.stores[id]
		if !again {
			p.stores[id] = &entry{ready: closed, gone: closed, err: fmt.Errorf("store %s: %w", id, data.ErrNotFound)}
		}
		p.mu.Unlock()
		if !again {
			return nil
		}
	}
}

func (p *Pool) unblock(id data.StoreID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.stores, id)
}
