package identity

import (
	"net/http"

	"holdfast/app/api"
)

// inviteRoutes are how people are brought in, to the appliance and to tenants.
func (s *Service) inviteRoutes() []api.Route {
	const whole, tenant = "/api/v1/invites", "/api/v1/tenants/{slug}/invites"
	return []api.Route{
		{Method: http.MethodGet, Path: whole, Permission: api.OperatorRead, Paged: true, Summary: "List invites to the appliance; filter pending leaves out those used or taken back",
			Response: api.Page[Invite]{}, Handler: s.serveInvites},
		{Method: http.MethodPost, Path: whole, Permission: api.OperatorManage, Assurance: api.Fresh, Summary: "Invite an operator by address; the link is good once, for seven days",
			Request: InviteRequest{}, Response: Invite{}, Status: http.StatusCreated, Handler: s.serveInvite},
		{Method: http.MethodDelete, Path: whole + "/{id}", Permission: api.OperatorManage, Summary: "Take an invite to the appliance back", Handler: s.serveRevokeInvite},
		{Method: http.MethodGet, Path: tenant, Permission: api.MemberRead, Scope: s.tenantScope, Paged: true, Summary: "List invites to a tenant; filter pending leaves out those used or taken back",
			Response: api.Page[Invite]{}, Handler: s.serveInvites},
		{Method: http.MethodPost, Path: tenant, Permission: api.MemberManage, Scope: s.tenantScope, Assurance: api.Fresh, Summary: "Invite somebody to a tenant by address; the link is good once, for seven days",
			Request: InviteRequest{}, Response: Invite{}, Status: http.StatusCreated, Handler: s.serveInvite},
		{Method: http.MethodDelete, Path: tenant + "/{id}", Permission: api.MemberManage, Scope: s.tenantScope, Summary: "Take an invite to a tenant back", Handler: s.serveRevokeInvite},

		{Method: http.MethodPost, Path: "/api/v1/invite", Permission: api.Public, Summary: "What an invite is for, by its link's token",
			Request: LinkToken{}, Response: InviteShown{}, Handler: s.serveInviteShown},
		{Method: http.MethodPost, Path: "/api/v1/invite/passkey", Permission: api.Public, Summary: "Begin to make a passkey for the account that an invite makes",
			Request: AcceptInvite{}, Response: PasskeyOptions{}, Handler: s.serveInvitePasskey},
		{Method: http.MethodPost, Path: "/api/v1/invite/accept", Permission: api.Public, Summary: "Make the account that an invite is for, and sign in",
			Request: AcceptInvite{}, Response: Accepted{}, Status: http.StatusCreated, Handler: s.serveAcceptInvite},
		{Method: http.MethodPost, Path: "/api/v1/invite/join", Permission: api.Signed, Assurance: api.Bare, Summary: "Take an invite's role with the account that one is signed in with",
			Request: LinkToken{}, Response: Me{}, Handler: s.ownly(s.serveJoinInvite)},
	}
}

func (s *Service) serveInvites(w http.ResponseWriter, r *http.Request) error {
	scope, err := s.policyScope(r)
	if err != nil {
		return err
	}
	page, err := api.ReadPage(r)
	if err != nil {
		return err
	}
	list, err := s.invites(r.Context(), scope, page)
	if err != nil {
		return err
	}
	return api.Respond(w, http.StatusOK, list)
}

func (s *Service) serveInvite(w http.ResponseWriter, r *http.Request) error {
	scope, err := s.policyScope(r)
	if err != nil {
		return err
	}
	var in InviteRequest
	if err := api.Read(r, &in); err != nil {
		return err
	}
	made, err := s.Invite(r.Context(), scope, in)
	if err != nil {
		return err
	}
	return api.Respond(w, http.StatusCreated, made)
}

func (s *Service) serveRevokeInvite(w http.ResponseWriter, r *http.Request) error {
	scope, err := s.policyScope(r)
	if err != nil {
		return err
	}
	if err := s.RevokeInvite(r.Context(), scope, r.PathValue("id")); err != nil {
		return err
	}
	return api.NoContent(w)
}
