package identity

import (
	"context"
	"errors"
	"slices"

	"holdfast/app/api"
	"holdfast/data"
)

var (
	_ api.Authorizer = (*Service)(nil)
	_ api.Reacher    = (*Service)(nil)
)

// Authorize decides whether the actor holds the permission in the scope. The
// local socket's actor may all; a person needs an active account and a grant; any
// other actor is nobody here.
func (s *Service) Authorize(ctx context.Context, actor data.Actor, p api.Permission, scope api.Scope) error {
	if p == api.Public || actor.Kind == data.Host {
		return nil
	}
	if actor.Kind != data.Person {
		return api.ErrUnauthenticated
	}
	st, err := s.activeStanding(ctx, actor.ID)
	if err != nil || p == api.Signed {
		return err
	}
	all, tenants := st.tenantsOf(p, s.now())
	if all || (scope.Tenant == api.AnyTenant && len(tenants) > 0) ||
		(scope.Tenant != "" && slices.Contains(tenants, scope.Tenant)) {
		return nil
	}
	return api.ErrForbidden
}

// activeStanding gives ErrUnauthenticated for an account that is gone or not active.
func (s *Service) activeStanding(ctx context.Context, person string) (standing, error) {
	st, err := s.standing(ctx, person)
	if errors.Is(err, data.ErrNotFound) || (err == nil && !st.active) {
		return st, api.ErrUnauthenticated
	}
	return st, err
}

// Reach tells where the actor holds the permission, for lists that show only that.
func (s *Service) Reach(ctx context.Context, actor data.Actor, p api.Permission) (api.Reach, error) {
	if actor.Kind == data.Host {
		return api.Reach{All: true}, nil
	}
	if actor.Kind != data.Person {
		return api.Reach{}, api.ErrUnauthenticated
	}
	st, err := s.activeStanding(ctx, actor.ID)
	if err != nil {
		return api.Reach{}, err
	}
	all, tenants := st.tenantsOf(p, s.now())
	return api.Reach{All: all, Tenants: tenants}, nil
}
