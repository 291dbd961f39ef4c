package identity

import (
	"context"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"

	"holdfast/app/api"
	"holdfast/data"
)

// What access reviews and the end of unused accounts ask of this room.

// LiveGrant is a grant that holds now, or will, and whose it is.
type LiveGrant struct {
	Grant
	Name, Email string    // of the person; "" for the host
	LastSignIn  time.Time // zero: never
}

// LiveGrants are those of a scope, but for what ends by itself: grants that came of
// an access request.
func (s *Service) LiveGrants(ctx context.Context, scope string) ([]LiveGrant, error) {
	var rows []struct {
		grantRow
		Name       string `db:"name"`
		Email      string `db:"email"`
		LastSignIn int64  `db:"last_sign_in"`
	}
	err := s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		return tx.SelectContext(ctx, &rows, `SELECT g.id, g.person, g.role, g.scope, g.valid_from, g.valid_until, g.why, g.request, g.glass,
			coalesce(p.name, '') AS name, coalesce(p.email, '') AS email, coalesce(p.last_sign_in, 0) AS last_sign_in
			FROM grants g LEFT JOIN persons p ON p.id = g.person
			WHERE g.scope = ? AND g.revoked = 0 AND g.request = '' AND (g.valid_until = 0 OR g.valid_until > ?) ORDER BY g.valid_from, g.id`, scope, millis(s.now()))
	})
	if err != nil {
		return nil, fmt.Errorf("list live grants: %w", err)
	}
	list := make([]LiveGrant, len(rows))
	for i, r := range rows {
		list[i] = LiveGrant{r.grant(), r.Name, r.Email, fromMillis(r.LastSignIn)}
	}
	return list, nil
}

// EndGrant is RevokeGrant for who may change what the grant's holder has; the system
// may always.
func (s *Service) EndGrant(ctx context.Context, id string) error {
	g, err := s.grant(ctx, id)
	if err == nil && data.ActorFrom(ctx).Kind != data.System {
		err = s.mayChange(ctx, g.Scope, g.Person)
	}
	if err != nil {
		return fmt.Errorf("end grant: %w", err)
	}
	return s.RevokeGrant(ctx, id)
}

// IsLastOwner says whether something was refused because it would leave a scope
// without an owner.
func IsLastOwner(err error) bool { return err != nil && api.AsProblem(err).Code == "last-owner" }

// IdleAccount is an active account that nobody has used for long.
type IdleAccount struct {
	Person
	Since time.Time // the last sign-in, or when the account was made, or opened again
}

// IdleAccounts are those that were not used since.
func (s *Service) IdleAccounts(ctx context.Context, since time.Time) ([]IdleAccount, error) {
	var rows []struct {
		personRow
		Since int64 `db:"since"`
	}
	err := s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		return tx.SelectContext(ctx, &rows, `SELECT `+personColumns+`, max(last_sign_in, created, updated) AS since FROM persons
			WHERE state = ? AND max(last_sign_in, created, updated) < ? ORDER BY id`, active, millis(since))
	})
	if err != nil {
		return nil, fmt.Errorf("find idle accounts: %w", err)
	}
	list := make([]IdleAccount, len(rows))
	for i, r := range rows {
		list[i] = IdleAccount{r.person(), fromMillis(r.Since)}
	}
	return list, nil
}

// stateDisabled is an account that was closed because nobody used it; unlocking opens it.
const stateDisabled = "disabled"

// DisablePerson closes an account: its sessions end, and nobody signs in with it
// until somebody unlocks it. A 409 for the last owner of something.
func (s *Service) DisablePerson(ctx context.Context, person, why string) error {
	err := s.ending(ctx, func(tx *sqlx.Tx) (over []holding, err error) {
		err = s.keepingOwners(ctx, tx, person, func() error {
			done, err := tx.ExecContext(ctx, `UPDATE persons SET state = ? WHERE id = ? AND state = ?`, stateDisabled, person, active)
			return changedOne(done, err)
		})
		if err != nil {
			return nil, err
		}
		if over, err = s.shutOut(ctx, tx, person, "the account was disabled"); err != nil {
			return nil, err
		}
		return over, s.record(ctx, "person.disable", person, api.OK, map[string]string{"why": why})
	})
	if err != nil {
		return fmt.Errorf("disable account: %w", err)
	}
	return s.EndSessions(ctx, person)
}

// keepingOwners is keepingOwner for every scope that a person owns.
func (s *Service) keepingOwners(ctx context.Context, tx *sqlx.Tx, person string, change func() error) error {
	var scopes []string
	err := tx.SelectContext(ctx, &scopes, `SELECT DISTINCT scope FROM grants WHERE person = ? AND role = ? AND revoked = 0`, person, Owner)
	if err != nil {
		return err
	}
	for _, scope := range scopes {
		inner := change
		change = func() error { return s.keepingOwner(ctx, tx, scope, inner) }
	}
	return change()
}

// Beginning is when the first account was made; now while there is none.
func (s *Service) Beginning(ctx context.Context) (time.Time, error) {
	var first int64
	err := s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		return tx.GetContext(ctx, &first, `SELECT coalesce(min(created), ?) FROM persons`, millis(s.now()))
	})
	return fromMillis(first), err
}
