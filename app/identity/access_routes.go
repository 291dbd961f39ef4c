package identity

import (
	"context"
	"net/http"
	"strings"
	"unicode/utf8"

	"holdfast/app/api"
)

// AccessNote goes with a decision.
type AccessNote struct {
	Note string `json:"note,omitempty" doc:"for who asked, and for the log"`
}

func (s *Service) accessRoutes() []api.Route {
	const all, own = "/api/v1/access-requests", "/api/v1/access-requests/{id}"
	const list, one = "/api/v1/tenants/{slug}/access-requests", "/api/v1/tenants/{slug}/access-requests/{id}"
	const policy = "/api/v1/tenants/{slug}/policies/access"
	state := api.Param{Name: "state", Summary: "open, approved (and not over) or past; all where it is not given"}
	routes := []api.Route{
		{Method: http.MethodGet, Path: list, Permission: api.MemberRead, Paged: true, Query: []api.Param{state}, Response: api.Page[AccessRequest]{},
			Summary: "List requests for access to a tenant, newest first", Handler: s.serveRequests},
		{Method: http.MethodPost, Path: list, Permission: api.TenantRead, Request: NewAccessRequest{}, Response: AccessRequest{}, Status: http.StatusCreated,
			Summary: "Ask a tenant's owners for access: to read records for hours, or for a role for days", Handler: s.serveAsk},
		{Method: http.MethodPost, Path: one + "/approve", Permission: api.MemberManage, Assurance: api.Fresh, Request: AccessNote{}, Response: AccessRequest{},
			Summary: "Give what somebody else asked for, from now", Handler: s.deciding(s.ApproveAccess)},
		{Method: http.MethodPost, Path: one + "/refuse", Permission: api.MemberManage, Request: AccessNote{}, Response: AccessRequest{},
			Summary: "Answer no", Handler: s.deciding(s.RefuseAccess)},
		{Method: http.MethodPost, Path: one + "/end", Permission: api.MemberManage, Response: AccessRequest{},
			Summary: "End at once what a request brought", Handler: s.serveEndAccess},
		{Method: http.MethodGet, Path: "/api/v1/tenants/{slug}/access-reads", Permission: api.MemberRead, Paged: true, Response: api.Page[AccessRead]{},
			Summary: "List each use of access that was given for reading, newest first; filter is a request's id", Handler: s.serveReads},
		{Method: http.MethodGet, Path: policy, Permission: api.MemberRead, Response: AccessPolicy{},
			Summary: "Whether two operators may approve an emergency", Handler: s.serveAccessPolicy},
		{Method: http.MethodPut, Path: policy, Permission: api.MemberManage, Assurance: api.Fresh, Request: AccessPolicy{}, Response: AccessPolicy{},
			Summary: "Say whether two operators may approve an emergency", Handler: s.serveSetAccessPolicy},
	}
	for i := range routes {
		routes[i].Scope = s.tenantScope
	}
	return append(routes,
		api.Route{Method: http.MethodPost, Path: one + "/emergency", Permission: api.AccessDecide, Assurance: api.Fresh, Request: AccessNote{}, Response: AccessRequest{},
			Summary: "One of two operators' approvals of an emergency", Handler: s.deciding(s.ApproveEmergency)},
		api.Route{Method: http.MethodGet, Path: all, Permission: api.Signed, Paged: true, Response: api.Page[AccessRequest]{},
			Query:   []api.Param{state, {Name: "decide", Summary: "only those of others, which the caller may decide", Example: true}},
			Summary: "List one's own requests and those that one may decide, newest first", Handler: s.serveMyRequests},
		api.Route{Method: http.MethodDelete, Path: own, Permission: api.Signed, Status: http.StatusOK, Response: AccessRequest{},
			Summary: "Withdraw a request of one's own, or give back what it brought", Handler: s.serveWithdraw},
	)
}

func (s *Service) serveRequests(w http.ResponseWriter, r *http.Request) error {
	return serveTenantPage(s, w, r, func(ctx context.Context, tenant string, p api.Paging) (api.Page[AccessRequest], error) {
		return s.requestsOf(ctx, tenant, r.URL.Query().Get("state"), p)
	})
}

func (s *Service) serveReads(w http.ResponseWriter, r *http.Request) error {
	return serveTenantPage(s, w, r, s.readsOf)
}

// serveTenantPage answers with a page of what a tenant has.
func serveTenantPage[T any](s *Service, w http.ResponseWriter, r *http.Request, list func(context.Context, string, api.Paging) (api.Page[T], error)) error {
	tenant, err := s.tenant(r)
	if err != nil {
		return err
	}
	p, err := api.ReadPage(r)
	if err != nil {
		return err
	}
	page, err := list(r.Context(), tenant, p)
	if err != nil {
		return err
	}
	return api.Respond(w, http.StatusOK, page)
}

func (s *Service) serveAsk(w http.ResponseWriter, r *http.Request) error {
	tenant, err := s.tenant(r)
	if err != nil {
		return err
	}
	var in NewAccessRequest
	if err := api.Read(r, &in); err != nil {
		return err
	}
	made, err := s.AskAccess(r.Context(), tenant, in)
	if err != nil {
		return err
	}
	return api.Respond(w, http.StatusCreated, made)
}

// deciding serves a decision with a note.
func (s *Service) deciding(decide func(ctx context.Context, tenant, id, note string) (AccessRequest, error)) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		tenant, err := s.tenant(r)
		if err != nil {
			return err
		}
		var in AccessNote
		if err := api.Read(r, &in); err != nil {
			return err
		}
		if utf8.RuneCountInString(in.Note) > 500 {
			return api.InvalidField("note", "at most 500 characters")
		}
		out, err := decide(r.Context(), tenant, r.PathValue("id"), strings.TrimSpace(in.Note))
		if err != nil {
			return err
		}
		return api.Respond(w, http.StatusOK, out)
	}
}

func (s *Service) serveEndAccess(w http.ResponseWriter, r *http.Request) error {
	tenant, err := s.tenant(r)
	if err != nil {
		return err
	}
	out, err := s.EndAccess(r.Context(), tenant, r.PathValue("id"))
	if err != nil {
		return err
	}
	return api.Respond(w, http.StatusOK, out)
}

func (s *Service) serveMyRequests(w http.ResponseWriter, r *http.Request) error {
	p, err := api.ReadPage(r)
	if err != nil {
		return err
	}
	q := r.URL.Query()
	others := q.Get("decide") == "1" || q.Get("decide") == "true"
	page, err := s.requestsFor(r.Context(), q.Get("state"), others, p)
	if err != nil {
		return err
	}
	return api.Respond(w, http.StatusOK, page)
}

func (s *Service) serveWithdraw(w http.ResponseWriter, r *http.Request) error {
	out, err := s.WithdrawAccess(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	return api.Respond(w, http.StatusOK, out)
}
