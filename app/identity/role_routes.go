package identity

import (
	"net/http"

	"holdfast/app/api"
)

// RoleList is roles without paging: there are few.
type RoleList struct {
	Items []Role `json:"items"`
}

// PermissionList is the catalogue.
type PermissionList struct {
	Items []api.Named `json:"items"`
}

func (s *Service) roleRoutes() []api.Route {
	const path, one = "/api/v1/tenants/{slug}/roles", "/api/v1/tenants/{slug}/roles/{role}"
	return []api.Route{
		{
			Method: http.MethodGet, Path: "/api/v1/permissions", Permission: api.Signed,
			Summary: "List the permissions that roles are made of", Response: PermissionList{}, Handler: servePermissions,
		},
		{
			Method: http.MethodGet, Path: "/api/v1/roles", Permission: api.Signed,
			Summary: "List the built-in roles", Response: RoleList{}, Handler: serveBuiltins,
		},
		{
			Method: http.MethodGet, Path: path, Permission: api.MemberRead, Scope: s.tenantScope,
			Summary: "List the roles of a tenant: the built-in ones and its own", Response: RoleList{}, Handler: s.serveRoles,
		},
		{
			Method: http.MethodPost, Path: path, Permission: api.RoleManage, Assurance: api.Fresh, Scope: s.tenantScope,
			Summary: "Make a role of a tenant's own; it can hold only what its maker may there", Request: RoleRequest{}, Response: Role{}, Status: http.StatusCreated, Handler: s.serveNewRole,
		},
		{
			Method: http.MethodPut, Path: one, Permission: api.RoleManage, Assurance: api.Fresh, Scope: s.tenantScope,
			Summary: "Change a role of a tenant's own, at once for all who have it", Request: RoleRequest{}, Response: Role{}, Handler: s.serveChangedRole,
		},
		{
			Method: http.MethodDelete, Path: one, Permission: api.RoleManage, Assurance: api.Fresh, Scope: s.tenantScope,
			Summary: "Delete a role that nobody has", Handler: s.serveGoneRole,
		},
	}
}

func servePermissions(w http.ResponseWriter, _ *http.Request) error {
	return api.Respond(w, http.StatusOK, PermissionList{api.Catalogue()})
}

func serveBuiltins(w http.ResponseWriter, _ *http.Request) error {
	return api.Respond(w, http.StatusOK, RoleList{shownRoles(BuiltinRoles())})
}

// shownRoles has lists where there is none.
func shownRoles(list []Role) []Role {
	for i := range list {
		if list[i].Allow == nil {
			list[i].Allow = []api.Permission{}
		}
		if list[i].Deny == nil {
			list[i].Deny = []api.Permission{}
		}
	}
	return list
}

func (s *Service) serveRoles(w http.ResponseWriter, r *http.Request) error {
	tenant, err := s.tenant(r)
	if err != nil {
		return err
	}
	var list []Role
	for _, role := range BuiltinRoles() {
		if role.Where == api.OnTenant {
			list = append(list, role)
		}
	}
	own, err := s.customRoles(r.Context(), tenant)
	if err != nil {
		return err
	}
	return api.Respond(w, http.StatusOK, RoleList{shownRoles(append(list, own...))})
}

func (s *Service) serveNewRole(w http.ResponseWriter, r *http.Request) error {
	tenant, err := s.tenant(r)
	if err != nil {
		return err
	}
	var in RoleRequest
	if err := api.Read(r, &in); err != nil {
		return err
	}
	made, err := s.CreateRole(r.Context(), tenant, in)
	if err != nil {
		return err
	}
	return api.Respond(w, http.StatusCreated, shownRoles([]Role{made})[0])
}

func (s *Service) serveChangedRole(w http.ResponseWriter, r *http.Request) error {
	tenant, err := s.tenant(r)
	if err != nil {
		return err
	}
	var in RoleRequest
	if err := api.Read(r, &in); err != nil {
		return err
	}
	changed, err := s.ChangeRole(r.Context(), tenant, r.PathValue("role"), in)
	if err != nil {
		return err
	}
	return api.Respond(w, http.StatusOK, shownRoles([]Role{changed})[0])
}

func (s *Service) serveGoneRole(w http.ResponseWriter, r *http.Request) error {
	tenant, err := s.tenant(r)
	if err != nil {
		return err
	}
	if err := s.DeleteRole(r.Context(), tenant, r.PathValue("role")); err != nil {
		return err
	}
	return api.NoContent(w)
}
