package identity

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jmoiron/sqlx"

	"holdfast/app/api"
	"holdfast/data"
)

// standing is all that deciding needs to know of an actor.
type standing struct {
	active bool
	grants []heldGrant

	holds map[string]time.Time // tenants whose records wait for a confirmation; see readHolds

	password        bool // there is one
	passwordChanged time.Time
	passwordFirst   bool // somebody else chose it
}

// heldGrant is a grant with what its role allows.
type heldGrant struct {
	Grant
	effect
}

// grantCache keeps standings; every change of persons, grants or roles forgets them
// all, which is cheap, for changes are rare and reading one anew is not.
type grantCache struct {
	byPerson atomic.Pointer[sync.Map]
}

func newGrantCache() *grantCache {
	c := &grantCache{}
	c.forget()
	return c
}

func (c *grantCache) forget() { c.byPerson.Store(&sync.Map{}) }

// standing reads a holder's grants, from memory when they are there.
func (s *Service) standing(ctx context.Context, holder string) (standing, error) {
	cache := s.grants.byPerson.Load() // before reading: a change in between forgets this map
	if found, ok := cache.Load(holder); ok {
		return found.(standing), nil
	}
	found, err := s.readStanding(ctx, holder)
	if err != nil {
		return standing{}, err
	}
	cache.Store(holder, found)
	return found, nil
}

func (s *Service) readStanding(ctx context.Context, holder string) (found standing, err error) {
	about, rows := passwordAge{State: active}, []grantRow{}
	err = s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		if holder != hostHolder {
			if err := oneRow(tx.GetContext(ctx, &about, `SELECT state, password_changed, password <> '' AS has_password,
				EXISTS (SELECT 1 FROM first_passwords f WHERE f.person = persons.id) AS first FROM persons WHERE id = ?`, holder)); err != nil {
				return err
			}
		}
		if err := tx.SelectContext(ctx, &rows, `SELECT `+grantColumns+
			` FROM grants WHERE person = ? AND revoked = 0 ORDER BY scope, role`, holder); err != nil {
			return err
		}
		if found.holds, err = s.readHolds(ctx, tx, holder); err != nil {
			return err
		}
		found.grants, err = s.effects(ctx, tx, rows)
		return err
	})
	if err != nil {
		return standing{}, fmt.Errorf("read grants: %w", err)
	}
	found.active = about.State == active
	found.password, found.passwordChanged, found.passwordFirst = about.Password, about.at(), about.First
	if holder == hostHolder {
		found.grants = append(found.grants, s.hostGrant())
	}
	return found, nil
}

// hostGrant is what the local socket's actor holds without a row: the appliance.
func (s *Service) hostGrant() heldGrant {
	e, _ := s.builtins.of(Appliance, Owner)
	return heldGrant{Grant{Person: hostHolder, Role: Owner, Scope: Appliance}, e}
}

// effects adds what the roles allow; a role that is unknown (of a newer program)
// allows nothing.
func (s *Service) effects(ctx context.Context, tx *sqlx.Tx, rows []grantRow) (held []heldGrant, err error) {
	for _, r := range rows {
		e, err := s.effectOfRow(ctx, tx, r)
		if err != nil && api.AsProblem(err).Status >= 500 {
			return nil, err
		}
		held = append(held, heldGrant{r.grant(), e})
	}
	return held, nil
}

// holderOf is under which name an actor's grants are kept; false for actors that
// hold none.
func holderOf(a data.Actor) (string, bool) {
	switch a.Kind {
	case data.Person:
		return a.ID, true
	case data.Host:
		return hostHolder, true
	}
	return "", false
}

// actorStanding gives api.ErrUnauthenticated for an actor without standing: nobody,
// or an account that is gone or not active.
func (s *Service) actorStanding(ctx context.Context, a data.Actor) (standing, error) {
	holder, ok := holderOf(a)
	if !ok {
		return standing{}, api.ErrUnauthenticated
	}
	st, err := s.standing(ctx, holder)
	if errors.Is(err, data.ErrNotFound) || (err == nil && !st.active) {
		return st, api.ErrUnauthenticated
	}
	return st, err
}

// tenantsOf lists the tenants where the grants allow p now; all is true when they do
// everywhere.
func (st standing) tenantsOf(p api.Permission, now time.Time) (all bool, tenants []string) {
	for _, g := range st.grants {
		switch {
		case !g.at(now) || !g.allow[p] || g.Glass && p.Content(): // a list's use is not recorded
		case g.Scope == Appliance && !p.Content():
			return true, nil
		case g.Scope == Appliance:
		case !slices.Contains(tenants, g.Scope) && !st.denies(p, g.Scope, now) && !st.rests(p, g.Scope, now):
			tenants = append(tenants, g.Scope)
		}
	}
	return false, tenants
}

func (st standing) anywhere(p api.Permission, now time.Time) bool {
	all, tenants := st.tenantsOf(p, now)
	return all || len(tenants) > 0
}

// denies comes before all that allows.
func (st standing) denies(p api.Permission, tenant string, now time.Time) bool {
	for _, g := range st.grants {
		if len(g.deny) > 0 && g.Scope == tenant && g.deny[p] && g.at(now) {
			return true
		}
	}
	return false
}

// reaches says whether a grant is one for the scope: a role of the appliance is in every
// tenant, but for what is about its records.
func (g heldGrant) reaches(scope string, p api.Permission) bool {
	return g.Scope == scope || g.Scope == Appliance && !p.Content()
}

// allows decides in one scope. by is the grant that allows it; it is a glass one, whose
// use is recorded, only when no other does.
func (st standing) allows(p api.Permission, scope string, now time.Time) (ok bool, by Grant) {
	for _, g := range st.grants {
		if g.allow[p] && g.reaches(scope, p) && g.at(now) {
			if ok, by = true, g.Grant; !g.Glass {
				break
			}
		}
	}
	return ok && !st.denies(p, scope, now) && !st.rests(p, scope, now), by
}

// within is all that the standing allows in one scope and that can be handed on: what is
// there by breaking glass cannot.
func (st standing) within(scope string, now time.Time) permissions {
	set := permissions{}
	for _, p := range api.Permissions() {
		if ok, by := st.allows(p, scope, now); ok && !by.Glass {
			set[p] = true
		}
	}
	return set
}

// lasts is until when the standing allows p in one scope, by the grant that allows it
// longest; zero: no end. It is asked for what is allowed.
func (st standing) lasts(scope string, p api.Permission, now time.Time) (end time.Time) {
	for _, g := range st.grants {
		switch {
		case g.Glass || !g.allow[p] || !g.reaches(scope, p) || !g.at(now):
		case g.Until.IsZero():
			return g.Until
		case g.Until.After(end):
			end = g.Until
		}
	}
	return end
}
