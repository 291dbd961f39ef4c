package identity

import (
	"context"
	"errors"
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
	var ended []string
	err := s.config.DB.Update(ctx, func(tx *sqlx.Tx) error {
		return s.keepingOwner(ctx, tx, g.Scope, func() (err error) {
			if ended, err = s.endFor(ctx, tx, g); err != nil {
				return err
			}
			if err := notOwnerAndDenied(ctx, tx, s, g); err != nil {
				return err
			}
			return insertGrant(ctx, tx, g, now)
		})
	})
	s.grants.forget()
	if err != nil {
		return g, fmt.Errorf("change role: %w", err)
	}
	s.disconnect(g.Person, g.Scope)
	if err := s.recordGrant(ctx, "grant.change", g); err != nil {
		return g, errors.Join(err, s.undoReplace(context.WithoutCancel(ctx), g.ID, ended))
	}
	return g, nil
}

func (s *Service) endFor(ctx context.Context, tx *sqlx.Tx, g Grant) (ids []string, err error) {
	err = tx.SelectContext(ctx, &ids, `SELECT id FROM grants WHERE person = ? AND scope = ? AND revoked = 0 AND request = ''`, g.Person, g.Scope)
	if err == nil && len(ids) == 0 {
		err = data.ErrNotFound
	}
	for _, id := range ids {
		_, e := tx.ExecContext(ctx, `UPDATE grants SET revoked = ?, revoked_by = ? WHERE id = ?`,
			millis(s.now()), data.ActorFrom(ctx).String(), id)
		err = errors.Join(err, e)
	}
	return ids, err
}

func (s *Service) undoReplace(ctx context.Context, made string, ended []string) error {
	defer s.grants.forget()
	return s.config.DB.Update(ctx, func(tx *sqlx.Tx) error {
		_, err := tx.ExecContext(ctx, `DELETE FROM grants WHERE id = ?`, made)
		for _, id := range ended {
			_, e := tx.ExecContext(ctx, `UPDATE grants SET revoked = 0, revoked_by = '' WHERE id = ?`, id)
			err = errors.Join(err, e)
		}
		return err
	})
}
