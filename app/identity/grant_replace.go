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
			if err := s.endFor(ctx, tx, g); err != nil {
				return err
			}
			if err := notOwnerAndDenied(ctx, tx, s, g); err != nil {
				return err
			}
			return insertGrant(ctx, tx, g, now)
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
