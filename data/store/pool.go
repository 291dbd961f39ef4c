package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"holdfast/data"
)

// Pool opens stores on demand and closes them again. Safe for concurrent use.
type Pool struct {
	config   Config
	template template
	bodies   bodyBudget

	label string // of the stores' file hosts in this process

	mu     sync.Mutex
	stores map[data.StoreID]*entry
	trees  map[data.StoreID]*tree
	closed bool
}

// entry is a store on its way up, open, or on its way down.
type entry struct {
	ready chan struct{} // closed when store or err is set
	gone  chan struct{} // closed when the store is shut
	store *Store
	err   error

	holds   int // calls of Acquire not yet released
	streams int // of those, event streams
	used    time.Time
	closing bool
	idle    chan struct{} // made while closing; closed when holds reaches 0
}

// New makes a pool over a folder. Nothing is opened yet.
func New(c Config) (*Pool, error) {
	if err := c.fill(); err != nil {
		return nil, err
	}
	if parentErr != nil {
		return nil, parentErr
	}
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("store pool: %w", err)
	}
	if err := clearScratch(c.Dir); err != nil {
		return nil, fmt.Errorf("store pool: %w", err)
	}
	p := &Pool{config: c, stores: map[data.StoreID]*entry{}, trees: map[data.StoreID]*tree{}}
	p.bodies.most = c.BodyMemory
	p.template.build = p.buildTemplate
	p.label = outbound.join(p)
	takeProcess(c.Logger)
	return p, nil
}

// checkID keeps an id from being a way out of the folder, or a host name that is
// not one label each.
func checkID(id data.StoreID) error {
	for _, part := range []string{id.Tenant, id.Environment} {
		if part == "" || strings.Trim(part, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
			return fmt.Errorf("store %q: %w: not a store's id", id, ErrInvalid)
		}
	}
	return nil
}

func (p *Pool) path(id data.StoreID) string {
	return filepath.Join(p.config.Dir, id.Tenant, id.Environment)
}

// Acquire opens the store if need be and holds it open until Release. It answers
// data.ErrNotFound for a store that was never created, and the key's error
// (data.ErrParked, data.ErrDestroyed) where there is no key.
func (p *Pool) Acquire(ctx context.Context, id data.StoreID) (*Store, error) {
	for {
		e, mine, err := p.enter(id)
		if err != nil {
			return nil, err
		}
		if mine {
			return p.bringUp(ctx, id, e)
		}
		s, again, err := p.join(ctx, e)
		if !again {
			return s, err
		}
	}
}

// enter finds or makes the entry of a store. mine tells the caller to open it.
func (p *Pool) enter(id data.StoreID) (e *entry, mine bool, err error) {
	if err := checkID(id); err != nil {
		return nil, false, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, false, ErrClosed
	}
	if e, ok := p.stores[id]; ok {
		return e, false, nil
	}
	if !exists(filepath.Join(p.path(id), dataFile)) {
		return nil, false, fmt.Errorf("store %s: %w", id, data.ErrNotFound)
	}
	e = &entry{ready: make(chan struct{}), gone: make(chan struct{})}
	p.stores[id] = e
	return e, true, nil
}

// bringUp opens a store for everybody who waits for it. The opening outlives the
// caller that happened to come first.
func (p *Pool) bringUp(ctx context.Context, id data.StoreID, e *entry) (*Store, error) {
	p.makeRoom()
	store, err := p.open(context.WithoutCancel(ctx), id, p.path(id), p.config.Keys)
	p.mu.Lock()
	e.store, e.err = store, err
	if err != nil {
		delete(p.stores, id)
		close(e.gone)
	} else {
		e.holds++
		e.used = p.config.Clock()
	}
	p.mu.Unlock()
	close(e.ready)
	return store, err
}

// join waits for an entry and holds it. again means that it was closing.
func (p *Pool) join(ctx context.Context, e *entry) (_ *Store, again bool, err error) {
	select {
	case <-e.ready:
	case <-ctx.Done():
		return nil, false, ctx.Err()
	}
	p.mu.Lock()
	closing := e.closing
	if !closing && e.err == nil {
		e.holds++
		e.used = p.config.Clock()
	}
	p.mu.Unlock()
	if !closing {
		return e.store, false, e.err
	}
	select {
	case <-e.gone:
		return nil, true, nil
	case <-ctx.Done():
		return nil, false, ctx.Err()
	}
}

// Release gives back what Acquire gave, once.
func (s *Store) Release() {
	p := s.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.stores[s.id]
	if e == nil || e.store != s {
		return // a store of Install's own, never in the pool
	}
	e.holds--
	e.used = p.config.Clock()
	if e.closing && e.holds == 0 {
		close(e.idle)
	}
}

func (p *Pool) streamBegins(s *Store) { p.countStream(s, 1) }
func (p *Pool) streamEnds(s *Store)   { p.countStream(s, -1) }

func (p *Pool) countStream(s *Store, n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if e := p.stores[s.id]; e != nil && e.store == s {
		e.streams += n
	}
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

// Sweep closes the stores that nobody has used since IdleAfter before now. Stores
// with event streams are in use.
func (p *Pool) Sweep(now time.Time) {
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

// makeRoom closes the longest unused store when there are more than MaxOpen. Where
// all are at work, the limit is exceeded rather than a request cut; stores that
// are held by event streams alone come last.
func (p *Pool) makeRoom() {
	for {
		id, e := p.leastUsed()
		if e == nil || !p.beginClosing(e) {
			return
		}
		p.finishClosing(id, e)
	}
}

func (p *Pool) leastUsed() (data.StoreID, *entry) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.stores) <= p.config.MaxOpen {
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
func (p *Pool) Remove(ctx context.Context, id data.StoreID) error {
	if err := p.Evict(ctx, id); err != nil {
		return err
	}
	dir := p.path(id)
	if !exists(dir) {
		return fmt.Errorf("remove store %s: %w", id, data.ErrNotFound)
	}
	p.forgetFiles(id)
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("remove store %s: %w", id, err)
	}
	return syncDir(filepath.Dir(dir))
}

// Close closes every store, waiting for running requests, and the pool.
func (p *Pool) Close() error {
	p.mu.Lock()
	p.closed = true
	entries := map[data.StoreID]*entry{}
	for id, e := range p.stores {
		entries[id] = e
	}
	p.mu.Unlock()
	defer outbound.leave(p.label)
	var errs []error
	for id, e := range entries {
		<-e.ready
		if e.store != nil {
			errs = append(errs, p.bringDown(context.Background(), id, e))
		}
	}
	return errors.Join(errs...)
}
