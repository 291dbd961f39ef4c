package sso

import (
	"context"
	"errors"
	"net/http"
	"slices"

	"holdfast/app/api"
	"holdfast/data"
)

// whom finds the account of the one whom a provider vouches for: the one that is
// linked, else the one of an address that is the provider's to vouch for, else, where
// that is wanted, a new one. The person comes with an error, too, where one is known.
func (s *Service) whom(ctx context.Context, r row, c claims) (Person, error) {
	l, err := s.linked(ctx, r.ID, c.Subject)
	if err == nil {
		return s.linkedTo(ctx, r, l, c)
	}
	if !errors.Is(err, data.ErrNotFound) {
		return Person{}, err
	}
	if err := r.vouches(c); err != nil {
		return Person{}, err
	}
	p, err := s.config.People.ByMail(ctx, c.Email)
	if errors.Is(err, data.ErrNotFound) {
		return s.newcomer(ctx, r, c)
	}
	if err != nil {
		return Person{}, err
	}
	if err := r.admits(p); err != nil {
		return p, s.stranger(ctx, r, p, c, err)
	}
	if err := s.claims(ctx, r, p); err != nil {
		return p, err
	}
	return p, s.link(ctx, r, p.ID, c)
}

// linkedTo lets in whom the provider brought before. The subject says who it is; the
// address may have changed.
func (s *Service) linkedTo(ctx context.Context, r row, l link, c claims) (Person, error) {
	p, err := s.config.People.ByID(ctx, l.Person)
	if err != nil {
		return p, err
	}
	if err := r.admits(p); err != nil {
		return p, err
	}
	return p, s.used(ctx, l, c)
}

// admits says whether a provider may let in an account. A tenant's provider, whose
// admins can have it say anything, is good for people of that tenant alone, and of its
// copies: whoever has a role elsewhere would take it along.
func (r row) admits(p Person) error {
	if err := r.open(); err != nil {
		return err
	}
	if r.Scope != Appliance && !slices.Contains(p.Scopes, r.Scope) { // first: it is told nothing of others' accounts
		return errNoAccount(p.Email)
	}
	if !p.Active {
		return api.Errorf(http.StatusUnauthorized, "not-active", "This account is locked. Ask who runs this appliance.").Because(api.ErrUnauthenticated)
	}
	if r.Scope == Appliance {
		return nil
	}
	if slices.ContainsFunc(p.Scopes, func(scope string) bool { return !r.covers(scope) }) {
		return api.Errorf(http.StatusForbidden, "roles-elsewhere", "This account has roles outside this tenant, so the tenant's own provider cannot sign it in. Use another way.")
	}
	return nil
}

func (r row) covers(scope string) bool { return scope == r.Scope || slices.Contains(r.copies, scope) }

func errNoAccount(email string) error {
	return api.Errorf(http.StatusForbidden, "no-account", "There is no account for %s here. Ask who runs this appliance, or the tenant, to add you.", email)
}

// vouches says whether an address that was never seen before may be matched.
func (r row) vouches(c claims) error {
	if !r.owns(c) {
		return api.Errorf(http.StatusForbidden, "mail-not-verified", "%s does not confirm your e-mail address, so it cannot be matched with an account. Sign in another way and link it under Profile and security.", r.Name)
	}
	if domains := r.domains(); len(domains) > 0 && !slices.Contains(domains, domainOf(c.Email)) {
		return api.Errorf(http.StatusForbidden, "domain-not-allowed", "Addresses of %s may not come in through %s.", domainOf(c.Email), r.Name)
	}
	return nil
}
