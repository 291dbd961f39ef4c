package identity

import (
	"net/http"
	"slices"

	"holdfast/app/api"
	"holdfast/data"
	"holdfast/data/signin"
)

// Routes are the capability over REST.
func (s *Service) Routes() []api.Route {
	return slices.Concat(s.keyRoutes(), s.memberRoutes(), s.roleRoutes(), s.operatorRoutes(), s.signInRoutes(), s.factorRoutes(), s.sessionRoutes(), s.policyRoutes(), s.personRoutes(), s.accessRoutes(), s.pairRoutes(), s.inviteRoutes(), s.resetRoutes(), s.accountRoutes(), s.recoveredRoutes(), s.memberSessionRoutes(), []api.Route{
		{
			Method: http.MethodPost, Path: "/api/v1/setup", Permission: api.Public,
			Summary: "Make the first operator with a setup link, and sign in",
			Request: SetupRequest{}, Response: Me{}, Status: http.StatusCreated, Handler: s.serveSetup,
		},
		{
			Method: http.MethodGet, Path: "/api/v1/session", Permission: api.Signed, Summary: "Who is signed in", Assurance: api.Bare,
			Response: Me{}, Handler: s.serveMe,
		},
		{
			Method: http.MethodDelete, Path: "/api/v1/session", Permission: api.Signed, Summary: "Sign out", Assurance: api.Bare, Handler: s.serveSignOut,
		},
		{
			Method: http.MethodPost, Path: "/api/v1/session/password", Permission: api.Signed, Request: PasswordChange{},
			Summary: "Change one's password; all other sessions end", Assurance: api.Bare, Handler: s.servePasswordChange,
		},
	})
}

// SetupRequest uses a setup link.
type SetupRequest struct {
	Token string `json:"token"`
	NewPerson
}

// SignInRequest is an address and a password.
type SignInRequest struct {
	Email    string `json:"email"`
	Password string `json:"password"`
}

func (s *Service) serveSetup(w http.ResponseWriter, r *http.Request) error {
	var in SetupRequest
	if err := api.Read(r, &in); err != nil {
		return err
	}
	address := signin.AddressOf(r.RemoteAddr)
	if err := s.admit("", address); err != nil {
		return err
	}
	p, err := s.claim(r.Context(), in.Token, in.NewPerson)
	if err != nil {
		return err
	}
	s.origins.Forgive(address)
	ctx := data.WithActor(r.Context(), data.Actor{Kind: data.Person, ID: p.ID})
	if err := s.signIn(w, r, p, BySetupLink); err != nil {
		return err
	}
	return s.respondMe(w, r, http.StatusCreated, data.ActorFrom(ctx))
}

func (s *Service) serveSignOut(w http.ResponseWriter, r *http.Request) error {
	token := s.token(r)
	if err := s.sessions.end(r.Context(), token); err != nil {
		return err
	}
	http.SetCookie(w, s.clearCookie(r))
	w.Header().Set("Clear-Site-Data", `"cache", "storage"`)
	if err := s.record(r.Context(), "session.end", data.ActorFrom(r.Context()).ID, api.OK, nil); err != nil {
		return err
	}
	return api.NoContent(w)
}
