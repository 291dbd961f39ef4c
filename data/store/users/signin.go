package users

import (
	"context"
	"crypto/subtle"
	"errors"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pocketbase/dbx"
	"github.com/pocketbase/pocketbase/apis"
	"github.com/pocketbase/pocketbase/core"
	"github.com/pocketbase/pocketbase/tools/router"

	"holdfast/data/signin"
)

// Methods of this room, beside PocketBase's password, otp and oauth2.
const (
	byTOTP     = "totp"
	byPasskey  = "passkey"
	byRecovery = "recovery-code"
)

func strong(method string) bool {
	return method == byTOTP || method == byPasskey || method == byRecovery
}

// signIn stands between a factor that was right and PocketBase's answer to it,
// whichever route it came by: password, code by mail, OAuth2, or one of ours. Who
// has a second factor gets a token only after it.
func (s *Service) signIn(e *core.RecordAuthRequestEvent) error {
	p, on := s.PolicyOf(e.Collection)
	if !on || e.Record.IsSuperuser() {
		return e.Next()
	}
	if e.AuthMethod == "" {
		return s.refresh(e, p)
	}
	ctx := as(e.Request.Context(), e.Record)
	if !strong(e.AuthMethod) {
		has, err := s.kindsOf(ctx, e.App, e.Record, p)
		if err != nil {
			return err
		}
		if len(has) > 0 || p.SecondFactor == Always {
			return s.askMore(e, p, has)
		}
	}
	return s.letIn(e, p, s.now())
}

// letIn has PocketBase answer with a token of ours, once the sign-in is recorded.
func (s *Service) letIn(e *core.RecordAuthRequestEvent, p Policy, since time.Time) error {
	method := e.AuthMethod
	if strong(method) && e.Collection.MFA.Enabled {
		e.AuthMethod = "" // two factors were shown: PocketBase is not to ask for another
	}
	token, err := s.token(e.Record, p, since)
	if err != nil {
		return err
	}
	e.Token = token
	ctx := as(e.Request.Context(), e.Record)
	answer := e.Response
	defer func() { e.Response = answer }()
	e.Response = &recorded{ResponseWriter: answer, record: func() error {
		return s.record(ctx, Event{Action: "user.sign-in", Target: nameOf(e.Record), Detail: map[string]string{"method": method, "address": e.RealIP()}})
	}}
	return e.Next()
}

// recorded records what a 200 says before the client learns of it. When that
// cannot be done, the client gets a 503 and nothing else.
type recorded struct {
	http.ResponseWriter
	record func() error
	mute   bool
}

func (w *recorded) WriteHeader(status int) {
	if status == http.StatusOK && w.record() != nil {
		w.mute, status = true, http.StatusServiceUnavailable
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *recorded) Write(b []byte) (int, error) {
	if w.mute {
		return len(b), nil
	}
	return w.ResponseWriter.Write(b)
}

// Unwrap lets PocketBase see whether an answer was written.
func (w *recorded) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// askMore answers the first factor as PocketBase's MFA does, and says besides which
// factors will do.
func (s *Service) askMore(e *core.RecordAuthRequestEvent, p Policy, has []string) error {
	answer := map[string]any{"factors": has}
	if len(has) == 0 {
		answer["factors"], answer["enroll"] = []string{}, p.kinds()
	}
	answer["mfaId"] = s.config.Shared.begin(pending{
		store: s.config.Store, collection: e.Collection.Id, record: e.Record.Id, tokenKey: e.Record.TokenKey(),
		method: e.AuthMethod, enroll: len(has) == 0,
	})
	if err := e.JSON(http.StatusUnauthorized, answer); err != nil {
		return err
	}
	return apis.ErrMFA
}

// kindsOf are the kinds of factors that a user has, among those switched on.
func (s *Service) kindsOf(ctx context.Context, app core.App, r *core.Record, p Policy) ([]string, error) {
	rows, err := s.factors(ctx, app, r)
	if err != nil {
		return nil, err
	}
	var has []string
	for _, kind := range p.kinds() {
		if slices.ContainsFunc(rows, func(f factorRow) bool { return f.Kind == kind }) {
			has = append(has, kind)
		}
	}
	if len(has) > 0 {
		has = append(has, byRecovery)
	}
	return has, nil
}

// errSession is PocketBase's own answer to an mfaId that is none.
func errSession(e *core.RequestEvent) error {
	return e.BadRequestError("Invalid or expired MFA session.", nil)
}

func errFailed(e *core.RequestEvent) error { return e.BadRequestError("Failed to authenticate.", nil) }

// second is a sign-in at its second step.
type second struct {
	id     string // the mfaId
	record *core.Record
	policy Policy
	pending
}

// secondStep counts a try at the second factor of a sign-in, and gives whose it is.
func (s *Service) secondStep(e *core.RequestEvent, c *core.Collection, p Policy, mfaID string) (second, error) {
	if id := e.Request.URL.Query().Get("mfaId"); id != "" {
		mfaID = id
	}
	begun, ok := s.config.Shared.peek(s.config.Store, mfaID)
	if !ok || begun.store != s.config.Store || begun.collection != c.Id || begun.record == "" || begun.method == "" {
		return second{}, errSession(e)
	}
	if err := s.wait(e, s.config.Shared.accounts, p, "factor "+c.Id+" "+begun.record); err != nil {
		return second{}, err
	}
	if begun, ok = s.config.Shared.attempt(s.config.Store, mfaID); !ok {
		return second{}, errSession(e)
	}
	r, err := e.App.FindRecordById(c, begun.record)
	if err != nil || !unchanged(r, begun) {
		return second{}, errSession(e)
	}
	return second{mfaID, r, p, begun}, nil
}

// unchanged says that a user's password and address are still those of then.
func unchanged(r *core.Record, p pending) bool {
	return subtle.ConstantTimeCompare([]byte(r.TokenKey()), []byte(p.tokenKey)) == 1
}

// wait counts a try of an account and of the address, or says that it is too early.
func (s *Service) wait(e *core.RequestEvent, accounts *signin.Backoff, p Policy, name string) error {
	account, address := p.patience()
	var wait time.Duration
	if p.Attempts.Address > 0 {
		name, server := s.origin(e)
		if server {
			address.Free *= serverTries
		}
		wait = s.config.Shared.origins.AttemptUnder(address, s.config.Store, name)
	}
	if wait == 0 && p.Attempts.Account > 0 {
		wait = accounts.AttemptUnder(account, s.config.Store, name)
	}
	if wait == 0 {
		return nil
	}
	e.Response.Header().Set("Retry-After", strconv.Itoa(int(wait.Seconds())+1))
	return e.TooManyRequestsError("Too many tries. Wait a moment.", nil)
}

// serverTries is how much more patience there is with a program's key that does not say
// whose sign-ins it brings: those of all its users count as one address.
const serverTries = 20

// clientHeader is where a program with a key says which address its user came from.
const clientHeader = "Holdfast-Client-Address"

// origin is whom a try counts as by address. A key is the tenant's own server, and may
// name its client; server says that it did not. Nobody else is asked: they could name
// another address each time.
func (s *Service) origin(e *core.RequestEvent) (name string, server bool) {
	own := s.originName(e)
	if !e.HasSuperuserAuth() {
		return own, false
	}
	if addr, err := netip.ParseAddr(strings.TrimSpace(e.Request.Header.Get(clientHeader))); err == nil {
		return signin.AddressOf(netip.AddrPortFrom(addr, 0).String()), false
	}
	return "server " + own, true
}

func (s *Service) originName(e *core.RequestEvent) string {
	return signin.AddressOf(e.Request.RemoteAddr)
}

// succeeded takes back what wait counted.
func (s *Service) succeeded(e *core.RequestEvent, name string) {
	s.config.Shared.accounts.ForgetOf(s.config.Store, name)
	from, _ := s.origin(e)
	s.config.Shared.origins.ForgiveOf(s.config.Store, from)
}

// refused records a sign-in that failed, and gives what the client is told.
func (s *Service) refused(e *core.RequestEvent, target, method string) error {
	err := s.record(e.Request.Context(), Event{Action: "user.sign-in", Target: target, Refused: true,
		Detail: map[string]string{"method": method, "address": e.RealIP()}})
	if err != nil {
		return err
	}
	return errFailed(e)
}

// patiently bounds the tries at a password, by the name that was given: whether
// there is such a user makes no difference.
func (s *Service) patiently(e *core.RecordAuthWithPasswordRequestEvent) error {
	p, on := s.PolicyOf(e.Collection)
	if !on {
		return e.Next()
	}
	name := "password " + e.Collection.Id + " " + strings.ToLower(e.Identity)
	if err := s.wait(e.RequestEvent, s.config.Shared.accounts, p, name); err != nil {
		return err
	}
	err := e.Next() // PocketBase's own answer, in its own time
	if err == nil || errors.Is(err, apis.ErrMFA) {
		s.succeeded(e.RequestEvent, name)
		return err
	}
	if problem := router.ToApiError(err); problem.Status != http.StatusBadRequest {
		return err
	}
	target := e.Collection.Name
	if e.Record != nil {
		target = nameOf(e.Record)
	}
	return s.refused(e.RequestEvent, target, core.MFAMethodPassword)
}

// asksForCode records that somebody asks for a code by mail. The entry is the same
// whether there is such a user or not.
func (s *Service) asksForCode(e *core.RecordCreateOTPRequestEvent) error {
	if _, on := s.PolicyOf(e.Collection); on {
		if s.config.Shared.tooMany(s.config.Store, s.originName(e.RequestEvent), e.HasSuperuserAuth()) { // letters cost, and so do entries
			return e.TooManyRequestsError("Too many tries. Wait a moment.", nil)
		}
		err := s.record(e.Request.Context(), Event{Action: "user.code.ask", Target: e.Collection.Name, Detail: map[string]string{"address": e.RealIP()}})
		if err != nil {
			return err
		}
	}
	return e.Next()
}

// useTOTP says whether a code is the user's. One that was used, or is older than one
// that was, is worth nothing.
func (s *Service) useTOTP(ctx context.Context, app core.App, r *core.Record, code string) (bool, error) {
	rows, err := s.factors(ctx, app, r)
	if err != nil {
		return false, err
	}
	for _, f := range rows {
		if f.Kind != kindTOTP {
			continue
		}
		step, ok := signin.Step(f.Secret, code, s.now())
		if !ok {
			return false, nil
		}
		n, err := s.count(ctx, app, `UPDATE _hf_user_factors SET last_step = {:step}, used = {:now} WHERE id = {:id} AND last_step < {:step}`,
			dbx.Params{"step": step, "now": s.now().UnixMilli(), "id": f.ID})
		return n == 1, err
	}
	return false, nil
}
