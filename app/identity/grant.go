package identity

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/jmoiron/sqlx"

	"holdfast/app/api"
	"holdfast/data"
	"holdfast/data/system"
)

// Appliance is the scope of a grant that is not of one tenant.
const Appliance = "appliance"

// hostHolder is the local socket's actor as the holder of a grant on a tenant.
const hostHolder = "host"

// Grant gives a person (or the local socket's actor) a role somewhere for a time.
type Grant struct {
	ID      string
	Person  string // a person's id, or "host"
	Role    string
	Scope   string    // Appliance or a tenant's id
	From    time.Time // zero: from now
	Until   time.Time // zero: no end
	Why     string
	Request string // the access request that it came of
	Glass   bool   // each use is recorded and shown to the tenant
}

func (g Grant) at(now time.Time) bool {
	return !now.Before(g.From) && (g.Until.IsZero() || now.Before(g.Until))
}

// detail is what the log tells of it.
func (g Grant) detail() map[string]string {
	d := map[string]string{"role": g.Role, "scope": g.Scope}
	for name, value := range map[string]string{"why": g.Why, "request": g.Request} {
		if value != "" {
			d[name] = value
		}
	}
	if !g.Until.IsZero() {
		d["until"] = g.Until.Format(time.RFC3339)
	}
	return d
}

// Grant stores a grant and records it. A grant on a tenant makes the person its
// member. It asks nobody's permission: see give.
func (s *Service) Grant(ctx context.Context, g Grant) (Grant, error) {
	now := s.now()
	if g.From.IsZero() {
		g.From = now
	}
	g.ID = system.NewID()
	err := s.config.DB.Update(ctx, func(tx *sqlx.Tx) error {
		if _, err := s.effectOfAny(ctx, tx, g.Scope, g.Role, g.Glass); err != nil {
			return err
		}
		if err := notOwnerAndDenied(ctx, tx, s, g); err != nil {
			return err
		}
		return insertGrant(ctx, tx, g, now)
	})
	s.grants.forget()
	if err != nil {
		return g, fmt.Errorf("grant: %w", err)
	}
	return g, s.orUndo(ctx, s.recordGrant(ctx, "grant.create", g), `DELETE FROM grants WHERE id = ?`, g.ID)
}

// recordGrant enters a grant's beginning or end into the appliance's log, and into
// the tenant's own.
func (s *Service) recordGrant(ctx context.Context, action string, g Grant) error {
	return s.record(ctx, action, g.Person, api.OK, g.detail())
}

// insertGrant adds a grant, and the membership that a tenant's grant brings.
func insertGrant(ctx context.Context, tx *sqlx.Tx, g Grant, now time.Time) error {
	by := data.ActorFrom(ctx).String()
	_, err := tx.ExecContext(ctx, `INSERT INTO grants
		(id, person, role, scope, valid_from, valid_until, why, request, glass, created, created_by) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		g.ID, g.Person, g.Role, g.Scope, millis(g.From), millis(g.Until), g.Why, g.Request, g.Glass, millis(now), by)
	if err != nil || g.Scope == Appliance || g.Person == hostHolder || g.Glass {
		return err
	}
	_, err = tx.ExecContext(ctx, `INSERT OR IGNORE INTO memberships (person, tenant, created, created_by) VALUES (?, ?, ?, ?)`,
		g.Person, g.Scope, millis(now), by)
	return err
}

// RevokeGrant ends a grant at once. A 409 for the last owner's.
func (s *Service) RevokeGrant(ctx context.Context, id string) error {
	g, err := s.grant(ctx, id)
	if err != nil {
		return fmt.Errorf("revoke grant: %w", err)
	}
	err = s.endingGrants(ctx, g.Scope, `id = ?`, id)
	if err != nil {
		return fmt.Errorf("revoke grant: %w", err)
	}
	return s.recordGrant(ctx, "grant.revoke", g)
}

// endingGrants ends those of a scope that match, and keeps its last owner.
// data.ErrNotFound when there are none.
func (s *Service) endingGrants(ctx context.Context, scope, where string, args ...any) error {
	defer s.grants.forget()
	return s.config.DB.Update(ctx, func(tx *sqlx.Tx) error {
		return s.keepingOwner(ctx, tx, scope, func() error {
			done, err := tx.ExecContext(ctx, `UPDATE grants SET revoked = ?, revoked_by = ? WHERE revoked = 0 AND `+where,
				append([]any{millis(s.now()), data.ActorFrom(ctx).String()}, args...)...)
			return changedOne(done, err)
		})
	})
}

// keepingOwner runs a change and takes it back if the scope had an owner before
// and has none after it. Only owners count who may sign in and whose role has no end;
// where nobody decides but the system, it does not take the last owner's role from
// somebody who is locked out either.
func (s *Service) keepingOwner(ctx context.Context, tx *sqlx.Tx, scope string, change func() error) error {
	before, err := owners(ctx, tx, scope, s.now())
	if err != nil {
		return err
	}
	if err := change(); err != nil {
		return err
	}
	after, err := owners(ctx, tx, scope, s.now())
	alone := data.ActorFrom(ctx).Kind == data.System
	if err == nil && (before.Open > 0 && after.Open == 0 || alone && before.All > 0 && after.All == 0) {
		return errLastOwner()
	}
	return err
}

func errLastOwner() error {
	return api.Errorf(http.StatusConflict, "last-owner", "This would leave nobody who owns it. Make somebody else an owner first.")
}

// ownerCount is how many owners a scope has: all, and those whose accounts are open.
type ownerCount struct {
	All  int `db:"everyone"`
	Open int `db:"open"`
}

func owners(ctx context.Context, tx *sqlx.Tx, scope string, now time.Time) (n ownerCount, err error) {
	err = tx.GetContext(ctx, &n, `SELECT count(*) AS everyone, count(CASE WHEN g.person = ? OR p.state = ? THEN 1 END) AS open
		FROM grants g LEFT JOIN persons p ON p.id = g.person
		WHERE g.scope = ? AND g.role = ? AND g.revoked = 0 AND g.valid_until = 0 AND g.valid_from <= ?`,
		hostHolder, active, scope, Owner, millis(now))
	return n, err
}

// GrantsOf are those of a person ("host": the local socket's actor) that have not been
// ended.
func (s *Service) GrantsOf(ctx context.Context, holder string) ([]Grant, error) {
	var rows []grantRow
	err := s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		return tx.SelectContext(ctx, &rows, `SELECT `+grantColumns+` FROM grants WHERE person = ? AND revoked = 0 ORDER BY scope, role`, holder)
	})
	list := make([]Grant, len(rows))
	for i, r := range rows {
		list[i] = r.grant()
	}
	return list, err
}

// grant finds one that has not been ended. data.ErrNotFound.
func (s *Service) grant(ctx context.Context, id string) (Grant, error) {
	var row grantRow
	err := s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		return oneRow(tx.GetContext(ctx, &row, `SELECT `+grantColumns+` FROM grants WHERE id = ? AND revoked = 0`, id))
	})
	return row.grant(), err
}

const grantColumns = `id, person, role, scope, valid_from, valid_until, why, request, glass`

type grantRow struct {
	ID      string `db:"id"`
	Person  string `db:"person"`
	Role    string `db:"role"`
	Scope   string `db:"scope"`
	From    int64  `db:"valid_from"`
	Until   int64  `db:"valid_until"`
	Why     string `db:"why"`
	Request string `db:"request"`
	Glass   bool   `db:"glass"`
}

func (r grantRow) grant() Grant {
	return Grant{r.ID, r.Person, r.Role, r.Scope, fromMillis(r.From), fromMillis(r.Until), r.Why, r.Request, r.Glass}
}

// errRole refuses what is no role of the scope.
func errRole(role string) error { return api.InvalidField("role", "%q is not a known role here", role) }

// effectOf finds what a role of a scope allows: a built-in one, or the tenant's own.
func (s *Service) effectOf(ctx context.Context, tx *sqlx.Tx, scope, role string) (effect, error) {
	if e, ok := s.builtins.of(scope, role); ok {
		return e, nil
	}
	r, err := customRole(ctx, tx, scope, role)
	if errors.Is(err, data.ErrNotFound) {
		return effect{}, errRole(role)
	}
	return effect{setOf(r.Allow), setOf(r.Deny)}, err
}

// notOwnerAndDenied keeps owners free of roles that deny: a denial must not be a way
// to lose the last one.
func notOwnerAndDenied(ctx context.Context, tx *sqlx.Tx, s *Service, g Grant) error {
	if g.Scope == Appliance {
		return nil
	}
	e, err := s.effectOf(ctx, tx, g.Scope, g.Role)
	if err != nil || (g.Role != Owner && len(e.deny) == 0) {
		return err
	}
	var others []string
	err = tx.SelectContext(ctx, &others, `SELECT role FROM grants WHERE person = ? AND scope = ? AND revoked = 0`, g.Person, g.Scope)
	for _, role := range others {
		other, e2 := s.effectOf(ctx, tx, g.Scope, role)
		if e2 == nil && (len(e.deny) > 0 && role == Owner || g.Role == Owner && len(other.deny) > 0) {
			return api.InvalidField("role", "an owner cannot have a role that denies something")
		}
	}
	return err
}
