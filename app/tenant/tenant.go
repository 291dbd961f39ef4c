// Package tenant keeps the tenants and their environments: it makes, finds,
// parks and destroys them, and brings their records in and out. The rows in
// the system database say what shall be; keys and stores are brought after
// them, and again at the next start if a crash came between.
package tenant

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/jmoiron/sqlx"

	"holdfast/app/api"
	"holdfast/data"
	"holdfast/data/keys"
	"holdfast/data/store"
	"holdfast/data/system"
)

// UndeleteWindow is how long a deleted tenant's keys stay parked where Config.Window
// says nothing else.
const UndeleteWindow = 7 * 24 * time.Hour

// Database is what the room asks of data/system.
type Database interface {
	Migrate(ctx context.Context, room string, ms []system.Migration) error
	Update(ctx context.Context, fn func(*sqlx.Tx) error) error
	View(ctx context.Context, fn func(*sqlx.Tx) error) error
}

// Access tells what an actor may. It is asked while requests are served, never
// by New.
type Access interface {
	api.Authorizer
	api.Reacher
}

// Config of the room. All fields are required but those that say otherwise.
type Config struct {
	DB         Database
	Ring       *keys.Ring
	Pool       *store.Pool
	Recorder   api.Recorder
	Operations *api.Operations
	Access     Access
	Staging    data.FileTree // sealed files of uploads on their way in; the room's own
	StoresDir  string        // <data>/stores, to tell a store's size; may be ""

	// URL gives the address of an environment's API.
	URL func(slug, environment string) string
	// CatchUp lets the audit log follow a store's last changes before its keys are
	// parked or destroyed; may be nil.
	CatchUp func(ctx context.Context, id data.StoreID) error
	// Founded gives a tenant that is being made its people, or nobody could reach its
	// records; may be nil. New may call it.
	Founded func(ctx context.Context, f Founding) error
	// Disposal writes destructions down and certifies them; nil: they are in the audit
	// log alone.
	Disposal Disposal
	Window   time.Duration // between deletion and destruction; 0: UndeleteWindow

	Clock  func() time.Time // nil: time.Now
	Logger *slog.Logger     // nil: discarded
}

// Founding is a tenant that is being made.
type Founding struct {
	Tenant string // its id
	Owner  string // e-mail address of its first owner; empty: who makes it
	From   string // id of the tenant that it is a copy of, whose people it gets; empty: of none
	Again  bool   // a crash cut the making short, perhaps after its people were given
}

// Service is the capability. It is safe for concurrent use.
type Service struct {
	config Config
	found  *cache
	busy   *locks
	reads  *api.Sparse
}

// New checks the configuration, brings the tables up to date, and finishes what a
// crash left half done.
func New(ctx context.Context, c Config) (*Service, error) {
	if c.DB == nil || c.Ring == nil || c.Pool == nil || c.Recorder == nil || c.Operations == nil ||
		c.Access == nil || c.Staging == nil || c.URL == nil {
		return nil, errors.New("new tenant: a required part of the configuration is missing")
	}
	if c.Window == 0 {
		c.Window = UndeleteWindow
	}
	if c.Clock == nil {
		c.Clock = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if err := c.DB.Migrate(ctx, "tenant", migrations); err != nil {
		return nil, fmt.Errorf("new tenant: %w", err)
	}
	s := &Service{config: c, found: newCache(), busy: &locks{held: map[string]bool{}}, reads: api.NewSparse(readPause, c.Clock)}
	if err := s.dropStaged(ctx); err != nil {
		return nil, fmt.Errorf("new tenant: drop interrupted uploads: %w", err)
	}
	return s, s.resume(ctx)
}

func (s *Service) now() time.Time { return s.config.Clock().UTC().Truncate(time.Millisecond) }

// locks let one action at a time work on a tenant.
type locks struct {
	mu   sync.Mutex
	held map[string]bool
}

// take answers data.ErrBusy when somebody works on it.
func (l *locks) take(slug string) (release func(), err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.held[slug] {
		return nil, fmt.Errorf("tenant %s: %w", slug, data.ErrBusy)
	}
	l.held[slug] = true
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.held, slug)
	}, nil
}
