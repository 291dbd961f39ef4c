package identity

import (
	"context"
	"errors"
	"fmt"

	"github.com/jmoiron/sqlx"

	"holdfast/app/api"
	"holdfast/data"
	"holdfast/data/system"
)

// Found gives a new tenant its first owner: the person of the address, or who makes the
// tenant where there is none. Nobody else has anything in it. It is called before the
// tenant is opened; what an earlier attempt left is taken away, unless that one is gone
// on with (again).
func (s *Service) Found(ctx context.Context, tenant, email string, again bool) error {
	if again {
		if owned, err := s.owned(ctx, tenant); owned || err != nil {
			return err
		}
	}
	holder, err := s.founder(ctx, email)
	if err != nil {
		return err
	}
	err = s.config.DB.Update(ctx, func(tx *sqlx.Tx) error { return dropGrants(ctx, tx, tenant) })
	s.grants.forget()
	if err != nil {
		return fmt.Errorf("give a tenant its owner: %w", err)
	}
	_, err = s.Grant(ctx, Grant{Person: holder, Role: Owner, Scope: tenant, Why: "made the tenant"})
	return err
}

func (s *Service) owned(ctx context.Context, tenant string) (owned bool, err error) {
	err = s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		n, err := owners(ctx, tx, tenant, s.now())
		owned = n.Open > 0
		return err
	})
	return owned, err
}

func (s *Service) founder(ctx context.Context, email string) (string, error) {
	if email == "" {
		if holder, ok := holderOf(data.ActorFrom(ctx)); ok {
			return holder, nil
		}
		return hostHolder, nil
	}
	address, ok := cleanEmail(email)
	if !ok {
		return "", api.InvalidField("owner", "is not an e-mail address")
	}
	row, err := s.personByEmail(ctx, address)
	if errors.Is(err, data.ErrNotFound) || err == nil && row.State != active {
		return "", api.InvalidField("owner", "there is no active account with this address; make one first, or create the tenant without it and add the owner afterwards")
	}
	return row.ID, err
}

// dropGrants takes away what a tenant that nobody has seen yet has of grants.
func dropGrants(ctx context.Context, tx *sqlx.Tx, tenant string) error {
	_, err := tx.ExecContext(ctx, `DELETE FROM grants WHERE scope = ?`, tenant)
	for _, table := range []string{"memberships", "roles"} {
		_, e := tx.ExecContext(ctx, `DELETE FROM `+table+` WHERE tenant = ?`, tenant)
		err = errors.Join(err, e)
	}
	return err
}

// Inherit gives a tenant that is a copy of another the other's people, with their roles
// and the roles that are its own, and nothing to who makes the copy. What was given by
// breaking glass does not go along.
func (s *Service) Inherit(ctx context.Context, from, to string) error {
	now := millis(s.now())
	var copied int64
	err := s.noted(ctx, func(tx *sqlx.Tx) error {
		if err := dropGrants(ctx, tx, to); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO roles (tenant, name, about, allow, deny, created, created_by, changed)
			SELECT ?, name, about, allow, deny, ?, created_by, changed FROM roles WHERE tenant = ?`, to, now, from)
		if err != nil {
			return err
		}
		if copied, err = copyGrants(ctx, tx, from, to, now); err != nil {
			return err
		}
		return copyRules(ctx, tx, from, to)
	}, func(ctx context.Context) error {
		return s.record(ctx, "grant.inherit", to, api.OK, map[string]string{"from": from, "grants": fmt.Sprint(copied)})
	})
	if err == nil {
		err = s.loadRules(ctx)
	}
	if err != nil {
		return fmt.Errorf("give a copy its people: %w", err)
	}
	return nil
}

func copyGrants(ctx context.Context, tx *sqlx.Tx, from, to string, now int64) (int64, error) {
	var rows []grantRow
	err := tx.SelectContext(ctx, &rows, `SELECT `+grantColumns+` FROM grants
		WHERE scope = ? AND revoked = 0 AND glass = 0 AND (valid_until = 0 OR valid_until > ?) ORDER BY created, id`, from, now)
	for _, r := range rows {
		g := r.grant()
		g.ID, g.Scope, g.Request = system.NewID(), to, ""
		err = errors.Join(err, insertGrant(ctx, tx, g, fromMillis(now)))
		// as old as its source: see readHolds
		_, e := tx.ExecContext(ctx, `UPDATE grants SET created = (SELECT created FROM grants WHERE id = ?) WHERE id = ?`, r.ID, g.ID)
		err = errors.Join(err, e)
	}
	return int64(len(rows)), err
}

// OwnTheOwnerless is done once in the life of an appliance, when roles of the appliance
// stop reaching records: tenants that nobody owns become the local socket's, which had
// them in its reach until then. Its owners' list shows it, and it can be handed on.
func (s *Service) OwnTheOwnerless(ctx context.Context, tenants func(context.Context) ([]string, error)) error {
	const mark = `SELECT EXISTS (SELECT 1 FROM access_marks WHERE name = 'owners')`
	var done bool
	err := s.config.DB.View(ctx, func(tx *sqlx.Tx) error { return tx.GetContext(ctx, &done, mark) })
	if err != nil || done {
		return err
	}
	all, err := tenants(ctx)
	if err != nil {
		return err
	}
	given := 0
	return s.noted(ctx, func(tx *sqlx.Tx) error {
		for _, t := range all {
			n, err := s.ownOwnerless(ctx, tx, t)
			if err != nil {
				return err
			}
			given += n
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO access_marks (name, at) VALUES ('owners', ?)`, millis(s.now()))
		return err
	}, func(ctx context.Context) error {
		if given == 0 {
			return nil
		}
		return s.record(ctx, "grant.create", hostHolder, api.OK, map[string]string{"role": Owner, "tenants": fmt.Sprint(given), "why": ownerlessWhy})
	})
}

const ownerlessWhy = "nobody owned the tenant when roles of the appliance stopped reaching records"

func (s *Service) ownOwnerless(ctx context.Context, tx *sqlx.Tx, tenant string) (int, error) {
	n, err := owners(ctx, tx, tenant, s.now())
	if err != nil || n.All > 0 {
		return 0, err
	}
	now := s.now()
	g := Grant{ID: system.NewID(), Person: hostHolder, Role: Owner, Scope: tenant, From: now, Why: ownerlessWhy}
	return 1, insertGrant(ctx, tx, g, now)
}

// copyRules gives a copy the rules of signing in that its source has: the records are
// the same. Single sign-on only goes along, too: see Federation.Copy.
func copyRules(ctx context.Context, tx *sqlx.Tx, from, to string) (err error) {
	for _, table := range []string{"sign_in_policies", "account_policies"} {
		_, e := tx.ExecContext(ctx, `INSERT OR REPLACE INTO `+table+` (scope, policy, updated, updated_by)
			SELECT ?, policy, updated, updated_by FROM `+table+` WHERE scope = ?`, to, from)
		err = errors.Join(err, e)
	}
	_, e := tx.ExecContext(ctx, `INSERT OR REPLACE INTO recoveries_confirmed (person, tenant, at, by)
		SELECT person, ?, at, by FROM recoveries_confirmed WHERE tenant = ?`, to, from)
	return errors.Join(err, e)
}

func (s *Service) loadRules(ctx context.Context) error {
	return errors.Join(s.loadPolicies(ctx), s.loadAccountPolicies(ctx))
}
