// Package sso signs people in through identity providers: any issuer of OpenID
// Connect, and GitHub. It keeps the providers, whose account is whose there, and who
// may come in that way alone; sessions, people and roles are identity's.
package sso

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/jmoiron/sqlx"

	"holdfast/app/api"
	"holdfast/data"
	"holdfast/data/system"
)

// Appliance is the scope of what is not of one tenant.
const Appliance = "appliance"

// Database is what sso needs of data/system.
type Database interface {
	Migrate(ctx context.Context, room string, ms []system.Migration) error
	Update(ctx context.Context, fn func(*sqlx.Tx) error) error
	View(ctx context.Context, fn func(*sqlx.Tx) error) error
}

// Person is an account as sso sees it.
type Person struct {
	ID, Email, Name string
	Active          bool
	Scopes          []string // where the person has a role, now or later: Appliance or tenants' ids
}

// Vouched is what a provider says of the one who came back from it.
type Vouched struct {
	Person   string
	Provider string
	Scope    string    // whose provider it is: Appliance or a tenant's id
	Strong   bool      // it says that a second factor was shown, and is trusted to say so
	Fresh    time.Time // when a factor was shown there
}

// People is what sso asks of identity. Safe for concurrent use.
type People interface {
	// ByMail finds an account by its address, in any case. data.ErrNotFound.
	ByMail(ctx context.Context, email string) (Person, error)
	// ByID finds an account. data.ErrNotFound.
	ByID(ctx context.Context, id string) (Person, error)
	// Make makes an account without a password, with a role in the scope.
	Make(ctx context.Context, email, name, role, scope string) (Person, error)
	// MayGive refuses a role of the scope that allows more than the context's actor may.
	MayGive(ctx context.Context, scope, role string) error
	// MaySet refuses who says who may what in the scope for a while only.
	MaySet(ctx context.Context, scope string) error
	// SignIn starts a session, or asks for the person's own second factor; it sets the
	// cookie and gives what is to be answered.
	SignIn(w http.ResponseWriter, r *http.Request, v Vouched) (answer any, err error)
	// StepUp makes the request's session fresh, and gives it a new token.
	StepUp(w http.ResponseWriter, r *http.Request, v Vouched) error
	// Runs refuses who may not manage the appliance's operators.
	Runs(ctx context.Context) error
	// Owners are the people who own a scope for good and may sign in.
	Owners(ctx context.Context, scope string) ([]string, error)
	// Tenant is the tenant on whose own provider the request's session rests; else empty.
	Tenant(r *http.Request) (string, error)
	// CameThrough says whether the request's session began at a provider.
	CameThrough(r *http.Request) (bool, error)
	// HasOtherWay says whether a person has a password or passkey to sign in with.
	HasOtherWay(ctx context.Context, person string) (bool, error)
	// Enforce takes the passwords, and the sessions that began with one, of those who
	// may come in through a provider only.
	Enforce(ctx context.Context) error
	// Alert writes to a person what happened to the account, where mail is set up.
	Alert(ctx context.Context, person, subject, what string)
	// Claimed is told before a provider of the appliance takes an account over by its
	// address alone: where somebody came in to it before, its permissions on tenants'
	// records rest until each tenant confirms that it is still the same person.
	Claimed(ctx context.Context, person, provider string) error
	// Writes says whether mail is set up.
	Writes(ctx context.Context) (bool, error)
	// Write sends a letter to an address, whoever has it; it is of no use after expires.
	Write(ctx context.Context, to, subject, text string, expires time.Time) error
	// Address is whom a request's address counts as.
	Address(r *http.Request) string
	// Ask counts a question that takes some memory; an error when an address asks too much.
	Ask(address string) error
	// Admit counts a failed sign-in against an address; an error when there were too many.
	Admit(address string) error
	// Forgive takes back what Admit counted.
	Forgive(address string)
}

// Tenants is what sso asks of the tenants.
type Tenants interface {
	// Store gives the id of a tenant's environment by the tenant's slug. data.ErrNotFound.
	Store(ctx context.Context, slug, environment string) (data.StoreID, error)
	// Slug gives a tenant's present slug by its id. data.ErrNotFound.
	Slug(ctx context.Context, tenant string) (string, error)
}

// Config is what a Service needs.
type Config struct {
	DB       Database         // required
	People   People           // required
	Tenants  Tenants          // required
	Recorder api.Recorder     // required
	Clock    func() time.Time // nil: time.Now
	Logger   *slog.Logger     // nil: discarded
	// URL is where the console is, for who asks over the local socket; required.
	URL func() string
	// Loopback accepts providers at http on this host: for trying out, and for tests.
	Loopback bool
	// InsecureHTTP allows a cookie without Secure, as identity's does.
	InsecureHTTP bool
}

// Service is the capability. It is safe for concurrent use.
type Service struct {
	config  Config
	outside outside
	known   *authorities
	begun   *journeys
	only    atomic.Pointer[map[string]bool]
	lineage atomic.Pointer[lineage]
}

// New checks the configuration and brings the tables up to date.
func New(ctx context.Context, c Config) (*Service, error) {
	if c.DB == nil || c.People == nil || c.Tenants == nil || c.Recorder == nil || c.URL == nil {
		return nil, errors.New("new sso: database, people, tenants, recorder and URL are required")
	}
	if c.Clock == nil {
		c.Clock = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if err := errors.Join(c.DB.Migrate(ctx, "sso", migrations), c.DB.Migrate(ctx, "sso-copies", copyMigrations)); err != nil {
		return nil, fmt.Errorf("new sso: %w", err)
	}
	if err := c.DB.Migrate(ctx, "sso-newcomers", newcomerMigrations); err != nil {
		return nil, fmt.Errorf("new sso: %w", err)
	}
	s := &Service{config: c, outside: newOutside(c.Loopback), known: newAuthorities(c.Clock), begun: newJourneys(c.Clock)}
	if err := errors.Join(s.loadPolicies(ctx), s.loadLineage(ctx)); err != nil {
		return nil, fmt.Errorf("new sso: %w", err)
	}
	return s, nil
}

// Sweep forgets what was begun and never ended.
func (s *Service) Sweep(ctx context.Context) error {
	s.begun.sweep()
	return s.dropNewcomers(ctx)
}

// Close lets go of the connections that are kept open.
func (s *Service) Close() error {
	s.outside.close()
	return nil
}

func (s *Service) now() time.Time { return s.config.Clock().UTC().Truncate(time.Millisecond) }

// record writes into the appliance's log. It is durable before the action is done.
func (s *Service) record(ctx context.Context, action, target string, o api.Outcome, detail map[string]string) error {
	err := s.config.Recorder.Record(ctx, api.Event{Action: action, Target: target, Outcome: o, Detail: detail})
	if err != nil {
		return fmt.Errorf("record %s: %w", action, err)
	}
	return nil
}
