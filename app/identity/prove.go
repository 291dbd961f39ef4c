package identity

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/go-webauthn/webauthn/webauthn"
	"github.com/jmoiron/sqlx"

	"holdfast/app/api"
	"holdfast/data"
	"holdfast/data/signin"
)

// Shown is one factor that somebody shows: one of the fields.
type Shown struct {
	TOTP         string          `json:"totp,omitempty" doc:"six digits of the authenticator app"`
	RecoveryCode string          `json:"recoveryCode,omitempty"`
	Passkey      json.RawMessage `json:"passkey,omitempty" doc:"PublicKeyCredential.toJSON()"`
	MailCode     string          `json:"mailCode,omitempty" doc:"six digits of the mail"`
}

// errBadFactor is one answer for every factor that does not fit.
func errBadFactor(cause error) *api.Problem {
	if cause == nil {
		cause = errors.New("it does not fit")
	}
	return api.Errorf(http.StatusUnprocessableEntity, "bad-factor", "That did not work. Try again, or use another way.").Because(cause)
}

func isNotFound(err error) bool { return errors.Is(err, data.ErrNotFound) }

// factorName is what tries of second factors are counted under. It is apart from
// the password's: who knows the password must not be able to clear the count.
func factorName(person string) string { return accountName("factor/" + person) }

// prove checks a second factor of a known person and uses it up. It gives
// errBadFactor, or 429 after too many.
func (s *Service) prove(r *http.Request, person string, in Shown, challenge *webauthn.SessionData) (Method, error) {
	address := signin.AddressOf(r.RemoteAddr)
	if err := s.admit(factorName(person), address); err != nil {
		return "", err
	}
	method, cause, err := s.tryFactor(r, person, in, challenge)
	if err != nil {
		return "", err
	}
	if method == "" {
		return "", errBadFactor(cause)
	}
	s.accounts.Forget(factorName(person))
	s.origins.Forgive(address)
	return method, nil
}

// provePending is prove for a sign-in that may wait for a code by mail.
func (s *Service) provePending(r *http.Request, p pending, in Shown) (Method, error) {
	if in.MailCode == "" {
		return s.prove(r, p.person, in, p.challenge)
	}
	address := signin.AddressOf(r.RemoteAddr)
	if err := s.admit(factorName(p.person), address); err != nil {
		return "", err
	}
	if !s.checkMailCode(r, p.secret, in.MailCode) {
		return "", errBadFactor(nil)
	}
	if err := s.cameByMailCode(r.Context(), p.person); err != nil {
		return "", err
	}
	s.accounts.Forget(factorName(p.person))
	s.origins.Forgive(address)
	return ByMailCode, nil
}

// tryFactor gives the method that fits, or none and the cause for the log.
func (s *Service) tryFactor(r *http.Request, person string, in Shown, challenge *webauthn.SessionData) (m Method, cause, err error) {
	switch {
	case in.TOTP != "":
		ok, err := s.useTOTP(r.Context(), person, in.TOTP)
		return methodIf(ok, ByTOTP), nil, err
	case in.RecoveryCode != "":
		ok, err := s.useRecoveryCode(r.Context(), person, in.RecoveryCode)
		if ok {
			s.alertOfUsedCode(r.Context(), person)
		}
		return methodIf(ok, ByRecoveryCode), nil, err
	case len(in.Passkey) > 0:
		who, cause, err := s.checkPasskey(r, challenge, in.Passkey)
		return methodIf(who != "" && who == person, ByKeyToo), cause, err
	}
	return "", nil, api.InvalidField("totp", "show one factor")
}

func methodIf(ok bool, m Method) Method {
	if ok {
		return m
	}
	return ""
}

// useTOTP checks a code and uses its step up: a code that somebody looked on is
// worth nothing, nor is an older one.
func (s *Service) useTOTP(ctx context.Context, person, code string) (bool, error) {
	rows, err := s.factors(ctx, person)
	if err != nil {
		return false, err
	}
	enrolled := ofKind(rows, kindTOTP) // one at most
	if len(enrolled) == 0 {
		return false, nil
	}
	row := enrolled[0]
	step, ok := signin.Step(row.Secret, code, s.now())
	if !ok {
		return false, nil
	}
	err = s.config.DB.Update(ctx, func(tx *sqlx.Tx) error {
		done, err := tx.ExecContext(ctx, `UPDATE factors SET last_step = ?, last_used = ? WHERE id = ? AND last_step < ?`,
			step, millis(s.now()), row.ID, step)
		return changedOne(done, err)
	})
	if isNotFound(err) {
		return false, nil // used before
	}
	return err == nil, err
}
