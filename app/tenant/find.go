package tenant

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/http"
	"sync"

	"github.com/jmoiron/sqlx"

	"holdfast/app/api"
	"holdfast/data"
)

// Ref is one environment of a tenant, found by slug. Its store may be open to
// nobody: State tells.
type Ref struct {
	Store       data.StoreID
	Slug        string
	Environment string
	State       string
}

// Err is nil for a live store, else data.ErrParked, data.ErrDestroyed or
// data.ErrBusy.
func (r Ref) Err() error {
	switch r.State {
	case Live:
		return nil
	case Parked:
		return fmt.Errorf("tenant %s: %w", r.Slug, data.ErrParked)
	case Destroyed:
		return fmt.Errorf("tenant %s: %w", r.Slug, data.ErrDestroyed)
	}
	return fmt.Errorf("tenant %s is being made: %w", r.Slug, data.ErrBusy)
}

// Find gives a tenant's environment by slug in whatever state it is.
// data.ErrNotFound when there never was one.
func (s *Service) Find(ctx context.Context, slug, environment string) (Ref, error) {
	r, err := s.row(ctx, slug)
	if err != nil {
		return Ref{}, missing(err, "There is no tenant %q (not found).", slug)
	}
	if r.State == creating {
		return Ref{}, missing(data.ErrNotFound, "There is no tenant %q (not found).", slug)
	}
	if !r.has(environment) {
		return Ref{}, missing(data.ErrNotFound, "Tenant %q has no environment %q (not found).", slug, environment)
	}
	state := r.State
	if !r.Settled && state == Live {
		state = creating // its keys are not back yet
	}
	return Ref{r.store(environment), slug, environment, state}, nil
}

// missing is data.ErrNotFound in words for the client; other errors it leaves alone.
func missing(err error, format string, args ...any) error {
	if !errors.Is(err, data.ErrNotFound) {
		return err
	}
	return api.Errorf(http.StatusNotFound, "not-found", format, args...).Because(err)
}

// Store gives the store of a live tenant's environment. data.ErrNotFound,
// data.ErrParked, data.ErrDestroyed.
func (s *Service) Store(ctx context.Context, slug, environment string) (data.StoreID, error) {
	ref, err := s.Find(ctx, slug, environment)
	if err != nil {
		return data.StoreID{}, err
	}
	return ref.Store, ref.Err()
}

// Resolve is Store, under the name that the edge asks for.
func (s *Service) Resolve(ctx context.Context, slug, environment string) (data.StoreID, error) {
	return s.Store(ctx, slug, environment)
}

// Anyhow is Store for those who look at a tenant that is parked or destroyed: its
// audit log, its snapshots.
func (s *Service) Anyhow(ctx context.Context, slug, environment string) (data.StoreID, error) {
	ref, err := s.Find(ctx, slug, environment)
	return ref.Store, err
}

// ResolveRef is Find for "slug" or "slug/env".
func (s *Service) ResolveRef(ctx context.Context, ref string) (Ref, error) {
	slug, environment := splitRef(ref)
	return s.Find(ctx, slug, environment)
}

// Slug gives a tenant's slug by its id. data.ErrNotFound.
func (s *Service) Slug(ctx context.Context, tenant string) (slug string, err error) {
	err = s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		return tx.GetContext(ctx, &slug, `SELECT slug FROM tenants WHERE id = ?`, tenant)
	})
	if errors.Is(err, sql.ErrNoRows) {
		err = data.ErrNotFound
	}
	if err != nil {
		return "", fmt.Errorf("slug of tenant %s: %w", tenant, err)
	}
	return slug, nil
}

// row finds a tenant by slug, from memory if it can.
func (s *Service) row(ctx context.Context, slug string) (r row, err error) {
	if r, ok := s.found.get(slug); ok {
		return r, nil
	}
	epoch := s.found.now()
	err = s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		r, err = bySlug(ctx, tx, slug)
		return err
	})
	if err != nil {
		return r, err
	}
	s.found.put(slug, r, epoch)
	return r, nil
}

// maxCached bounds the tenants kept in memory, some hundred bytes each.
const maxCached = 20_000

// cache holds tenants by slug. This process is the only writer of the tables and
// forgets what it changes.
type cache struct {
	mu    sync.RWMutex
	rows  map[string]row
	epoch int // counts forget: a read that was overtaken by a change is not kept

	counts map[string]int // of lists, by what they ask; until the next change
}

func newCache() *cache { return &cache{rows: map[string]row{}, counts: map[string]int{}} }

// maxCounts bounds the counts kept in memory.
const maxCounts = 100

func (c *cache) count(what string) (int, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	n, ok := c.counts[what]
	return n, ok
}

func (c *cache) putCount(what string, n, epoch int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.epoch == epoch && len(c.counts) < maxCounts {
		c.counts[what] = n
	}
}

func (c *cache) get(slug string) (row, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	r, ok := c.rows[slug]
	return r, ok
}

func (c *cache) now() int {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.epoch
}

func (c *cache) put(slug string, r row, epoch int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.epoch != epoch {
		return
	}
	if len(c.rows) >= maxCached {
		clear(c.rows)
	}
	c.rows[slug] = r
}

func (c *cache) forget(slug string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.epoch++
	clear(c.counts)
	delete(c.rows, slug)
}
