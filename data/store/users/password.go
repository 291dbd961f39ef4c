package users

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/pocketbase/dbx"
	"github.com/pocketbase/pocketbase/core"
	"github.com/pocketbase/pocketbase/tools/router"
	"golang.org/x/crypto/bcrypt"

	"holdfast/data/signin"
)

// badPassword is what is wrong with a new password, in the shape in which
// PocketBase says what is wrong with a field.
type badPassword struct{ code, message string }

var _ router.SafeErrorItem = badPassword{}

func (b badPassword) Code() string  { return b.code }
func (b badPassword) Error() string { return b.message }

// checkPassword holds a new password to the collection's rules, whichever way it
// comes: sign-up, change, reset, import, batch, a key's or the studio's.
func (s *Service) checkPassword(e *core.RecordEvent) error {
	if !e.Record.Collection().IsAuth() {
		return e.Next()
	}
	p, on := s.PolicyOf(e.Record.Collection())
	value, ok := e.Record.GetRaw(core.FieldNamePassword).(*core.PasswordFieldValue)
	if !on || !ok || value.Plain == "" {
		return e.Next()
	}
	bad := p.Password.weakness(value.Plain, e.Record.Email())
	if bad == nil && p.Password.RefuseCommon && s.config.Breached != nil {
		known, err := s.config.Breached(value.Plain)
		if err != nil {
			return err
		}
		if known {
			bad = &badPassword{"validation_password_breached", "It is known from a breach. Choose another one."}
		}
	}
	if bad == nil && p.Password.History > 0 && !e.Record.IsNew() {
		used, err := s.usedBefore(e, value.Plain, p.Password.History)
		if err != nil {
			return err
		}
		if used {
			bad = &badPassword{"validation_password_used", "It was used before. Choose another one."}
		}
	}
	if bad != nil {
		return router.NewBadRequestError("The password was not accepted.", map[string]router.SafeErrorItem{core.FieldNamePassword: *bad})
	}
	return e.Next()
}

func (p Password) weakness(password, email string) *badPassword {
	switch local, _, _ := strings.Cut(email, "@"); {
	case utf8.RuneCountInString(password) < p.MinLength:
		return &badPassword{"validation_password_short", fmt.Sprintf("It needs at least %d characters.", p.MinLength)}
	case p.RefuseCommon && signin.Common(password):
		return &badPassword{"validation_password_common", "It is a common password."}
	case p.RefuseCommon && len(local) >= 4 && strings.Contains(strings.ToLower(password), strings.ToLower(local)):
		return &badPassword{"validation_password_personal", "It contains your address."}
	case p.MinBits > 0 && signin.Bits(password) < float64(p.MinBits):
		return &badPassword{"validation_password_weak", "It is too easy to guess; add a word or two."}
	}
	return nil
}

// usedBefore compares with the present password and the former ones that are kept.
func (s *Service) usedBefore(e *core.RecordEvent, password string, most int) (bool, error) {
	present, err := e.App.FindRecordById(e.Record.Collection(), e.Record.Id)
	if err != nil {
		return false, err
	}
	if present.ValidatePassword(password) {
		return true, nil
	}
	var rows []struct {
		Hash string `db:"hash"`
	}
	params := dbx.Params{"c": e.Record.Collection().Id, "r": e.Record.Id, "most": most}
	err = s.all(e.Context, e.App, &rows, `SELECT hash FROM _hf_user_passwords WHERE collection = {:c} AND record = {:r} ORDER BY id DESC LIMIT {:most}`, params)
	for _, row := range rows {
		if bcrypt.CompareHashAndPassword([]byte(row.Hash), []byte(password)) == nil {
			return true, nil
		}
	}
	return false, err
}
