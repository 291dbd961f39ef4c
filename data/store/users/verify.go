package users

import (
	"github.com/pocketbase/pocketbase/core"
)

// Anybody can sign up with somebody else's address and choose a password. When the
// owner of the mailbox proves the address, what was set before must not stay a way in,
// unless the one who proves it shows that it is theirs: by the password, or by a token
// of the account. afterTakeover drops the factors; this drops the password, and with it
// every token.

// confirmsVerification gives an account that somebody verifies from a mail a password
// that nobody knows, unless the request shows the present one or a token of the account.
func (s *Service) confirmsVerification(e *core.RecordConfirmVerificationRequestEvent) error {
	p, on := s.PolicyOf(e.Collection)
	if !on || p.KeepUnproven || e.Record.Verified() {
		return e.Next()
	}
	mine, err := s.showsItsOwn(e.RequestEvent, e.Record, p)
	if err != nil {
		return err
	}
	if !mine {
		e.Record.SetRandomPassword() // PocketBase saves it with the rest
	}
	return e.Next()
}

// showsItsOwn says whether a request comes from who has the account already. A password
// that is sent along must be right: who mistypes it does not lose it.
func (s *Service) showsItsOwn(e *core.RequestEvent, r *core.Record, p Policy) (bool, error) {
	if e.Auth != nil && e.Auth.Collection().Id == r.Collection().Id && e.Auth.Id == r.Id {
		return true, nil
	}
	var in struct {
		Password string `json:"password" form:"password"`
	}
	if err := read(e, &in); err != nil || in.Password == "" {
		return false, err
	}
	name := "verify " + r.Collection().Id + " " + r.Id
	if err := s.wait(e, s.config.Shared.accounts, p, name); err != nil {
		return false, err
	}
	if !r.ValidatePassword(in.Password) {
		return false, e.BadRequestError("The password is wrong. Leave it out to verify the address and set a new one.", nil)
	}
	s.succeeded(e, name)
	return true, nil
}

// verifiesByCode does the same for a code by mail. PocketBase itself does so where its
// own MFA is off; where it is on, the code may be the second thing that was shown.
func (s *Service) verifiesByCode(e *core.RecordAuthWithOTPRequestEvent) error {
	p, on := s.PolicyOf(e.Collection)
	proves := e.OTP != nil && e.OTP.SentTo() != "" && e.OTP.SentTo() == e.Record.Email()
	if !on || p.KeepUnproven || e.Record.Verified() || !proves || !e.Collection.MFA.Enabled {
		return e.Next()
	}
	var in struct {
		MfaID string `json:"mfaId" form:"mfaId"`
	}
	if err := read(e.RequestEvent, &in); err != nil {
		return err
	}
	if !afterPassword(e.App, e.Record, in.MfaID) {
		e.Record.SetRandomPassword()
	}
	return e.Next()
}

// afterPassword says whether a step of PocketBase's own MFA began with the password.
func afterPassword(app core.App, r *core.Record, id string) bool {
	if id == "" {
		return false
	}
	begun, err := app.FindMFAById(id)
	return err == nil && begun.CollectionRef() == r.Collection().Id && begun.RecordRef() == r.Id &&
		begun.Method() == core.MFAMethodPassword && !begun.HasExpired(r.Collection().MFA.DurationTime())
}
