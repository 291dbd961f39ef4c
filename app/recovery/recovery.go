// Package recovery keeps the targets, ships stores to them, verifies what lies
// there and restores it as new tenants. The chain itself is backup's.
package recovery

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/jmoiron/sqlx"

	"holdfast/app/api"
	"holdfast/backup"
	"holdfast/backup/chain"
	"holdfast/backup/objects"
	"holdfast/data"
	"holdfast/data/store"
	"holdfast/data/system"
)

// Database is what the room asks of data/system.
type Database interface {
	Migrate(ctx context.Context, room string, ms []system.Migration) error
	Update(ctx context.Context, fn func(*sqlx.Tx) error) error
	View(ctx context.Context, fn func(*sqlx.Tx) error) error
}

// Stores is what the room asks of data/store.
type Stores interface {
	Acquire(ctx context.Context, id data.StoreID) (*store.Store, error)
	// ClosedWell says, opening nothing, whether a store was closed cleanly.
	ClosedWell(id data.StoreID) bool
	Install(ctx context.Context, id data.StoreID, build func(ctx context.Context, dir string, t store.InstallTarget) error) error
	Return(ctx context.Context, id data.StoreID, build func(ctx context.Context, dir string, t store.InstallTarget) error) error
	Try(ctx context.Context, build func(context.Context, store.InstallTarget) error, look func(context.Context, *store.Store) error) error
	Replace(ctx context.Context, id data.StoreID, build func(ctx context.Context, dir string, t store.InstallTarget) error,
		last func(ctx context.Context, old *store.Store) error) error
	Revert(ctx context.Context, id data.StoreID, amend, last func(ctx context.Context, s *store.Store) error) error
	Kept(id data.StoreID) bool
	DropKept(id data.StoreID) error
}

// Tenants is what the room asks of the tenants' directory.
type Tenants interface {
	// Find gives a store by slug in whatever state: closed is nil for a live one,
	// else data.ErrParked, data.ErrDestroyed or data.ErrBusy. The error is
	// data.ErrNotFound when there never was one.
	Find(ctx context.Context, slug, environment string) (id data.StoreID, closed, err error)
	// Adopt makes a tenant whose store install fills; nothing of it stays when
	// install fails.
	Adopt(ctx context.Context, slug, name string, from data.StoreID, install func(context.Context, data.StoreID) error) error
}

// Ledger keeps restores from bringing back what was destroyed or erased.
type Ledger interface {
	// Consult reads the ledger that lies on a target, by its id, and carries out what
	// it says. It fails when that ledger cannot be trusted whole.
	Consult(ctx context.Context, target string) error
	// Destroyed gives the id of the disposal of a destroyed store, or "".
	Destroyed(ctx context.Context, id data.StoreID) (disposal string, err error)
	// Replay gives what takes a store's erased records out of a copy of it and answers
	// how many there were; nil when none were erased.
	Replay(ctx context.Context, id data.StoreID) (func(context.Context, *store.Store) (int, error), error)
	// Copied notes, before any record is there, that a store is made of another's
	// snapshots as of a moment (zero: the newest), so that erasures in the source reach
	// it. CopyLive carries out there what was erased while it was made.
	Copied(ctx context.Context, fresh, source data.StoreID, point time.Time) error
	CopyLive(ctx context.Context, fresh, source data.StoreID) error
}

// The parts of the appliance that have chains of their own.
const (
	SystemChain = "system"
	VaultChain  = "vault"
)

// Own is a part of the appliance: a database, or a stream.
type Own struct {
	Keys   data.KeySource // purpose "segments"
	Pages  func(follower string) data.PageSource
	Stream chain.Stream // instead of Pages
	Size   func() int64 // of the stream, in bytes
}

// Config of the room. All fields are required but those that say otherwise.
type Config struct {
	DB         Database
	Stores     Stores
	Tenants    Tenants
	Recorder   api.Recorder
	Operations *api.Operations
	Access     api.Authorizer
	// Segments gives a store's keys for shipping; Archive also those of a parked
	// store, for reading.
	Segments func(data.StoreID) data.KeySource
	Archive  func(data.StoreID) data.KeySource
	Staging  string // the room's own folder, <data>/staging/chains
	// MaxStaging bounds what one chain stages, in bytes; 0: 1 GiB.
	MaxStaging int64
	Ledger     Ledger // nil: nothing was ever destroyed or erased
	Drills     Drills // nil: nobody drills, so nothing is ever pruned
	// Farewell lets followers of a store see the last of it before it is replaced in
	// place; nil: there are none. Swapped hears that another took its place.
	Farewell func(context.Context, data.StoreID, *store.Store) error
	Swapped  func(data.StoreID)
	// FreshKey makes a new generation of a store's pages key; nil: not needed.
	FreshKey func(context.Context, data.StoreID) error
	// Room is what the disk has free, in bytes; nil: it is not asked.
	Room func() (int64, error)
	// Own are the parts of the appliance that are shipped like stores, by name; no
	// tenant may have such a name.
	Own map[string]Own
	// Live lists the stores that are to be shipped; nil: none but those that Nudge
	// tells of.
	Live func(context.Context) ([]data.StoreID, error)
	// Slug names the tenant of a store; nil: nobody asks.
	Slug func(context.Context, data.StoreID) (string, error)

	Open   func(url string, c objects.Credentials) (backup.ObjectStore, error) // nil: objects.Open
	Clock  func() time.Time                                                    // nil: time.Now
	Logger *slog.Logger                                                        // nil: discarded
}

// Service is the capability. It is safe for concurrent use.
type Service struct {
	config  Config
	scratch string

	mu     sync.Mutex
	lanes  map[laneKey]*lane
	closed bool

	ships ships
}

// New checks the configuration and brings the tables up to date.
func New(ctx context.Context, c Config) (*Service, error) {
	if c.DB == nil || c.Stores == nil || c.Tenants == nil || c.Recorder == nil || c.Operations == nil ||
		c.Access == nil || c.Segments == nil || c.Archive == nil || c.Staging == "" {
		return nil, errors.New("new recovery: a required part of the configuration is missing")
	}
	if c.Open == nil {
		c.Open = objects.Open
	}
	if c.Clock == nil {
		c.Clock = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if err := c.DB.Migrate(ctx, "recovery", migrations); err != nil {
		return nil, fmt.Errorf("new recovery: %w", err)
	}
	if err := c.DB.Migrate(ctx, "recovery/restores", restoreMigrations); err != nil {
		return nil, fmt.Errorf("new recovery: %w", err)
	}
	if err := c.DB.Migrate(ctx, "recovery/verify", verifyMigrations); err != nil {
		return nil, fmt.Errorf("new recovery: %w", err)
	}
	s := &Service{config: c, scratch: filepath.Join(c.Staging, "scratch"), lanes: map[laneKey]*lane{}}
	s.ships.init(s)
	if err := os.MkdirAll(s.scratch, 0o700); err != nil {
		return nil, fmt.Errorf("new recovery: %w", err)
	}
	return s, nil
}

func (s *Service) now() time.Time { return s.config.Clock().UTC() }

// Close ships what waits, within a bound, and closes the chains. Operations must
// have ended.
func (s *Service) Close() error {
	err := s.drain()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	errs := []error{err}
	for key, l := range s.lanes {
		errs = append(errs, l.close())
		delete(s.lanes, key)
	}
	return errors.Join(errs...)
}

// idleAfter is how long a chain stays open without work.
const idleAfter = 10 * time.Minute

// closeOld closes the chains that have long had no work.
func (s *Service) closeOld(now time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for key, l := range s.lanes {
		if l.idle(now) {
			errs = append(errs, l.close())
			delete(s.lanes, key)
		}
	}
	return errors.Join(errs...)
}

// Forget drops what is staged of a store whose keys are destroyed; nothing
// could read it. Its objects on the targets, noise by now, go with the next prune.
func (s *Service) Forget(ctx context.Context, id data.StoreID) error {
	err := s.dropLanes(ctx, func(key laneKey) bool { return key.chain == id.String() })
	err = errors.Join(err, os.RemoveAll(filepath.Join(s.config.Staging, id.Tenant, id.Environment)), s.askPurge(ctx, id))
	_ = os.Remove(filepath.Join(s.config.Staging, id.Tenant)) // unless another environment has something in it
	return err
}
