package sso

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"holdfast/app/api"
	"holdfast/data"
)

// linkNew is how long the tenants of a person see each sign-in by a link that was made.
const linkNew = 7 * 24 * time.Hour

// claims says whether a provider may bring an account by its address alone. The
// appliance's owners choose its providers and can have them say anything, so none of
// them takes over an account, of a tenant's person or of a fellow operator, that somebody
// signs in to already.
func (s *Service) claims(ctx context.Context, r row, p Person) error {
	if r.Scope != Appliance || len(p.Scopes) == 0 || len(p.tenants()) == 0 && r.ownOf(p) {
		return nil
	}
	other, err := s.config.People.HasOtherWay(ctx, p.ID)
	if err != nil {
		return err
	}
	linked, err := s.Linked(ctx, p.ID)
	if err != nil {
		return err
	}
	if !other && !linked { // nobody had a way in, or single sign-on only took it away
		return s.config.People.Claimed(r.inItsName(ctx), p.ID, r.ID)
	}
	return api.Errorf(http.StatusForbidden, "link-first", "This account has another way in, so %s cannot claim it by its address. Sign in your usual way and link it under Profile and security.", r.Name)
}

// ownOf says whether a provider was last set by the person whom it brings, or by the host,
// which needs no provider to be anybody.
func (r row) ownOf(p Person) bool {
	by := data.ParseActor(r.By)
	return by.Kind == data.Host || by == data.Actor{Kind: data.Person, ID: p.ID}
}

// inItsName is the context of what a provider of the appliance brings about: it is done by
// who last set it. A tenant's is in nobody's name, for an operator confirmed it.
func (r row) inItsName(ctx context.Context) context.Context {
	if r.Scope != Appliance {
		return data.WithActor(ctx, data.Actor{Kind: data.System})
	}
	return data.WithActor(ctx, data.ParseActor(r.By))
}

// tenants are those where the person has a role.
func (p Person) tenants() (ids []string) {
	for _, scope := range p.Scopes {
		if scope != Appliance {
			ids = append(ids, scope)
		}
	}
	return ids
}

// showTenants enters into the log of each tenant of a person what came of a provider.
func (s *Service) showTenants(ctx context.Context, p Person, action string, detail map[string]string) error {
	for _, tenant := range p.tenants() {
		store := data.StoreID{Tenant: tenant, Environment: data.Prod}.String()
		if err := s.config.Recorder.Record(ctx, api.Event{Action: action, Target: p.ID, Store: store, Outcome: api.OK, Detail: detail}); err != nil {
			return fmt.Errorf("record %s: %w", action, err)
		}
	}
	return nil
}

// showNewLink shows the person's tenants a sign-in by a link that was not there long.
func (s *Service) showNewLink(ctx context.Context, r row, p Person) error {
	l, err := s.linkOf(ctx, r.ID, p.ID)
	if err != nil || s.now().Sub(fromMillis(l.Created)) > linkNew {
		return err
	}
	return s.showTenants(ctx, p, "sso.sign-in", map[string]string{"provider": r.ID, "link": l.ID, "linked": fromMillis(l.Created).Format(time.RFC3339)})
}
