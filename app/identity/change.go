package identity

import (
	"context"
	"fmt"
	"net/http"

	"github.com/jmoiron/sqlx"

	"holdfast/app/api"
	"holdfast/data"
	"holdfast/data/signin"
)

// PasswordChange asks for a new password and shows that the old one is known: an
// unlocked screen must not be enough.
type PasswordChange struct {
	Current  string `json:"current"`
	Password string `json:"password"`
}

func (s *Service) servePasswordChange(w http.ResponseWriter, r *http.Request) error {
	var in PasswordChange
	if err := api.Read(r, &in); err != nil {
		return err
	}
	actor := data.ActorFrom(r.Context())
	if actor.Kind != data.Person {
		return api.Errorf(http.StatusForbidden, "no-person", "Only a person has a password.").Because(api.ErrForbidden)
	}
	if err := s.changePassword(r.Context(), actor.ID, in, signin.AddressOf(r.RemoteAddr)); err != nil {
		return err
	}
	if err := s.sessions.endAll(r.Context(), actor.ID, s.token(r)); err != nil {
		return err
	}
	return api.NoContent(w)
}

// changePassword counts as an attempt to sign in: it can be guessed at the same way.
func (s *Service) changePassword(ctx context.Context, person string, in PasswordChange, address string) error {
	row, err := s.personByID(ctx, person)
	if err != nil {
		return err
	}
	if err := s.notWithPassword(ctx, person); err != nil {
		return err
	}
	if weak := s.weak(in.Password, row.Email, row.Name); weak != "" {
		return api.InvalidField("password", "%s", weak)
	}
	account := accountName(row.Email)
	if err := s.admit(account, address); err != nil {
		return err
	}
	if ok, err := s.hasher.matches(ctx, in.Current, row.Password); err != nil || !ok {
		return orElse(err, api.InvalidField("current", "is wrong"))
	}
	s.accounts.Forget(account)
	s.origins.Forgive(address)
	if err := s.checkNewPassword(ctx, row, in.Password); err != nil {
		return err
	}
	return s.setPassword(ctx, row, in.Password)
}

func orElse(err, otherwise error) error {
	if err != nil {
		return err
	}
	return otherwise
}

func (s *Service) setPassword(ctx context.Context, row personRow, password string) error {
	hash, err := s.hasher.hash(ctx, password)
	if err != nil {
		return err
	}
	const set = `UPDATE persons SET password = ?, password_changed = ? WHERE id = ? AND password = ?`
	err = s.config.DB.Update(ctx, func(tx *sqlx.Tx) error {
		done, err := tx.ExecContext(ctx, set, hash, millis(s.now()), row.ID, row.Password)
		if err := changedOne(done, err); err != nil {
			return err
		}
		return keepPassword(ctx, tx, row.ID, row.Password, millis(s.now()))
	})
	s.grants.forget() // standings know how old passwords are
	if err != nil {
		return fmt.Errorf("change password: %w", err)
	}
	err = s.orUndo(ctx, s.record(ctx, "password.change", row.ID, api.OK, nil), set, row.Password, millis(s.now()), row.ID, hash)
	if err == nil {
		s.alert(ctx, row.ID, "Your password was changed", "the password of your account was changed on "+s.stamp(ctx, row.ID, s.now())+".")
	}
	return err
}
