// Package review has what people and programs may looked at again: campaigns in
// which each role and each API key of a scope is confirmed or taken away, and what
// nobody answers for lapses. Accounts that nobody uses are closed, keys that nobody
// uses are disabled. It knows access only through what it is given.
package review

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
	"holdfast/data"
	"holdfast/data/system"
)

// Appliance is the scope that is not one tenant, ApplianceName its name for people.
const (
	Appliance     = "appliance"
	ApplianceName = "the appliance"
)

// Kinds of what is held.
const (
	KindGrant = "grant"
	KindKey   = "key"
)

// ErrLastOwner refuses to take the last owner of a scope away.
var ErrLastOwner = errors.New("this would leave nobody who owns it")

// Scope is what a campaign is about: the appliance or one tenant.
type Scope struct {
	ID    string    // Appliance or a tenant's id
	Name  string    // for people
	Since time.Time // the first campaign is due a period after it
}

// Held is one thing that somebody or something may.
type Held struct {
	Kind   string // KindGrant or KindKey
	ID     string
	Store  string     // of a key: its store's id; "" for the control plane
	Holder data.Actor // who must not decide it; zero for a store's key, which is nobody's
	Name   string     // the person's, or the key's
	Detail string     // the person's address, or how far the key reaches
	Role   string     // the role, or the key's scope
	Since  time.Time
	Until  time.Time // zero: no end
	Used   time.Time // the last sign-in or use; zero: never
}

// Access is what the room asks of who may what. Safe for concurrent use.
type Access interface {
	api.Reacher
	// Scopes lists the appliance and the live tenants.
	Scopes(ctx context.Context) ([]Scope, error)
	// Tenant finds a live tenant's scope by its slug. data.ErrNotFound.
	Tenant(ctx context.Context, slug string) (Scope, error)
	// Held lists what is held in a scope now.
	Held(ctx context.Context, scope string) ([]Held, error)
	// End takes it away at once. ErrLastOwner, data.ErrNotFound when it is gone
	// already, or a refusal when the context's actor may less than its holder.
	End(ctx context.Context, h Held) error
}

// Account is a person who has not signed in for long.
type Account struct {
	ID, Name, Email string
	Since           time.Time // of the last sign-in, or of a change of state after it
}

// Accounts is what the room asks of who uses what. Safe for concurrent use.
type Accounts interface {
	// Idle lists active accounts that were not used since.
	Idle(ctx context.Context, since time.Time) ([]Account, error)
	// Disable closes an account until an admin opens it. ErrLastOwner.
	Disable(ctx context.Context, id, why string) error
	// UnusedKeys lists keys that hold and that nobody used since.
	UnusedKeys(ctx context.Context, since time.Time) ([]Held, error)
	// DisableKey takes a key out of use until somebody enables it.
	DisableKey(ctx context.Context, h Held, why string) error
}

// Signer signs reports.
type Signer interface {
	SignNote(ctx context.Context, text string) (signature, verifierKey string, err error)
}

// Kinds of notice.
const (
	NoticeStarted  = "review-started"
	NoticeWaiting  = "review-waiting" // the time to answer is over, and things lapse soon
	NoticeIdle     = "account-idle"
	NoticeIdleKeys = "keys-idle" // of a scope, whose owners are to be told
)

// Notice is something that somebody should be told of by mail.
type Notice struct {
	Kind    string
	Scope   string // of a review; its owners are to be told
	Name    string
	Review  string
	Waiting int       // what is to be decided, or keys
	Address string    // of an idle account
	Until   time.Time // when things lapse, or the account is closed
}

// Database is what the room asks of data/system.
type Database interface {
	Migrate(ctx context.Context, room string, ms []system.Migration) error
	Update(ctx context.Context, fn func(*sqlx.Tx) error) error
	View(ctx context.Context, fn func(*sqlx.Tx) error) error
}

// Config of the room. All fields are required but those that say otherwise.
type Config struct {
	DB       Database
	Access   Access
	Accounts Accounts
	Recorder api.Recorder
	Signer   Signer
	// Tell sends a notice; nil: the console and the log show it. Its error is
	// logged and stops nothing.
	Tell   func(context.Context, Notice) error
	Clock  func() time.Time // nil: time.Now
	Logger *slog.Logger     // nil: discarded
}

// Service is the capability. It is safe for concurrent use.
type Service struct {
	config Config
	turn   sync.Mutex // one decision, beginning or end at a time
	swept  atomic.Bool
}

// New checks the configuration and brings the tables up to date.
func New(ctx context.Context, c Config) (*Service, error) {
	if c.DB == nil || c.Access == nil || c.Accounts == nil || c.Recorder == nil || c.Signer == nil {
		return nil, errors.New("new review: a required part of the configuration is missing")
	}
	if c.Clock == nil {
		c.Clock = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if err := c.DB.Migrate(ctx, "review", migrations); err != nil {
		return nil, fmt.Errorf("new review: %w", err)
	}
	if err := c.DB.Migrate(ctx, "review-away", awayMigrations); err != nil {
		return nil, fmt.Errorf("new review: %w", err)
	}
	return &Service{config: c}, nil
}

func (s *Service) now() time.Time { return s.config.Clock().UTC().Truncate(time.Millisecond) }

// record enters something into the log of the scope.
func (s *Service) record(ctx context.Context, scope, action, target string, detail map[string]string) error {
	err := s.config.Recorder.Record(ctx, api.Event{Action: action, Target: target, Store: logOf(scope), Outcome: api.OK, Detail: detail})
	if err != nil {
		return fmt.Errorf("record %s: %w", action, err)
	}
	return nil
}

// logOf is the store in whose log a scope's entries are; a tenant reads that of prod.
func logOf(scope string) string {
	if scope == Appliance {
		return ""
	}
	return data.StoreID{Tenant: scope, Environment: data.Prod}.String()
}

func (s *Service) tell(ctx context.Context, n Notice) {
	if s.config.Tell == nil {
		return
	}
	if err := s.config.Tell(ctx, n); err != nil {
		s.config.Logger.ErrorContext(ctx, "a notice was not sent", "kind", n.Kind, "scope", n.Name, "error", err)
	}
}
