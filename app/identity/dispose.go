package identity

import (
	"context"
	"errors"
	"fmt"

	"github.com/jmoiron/sqlx"

	"holdfast/data"
)

// EndTenant revokes all API keys of a destroyed tenant's stores and ends all grants
// on it. It answers how many there ever were, so that a second call after a crash
// answers the same.
func (s *Service) EndTenant(ctx context.Context, tenant string, stores []data.StoreID) (keys, grants int, err error) {
	for _, id := range stores {
		n, err := s.endKeys(ctx, id)
		if err != nil {
			return 0, 0, fmt.Errorf("end the keys of %s: %w", id, err)
		}
		keys += n
	}
	grants, err = s.endGrants(ctx, tenant)
	if err = errors.Join(err, s.closeRequests(ctx, tenant)); err != nil {
		return 0, 0, fmt.Errorf("end the grants on %s: %w", tenant, err)
	}
	return keys, grants, nil
}

func (s *Service) endKeys(ctx context.Context, store data.StoreID) (n int, err error) {
	var open []string
	err = s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		return errors.Join(tx.GetContext(ctx, &n, `SELECT count(*) FROM api_keys WHERE store = ?`, store.String()),
			tx.SelectContext(ctx, &open, `SELECT id FROM api_keys WHERE store = ? AND revoked = 0 ORDER BY id`, store.String()))
	})
	for _, id := range open {
		err = errors.Join(err, s.RevokeKey(ctx, store, id))
	}
	return n, err
}

func (s *Service) endGrants(ctx context.Context, tenant string) (n int, err error) {
	var persons []string
	err = s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		return errors.Join(tx.GetContext(ctx, &n, `SELECT count(*) FROM grants WHERE scope = ?`, tenant),
			tx.SelectContext(ctx, &persons, `SELECT DISTINCT person FROM grants WHERE scope = ? AND revoked = 0 ORDER BY person`, tenant))
	})
	for _, p := range persons {
		err = errors.Join(err, s.endOwner(ctx, tenant, p))
	}
	return n, err
}

// endOwner ends the grants of one person on a tenant that is gone: nobody has to
// be left who owns it.
func (s *Service) endOwner(ctx context.Context, tenant, person string) error {
	err := s.ending(ctx, func(tx *sqlx.Tx) ([]holding, error) {
		_, err := tx.ExecContext(ctx, `UPDATE grants SET revoked = ?, revoked_by = ? WHERE person = ? AND scope = ? AND revoked = 0`,
			millis(s.now()), data.ActorFrom(ctx).String(), person, tenant)
		if err == nil {
			_, err = tx.ExecContext(ctx, `DELETE FROM memberships WHERE person = ? AND tenant = ?`, person, tenant)
		}
		if err != nil {
			return nil, err
		}
		return []holding{{person, tenant}}, s.owe(ctx, tx, "", "member.remove", person, map[string]string{"scope": tenant})
	})
	if err != nil {
		return fmt.Errorf("end grants: %w", err)
	}
	return nil
}
