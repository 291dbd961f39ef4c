package identity

import (
	"context"
	"slices"

	"holdfast/app/api"
	"holdfast/data"
)

var (
	_ api.Authorizer = (*Service)(nil)
	_ api.Reacher    = (*Service)(nil)
	_ api.Warranter  = (*Service)(nil)
)

// Authorize decides whether the actor holds the permission in the scope. A person
// needs an active account and a grant; the local socket's actor owns the appliance
// and needs a grant on a tenant like a person; any other actor is nobody here.
func (s *Service) Authorize(ctx context.Context, actor data.Actor, p api.Permission, scope api.Scope) error {
	_, err := s.allowed(ctx, actor, p, scope)
	return err
}

// allowed is Authorize, and tells which grant allows it, if it was one in one scope.
func (s *Service) allowed(ctx context.Context, actor data.Actor, p api.Permission, scope api.Scope) (Grant, error) {
	if p == api.Public {
		return Grant{}, nil
	}
	if actor.Kind == data.Key {
		return Grant{}, s.authorizeKey(ctx, actor.ID, p, scope)
	}
	st, err := s.actorStanding(ctx, actor)
	if err != nil || p == api.Signed {
		return Grant{}, err
	}
	if scope.Tenant == api.AnyTenant {
		return Grant{}, orForbidden(st.anywhere(p, s.now()))
	}
	at := scope.Tenant
	if at == "" {
		at = Appliance
		if p.Content() { // no such tenant: who may see all of them learns so
			p = api.TenantRead
		}
	}
	ok, by := st.allows(p, at, s.now())
	return by, orForbidden(ok)
}

func orForbidden(ok bool) error {
	if ok {
		return nil
	}
	return api.ErrForbidden
}

// Reach tells where the actor holds the permission, for lists that show only that.
func (s *Service) Reach(ctx context.Context, actor data.Actor, p api.Permission) (api.Reach, error) {
	if actor.Kind == data.Key {
		return s.reachOfKey(ctx, actor.ID, p)
	}
	st, err := s.actorStanding(ctx, actor)
	if err != nil {
		return api.Reach{}, err
	}
	all, tenants := st.tenantsOf(p, s.now())
	return api.Reach{All: all, Tenants: slices.DeleteFunc(tenants, barredFrom(ctx))}, nil
}
