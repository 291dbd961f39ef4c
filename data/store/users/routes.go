package users

import (
	"errors"
	"net/http"
	"slices"

	"github.com/pocketbase/pocketbase/apis"
	"github.com/pocketbase/pocketbase/core"
	"github.com/pocketbase/pocketbase/tools/router"
)

// Access is the least that a program's key needs for a route.
type Access int

// The accesses: signing somebody in is as PocketBase's own routes are; factors are
// the user's alone; policies and resets are the tenant's admins'.
const (
	SignIn Access = iota
	UserOnly
	Admin
)

// Route is one of this room's.
type Route struct {
	Pattern string
	Access  Access
	handle  func(*Service, *core.RequestEvent) error
}

// Routes are all of this room: sign-in beside PocketBase's, the rest beside
// Holdfast's.
func Routes() []Route {
	const auth, own = "/api/collections/{collection}", "/api/v1/collections/{collection}"
	return []Route{
		{"POST " + auth + "/auth-with-totp", SignIn, (*Service).authWithTOTP},
		{"POST " + auth + "/auth-with-recovery-code", SignIn, (*Service).authWithRecoveryCode},
		{"POST " + auth + "/request-passkey", SignIn, (*Service).requestPasskey},
		{"POST " + auth + "/auth-with-passkey", SignIn, (*Service).authWithPasskey},
		{"GET " + own + "/factors", UserOnly, (*Service).listFactors},
		{"DELETE " + own + "/factors/{factor}", UserOnly, (*Service).removeFactor},
		{"POST " + own + "/totp", UserOnly, (*Service).beginTOTP},
		{"POST " + own + "/totp/confirm", UserOnly, (*Service).confirmTOTP},
		{"POST " + own + "/passkeys", UserOnly, (*Service).beginPasskey},
		{"POST " + own + "/passkeys/confirm", UserOnly, (*Service).confirmPasskey},
		{"POST " + own + "/recovery-codes", UserOnly, (*Service).renewCodes},
		{"GET " + own + "/auth-policy", Admin, (*Service).getPolicy},
		{"PUT " + own + "/auth-policy", Admin, (*Service).putPolicy},
		{"GET " + own + "/records/{id}/factors", Admin, (*Service).factorsOf},
		{"DELETE " + own + "/records/{id}/factors", Admin, (*Service).resetFactors},
	}
}

// Handler serves the route.
func (r Route) Handler(s *Service) func(*core.RequestEvent) error {
	if r.Access == Admin {
		return func(e *core.RequestEvent) error {
			if e.Auth == nil {
				return e.UnauthorizedError("The request requires valid record authorization token.", nil)
			}
			if !e.HasSuperuserAuth() {
				return e.ForbiddenError("The authorized record is not allowed to perform this action.", nil)
			}
			return r.handle(s, e)
		}
	}
	return func(e *core.RequestEvent) error { return r.handle(s, e) }
}

// collection is the auth collection that the path names, with its policy.
func (s *Service) collection(e *core.RequestEvent) (*core.Collection, Policy, bool, error) {
	c, err := e.App.FindCachedCollectionByNameOrId(e.Request.PathValue("collection"))
	if err != nil || !c.IsAuth() || c.Name == core.CollectionNameSuperusers {
		return nil, Policy{}, false, e.NotFoundError("Missing or invalid auth collection context.", nil)
	}
	p, on := s.PolicyOf(c)
	return c, p, on, nil
}

// with is collection for a kind of factor that has to be switched on.
func (s *Service) with(e *core.RequestEvent, kind string) (*core.Collection, Policy, error) {
	c, p, on, err := s.collection(e)
	if err == nil && (!on || !slices.Contains(p.kinds(), kind)) {
		err = e.ForbiddenError("The collection is not configured to allow this factor.", nil)
	}
	return c, p, err
}

func read(e *core.RequestEvent, into any) error {
	if err := e.BindBody(into); err != nil {
		return e.BadRequestError("An error occurred while loading the submitted data.", nil)
	}
	return nil
}

// owner is a user who may change its factors.
type owner struct {
	*core.Record
	policy Policy
	mfa    string // the sign-in that is waiting for the first factor, "" with a token
}

// owns gives the user whose factors the request is about: of a token whose user
// signed in a moment ago, for a stolen one must not become a way in for good; or of
// a sign-in that is waiting for its first factor.
func (s *Service) owns(e *core.RequestEvent, c *core.Collection, p Policy, mfaID string) (owner, error) {
	if e.Auth == nil {
		return s.comingIn(e, c, p, mfaID)
	}
	if e.Auth.Collection().Id != c.Id {
		return owner{}, e.ForbiddenError("The authorized record is of another collection.", nil)
	}
	if age := s.now().Sub(s.since(e, e.Auth)); age > Fresh || age < -Fresh {
		return owner{}, router.NewApiError(http.StatusForbidden, "Sign in again to change factors.", map[string]router.SafeErrorItem{
			"session": badPassword{"session_not_fresh", "The sign-in was too long ago."}})
	}
	now, err := present(e.App, e.Auth) // the token was checked before the body came
	if err != nil {
		return owner{}, err
	}
	return owner{now, p, ""}, nil
}

func (s *Service) comingIn(e *core.RequestEvent, c *core.Collection, p Policy, mfaID string) (owner, error) {
	if mfaID == "" {
		return owner{}, e.UnauthorizedError("The request requires valid record authorization token.", nil)
	}
	begun, ok := s.config.Shared.peek(s.config.Store, mfaID)
	if !ok || begun.store != s.config.Store || begun.collection != c.Id || !begun.enroll || begun.record == "" {
		return owner{}, errSession(e)
	}
	r, err := e.App.FindRecordById(c, begun.record)
	if err != nil || !unchanged(r, begun) {
		return owner{}, errSession(e)
	}
	has, err := s.factors(e.Request.Context(), e.App, r)
	if err != nil {
		return owner{}, err
	}
	if len(has) > 0 { // added meanwhile: then that one is to be shown
		return owner{}, errSession(e)
	}
	return owner{r, p, mfaID}, nil
}

// admitted answers who has just added a factor: a new token, and the recovery codes
// that are shown this once.
func (s *Service) admitted(e *core.RequestEvent, now *core.Record, mfa, method string, codes []string) error {
	if mfa != "" {
		if _, ok := s.config.Shared.take(s.config.Store, mfa); !ok {
			return errSession(e)
		}
	}
	var meta any
	if len(codes) > 0 {
		meta = map[string]any{"recoveryCodes": codes}
	}
	return apis.RecordAuthResponse(e, now, method, meta)
}

func (s *Service) listFactors(e *core.RequestEvent) error {
	c, _, _, err := s.collection(e)
	if err != nil {
		return err
	}
	if e.Auth == nil || e.Auth.Collection().Id != c.Id {
		return e.UnauthorizedError("The request requires valid record authorization token.", nil)
	}
	out, err := s.Describe(e.Request.Context(), e.App, e.Auth)
	if err != nil {
		return err
	}
	return e.JSON(http.StatusOK, out)
}

func (s *Service) removeFactor(e *core.RequestEvent) error {
	c, p, _, err := s.collection(e)
	if err != nil {
		return err
	}
	o, err := s.owns(e, c, p, "")
	if err != nil {
		return err
	}
	now, found, err := s.remove(as(e.Request.Context(), o.Record), e.App, o.Record, p, e.Request.PathValue("factor"))
	if err != nil {
		return err
	}
	if !found {
		return e.NotFoundError("", nil)
	}
	return apis.RecordAuthResponse(e, now, "", nil)
}

func (s *Service) getPolicy(e *core.RequestEvent) error {
	_, p, _, err := s.collection(e)
	if err != nil {
		return err
	}
	return e.JSON(http.StatusOK, p)
}

// putPolicy changes what the body names and leaves the rest.
func (s *Service) putPolicy(e *core.RequestEvent) error {
	c, p, _, err := s.collection(e)
	if err != nil {
		return err
	}
	p.Origins = slices.Clone(p.Origins)
	if err := read(e, &p); err != nil {
		return err
	}
	err = s.SetPolicy(e.Request.Context(), s.config.App, c, p)
	if errors.Is(err, ErrInvalid) {
		return e.BadRequestError("The policy was not accepted: "+err.Error()+".", nil)
	}
	if err != nil {
		return err
	}
	p, _ = s.PolicyOf(c)
	return e.JSON(http.StatusOK, p)
}

func (s *Service) named(e *core.RequestEvent) (*core.Record, error) {
	c, _, _, err := s.collection(e)
	if err != nil {
		return nil, err
	}
	r, err := e.App.FindRecordById(c, e.Request.PathValue("id"))
	if err != nil {
		return nil, e.NotFoundError("", nil)
	}
	return r, nil
}

func (s *Service) factorsOf(e *core.RequestEvent) error {
	r, err := s.named(e)
	if err != nil {
		return err
	}
	out, err := s.Describe(e.Request.Context(), e.App, r)
	if err != nil {
		return err
	}
	return e.JSON(http.StatusOK, out)
}

func (s *Service) resetFactors(e *core.RequestEvent) error {
	r, err := s.named(e)
	if err != nil {
		return err
	}
	if err := s.Reset(e.Request.Context(), e.App, r); err != nil {
		return err
	}
	return e.NoContent(http.StatusNoContent)
}
