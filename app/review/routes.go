package review

import (
	"net/http"

	"holdfast/app/api"
	"holdfast/data"
)

// Routes are reviews over REST.
func (s *Service) Routes() []api.Route {
	const all, one, policy = "/api/v1/reviews", "/api/v1/reviews/{id}", "/api/v1/reviews/policy"
	return []api.Route{
		{
			Method: "GET", Path: all, Permission: api.ReviewRead, Scope: anywhere, Paged: true,
			Summary: "List access reviews, those under way first; filter is open, closed, or text in the scope's name", Response: api.Page[Review]{}, Handler: s.serveList,
		},
		{
			Method: "POST", Path: all, Permission: api.ReviewManage, Summary: "Begin a review of the appliance's roles and keys",
			Response: Review{}, Status: 201, Handler: s.serveStart,
		},
		{
			Method: "POST", Path: "/api/v1/tenants/{slug}/reviews", Permission: api.ReviewManage, Scope: s.scopeOfTenant, Summary: "Begin a review of a tenant's roles and keys",
			Response: Review{}, Status: 201, Handler: s.serveStart,
		},
		{
			Method: "GET", Path: policy, Permission: api.ReviewRead, Summary: "When access is reviewed, and when unused accounts and keys are disabled", Response: Policy{}, Handler: s.servePolicy,
		},
		{
			Method: "PUT", Path: policy, Permission: api.ReviewManage, Assurance: api.Fresh, Summary: "Replace the policy; fields that are not given have their defaults",
			Request: Policy{}, Response: Policy{}, Handler: s.serveSetPolicy,
		},
		{Method: "GET", Path: one, Permission: api.ReviewRead, Scope: s.scopeOf, Summary: "Show a review", Response: Review{}, Handler: s.serveGet},
		{
			Method: "GET", Path: one + "/items", Permission: api.ReviewRead, Scope: s.scopeOf, Paged: true,
			Summary: "List the roles and keys of a review; filter is waiting, a decision, or text in name, detail or role", Response: api.Page[Item]{}, Handler: s.serveItems,
		},
		{
			Method: "PATCH", Path: one + "/items/{item}", Permission: api.ReviewManage, Assurance: api.Fresh, Scope: s.scopeOf,
			Summary: "Confirm a role or key, or revoke it at once; nobody decides their own", Request: Decision{}, Response: Item{}, Handler: s.serveDecide,
		},
		{
			Method: "GET", Path: one + "/report", Permission: api.ReviewRead, Scope: s.scopeOf, Summary: "The signed report of a closed review",
			Query:    []api.Param{{Name: "format", Summary: "json (the bytes that are signed), sig (their signature) or html"}},
			Produces: "application/json", Response: "", Handler: s.serveReport,
		},
	}
}

func anywhere(*http.Request) api.Scope { return api.Scope{Tenant: api.AnyTenant} }

// at is where a scope's permissions are asked for.
func at(scope string) api.Scope {
	if scope == Appliance {
		return api.Scope{}
	}
	return api.Scope{Tenant: scope}
}

// scopeOf is that of the path's review; one that is not there counts as the
// appliance's, so that only who may see all learns so.
func (s *Service) scopeOf(r *http.Request) api.Scope {
	row, err := s.row(r.Context(), r.PathValue("id"))
	if err != nil {
		return api.Scope{}
	}
	return at(row.Scope)
}

func (s *Service) scopeOfTenant(r *http.Request) api.Scope {
	scope, err := s.config.Access.Tenant(r.Context(), r.PathValue("slug"))
	if err != nil {
		return api.Scope{}
	}
	return at(scope.ID)
}

func (s *Service) serveList(w http.ResponseWriter, r *http.Request) error {
	p, err := api.ReadPage(r)
	if err != nil {
		return err
	}
	reach, err := s.config.Access.Reach(r.Context(), data.ActorFrom(r.Context()), api.ReviewRead)
	if err != nil {
		return err
	}
	page, err := s.list(r.Context(), p, reach)
	if err != nil {
		return err
	}
	return api.Respond(w, http.StatusOK, page)
}

func (s *Service) serveStart(w http.ResponseWriter, r *http.Request) error {
	scope := Scope{ID: Appliance, Name: ApplianceName}
	if slug := r.PathValue("slug"); slug != "" {
		var err error
		if scope, err = s.config.Access.Tenant(r.Context(), slug); err != nil {
			return err
		}
	}
	made, err := s.Start(r.Context(), scope)
	if err != nil {
		return err
	}
	return api.Respond(w, http.StatusCreated, made)
}

func (s *Service) servePolicy(w http.ResponseWriter, r *http.Request) error {
	p, err := s.Policy(r.Context())
	if err != nil {
		return err
	}
	return api.Respond(w, http.StatusOK, p)
}

func (s *Service) serveSetPolicy(w http.ResponseWriter, r *http.Request) error {
	p := DefaultPolicy()
	if err := api.Read(r, &p); err != nil {
		return err
	}
	if err := s.SetPolicy(r.Context(), p); err != nil {
		return err
	}
	return api.Respond(w, http.StatusOK, p)
}

func (s *Service) serveGet(w http.ResponseWriter, r *http.Request) error {
	found, err := s.Get(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	return api.Respond(w, http.StatusOK, found)
}

func (s *Service) serveItems(w http.ResponseWriter, r *http.Request) error {
	p, err := api.ReadPage(r)
	if err != nil {
		return err
	}
	if _, err := s.row(r.Context(), r.PathValue("id")); err != nil {
		return err
	}
	page, err := s.listItems(r.Context(), r.PathValue("id"), p)
	if err != nil {
		return err
	}
	return api.Respond(w, http.StatusOK, page)
}

func (s *Service) serveDecide(w http.ResponseWriter, r *http.Request) error {
	var d Decision
	if err := api.Read(r, &d); err != nil {
		return err
	}
	it, err := s.Decide(r.Context(), r.PathValue("id"), r.PathValue("item"), d)
	if err != nil {
		return err
	}
	return api.Respond(w, http.StatusOK, it)
}

func (s *Service) serveReport(w http.ResponseWriter, r *http.Request) error {
	row, err := s.row(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	return sendReport(w, r, row)
}
