package sso

import (
	"context"
	"errors"
	"fmt"

	"github.com/jmoiron/sqlx"

	"holdfast/app/api"
	"holdfast/data"
	"holdfast/data/system"
)

// A tenant that a restore made is a copy of another, with that one's people. They have
// roles in both from then on, so the original's provider is good for its copies too:
// or nobody of either could come in through it any more. It is not the other way round.

// copyMigrations are of which tenant is a copy of which, also by way of others.
var copyMigrations = []system.Migration{{Name: "copies of tenants", SQL: `
CREATE TABLE sso_copies (
	copy TEXT NOT NULL,                       -- tenant id
	original TEXT NOT NULL,                   -- tenant id
	PRIMARY KEY (copy, original)
) STRICT, WITHOUT ROWID;
`}}

// lineage is that table in memory.
type lineage struct{ copies, originals map[string][]string }

func (s *Service) loadLineage(ctx context.Context) error {
	var rows []struct {
		Copy     string `db:"copy"`
		Original string `db:"original"`
	}
	err := s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		return tx.SelectContext(ctx, &rows, `SELECT copy, original FROM sso_copies ORDER BY original, copy`)
	})
	if err != nil {
		return fmt.Errorf("read copies of tenants: %w", err)
	}
	l := lineage{map[string][]string{}, map[string][]string{}}
	for _, r := range rows {
		l.copies[r.Original] = append(l.copies[r.Original], r.Copy)
		l.originals[r.Copy] = append(l.originals[r.Copy], r.Original)
	}
	s.lineage.Store(&l)
	return nil
}

// Covers says whether a tenant's own provider is good for a scope, too: that tenant, or a
// copy of it.
func (s *Service) Covers(tenant, scope string) bool {
	return row{Scope: tenant, copies: s.lineage.Load().copies[tenant]}.covers(scope)
}

// waysTo are the scopes whose providers bring people to a scope.
func (s *Service) waysTo(scope string) []string {
	return append([]string{Appliance, scope}, s.lineage.Load().originals[scope]...)
}

// Copy gives a tenant that is a copy of another the other's rule, and the other's
// providers to come in by.
func (s *Service) Copy(ctx context.Context, original, copied string) error {
	only := s.Only(original)
	if only {
		if err := s.record(ctx, "sso.policy", copied, api.OK, map[string]string{"only": "true", "from": original}); err != nil {
			return err
		}
	}
	err := s.config.DB.Update(ctx, func(tx *sqlx.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT OR IGNORE INTO sso_copies (copy, original) SELECT ?, original FROM sso_copies WHERE copy = ?
			UNION SELECT ?, ?`, copied, original, copied, original)
		if err != nil || !only {
			return err
		}
		_, err = tx.ExecContext(ctx, `INSERT OR REPLACE INTO sso_only (scope, updated, updated_by) VALUES (?, ?, ?)`,
			copied, s.now().UnixMilli(), data.ActorFrom(ctx).String())
		return err
	})
	if err != nil {
		return fmt.Errorf("give a copy its single sign-on: %w", err)
	}
	return errors.Join(s.loadLineage(ctx), s.loadPolicies(ctx))
}

// gone says whether a scope is a tenant that is not there any more, or never came to be.
func (s *Service) gone(ctx context.Context, scope string) (bool, error) {
	if scope == Appliance {
		return false, nil
	}
	_, err := s.config.Tenants.Slug(ctx, scope)
	if errors.Is(err, data.ErrNotFound) {
		return true, nil
	}
	return false, err
}
