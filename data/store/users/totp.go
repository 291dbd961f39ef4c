package users

import (
	"context"
	"crypto/rand"
	"net/http"

	"github.com/pocketbase/pocketbase/apis"
	"github.com/pocketbase/pocketbase/core"

	"holdfast/data/signin"
)

// pendingOf names what a user is adding: one at a time, and nobody else's.
func (s *Service) pendingOf(o owner, kind string) string {
	return kind + " " + s.config.Store + " " + o.Collection().Id + " " + o.Id
}

// beginTOTP makes a secret, which counts for nothing until a code confirms it.
func (s *Service) beginTOTP(e *core.RequestEvent) error {
	c, p, err := s.with(e, kindTOTP)
	if err != nil {
		return err
	}
	var in struct {
		MfaID string `json:"mfaId" form:"mfaId"`
	}
	if err := read(e, &in); err != nil {
		return err
	}
	o, err := s.owns(e, c, p, in.MfaID)
	if err != nil {
		return err
	}
	secret := signin.NewSecret()
	s.config.Shared.put(s.pendingOf(o, kindTOTP), pending{store: s.config.Store, collection: c.Id, record: o.Id, tokenKey: o.TokenKey(), secret: secret})
	uri := signin.URI(secret, e.App.Settings().Meta.AppName, accountOf(o.Record))
	qr, err := signin.QR(uri)
	if err != nil {
		return err
	}
	return e.JSON(http.StatusOK, map[string]any{"secret": secret, "uri": uri, "qr": qr})
}

// accountOf is what an authenticator app shows.
func accountOf(r *core.Record) string {
	for _, name := range []string{r.Email(), r.GetString("username"), r.GetString("name")} {
		if name != "" {
			return name
		}
	}
	return r.Id
}

func (s *Service) confirmTOTP(e *core.RequestEvent) error {
	c, p, err := s.with(e, kindTOTP)
	if err != nil {
		return err
	}
	var in struct {
		MfaID string `json:"mfaId" form:"mfaId"`
		Code  string `json:"code" form:"code"`
		Name  string `json:"name" form:"name"`
	}
	if err := read(e, &in); err != nil {
		return err
	}
	o, err := s.owns(e, c, p, in.MfaID)
	if err != nil {
		return err
	}
	name := s.pendingOf(o, kindTOTP)
	begun, ok := s.config.Shared.attempt(s.config.Store, name)
	if !ok || !unchanged(o.Record, begun) {
		return e.BadRequestError("Nothing is being added. Begin again.", nil)
	}
	step, ok := signin.Step(begun.secret, in.Code, s.now())
	if !ok {
		return e.BadRequestError("The code is not right. Check the time of the device that shows it.", nil)
	}
	if _, ok := s.config.Shared.take(s.config.Store, name); !ok {
		return e.BadRequestError("Nothing is being added. Begin again.", nil)
	}
	now, codes, err := s.add(as(e.Request.Context(), o.Record), e.App, o.Record, p,
		factorRow{ID: rand.Text(), Kind: kindTOTP, Name: clip(in.Name, "Authenticator app"), Secret: begun.secret, LastStep: step})
	if err != nil {
		return err
	}
	return s.admitted(e, now, o.mfa, byTOTP, codes)
}

const maxName = 60 // characters

func clip(name, otherwise string) string {
	runes := []rune(name)
	if len(runes) == 0 {
		return otherwise
	}
	return string(runes[:min(len(runes), maxName)])
}

// code is the body of a second step with something typed.
type code struct {
	MfaID string `json:"mfaId" form:"mfaId"`
	Code  string `json:"code" form:"code"`
}

func (s *Service) authWithTOTP(e *core.RequestEvent) error {
	c, p, err := s.with(e, kindTOTP)
	if err != nil {
		return err
	}
	return s.typed(e, c, p, byTOTP, s.useTOTP)
}

func (s *Service) authWithRecoveryCode(e *core.RequestEvent) error {
	c, p, on, err := s.collection(e)
	if err == nil && (!on || len(p.kinds()) == 0) {
		err = e.ForbiddenError("The collection is not configured to allow this factor.", nil)
	}
	if err != nil {
		return err
	}
	return s.typed(e, c, p, byRecovery, s.useCode)
}

// typed ends a sign-in with a code.
func (s *Service) typed(e *core.RequestEvent, c *core.Collection, p Policy, method string,
	use func(context.Context, core.App, *core.Record, string) (bool, error)) error {
	var in code
	if err := read(e, &in); err != nil {
		return err
	}
	step, err := s.secondStep(e, c, p, in.MfaID)
	if err != nil {
		return err
	}
	ok, err := use(as(e.Request.Context(), step.record), e.App, step.record, in.Code)
	if err != nil {
		return err
	}
	if !ok {
		return s.refused(e, nameOf(step.record), method)
	}
	return s.arrive(e, step.id, step.record, method)
}

// arrive ends a sign-in: its mfaId is worth nothing from here on.
func (s *Service) arrive(e *core.RequestEvent, mfaID string, r *core.Record, method string) error {
	if mfaID != "" {
		if _, ok := s.config.Shared.take(s.config.Store, mfaID); !ok {
			return errSession(e)
		}
	}
	s.succeeded(e, "factor "+r.Collection().Id+" "+r.Id)
	return apis.RecordAuthResponse(e, r, method, nil)
}

// renewCodes puts new recovery codes in the place of the old ones.
func (s *Service) renewCodes(e *core.RequestEvent) error {
	c, p, _, err := s.collection(e)
	if err != nil {
		return err
	}
	o, err := s.owns(e, c, p, "")
	if err != nil {
		return err
	}
	ctx := as(e.Request.Context(), o.Record)
	has, err := s.factors(ctx, e.App, o.Record)
	if err != nil {
		return err
	}
	if len(has) == 0 {
		return e.BadRequestError("Recovery codes stand in for a factor. Add one first.", nil)
	}
	if err := s.record(ctx, Event{Action: "user.recovery-codes.make", Target: nameOf(o.Record)}); err != nil {
		return err
	}
	var codes []string
	err = e.App.RunInTransaction(func(tx core.App) error {
		if _, err := present(tx, o.Record); err != nil {
			return err
		}
		codes, err = s.makeCodes(ctx, tx, o.Record)
		return err
	})
	if err != nil {
		return err
	}
	return e.JSON(http.StatusOK, map[string]any{"codes": codes})
}
