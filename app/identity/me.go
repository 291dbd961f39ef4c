package identity

import (
	"context"
	"errors"
	"net/http"
	"time"

	"holdfast/app/api"
	"holdfast/data"
)

// Me is who is signed in and what they may.
type Me struct {
	Person      *Person          `json:"person" doc:"null for the local socket's actor"`
	Grants      []MyGrant        `json:"grants"`
	Permissions []api.Permission `json:"permissions" doc:"held somewhere; the grants say where"`
	Factor      *FactorDemand    `json:"factor,omitempty" doc:"a second factor that is still to be enrolled"`
	Profile     *MyProfile       `json:"profile,omitempty"`
	PasswordDue bool             `json:"passwordDue,omitempty" doc:"the password is too old, or somebody else chose it; nothing but changing it is open"`
}

// MyGrant is one role. Scope is "appliance" or a tenant's slug.
type MyGrant struct {
	Role        string           `json:"role"`
	Scope       string           `json:"scope"`
	Until       *time.Time       `json:"until,omitempty"`
	Glass       bool             `json:"glass,omitempty" doc:"came of an access request; each use is recorded"`
	Permissions []api.Permission `json:"permissions" doc:"what the role allows in its scope"`
}

// me describes an actor that may sign in.
func (s *Service) me(ctx context.Context, actor data.Actor) (Me, error) {
	st, err := s.actorStanding(ctx, actor)
	if err != nil {
		return Me{}, err
	}
	me := Me{Grants: []MyGrant{}, Permissions: []api.Permission{}}
	if actor.Kind == data.Person {
		row, err := s.personByID(ctx, actor.ID)
		if err != nil {
			return Me{}, err
		}
		p := row.person()
		me.Person = &p
		if me.Factor, err = s.demand(ctx, actor.ID, st); err != nil {
			return Me{}, err
		}
		if me.Profile, err = s.myProfile(ctx, actor.ID); err != nil {
			return Me{}, err
		}
		me.PasswordDue = s.passwordDue(st)
	}
	for _, g := range st.grants {
		if err := s.addGrant(ctx, &me, g); err != nil {
			return Me{}, err
		}
	}
	for _, p := range api.Permissions() {
		if st.anywhere(p, s.now()) {
			me.Permissions = append(me.Permissions, p)
		}
	}
	return me, nil
}

func (s *Service) addGrant(ctx context.Context, me *Me, g heldGrant) error {
	if !g.at(s.now()) {
		return nil
	}
	scope := g.Scope
	if scope != Appliance {
		slug, err := s.config.Tenants.Slug(ctx, scope)
		if errors.Is(err, data.ErrNotFound) {
			return nil // the tenant is gone: its grant means nothing
		}
		if err != nil {
			return err
		}
		scope = slug
	}
	me.Grants = append(me.Grants, MyGrant{Role: g.Role, Scope: scope, Until: moment(millis(g.Until)), Glass: g.Glass, Permissions: list(g.allow)})
	return nil
}

func (s *Service) serveMe(w http.ResponseWriter, r *http.Request) error {
	return s.respondMe(w, r, http.StatusOK, data.ActorFrom(r.Context()))
}

func (s *Service) respondMe(w http.ResponseWriter, r *http.Request, status int, actor data.Actor) error {
	me, err := s.me(r.Context(), actor)
	if err != nil {
		return err
	}
	return api.Respond(w, status, me)
}
