package store

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"holdfast/data"
	"holdfast/data/store/users"
)

// Pool opens stores on demand and closes them again. Safe for concurrent use.
type Pool struct {
	config   Config
	template template
	bodies   bodyBudget
	spooled  bodyBudget // uploads under way, on disk
	issued   issued
	users    *users.Shared // sign-ins of tenants' users that are under way
	warden   atomic.Pointer[Warden]

	label  string   // of the stores' file hosts in this process
	secret [32]byte // that their passes are made of

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
	tended  time.Time
	weighed time.Time
	weight  int64 // bytes of memory, by the last reckoning
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
	p := &Pool{config: c, stores: map[data.StoreID]*entry{}, trees: map[data.StoreID]*tree{}}
	if err := errors.Join(p.endSwaps(), clearScratch(c.Dir)); err != nil {
		return nil, fmt.Errorf("store pool: %w", err)
	}
	p.bodies.most, p.spooled.most = c.BodyMemory, max(c.UploadDisk, c.MaxUpload)
	p.template.build = p.buildTemplate
	p.users = users.NewShared(c.Clock)
	_, _ = rand.Read(p.secret[:]) // never fails (crypto/rand)
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
	e = &entry{ready: make(chan struct{}), gone: make(chan struct{}), weight: storeWeight + connWeight}
	p.stores[id] = e
	return e, true, nil
}

// bringUp opens a store for everybody who waits for it. The opening outlives the
// caller that happened to come first.
func (p *Pool) bringUp(ctx context.Context, id data.StoreID, e *entry) (*Store, error) {
	p.reckon(p.config.Clock())
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
func (s *Store) Release() { s.pool.letGo(s, s.pool.config.Clock()) }

// letGo takes one hold off a store, which was last used then (zero: no use of it).
func (p *Pool) letGo(s *Store, used time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.stores[s.id]
	if e == nil || e.store != s {
		return // a store of Install's own, never in the pool
	}
	e.holds--
	if !used.IsZero() {
		e.used = used
	}
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
