package identity

import (
	"context"
	"fmt"

	"github.com/jmoiron/sqlx"

	"holdfast/data"
	"holdfast/data/system"
)

// replace ends the grants of a person in a scope and gives the new one, or does
// neither. It leaves alone what came of an access request: that ends by itself.
func (s *Service) replace(ctx context.Context, g Grant) (Grant, error) {
	now := s.now()
	g.ID, g.From = system.NewID(), now
	err := s.ending(ctx, func(tx *sqlx.Tx) (over []holding, err error) {
		err = s.keepingOwner(ctx, tx, g.Scope, func() error {
			m, err := s.makerOf(ctx, tx, g)
			if err != nil {
				return err
			}
			if err := s.endFor(ctx, tx, g); err != nil {
				return err
			}
			if err := notOwnerAndDenied(ctx, tx, s, g); err != nil {
				return err
			}
			return orElse(insertGrant(ctx, tx, g, now), m.keep(ctx, tx, g.ID))
		})
		if err != nil {
			return nil, err
		}
		if over, err = s.closeLost(ctx, tx, holding{g.Person, g.Scope}); err != nil {
			return nil, err
		}
		return append(over, holding{g.Person, g.Scope}), s.recordGrant(ctx, "grant.change", g)
	})
	if err != nil {
		return g, fmt.Errorf("change role: %w", err)
	}
	return g, nil
}

func (s *Service) endFor(ctx context.Context, tx *sqlx.Tx, g Grant) error {
	done, err := tx.ExecContext(ctx, `UPDATE grants SET revoked = ?, revoked_by = ? WHERE person = ? AND scope = ? AND revoked = 0 AND request = ''`,
		millis(s.now()), data.ActorFrom(ctx).String(), g.Person, g.Scope)
	return changedOne(done, err)
}

// maker is when and by whom an operator was made one; the zero value: by the new role.
type maker struct {
	At int64  `db:"made_at"`
	By string `db:"made_by"`
}

// makerOf finds who gave the role of the appliance that is at least as much as the one
// that takes its place: who changes it for the same or less makes nobody an operator.
func (s *Service) makerOf(ctx context.Context, tx *sqlx.Tx, g Grant) (maker, error) {
	var rows []struct {
		grantRow
		maker
	}
	if g.Scope != Appliance {
		return maker{}, nil
	}
	err := tx.SelectContext(ctx, &rows, `SELECT `+grantColumns+`, `+madeAt+` AS made_at, `+madeBy+` AS made_by FROM grants g
		WHERE person = ? AND scope = ? AND revoked = 0 AND request = '' ORDER BY made_at, id`, g.Person, g.Scope)
	for _, r := range rows {
		ok, err := s.coversRole(ctx, tx, r.grant(), g)
		if err != nil || ok {
			return r.maker, err
		}
	}
	return maker{}, err
}

// coversRole says whether a grant that is good now gives all that another one is to, and
// for as long.
func (s *Service) coversRole(ctx context.Context, tx *sqlx.Tx, old, g Grant) (bool, error) {
	has, err := s.effectOf(ctx, tx, old.Scope, old.Role)
	if err != nil {
		return false, err
	}
	gets, err := s.effectOf(ctx, tx, g.Scope, g.Role)
	if err != nil || !old.at(s.now()) || !sooner(old.Until, g.Until).Equal(g.Until) {
		return false, err
	}
	for p := range gets.allow {
		if !has.allow[p] || has.deny[p] {
			return false, nil
		}
	}
	return true, nil
}

func (m maker) keep(ctx context.Context, tx *sqlx.Tx, grant string) error {
	if m.At == 0 {
		return nil
	}
	_, err := tx.ExecContext(ctx, `UPDATE grants SET made = ?, made_by = ? WHERE id = ?`, m.At, m.By, grant)
	return err
}
