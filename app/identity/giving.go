package identity

import (
	"context"
	"net/http"

	"github.com/jmoiron/sqlx"

	"holdfast/app/api"
	"holdfast/data"
)

// What an actor may there is all that it can hand out: no role is a way to more
// than its giver has. Nor does anybody change the roles of who may more.

// mayHandOut refuses permissions that the context's actor does not hold in the scope.
func (s *Service) mayHandOut(ctx context.Context, scope string, list []api.Permission) error {
	st, err := s.actorStanding(ctx, data.ActorFrom(ctx))
	if err != nil {
		return err
	}
	if p, missing := st.within(scope, s.now()).missing(list); missing {
		return errMore(p)
	}
	return nil
}

func errMore(p api.Permission) error {
	return api.Errorf(http.StatusForbidden, "more-than-own", "This takes %s, which you do not have here.", p).Because(api.ErrForbidden)
}

// mayGive refuses a role that allows more than the context's actor may.
func (s *Service) mayGive(ctx context.Context, scope, role string) error {
	var e effect
	err := s.config.DB.View(ctx, func(tx *sqlx.Tx) (err error) {
		e, err = s.effectOf(ctx, tx, scope, role)
		return err
	})
	if err != nil {
		return err
	}
	return s.mayHandOut(ctx, scope, list(e.allow))
}

func list(set permissions) []api.Permission {
	var out []api.Permission
	for _, p := range api.Permissions() {
		if set[p] {
			out = append(out, p)
		}
	}
	return out
}

// mayChange refuses to touch somebody who may more in the scope than the context's
// actor does.
func (s *Service) mayChange(ctx context.Context, scope, holder string) error {
	st, err := s.standing(ctx, holder)
	if err != nil {
		return err
	}
	held := permissions{}
	for _, g := range st.grants {
		if g.Scope == scope && g.at(s.now()) {
			for p := range g.allow {
				held[p] = true
			}
		}
	}
	return s.mayHandOut(ctx, scope, list(held))
}

// give is Grant for whoever may: the context's actor must hold all that the role
// allows, and all that the person has there.
func (s *Service) give(ctx context.Context, g Grant) (Grant, error) {
	if err := s.mayGive(ctx, g.Scope, g.Role); err != nil {
		return g, err
	}
	if err := s.mayChange(ctx, g.Scope, g.Person); err != nil {
		return g, err
	}
	return s.Grant(ctx, g)
}

// change gives a person one role in place of all that they had in the scope.
func (s *Service) change(ctx context.Context, g Grant) (Grant, error) {
	if err := s.mayGive(ctx, g.Scope, g.Role); err != nil {
		return g, err
	}
	if err := s.mayChange(ctx, g.Scope, g.Person); err != nil {
		return g, err
	}
	return s.replace(ctx, g)
}
