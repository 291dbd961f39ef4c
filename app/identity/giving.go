package identity

import (
	"context"
	"net/http"
	"time"

	"github.com/jmoiron/sqlx"

	"holdfast/app/api"
	"holdfast/data"
)

// What an actor may there is all that it can hand out: no role is a way to more
// than its giver has, nor for longer. Nor does anybody change the roles of who may more.

// mayHandOut refuses permissions that the context's actor does not hold in the scope.
func (s *Service) mayHandOut(ctx context.Context, scope string, list []api.Permission) error {
	_, err := s.handOut(ctx, scope, list)
	return err
}

// handOut is mayHandOut, and tells until when the actor holds all of them; zero: no end.
func (s *Service) handOut(ctx context.Context, scope string, list []api.Permission) (end time.Time, err error) {
	st, err := s.actorStanding(ctx, data.ActorFrom(ctx))
	if err != nil {
		return end, err
	}
	now := s.now()
	if p, missing := st.within(scope, now).missing(list); missing {
		return end, errMore(p)
	}
	for _, p := range list {
		end = sooner(end, st.lasts(scope, p, now))
	}
	return end, nil
}

// mayKeep is mayHandOut for what stays as it is until somebody changes it: who has a
// permission for a while sets none of that.
func (s *Service) mayKeep(ctx context.Context, scope string, list []api.Permission) error {
	end, err := s.handOut(ctx, scope, list)
	if err == nil && !end.IsZero() {
		err = errForAWhile(end)
	}
	return err
}

func errForAWhile(end time.Time) error {
	return api.Errorf(http.StatusForbidden, "longer-than-own", "Your own role here ends at %s: what would stay after that is not yours to set.",
		end.UTC().Format(time.RFC3339)).Because(api.ErrForbidden)
}

// sooner is the earlier of two ends, zero being none.
func sooner(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// manages is what it takes to say who may what in a scope.
func manages(scope string) api.Permission {
	if scope == Appliance {
		return api.OperatorManage
	}
	return api.MemberManage
}

// notLonger ends what is handed out with what it is handed out by. An end that is asked
// for and is later is refused; where none is asked for, it is that one.
func notLonger(asked, own time.Time) (time.Time, error) {
	if !own.IsZero() && asked.After(own) {
		return asked, api.InvalidField("until", "your own role here ends at %s", own.UTC().Format(time.RFC3339))
	}
	return sooner(asked, own), nil
}

func errMore(p api.Permission) error {
	return api.Errorf(http.StatusForbidden, "more-than-own", "This takes %s, which you do not have here.", p).Because(api.ErrForbidden)
}

// mayGive refuses a role that allows more than the context's actor may.
func (s *Service) mayGive(ctx context.Context, scope, role string) error {
	_, err := s.giving(ctx, scope, role)
	return err
}

// giving is mayGive, and tells until when the actor may give it; zero: no end. Who has
// the role for good, and gives roles for a while, gives it for a while.
func (s *Service) giving(ctx context.Context, scope, role string) (end time.Time, err error) {
	var e effect
	err = s.config.DB.View(ctx, func(tx *sqlx.Tx) (err error) {
		e, err = s.effectOf(ctx, tx, scope, role)
		return err
	})
	if err != nil {
		return end, err
	}
	return s.handOut(ctx, scope, append(list(e.allow), manages(scope)))
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
	held, now := permissions{}, s.now()
	for _, g := range st.grants {
		if g.Scope == scope && (g.Until.IsZero() || now.Before(g.Until)) { // also what is to come
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
	g, err := s.givable(ctx, g)
	if err != nil {
		return g, err
	}
	return s.Grant(ctx, g)
}

// change gives a person one role in place of all that they had in the scope.
func (s *Service) change(ctx context.Context, g Grant) (Grant, error) {
	g, err := s.givable(ctx, g)
	if err != nil {
		return g, err
	}
	return s.replace(ctx, g)
}

// givable refuses a grant that the context's actor may not give, and ends it where its
// giver's own ends.
func (s *Service) givable(ctx context.Context, g Grant) (Grant, error) {
	end, err := s.giving(ctx, g.Scope, g.Role)
	if err != nil {
		return g, err
	}
	if g.Until, err = notLonger(g.Until, end); err != nil {
		return g, err
	}
	return g, s.mayChange(ctx, g.Scope, g.Person)
}
