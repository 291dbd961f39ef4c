// Package disposal says what is gone for good, and keeps it gone: it certifies
// the destruction of a tenant, erases records so that no restore brings them back,
// and keeps the ledger of both, here and on every target.
package disposal

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jmoiron/sqlx"

	"holdfast/app/api"
	"holdfast/backup"
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

// Target is a place off this host where the ledger is kept too.
type Target struct {
	ID   string
	Name string
	Open func() (backup.ObjectStore, error)
}

// Stores is what the room asks of data/store.
type Stores interface {
	Acquire(ctx context.Context, id data.StoreID) (*store.Store, error)
}

// Tenants is what the room asks of the tenants' directory.
type Tenants interface {
	// Store gives the store of a live tenant's environment. data.ErrNotFound,
	// data.ErrParked, data.ErrDestroyed.
	Store(ctx context.Context, slug, environment string) (data.StoreID, error)
	// Anyhow is Store in whatever state the tenant is.
	Anyhow(ctx context.Context, slug, environment string) (data.StoreID, error)
	// Name is a store's slug/environment, "" where no tenant of that name is left.
	Name(ctx context.Context, id data.StoreID) string
	// Bury destroys whatever there is of a tenant that the ledger says is destroyed:
	// keys, folders, row. It tells whether there was anything.
	Bury(ctx context.Context, tenant string, stores []data.StoreID) (found bool, err error)
}

// Auditor signs and finds what the audit logs hold.
type Auditor interface {
	// SignNote signs a text, which ends with a line feed, with the key that signs
	// checkpoints; it gives the signature lines and the verifier key.
	SignNote(ctx context.Context, text string) (signature, verifierKey string, err error)
	// Recorded says whether the appliance's log has an entry of an action in which the
	// text is found.
	Recorded(ctx context.Context, action, text string) (bool, error)
}

// Config of the room. All fields are required but those that say otherwise.
type Config struct {
	DB       Database
	Recorder api.Recorder
	Access   api.Authorizer // who may erase in a copy, too
	Auditor  Auditor
	Stores   Stores
	Tenants  Tenants

	Signing data.KeySource // owner "system", purpose "audit-signing"
	Sealing data.KeySource // owner "system", purpose "segments": seals certificates in the ledger off this host
	// Personal gives a store's key of that purpose, a parked one too: record ids are
	// hashed under it.
	Personal func(data.StoreID) data.KeySource

	Keys     func(data.StoreID) []Key                                   // a store's keys, destroyed ones too
	Targets  func(context.Context) ([]Target, error)                    // where the ledger is kept
	Held     func(context.Context, data.StoreID) ([]Copy, error)        // snapshots of a store on targets
	Keyrings func(ctx context.Context, since time.Time) ([]Copy, error) // copies of the keyring off this host that may hold keys made before since; nil: there are none

	Patience time.Duration    // with one target at a start; 0: 5 s
	Clock    func() time.Time // nil: time.Now
	Logger   *slog.Logger     // nil: discarded
}

// Service is the capability. It is safe for concurrent use.
type Service struct {
	config Config

	writing sync.Mutex // one append at a time: numbers and links follow each other
	syncing sync.Mutex // one comparison with the targets at a time
	erasing sync.Mutex // one erasure at a time, so that what is pending is not taken up twice

	unapplied atomic.Bool // the ledger may say what was not carried out here
}

// New checks the configuration and brings the tables up to date.
func New(ctx context.Context, c Config) (*Service, error) {
	if c.DB == nil || c.Recorder == nil || c.Access == nil || c.Auditor == nil || c.Stores == nil || c.Tenants == nil || c.Signing == nil ||
		c.Sealing == nil || c.Personal == nil || c.Keys == nil || c.Targets == nil || c.Held == nil {
		return nil, errors.New("new disposal: a required part of the configuration is missing")
	}
	if c.Keyrings == nil {
		c.Keyrings = func(context.Context, time.Time) ([]Copy, error) { return nil, nil }
	}
	if c.Patience == 0 {
		c.Patience = 5 * time.Second
	}
	if c.Clock == nil {
		c.Clock = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if err := c.DB.Migrate(ctx, "disposal", migrations); err != nil {
		return nil, fmt.Errorf("new disposal: %w", err)
	}
	return &Service{config: c}, nil
}

func (s *Service) now() time.Time { return s.config.Clock().UTC().Truncate(time.Millisecond) }
