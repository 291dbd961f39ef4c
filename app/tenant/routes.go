package tenant

import (
	"net/http"

	"holdfast/app/api"
	"holdfast/data"
)

// Routes are the tenants and their stores over REST.
func (s *Service) Routes() []api.Route {
	return append(s.tenantRoutes(), s.storeRoutes()...)
}

// NewTenant is the body of a creation.
type NewTenant struct {
	Slug string `json:"slug" doc:"a-z, 0-9 and -, at most 40; names the tenant's host"`
	Name string `json:"name,omitempty" doc:"for people; the slug where it is not given"`
	// Owner is somebody who has an account.
	Owner string `json:"owner,omitempty" doc:"e-mail address of its first owner, who has an account; who creates it where it is not given"`
}

// NewEnvironment is the body of an environment's creation.
type NewEnvironment struct {
	Name string `json:"name" enum:"test,dev"`
}

// Deletion is the body of a deletion.
type Deletion struct {
	Confirm string `json:"confirm" doc:"the slug again, to say that this one is meant"`
}

func (s *Service) tenantRoutes() []api.Route {
	const one = "/api/v1/tenants/{slug}"
	return []api.Route{
		{
			Method: "GET", Path: "/api/v1/tenants", Permission: api.TenantRead, Scope: anyTenant, Paged: true,
			Summary:  "List tenants; filter is looked for in slug and name; sort by slug, name, created or state",
			Query:    []api.Param{{Name: "state", Summary: "live, parked, destroyed or all; live and parked where it is not given"}},
			Response: api.Page[Tenant]{}, Handler: s.serveList,
		},
		{
			Method: "POST", Path: "/api/v1/tenants", Permission: api.TenantCreate,
			Summary: "Create a tenant", Request: NewTenant{}, Response: Tenant{}, Status: 201, Handler: s.serveCreate,
		},
		{
			Method: "GET", Path: one, Permission: api.TenantRead, Scope: s.tenantScope,
			Summary: "Show a tenant", Response: Tenant{}, Handler: s.serveGet,
		},
		{
			Method: "DELETE", Path: one, Permission: api.TenantDelete, Assurance: api.Fresh, Scope: s.tenantScope,
			Pair:    &api.Pair{Action: "tenant.destroy", Title: "Destroy a tenant at once", When: destroysNow},
			Summary: "Delete a tenant: its keys are parked for 7 days, or destroyed with now",
			Query:   []api.Param{{Name: "now", Summary: "destroy at once", Example: true}},
			Request: Deletion{}, Response: Tenant{}, Handler: s.serveDelete,
		},
		{
			Method: "POST", Path: one + "/undelete", Permission: api.TenantDelete, Scope: s.tenantScope,
			Summary: "Bring a deleted tenant back", Response: Tenant{}, Handler: s.serveUndelete,
		},
		{
			Method: "POST", Path: one + "/environments", Permission: api.EnvironmentCreate, Scope: s.tenantScope,
			Summary: "Create an environment", Request: NewEnvironment{}, Response: Environment{}, Status: 201, Handler: s.serveEnvironment,
		},
	}
}

func anyTenant(*http.Request) api.Scope { return api.Scope{Tenant: api.AnyTenant} }

// tenantScope asks within the tenant, whatever its state.
func (s *Service) tenantScope(r *http.Request) api.Scope {
	found, err := s.row(r.Context(), r.PathValue("slug"))
	if err != nil || found.State == creating {
		return api.Scope{Missing: err}
	}
	return api.Scope{Tenant: found.ID}
}

func (s *Service) serveList(w http.ResponseWriter, r *http.Request) error {
	p, err := api.ReadPage(r)
	if err != nil {
		return err
	}
	ctx := r.Context()
	reach, err := s.config.Access.Reach(ctx, data.ActorFrom(ctx), api.TenantRead)
	if err != nil {
		return err
	}
	items, total, err := s.List(ctx, Listing{Paging: p, State: r.URL.Query().Get("state"), Reach: reach})
	if err != nil {
		return err
	}
	return api.Respond(w, http.StatusOK, api.NewPage(items, p, total))
}

func (s *Service) serveCreate(w http.ResponseWriter, r *http.Request) error {
	var n NewTenant
	if err := api.Read(r, &n); err != nil {
		return err
	}
	t, err := s.CreateFor(r.Context(), n.Slug, n.Name, n.Owner)
	if err != nil {
		return err
	}
	return api.Respond(w, http.StatusCreated, t)
}

func (s *Service) serveGet(w http.ResponseWriter, r *http.Request) error {
	t, err := s.Get(r.Context(), r.PathValue("slug"))
	if err != nil {
		return err
	}
	return api.Respond(w, http.StatusOK, t)
}

// destroysNow says whether a deletion has no window for regret; what is no answer to that
// is refused later.
func destroysNow(r *http.Request) bool {
	now, err := flag(r, "now")
	return now || err != nil
}

func (s *Service) serveDelete(w http.ResponseWriter, r *http.Request) error {
	now, err := flag(r, "now")
	if err != nil {
		return err
	}
	slug := r.PathValue("slug")
	if _, err := s.Get(r.Context(), slug); err != nil {
		return err
	}
	var d Deletion
	if err := api.Read(r, &d); err != nil {
		return err
	}
	if d.Confirm != slug {
		return api.InvalidField("confirm", "write the slug of the tenant that is to be deleted")
	}
	t, err := s.Delete(r.Context(), slug, now)
	if err != nil {
		return err
	}
	return api.Respond(w, http.StatusOK, t)
}

// flag reads a query parameter that says yes or no.
func flag(r *http.Request, name string) (bool, error) {
	switch r.URL.Query().Get(name) {
	case "", "0", "false":
		return false, nil
	case "1", "true":
		return true, nil
	}
	return false, api.InvalidField(name, "want true or false")
}

func (s *Service) serveUndelete(w http.ResponseWriter, r *http.Request) error {
	t, err := s.Undelete(r.Context(), r.PathValue("slug"))
	if err != nil {
		return err
	}
	return api.Respond(w, http.StatusOK, t)
}

func (s *Service) serveEnvironment(w http.ResponseWriter, r *http.Request) error {
	var n NewEnvironment
	if err := api.Read(r, &n); err != nil {
		return err
	}
	e, err := s.CreateEnvironment(r.Context(), r.PathValue("slug"), n.Name)
	if err != nil {
		return err
	}
	return api.Respond(w, http.StatusCreated, e)
}
