// Package users gives a tenant's own users what PocketBase lacks: authenticator
// apps, passkeys and recovery codes as second factors, rules for passwords and
// sessions, patience with who guesses. It is switched on for each auth collection,
// and works through PocketBase's own flow: a first factor is answered with 401 and
// an mfaId, a second one with PocketBase's auth response.
package users

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/pocketbase/pocketbase/core"
	"github.com/pocketbase/pocketbase/tools/hook"
	"github.com/pocketbase/pocketbase/tools/router"

	"holdfast/data"
)

// ErrInvalid wraps what is wrong with a policy.
var ErrInvalid = errors.New("invalid")

// Event is a sign-in or a change of a user's factors, for the store's audit log.
type Event struct {
	Action  string // user.sign-in, user.code.ask, user.factor.add, user.factor.remove, user.recovery-codes.make, user.factors.reset, user.policy.set
	Target  string // collection/record, or collection
	Refused bool
	Detail  map[string]string
}

// Config is what a store gives its users' part.
type Config struct {
	Store string // its name
	App   *core.BaseApp
	// Inner makes a context whose statements may touch the tables of this room, which
	// nobody else's may.
	Inner  func(context.Context) context.Context
	Shared *Shared
	Clock  func() time.Time
	// Breached says that a password is known from a breach; nil: nobody knows.
	Breached func(password string) (bool, error)
	// Record returns when the event is durable; when it fails, so does what it tells of.
	Record func(context.Context, Event) error
}

// Service is the users' part of one open store. Safe for concurrent use.
type Service struct {
	config   Config
	policies atomic.Pointer[map[string]Policy] // by collection id
}

// Open makes the tables where they are missing, reads the policies and joins
// PocketBase's sign-in.
func Open(ctx context.Context, c Config) (*Service, error) {
	s := &Service{config: c}
	if err := s.createTables(ctx); err != nil {
		return nil, fmt.Errorf("create the tables of users' factors: %w", err)
	}
	if err := s.loadPolicies(ctx); err != nil {
		return nil, fmt.Errorf("read the policies of auth collections: %w", err)
	}
	s.bind()
	return s, nil
}

// bind hangs the rules into PocketBase's hooks.
func (s *Service) bind() {
	app := s.config.App
	app.OnRecordAuthWithPasswordRequest().Bind(&hook.Handler[*core.RecordAuthWithPasswordRequestEvent]{Id: "hfPatience", Priority: -900, Func: s.patiently})
	app.OnRecordAuthRequest().Bind(&hook.Handler[*core.RecordAuthRequestEvent]{Id: "hfSecondFactor", Priority: -900, Func: s.signIn})
	app.OnRecordConfirmVerificationRequest().Bind(&hook.Handler[*core.RecordConfirmVerificationRequestEvent]{Id: "hfVerifies", Priority: -900, Func: s.confirmsVerification})
	app.OnRecordAuthWithOTPRequest().Bind(&hook.Handler[*core.RecordAuthWithOTPRequestEvent]{Id: "hfVerifiesByCode", Priority: -900, Func: s.verifiesByCode})
	app.OnRecordRequestOTPRequest().Bind(&hook.Handler[*core.RecordCreateOTPRequestEvent]{Id: "hfCode", Priority: -900, Func: s.asksForCode})
	app.OnRecordValidate().Bind(&hook.Handler[*core.RecordEvent]{Id: "hfPassword", Priority: -900, Func: s.checkPassword})
	app.OnRecordUpdate().Bind(&hook.Handler[*core.RecordEvent]{Id: "hfTakeover", Priority: 90, Func: s.afterTakeover})
}

// RecordEvent tells the audit log of an event, in the name of the context's actor.
func (s *Service) record(ctx context.Context, e Event) error {
	if err := s.config.Record(ctx, e); err != nil {
		return router.NewApiError(http.StatusServiceUnavailable, "This cannot be recorded at the moment, so it is not done.", nil)
	}
	return nil
}

func (s *Service) now() time.Time { return s.config.Clock() }

// as is a context in which the user is the one who acts.
func as(ctx context.Context, r *core.Record) context.Context {
	return data.WithActor(ctx, data.Actor{Kind: data.User, ID: nameOf(r)})
}

func nameOf(r *core.Record) string { return r.Collection().Name + "/" + r.Id }
