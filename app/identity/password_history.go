package identity

import (
	"context"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"

	"holdfast/app/api"
)

// checkNewPassword weighs a new password, and holds it against the present one and
// those before it that the policy asks for. Only who has shown the present one, or a
// link, is answered: it would else be a way to guess.
func (s *Service) checkNewPassword(ctx context.Context, row personRow, password string) error {
	if err := s.notWithPassword(ctx, row.ID); err != nil {
		return err
	}
	if weak := s.weak(password, row.Email, row.Name); weak != "" {
		return api.InvalidField("password", "%s", weak)
	}
	st, err := s.standing(ctx, row.ID)
	if err != nil {
		return err
	}
	history, _ := s.passwordRules(st)
	if history == 0 {
		return nil
	}
	hashes, err := s.oldPasswords(ctx, row.ID, history)
	if err != nil {
		return err
	}
	for _, hash := range append([]string{row.Password}, hashes...) {
		if hash == "" {
			continue
		}
		if was, err := s.hasher.matches(ctx, password, hash); err != nil || was {
			return orElse(err, api.InvalidField("password", "was used before; choose another one"))
		}
	}
	return nil
}

// oldPasswords are the hashes of the last ones, the present one apart.
func (s *Service) oldPasswords(ctx context.Context, person string, most int) (hashes []string, err error) {
	err = s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		return tx.SelectContext(ctx, &hashes, `SELECT hash FROM password_history WHERE person = ? ORDER BY id DESC LIMIT ?`, person, most)
	})
	if err != nil {
		return nil, fmt.Errorf("read password history: %w", err)
	}
	return hashes, nil
}

// keepPassword adds a password that has ended to the history, and forgets what is older
// than any policy asks for.
func keepPassword(ctx context.Context, tx *sqlx.Tx, person, hash string, now int64) error {
	if hash == "" {
		return nil
	}
	if _, err := tx.ExecContext(ctx, `INSERT INTO password_history (person, hash, ended) VALUES (?, ?, ?)`, person, hash, now); err != nil {
		return err
	}
	_, err := tx.ExecContext(ctx, `DELETE FROM password_history WHERE person = ? AND id NOT IN
		(SELECT id FROM password_history WHERE person = ? ORDER BY id DESC LIMIT ?)`, person, person, mostHistory)
	return err
}

// passwordDue says that a person's password is older than the policy lets it be, or that
// somebody else chose it.
func (s *Service) passwordDue(st standing) bool {
	if !st.password {
		return false
	}
	_, life := s.passwordRules(st)
	return st.passwordFirst || life > 0 && s.now().Sub(st.passwordChanged) >= life
}

// errPasswordDue is a question, as ErrStepUp is, not a refusal.
func errPasswordDue() error {
	return api.Errorf(403, "password-due", "Your password is too old, or somebody else chose it. Choose a new one under Profile and security.").Because(api.ErrStepUp)
}

// passwordAge is what standings know of a person's password.
type passwordAge struct {
	State    string `db:"state"`
	Changed  int64  `db:"password_changed"`
	Password bool   `db:"has_password"`
	First    bool   `db:"first"`
}

func (a passwordAge) at() time.Time { return fromMillis(a.Changed) }
