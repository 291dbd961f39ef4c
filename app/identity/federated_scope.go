package identity

import (
	"context"
	"net/http"

	"github.com/jmoiron/sqlx"

	"holdfast/app/api"
)

// A tenant's admins can have their provider say anything. What came in through it is
// good for who has roles in that tenant, or its copies, alone, at every request and not only when it
// began, and changes nothing of how the person signs in elsewhere, now or later.

// tenantOf is the tenant of a provider's scope, "" for the appliance's.
func tenantOf(scope string) string {
	if scope == Appliance {
		return ""
	}
	return scope
}

// outgrown says that a session rests on a tenant's provider and that its person has, or
// is to have, a role elsewhere. One that does not know its provider is of an older
// program, and ends.
func (s *Service) outgrown(ctx context.Context, session Session) (bool, error) {
	if session.Scope == "" {
		return session.Method.federated(), nil
	}
	tenant := tenantOf(session.Scope)
	if tenant == "" {
		return false, nil
	}
	st, err := s.standing(ctx, session.Person)
	if isNotFound(err) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	for _, scope := range st.scopes(s.now()) {
		if !s.config.Federation.Covers(tenant, scope) {
			return true, nil
		}
	}
	return false, nil
}

// TenantOfSession is the tenant on whose own provider the request's session rests, ""
// for any other session and for none.
func (s *Service) TenantOfSession(r *http.Request) (string, error) {
	session, err := s.sessions.lookup(r.Context(), s.token(r))
	if isNotFound(err) {
		return "", nil
	}
	return tenantOf(session.Scope), err
}

func errTenantSession() error {
	return api.Errorf(http.StatusForbidden, "tenant-session", "You came in through a tenant's own identity provider, which may not change how you sign in. Sign in another way for that.").Because(api.ErrForbidden)
}

// byOneself keeps how somebody signs in from sessions that rest on a tenant's provider.
func (s *Service) byOneself(h handler) handler {
	return func(w http.ResponseWriter, r *http.Request, person string) error {
		tenant, err := s.TenantOfSession(r)
		if err == nil && tenant != "" {
			err = errTenantSession()
		}
		if err != nil {
			return err
		}
		return h(w, r, person)
	}
}

// unlessDemanded is byOneself, but lets through who has no second factor and whose role
// asks for one: nothing else would be open to them. It is for an authenticator app,
// which is no way in alone, as a passkey is.
func (s *Service) unlessDemanded(h handler) handler {
	return func(w http.ResponseWriter, r *http.Request, person string) error {
		st, err := s.standing(r.Context(), person)
		if err != nil {
			return err
		}
		rows, err := s.factors(r.Context(), person)
		if err != nil {
			return err
		}
		if _, required := s.factorDue(st, s.now()); required && len(rows) == 0 {
			return h(w, r, person)
		}
		return s.byOneself(h)(w, r, person)
	}
}

// joinable refuses a role elsewhere to a session that would end with it, and whose
// person may have no other way in.
func (s *Service) joinable(r *http.Request, scope string) error {
	tenant, err := s.TenantOfSession(r)
	if err == nil && tenant != "" && !s.config.Federation.Covers(tenant, scope) {
		err = api.Errorf(http.StatusConflict, "roles-elsewhere", "You came in through a tenant's own identity provider, which cannot sign in people with roles elsewhere: with this one you could not come in any more. Sign in another way first, then open the link again; or have another address invited.")
	}
	return err
}

// strongInstead asks whom no provider may sign in for two factors, which is as near to
// the tenant's wish as they can come: nobody is to be locked out by a role elsewhere.
func strongInstead(session Session) error {
	if session.Strong {
		return nil
	}
	return errFactorRequired()
}

// admittedAnywhere says whether a provider can bring a person to one of the tenants.
func (s *Service) admittedAnywhere(ctx context.Context, person string, tenants []string) (bool, error) {
	for _, tenant := range tenants {
		if ok, err := s.config.Federation.Admits(ctx, person, tenant); ok || err != nil {
			return ok, err
		}
	}
	return false, nil
}

// OwnersOf are the people who own a scope without an end and may sign in.
func (s *Service) OwnersOf(ctx context.Context, scope string) (ids []string, err error) {
	err = s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		return tx.SelectContext(ctx, &ids, `SELECT DISTINCT p.id FROM grants g JOIN persons p ON p.id = g.person WHERE g.scope = ? AND g.role = ?
			AND g.revoked = 0 AND g.valid_until = 0 AND g.valid_from <= ? AND p.state = ? ORDER BY p.id`, scope, Owner, millis(s.now()), active)
	})
	return ids, err
}
