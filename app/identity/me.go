package identity

import (
	"context"
	"errors"
	"net/http"
	"slices"

	"holdfast/app/api"
	"holdfast/data"
)

// Me is who is signed in and what they may.
type Me struct {
	Person      *Person          `json:"person" doc:"null for the local socket's actor"`
	Grants      []MyGrant        `json:"grants"`
	Permissions []api.Permission `json:"permissions" doc:"held somewhere; the grants say where"`
}

// MyGrant is one role. Scope is "appliance" or a tenant's slug.
type MyGrant struct {
	Role  string `json:"role"`
	Scope string `json:"scope"`
}

// me describes an actor that may sign in.
func (s *Service) me(ctx context.Context, actor data.Actor) (Me, error) {
	if actor.Kind == data.Host {
		return Me{Grants: []MyGrant{{Owner, Appliance}}, Permissions: api.Permissions()}, nil
	}
	row, err := s.personByID(ctx, actor.ID)
	if err != nil {
		return Me{}, err
	}
	st, err := s.activeStanding(ctx, actor.ID)
	if err != nil {
		return Me{}, err
	}
	p := row.person()
	me := Me{Person: &p, Grants: []MyGrant{}, Permissions: []api.Permission{}}
	for _, g := range st.grants {
		if err := s.addGrant(ctx, &me, g); err != nil {
			return Me{}, err
		}
	}
	return me, nil
}

func (s *Service) addGrant(ctx context.Context, me *Me, g Grant) error {
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
	me.Grants = append(me.Grants, MyGrant{g.Role, scope})
	for _, p := range api.Permissions() {
		if allows(g.Role, g.Scope, p) && !slices.Contains(me.Permissions, p) {
			me.Permissions = append(me.Permissions, p)
		}
	}
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
