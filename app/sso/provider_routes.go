package sso

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"sync"

	"holdfast/app/api"
	"holdfast/data"
)

// Routes are the capability over REST.
func (s *Service) Routes() []api.Route {
	const tenant = "/api/v1/tenants/{slug}"
	return slices.Concat(s.flowRoutes(), s.linkRoutes(),
		s.scopeRoutes("/api/v1", api.OperatorRead, api.OperatorManage, nil, &api.Pair{Action: "provider.set", Title: "Set an identity provider of the appliance"}, "the appliance"),
		s.scopeRoutes(tenant, api.MemberRead, api.MemberManage, s.tenantScope, nil, "a tenant"))
}

// Tried is how a test of a provider ended.
type Tried struct {
	OK   bool   `json:"ok"`
	Text string `json:"text"`
}

func (s *Service) scopeRoutes(base string, read, manage api.Permission, scope func(*http.Request) api.Scope, pair *api.Pair, whose string) []api.Route {
	path, policy := base+"/identity-providers", base+"/policies/single-sign-on"
	return []api.Route{
		{Method: http.MethodGet, Path: path, Permission: read, Scope: scope, Paged: true, Summary: "Identity providers of " + whose, Response: api.Page[Provider]{}, Handler: s.serveList},
		{Method: http.MethodPost, Path: path, Permission: manage, Scope: scope, Assurance: api.Fresh, Pair: pair, Summary: "Add an identity provider of " + whose + "; its secret is not shown again",
			Request: NewProvider{}, Response: Provider{}, Status: http.StatusCreated, Handler: s.serveAdd},
		{Method: http.MethodGet, Path: path + "/{id}", Permission: read, Scope: scope, Summary: "One identity provider of " + whose, Response: Provider{}, Handler: s.serveOne},
		{Method: http.MethodPatch, Path: path + "/{id}", Permission: manage, Scope: scope, Assurance: api.Fresh, Pair: pair, Summary: "Change an identity provider of " + whose,
			Request: ProviderChange{}, Response: Provider{}, Handler: s.serveChange},
		{Method: http.MethodDelete, Path: path + "/{id}", Permission: manage, Scope: scope, Assurance: api.Fresh, Summary: "Remove an identity provider of " + whose + " and its links", Handler: s.serveDrop},
		{Method: http.MethodPost, Path: path + "/{id}/test", Permission: manage, Scope: scope, Summary: "Ask an identity provider of " + whose + " whether it answers and knows us", Response: Tried{}, Handler: s.serveTry},
		{Method: http.MethodGet, Path: policy, Permission: read, Scope: scope, Summary: "Whether people of " + whose + " come in through a provider only", Response: Policy{}, Handler: s.servePolicy},
		{Method: http.MethodPut, Path: policy, Permission: manage, Scope: scope, Assurance: api.Fresh, Summary: "Say whether people of " + whose + " come in through a provider only; their passwords are deleted",
			Request: Policy{}, Response: Policy{}, Handler: s.serveSetPolicy},
	}
}

// tenantScope is the path's tenant; the appliance for one that is not there.
func (s *Service) tenantScope(r *http.Request) api.Scope {
	id, err := s.config.Tenants.Store(r.Context(), r.PathValue("slug"), data.Prod)
	if err != nil {
		return api.Scope{Missing: err}
	}
	return api.Scope{Tenant: id.Tenant}
}

// scope is the path's tenant's id, or Appliance.
func (s *Service) scope(r *http.Request) (string, error) {
	if r.PathValue("slug") == "" {
		return Appliance, nil
	}
	id, err := s.config.Tenants.Store(r.Context(), r.PathValue("slug"), data.Prod)
	return id.Tenant, err
}

// named is the path's provider; one of another scope is not there.
func (s *Service) named(r *http.Request) (row, error) {
	scope, err := s.scope(r)
	if err != nil {
		return row{}, err
	}
	found, err := s.provider(r.Context(), r.PathValue("id"))
	if err == nil && found.Scope != scope {
		err = data.ErrNotFound
	}
	return found, err
}

// shown is a provider as its readers see it.
func (s *Service) shown(r *http.Request, p row) Provider {
	scope := p.Scope
	if slug := r.PathValue("slug"); slug != "" {
		scope = slug
	}
	redirect := redirectOf(r, p.ID)
	if data.ActorFrom(r.Context()).Kind == data.Host {
		redirect = s.config.URL() + redirectPath(p.ID)
	}
	return Provider{ID: p.ID, Scope: scope, Name: p.Name, Kind: p.Kind, Issuer: p.Issuer, ClientID: p.ClientID, Domains: p.domains(), Role: p.Role,
		MFA: p.MFA, MFAACR: p.MFAACR, Redirect: redirect, Enabled: !p.Disabled, Links: p.Links,
		Created: fromMillis(p.Created), Updated: fromMillis(p.Updated)}
}

func (s *Service) serveList(w http.ResponseWriter, r *http.Request) error {
	scope, err := s.scope(r)
	if err != nil {
		return err
	}
	page, err := api.ReadPage(r)
	if err != nil {
		return err
	}
	rows, err := s.providers(r.Context(), scope)
	if err != nil {
		return err
	}
	items := make([]Provider, len(rows))
	for i, p := range rows {
		items[i] = s.shown(r, p)
	}
	return api.Respond(w, http.StatusOK, api.Cut(items, page))
}

// serveAdd puts the tenant's slug before the id of its provider: no tenant takes a
// name that others would know.
func (s *Service) serveAdd(w http.ResponseWriter, r *http.Request) error {
	scope, err := s.scope(r)
	if err != nil {
		return err
	}
	var in NewProvider
	if err := api.Read(r, &in); err != nil {
		return err
	}
	if slug := r.PathValue("slug"); slug != "" && in.ID != "" {
		in.ID = slug + "-" + in.ID
	}
	p := in.row(scope)
	if err := s.add(r.Context(), p); err != nil {
		return err
	}
	made, err := s.provider(r.Context(), p.ID)
	if err != nil {
		return err
	}
	return api.Respond(w, http.StatusCreated, s.shown(r, made))
}

func (s *Service) serveOne(w http.ResponseWriter, r *http.Request) error {
	p, err := s.named(r)
	if err != nil {
		return err
	}
	return api.Respond(w, http.StatusOK, s.shown(r, p))
}

func (s *Service) serveChange(w http.ResponseWriter, r *http.Request) error {
	p, err := s.named(r)
	if err != nil {
		return err
	}
	var in ProviderChange
	if err := api.Read(r, &in); err != nil {
		return err
	}
	in.apply(&p)
	if err := s.change(r.Context(), p); err != nil {
		return err
	}
	return s.serveOne(w, r)
}

func (s *Service) serveDrop(w http.ResponseWriter, r *http.Request) error {
	p, err := s.named(r)
	if err != nil {
		return err
	}
	if err := s.drop(r.Context(), p); err != nil {
		return err
	}
	return api.NoContent(w)
}

func (s *Service) serveTry(w http.ResponseWriter, r *http.Request) error {
	p, err := s.named(r)
	if err != nil {
		return err
	}
	return api.Respond(w, http.StatusOK, s.try(r.Context(), p))
}

// try asks a provider anew, whatever is remembered of it.
func (s *Service) try(ctx context.Context, p row) Tried {
	a, err := s.ask(ctx, p)
	if err == nil {
		err = a.try(ctx)
	}
	switch {
	case err == nil:
		return Tried{true, p.Name + " answers and knows this appliance. Whether it knows the address to send people back to, a sign-in shows."}
	case errors.Is(err, ErrClient):
		return Tried{false, p.Name + " answers, but does not accept the client id and secret."}
	}
	s.config.Logger.WarnContext(ctx, "an identity provider failed its test", "provider", p.ID, "error", err)
	if errors.Is(err, ErrNotSecure) {
		return Tried{false, p.Name + " names an address that is not https."}
	}
	return Tried{false, p.Issuer + " does not answer as an issuer should: " + plainly(err)}
}

// plainly is the last words of an error: what was being done is known, and what a
// stranger's server wrote is not to be passed on.
func plainly(err error) string {
	for cause := err; cause != nil; cause = errors.Unwrap(cause) {
		if timeout, ok := cause.(interface{ Timeout() bool }); ok && timeout.Timeout() {
			return "it took too long."
		}
	}
	return "it cannot be reached, or is not one. The server's log has the reason."
}

// Silent names the providers that do not answer now. It is asked often, so it does not
// bring them codes that nobody gave, as a test does.
func (s *Service) Silent(ctx context.Context) ([]Way, error) {
	rows, err := s.all(ctx)
	if err != nil {
		return nil, err
	}
	rows = slices.DeleteFunc(rows, func(r row) bool { return r.Disabled })
	down := make([]bool, len(rows))
	var asking sync.WaitGroup
	for i, r := range rows {
		asking.Go(func() {
			a, err := s.ask(ctx, r)
			if err == nil {
				err = a.alive(ctx)
			}
			down[i] = err != nil
		})
	}
	asking.Wait()
	var silent []Way
	for i, r := range rows {
		if down[i] {
			silent = append(silent, r.way())
		}
	}
	return silent, nil
}

func (s *Service) servePolicy(w http.ResponseWriter, r *http.Request) error {
	scope, err := s.scope(r)
	if err != nil {
		return err
	}
	return api.Respond(w, http.StatusOK, Policy{s.Only(scope)})
}

func (s *Service) serveSetPolicy(w http.ResponseWriter, r *http.Request) error {
	scope, err := s.scope(r)
	if err != nil {
		return err
	}
	var in Policy
	if err := api.Read(r, &in); err != nil {
		return err
	}
	if err := s.setPolicy(r, scope, in); err != nil {
		return err
	}
	return s.servePolicy(w, r)
}
