package identity

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
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
	err := s.noted(ctx, func(tx *sqlx.Tx) error {
		if _, err := s.effectOfAny(ctx, tx, g.Scope, g.Role, g.Glass); err != nil {
			return err
		}
		if err := notOwnerAndDenied(ctx, tx, s, g); err != nil {
			return err
		}
		return insertGrant(ctx, tx, g, now)
	}, func(ctx context.Context) error { return s.recordGrant(ctx, "grant.create", g) })
	if err != nil {
		return g, fmt.Errorf("grant: %w", err)
	}
	return g, nil
}

// recordGrant enters a grant's beginning or change into the appliance's log.
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
	err = s.endingGrantsAnd(ctx, g.Scope, func(tx *sqlx.Tx) error {
		return s.owe(ctx, tx, "", "grant.revoke", g.Person, g.detail())
	}, `id = ?`, id)
	if err != nil {
		return fmt.Errorf("revoke grant: %w", err)
	}
	return nil
}

// endingGrants ends those of a scope that match, and keeps its last owner.
// data.ErrNotFound when there are none.
func (s *Service) endingGrants(ctx context.Context, scope, where string, args ...any) error {
	return s.endingGrantsAnd(ctx, scope, func(*sqlx.Tx) error { return nil }, where, args...)
}

// endingGrantsAnd is endingGrants, and does what belongs to it in the same transaction.
// With the grants end the access that they were given by, what the persons have open in
// the tenant, and the requests that they could not make any more.
func (s *Service) endingGrantsAnd(ctx context.Context, scope string, and func(*sqlx.Tx) error, where string, args ...any) error {
	return s.ending(ctx, func(tx *sqlx.Tx) (over []holding, err error) {
		err = s.keepingOwner(ctx, tx, scope, func() error {
			over, err = s.endGrantsWhere(ctx, tx, where, args...)
			return err
		})
		if err == nil {
			err = and(tx)
		}
		for _, h := range over {
			lost, e := s.closeLost(ctx, tx, h)
			over, err = append(over, lost...), errors.Join(err, e)
		}
		return over, err
	})
}

func (s *Service) endGrantsWhere(ctx context.Context, tx *sqlx.Tx, where string, args ...any) (over []holding, err error) {
	var rows []grantRow
	err = tx.SelectContext(ctx, &rows, `SELECT `+grantColumns+` FROM grants WHERE revoked = 0 AND `+where, args...)
	if err == nil && len(rows) == 0 {
		err = data.ErrNotFound
	}
	for _, r := range rows {
		_, e := tx.ExecContext(ctx, `UPDATE grants SET revoked = ?, revoked_by = ? WHERE id = ?`, millis(s.now()), data.ActorFrom(ctx).String(), r.ID)
		err = errors.Join(err, e)
		if r.Request != "" {
			_, e = s.closeWhere(ctx, tx, "the role was ended", `id = ? AND state = 'approved'`, r.Request)
			err = errors.Join(err, e)
		}
		if h := (holding{r.Person, r.Scope}); !slices.Contains(over, h) {
			over = append(over, h)
		}
	}
	return over, err
}

// closeLost ends what somebody asked for by a role that ended or changed: as an operator,
// or in a tenant that they do not see any more.
func (s *Service) closeLost(ctx context.Context, tx *sqlx.Tx, h holding) ([]holding, error) {
	if h.scope == Appliance {
		const why = "the role with which it was asked for ended or changed"
		if err := s.endPairs(ctx, tx, why, `requester = ?`, h.holder); err != nil {
			return nil, err
		}
		return s.closeWhere(ctx, tx, why, withNothingOfTheirOwn, h.holder)
	}
	sees, err := s.stillSees(ctx, tx, requestRow{Requester: h.holder, Tenant: h.scope})
	if err != nil || sees || h.holder == hostHolder {
		return nil, err
	}
	return s.closeWhere(ctx, tx, "the role with which it was asked for ended", `requester = ? AND tenant = ?`, h.holder, h.scope)
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
