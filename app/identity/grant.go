package identity

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jmoiron/sqlx"

	"holdfast/app/api"
	"holdfast/data"
	"holdfast/data/system"
)

// Appliance is the scope of a grant that is not of one tenant.
const Appliance = "appliance"

// Owner is the one role so far; on the appliance it may all, on a tenant
// all that has a meaning within one tenant.
const Owner = "owner"

// Grant gives a person a role somewhere for a time.
type Grant struct {
	ID     string
	Person string
	Role   string
	Scope  string    // Appliance or a tenant's id
	From   time.Time // zero: from now
	Until  time.Time // zero: no end
	Why    string
}

// allows is the table of the built-in roles.
func allows(role, scope string, p api.Permission) bool {
	return role == Owner && (scope == Appliance || !p.ApplianceOnly())
}

func (g Grant) at(now time.Time) bool {
	return !now.Before(g.From) && (g.Until.IsZero() || now.Before(g.Until))
}

// Grant stores a grant and records it. A grant on a tenant makes the person its member.
func (s *Service) Grant(ctx context.Context, g Grant) (Grant, error) {
	if g.Role != Owner {
		return g, api.InvalidField("role", "is not a known role")
	}
	now := s.now()
	if g.From.IsZero() {
		g.From = now
	}
	g.ID = system.NewID()
	err := s.config.DB.Update(ctx, func(tx *sqlx.Tx) error { return insertGrant(ctx, tx, g, now) })
	s.grants.forget()
	if err != nil {
		return g, fmt.Errorf("grant: %w", err)
	}
	return g, s.orUndo(ctx, s.record(ctx, "grant.create", g.Person, api.OK,
		map[string]string{"role": g.Role, "scope": g.Scope}), `DELETE FROM grants WHERE id = ?`, g.ID)
}

// insertGrant adds a grant, and the membership that a tenant's grant brings.
func insertGrant(ctx context.Context, tx *sqlx.Tx, g Grant, now time.Time) error {
	by := data.ActorFrom(ctx).String()
	_, err := tx.ExecContext(ctx, `INSERT INTO grants
		(id, person, role, scope, valid_from, valid_until, why, created, created_by) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		g.ID, g.Person, g.Role, g.Scope, millis(g.From), millis(g.Until), g.Why, millis(now), by)
	if err != nil || g.Scope == Appliance {
		return err
	}
	_, err = tx.ExecContext(ctx, `INSERT OR IGNORE INTO memberships (person, tenant, created, created_by) VALUES (?, ?, ?, ?)`,
		g.Person, g.Scope, millis(now), by)
	return err
}

// RevokeGrant ends a grant at once.
func (s *Service) RevokeGrant(ctx context.Context, id string) error {
	err := s.config.DB.Update(ctx, func(tx *sqlx.Tx) error {
		done, err := tx.ExecContext(ctx, `UPDATE grants SET revoked = ?, revoked_by = ? WHERE id = ? AND revoked = 0`,
			millis(s.now()), data.ActorFrom(ctx).String(), id)
		return changedOne(done, err)
	})
	s.grants.forget()
	if err != nil {
		return fmt.Errorf("revoke grant: %w", err)
	}
	return s.record(ctx, "grant.revoke", id, api.OK, nil)
}

// standing is all that deciding needs to know of a person.
type standing struct {
	active bool
	grants []Grant
}

// grantCache keeps standings; every change of persons or grants forgets them all,
// which is cheap, for changes are rare and reading one anew is not.
type grantCache struct {
	byPerson atomic.Pointer[sync.Map]
}

func newGrantCache() *grantCache {
	c := &grantCache{}
	c.forget()
	return c
}

func (c *grantCache) forget() { c.byPerson.Store(&sync.Map{}) }

// standing reads a person's grants, from memory when they are there.
func (s *Service) standing(ctx context.Context, person string) (standing, error) {
	cache := s.grants.byPerson.Load() // before reading: a change in between forgets this map
	if found, ok := cache.Load(person); ok {
		return found.(standing), nil
	}
	found, err := s.readStanding(ctx, person)
	if err != nil {
		return standing{}, err
	}
	cache.Store(person, found)
	return found, nil
}

func (s *Service) readStanding(ctx context.Context, person string) (standing, error) {
	var state string
	var rows []grantRow
	err := s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		if err := oneRow(tx.GetContext(ctx, &state, `SELECT state FROM persons WHERE id = ?`, person)); err != nil {
			return err
		}
		return tx.SelectContext(ctx, &rows, `SELECT id, person, role, scope, valid_from, valid_until, why
			FROM grants WHERE person = ? AND revoked = 0 ORDER BY scope, role`, person)
	})
	if err != nil {
		return standing{}, fmt.Errorf("read grants: %w", err)
	}
	found := standing{active: state == active}
	for _, r := range rows {
		found.grants = append(found.grants, r.grant())
	}
	return found, nil
}

type grantRow struct {
	ID     string `db:"id"`
	Person string `db:"person"`
	Role   string `db:"role"`
	Scope  string `db:"scope"`
	From   int64  `db:"valid_from"`
	Until  int64  `db:"valid_until"`
	Why    string `db:"why"`
}

func (r grantRow) grant() Grant {
	return Grant{r.ID, r.Person, r.Role, r.Scope, fromMillis(r.From), fromMillis(r.Until), r.Why}
}

// tenantsOf lists the tenants where the grants allow p now; all is true when they do everywhere.
func (st standing) tenantsOf(p api.Permission, now time.Time) (all bool, tenants []string) {
	for _, g := range st.grants {
		switch {
		case !g.at(now) || !allows(g.Role, g.Scope, p):
		case g.Scope == Appliance:
			return true, nil
		case !slices.Contains(tenants, g.Scope):
			tenants = append(tenants, g.Scope)
		}
	}
	return false, tenants
}
