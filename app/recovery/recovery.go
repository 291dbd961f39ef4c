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
	Install(ctx context.Context, id data.StoreID, build func(ctx context.Context, dir string, t store.InstallTarget) error) error
}

// Tenants is what the room asks of the tenants' directory.
type Tenants interface {
	// Find gives a store by slug in whatever state: closed is nil for a live one,
	// else data.ErrParked, data.ErrDestroyed or data.ErrBusy. The error is
	// data.ErrNotFound when there never was one.
	Find(ctx context.Context, slug, environment string) (id data.StoreID, closed, err error)
	// Adopt makes a tenant whose store install fills; nothing of it stays when
	// install fails.
	Adopt(ctx context.Context, slug, name string, install func(context.Context, data.StoreID) error) error
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
	Ledger   Ledger // nil: nothing was ever destroyed or erased

	Open   func(url string, c objects.Credentials) (backup.ObjectStore, error) // nil: objects.Open
	Clock  func() time.Time                                                    // nil: time.Now
	Logger *slog.Logger                                                        // nil: discarded
}

// Service is the capability. It is safe for concurrent use.
type Service struct {
	config  Config
	scratch string

	mu     sync.Mutex
	lines  map[data.StoreID]*line
	closed bool
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
	s := &Service{config: c, scratch: filepath.Join(c.Staging, "scratch"), lines: map[data.StoreID]*line{}}
	if err := os.MkdirAll(s.scratch, 0o700); err != nil {
		return nil, fmt.Errorf("new recovery: %w", err)
	}
	return s, nil
}

func (s *Service) now() time.Time { return s.config.Clock().UTC() }

// Close closes the chains. Operations must have ended.
func (s *Service) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	var errs []error
	for id, l := range s.lines {
		errs = append(errs, l.close())
		delete(s.lines, id)
	}
	return errors.Join(errs...)
}

// idleAfter is how long a chain stays open without work.
const idleAfter = 10 * time.Minute

// Sweep closes the chains that have long had no work. The one clock calls it.
func (s *Service) Sweep(_ context.Context, now time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for id, l := range s.lines {
		if l.idle(now) {
			errs = append(errs, l.close())
			delete(s.lines, id)
		}
	}
	return errors.Join(errs...)
}

// Forget drops what is staged of a store whose keys are destroyed; nothing
// could read it. Its objects stay on the targets, as noise.
func (s *Service) Forget(ctx context.Context, id data.StoreID) error {
	l, err := s.line(ctx, id)
	if err != nil {
		return err
	}
	defer s.leave(l)
	err = errors.Join(l.close(), os.RemoveAll(s.staging(id, "")))
	_ = os.Remove(filepath.Join(s.config.Staging, id.Tenant)) // unless another environment has something in it
	return err
}

// staging is the folder of one store's chain to one target.
func (s *Service) staging(id data.StoreID, target string) string {
	return filepath.Join(s.config.Staging, id.Tenant, id.Environment, target)
}
