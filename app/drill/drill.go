// Package drill proves that what was shipped can be restored: it restores points
// into scratch, holds them to digests that were recorded apart from the chain,
// measures how long it took and how much would have been lost, and keeps the
// history. What fails or is overdue raises an alarm.
package drill

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/jmoiron/sqlx"

	"holdfast/app/api"
	"holdfast/backup/restore"
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
	Peek(id data.StoreID) (s *store.Store, release func())
	Try(ctx context.Context, build func(context.Context, store.InstallTarget) error, look func(context.Context, *store.Store) error) error
}

// Tenants is what the room asks of the tenants' directory.
type Tenants interface {
	// Find gives a store by slug in whatever state: closed is nil for a live one.
	Find(ctx context.Context, slug, environment string) (id data.StoreID, closed, err error)
	// Name gives a live store's name, slug or slug/env; data.ErrNotFound, or the
	// reason why it is not live.
	Name(ctx context.Context, id data.StoreID) (string, error)
}

// Chain is what this host shipped of a store, or of a part of the appliance, to one
// target.
type Chain struct {
	Store      data.StoreID
	Own        string // the part of the appliance that is meant instead of a store
	Target     string // id
	TargetName string
	First      time.Time     // of the oldest snapshot known
	Newest     time.Time     // of the newest
	Sequence   int64         // of the newest
	Position   data.Position // that the newest holds at least
	// Lag is the age of the oldest commit that is known not to be there yet.
	Lag time.Duration
}

// Chains is what the room asks of who ships.
type Chains interface {
	// Chains lists all of them, by name and target; those of one name (a store's id, or
	// a part of the appliance) if it is not "".
	Chains(ctx context.Context, name string) ([]Chain, error)
	// Source says how to read the chain of a name on a target.
	Source(ctx context.Context, name, target string) (restore.Config, error)
	// VerifyNext reads a sample of the chain that was longest not verified, if due.
	VerifyNext(ctx context.Context, now time.Time) error
	// Explain words an error of a chain or a target for a client.
	Explain(error) error
}

// Policy is what a store's drills are held to.
type Policy struct {
	Every time.Duration // between drills of a target; 0: none on schedule
	RTO   time.Duration // goal; 0: none
	RPO   time.Duration // goal; 0: none
}

// DefaultPolicy is that of a store that says nothing: a drill a week, no goals.
func DefaultPolicy() Policy { return Policy{Every: 7 * 24 * time.Hour} }

// Signer signs reports.
type Signer interface {
	SignNote(ctx context.Context, text string) (signature, verifierKey string, err error)
}

// Config of the room. All fields are required but those that say otherwise.
type Config struct {
	DB         Database
	Stores     Stores
	Tenants    Tenants
	Chains     Chains
	Recorder   api.Recorder
	Signer     Signer
	Operations *api.Operations
	Access     api.Reacher

	// Own tries the parts of the appliance, by name; nil: they are not drilled.
	Own    map[string]Trial
	Policy func(context.Context, data.StoreID) (Policy, error) // nil: DefaultPolicy
	// Room is how many bytes a drill may fill; nil: any number.
	Room   func() (int64, error)
	Clock  func() time.Time // nil: time.Now
	Logger *slog.Logger     // nil: discarded
}

// Service is the capability. It is safe for concurrent use.
type Service struct {
	config Config
	turn   chan struct{} // holds one token: one drill at a time

	ctx   context.Context // of the round under way
	stop  context.CancelFunc
	round sync.Mutex
	work  sync.WaitGroup
}

// New checks the configuration and brings the tables up to date.
func New(ctx context.Context, c Config) (*Service, error) {
	if c.DB == nil || c.Stores == nil || c.Tenants == nil || c.Chains == nil || c.Recorder == nil || c.Signer == nil || c.Operations == nil || c.Access == nil {
		return nil, errors.New("new drill: a required part of the configuration is missing")
	}
	if c.Policy == nil {
		c.Policy = func(context.Context, data.StoreID) (Policy, error) { return DefaultPolicy(), nil }
	}
	if c.Clock == nil {
		c.Clock = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if err := c.DB.Migrate(ctx, "drill", migrations); err != nil {
		return nil, fmt.Errorf("new drill: %w", err)
	}
	s := &Service{config: c, turn: make(chan struct{}, 1)}
	s.turn <- struct{}{}
	s.ctx, s.stop = context.WithCancel(context.Background())
	return s, nil
}

func (s *Service) now() time.Time { return s.config.Clock().UTC().Truncate(time.Millisecond) }

// Close ends the round of scheduled drills; operations end by themselves.
func (s *Service) Close() error {
	s.stop()
	s.work.Wait()
	return nil
}
