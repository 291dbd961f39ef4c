// Package identity knows who is who and who may what: persons, memberships,
// grants, sign-in, sessions, and API keys. It is the appliance's Authorizer.
package identity

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"holdfast/app/api"
	"holdfast/data"
	"holdfast/data/signin"
	"holdfast/data/system"
)

// Tenants is what identity asks of the tenants.
type Tenants interface {
	// Store gives the id of a tenant's environment by the tenant's slug.
	// data.ErrNotFound when there is no such tenant or environment.
	Store(ctx context.Context, slug, environment string) (data.StoreID, error)
	// Slug gives a tenant's present slug by its id. data.ErrNotFound.
	Slug(ctx context.Context, tenant string) (string, error)
}

// Collection is a collection that a key can be limited to.
type Collection struct{ ID, Name string }

// Collections is what identity asks of the stores.
type Collections interface {
	// Collections lists those of a store that keys can reach.
	Collections(ctx context.Context, store data.StoreID) ([]Collection, error)
}

// Config is what a Service needs.
type Config struct {
	DB          Database         // required
	Sessions    Values           // required: where sessions are kept, sealed
	Recorder    api.Recorder     // required
	Tenants     Tenants          // required
	Collections Collections      // required
	Clock       func() time.Time // nil: time.Now
	Logger      *slog.Logger     // nil: discarded
	// Revoked is told of each key that was revoked, and of each person who lost something
	// in a store, to end what they have open there; may be nil.
	Revoked func(store data.StoreID, actor data.Actor)
	// Warrant returns a context in which a store gives its records to the warrant's
	// actor; nil: they are asked for elsewhere.
	Warrant func(context.Context, Warrant) context.Context
	// InsecureHTTP allows a cookie without Secure, for a server that was told
	// to serve plain HTTP to other hosts.
	InsecureHTTP bool
	// Federation is single sign-on; nil: there is none.
	Federation Federation
	// Post writes to people; nil: no mail is set up, and links are shown to who asked.
	Post Post
	// URL is where the console is, for links; nil: http://localhost.
	URL func() string
	// Breached says that a password is known from a breach; nil: nobody knows.
	Breached func(password string) (bool, error)
	// PasswordCost is for tests; zero means the cost that production uses.
	PasswordCost Cost
}

// Service is the capability. It is safe for concurrent use.
type Service struct {
	config   Config
	grants   *grantCache
	builtins builtins
	sessions *sessions
	keys     *keyCache
	pending  *pendings
	policies atomic.Pointer[map[string]SignInPolicy]
	hasher   *hasher
	accounts *signin.Backoff
	origins  *signin.Backoff
	asked    *signin.Backoff
	setup    sync.Mutex   // one setup at a time
	paying   sync.Mutex   // one at a time gives the log what it is owed
	warned   atomic.Int64 // when keys were last looked through for warnings, in milliseconds

	accountPolicies atomic.Pointer[map[string]AccountPolicy]
	desk            desk // what is done after the answer
}

// New checks the configuration and brings the tables up to date.
func New(ctx context.Context, c Config) (*Service, error) {
	if c.DB == nil || c.Sessions == nil || c.Recorder == nil || c.Tenants == nil || c.Collections == nil {
		return nil, errors.New("new identity: database, sessions, recorder, tenants and collections are required")
	}
	if c.Clock == nil {
		c.Clock = time.Now
	}
	if c.Federation == nil {
		c.Federation = alone{}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Post == nil {
		c.Post = noPost{}
	}
	if c.URL == nil {
		c.URL = func() string { return "http://localhost" }
	}
	if err := c.DB.Migrate(ctx, "identity", migrations); err != nil {
		return nil, fmt.Errorf("new identity: %w", err)
	}
	for _, m := range []struct {
		room  string
		steps []system.Migration
	}{{"identity-sign-in", signInMigrations}, {"access", accessMigrations}, {"access-requests", requestMigrations}, {"identity-keys", keyMigrations}, {"links", linkMigrations}, {"accounts", accountMigrations}, {"recoveries", recoveryMigrations}, {"owed", owedMigrations}, {"two-persons", pairMigrations}, {"first-passwords", firstPasswordMigrations}} {
		if err := c.DB.Migrate(ctx, m.room, m.steps); err != nil {
			return nil, fmt.Errorf("new identity: %w", err)
		}
	}
	s := &Service{
		config: c, grants: newGrantCache(), builtins: newBuiltins(), keys: newKeyCache(), pending: newPendings(c.Clock),
		sessions: newSessions(c.Sessions, c.Clock), hasher: newHasher(c.PasswordCost),
		accounts: signin.NewBackoff(accountPolicy, c.Clock), origins: signin.NewBackoff(addressPolicy, c.Clock),
		asked: signin.NewBackoff(challengePolicy, c.Clock),
	}
	s.sessions.limits, s.sessions.outgrown, s.sessions.ended = s.sessionLimits, s.outgrown, s.disconnectAll
	if err := errors.Join(s.loadPolicies(ctx), s.loadAccountPolicies(ctx)); err != nil {
		return nil, fmt.Errorf("new identity: %w", err)
	}
	return s, nil
}

// Sweep stores when keys were last used and forgets what has expired. The
// appliance's clock calls it about once a minute.
func (s *Service) Sweep(ctx context.Context) error {
	s.accounts.Sweep()
	s.origins.Sweep()
	s.asked.Sweep()
	s.sessions.sweep()
	s.pending.sweep()
	return errors.Join(s.endAccess(ctx), s.pay(ctx), s.sweepPairs(ctx), s.sweepPasswords(ctx), s.saveLastUsed(ctx), s.sweepKeys(ctx), s.dropSetupLinks(ctx), s.dropSignIns(ctx), s.dropLinks(ctx))
}

// Close ends what is done after the answer, and stores what Sweep would.
func (s *Service) Close() error {
	s.desk.close()
	return s.saveLastUsed(context.Background())
}

func (s *Service) now() time.Time { return s.config.Clock().UTC().Truncate(time.Millisecond) }
