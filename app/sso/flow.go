package sso

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"holdfast/app/api"
	"holdfast/data"
)

// Begin asks to be sent to a provider.
type Begin struct {
	Return string `json:"return,omitempty" doc:"path of the console to come back to"`
}

// Begun is where the browser goes next.
type Begun struct {
	URL string `json:"url"`
}

// Finish is what the provider sent back, brought by the console's own page.
type Finish struct {
	Provider string `json:"provider"`
	State    string `json:"state"`
	Code     string `json:"code,omitempty"`
	Iss      string `json:"iss,omitempty"`
	Error    string `json:"error,omitempty"`
}

// Finished is what came of it.
type Finished struct {
	Purpose string `json:"purpose" enum:"sign-in,step-up,link"`
	Return  string `json:"return"`
	Answer  any    `json:"answer" doc:"of a sign-in: who is signed in, or the question for a second factor; else null"`
}

// Ways are the providers that somebody who is not signed in may choose from.
type Ways struct {
	Providers []Way `json:"providers"`
	Passwords bool  `json:"passwords" doc:"whether anybody can sign in with a password"`
}

// Way is one of them.
type Way struct {
	ID   string `json:"id"`
	Name string `json:"name"`
	Kind string `json:"kind" enum:"google,github,microsoft,oidc"`
}

func (r row) way() Way { return Way{r.ID, r.Name, r.Kind} }

// flowRoutes are the way out and back.
func (s *Service) flowRoutes() []api.Route {
	return []api.Route{
		{Method: http.MethodGet, Path: "/api/v1/sso", Permission: api.Public, Summary: "The providers that one can sign in through", Response: Ways{},
			Query: []api.Param{{Name: "tenant", Summary: "slug of a tenant, for its own providers too"}}, Handler: s.serveWays},
		{Method: http.MethodPost, Path: "/api/v1/sso/{provider}/begin", Permission: api.Public, Summary: "Begin to sign in through a provider",
			Request: Begin{}, Response: Begun{}, Handler: s.serveBegin(toSignIn)},
		{Method: http.MethodGet, Path: "/api/v1/sso/{provider}/callback", Permission: api.Public, Summary: "Where a provider sends the browser back: on to the console, which finishes",
			Produces: "text/plain", Status: http.StatusSeeOther, Response: "", Handler: s.serveCallback},
		{Method: http.MethodPost, Path: "/api/v1/sso/finish", Permission: api.Public, Summary: "Finish what was begun with what the provider sent back; once",
			Request: Finish{}, Response: Finished{}, Handler: s.serveFinish},
		{Method: http.MethodPost, Path: "/api/v1/sso/confirm", Permission: api.Public, Summary: "Confirm one's address with the link of a letter, after the first sign-in at a tenant's provider; once",
			Request: Confirm{}, Response: Confirmed{}, Handler: s.serveConfirm},
		{Method: http.MethodPost, Path: "/api/v1/session/step-up/sso/{provider}", Permission: api.Signed, Assurance: api.Bare, Summary: "Begin to step up by signing in at the provider again",
			Request: Begin{}, Response: Begun{}, Handler: s.serveBegin(toStepUp)},
		{Method: http.MethodPost, Path: "/api/v1/session/links/{id}", Permission: api.Signed, Assurance: api.Enrol, Summary: "Begin to link one's account at a provider, whose id this is",
			Request: Begin{}, Response: Begun{}, Handler: s.serveBegin(toLink)},
	}
}

func (s *Service) serveWays(w http.ResponseWriter, r *http.Request) error {
	scopes := []string{Appliance}
	if slug := r.URL.Query().Get("tenant"); slug != "" {
		id, err := s.config.Tenants.Store(r.Context(), slug, data.Prod)
		if err == nil { // an unknown tenant has none
			scopes = s.waysTo(id.Tenant)
		}
	}
	rows, err := s.providers(r.Context(), scopes...)
	if err != nil {
		return err
	}
	out := Ways{Providers: []Way{}, Passwords: !s.Only(Appliance)}
	for _, row := range rows {
		if !row.Disabled {
			out.Providers = append(out.Providers, row.way())
		}
	}
	return api.Respond(w, http.StatusOK, out)
}

// serveBegin makes a journey and gives its address. Its cookie ties it to this
// browser: what comes back in another one is nobody's.
func (s *Service) serveBegin(why purpose) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		var in Begin
		if err := api.Read(r, &in); err != nil {
			return err
		}
		if err := s.config.People.Ask(s.config.People.Address(r)); err != nil {
			return err
		}
		row, person, err := s.mayBegin(r, why)
		if err != nil {
			return err
		}
		a, err := s.authority(r.Context(), row)
		if err != nil {
			return s.down(r.Context(), row, err)
		}
		if why == toStepUp && !a.steps() {
			return api.Errorf(http.StatusConflict, "cannot-ask-again", "%s cannot be made to ask again. Add a passkey or an authenticator app under Profile and security, or sign out and in.", row.Name)
		}
		j, cookie := s.begun.begin(journey{provider: row.ID, generation: row.generation(), purpose: why, person: person,
			redirect: redirectOf(r, row.ID), back: local(in.Return)})
		http.SetCookie(w, s.cookie(r, cookie))
		return api.Respond(w, http.StatusOK, Begun{URL: a.address(j)})
	}
}

// mayBegin finds the provider, and who sets out where somebody has to be signed in.
func (s *Service) mayBegin(r *http.Request, why purpose) (row, string, error) {
	// OpenAPI has one name for what stands in one place of a path: DELETE has a link's id there.
	row, err := s.provider(r.Context(), cmp.Or(r.PathValue("provider"), r.PathValue("id")))
	if err == nil {
		err = row.open()
	}
	if err != nil || why == toSignIn {
		return row, "", err
	}
	actor := data.ActorFrom(r.Context())
	if actor.Kind != data.Person {
		return row, "", errNoPerson()
	}
	p, err := s.config.People.ByID(r.Context(), actor.ID)
	if err == nil {
		err = row.admits(p)
	}
	if err == nil && why == toLink {
		err = s.mayLink(r, row)
	}
	if err == nil && why == toStepUp {
		_, err = s.linkOf(r.Context(), row.ID, p.ID)
	}
	return row, p.ID, err
}

func errNoPerson() error {
	return api.Errorf(http.StatusForbidden, "no-person", "Only a person has this.").Because(api.ErrForbidden)
}

// down says what does not answer; the log has why.
func (s *Service) down(ctx context.Context, r row, cause error) error {
	s.config.Logger.WarnContext(ctx, "an identity provider does not answer", "provider", r.ID, "error", cause)
	if errors.Is(cause, ErrClient) {
		return api.Errorf(http.StatusBadGateway, "provider-refuses-us", "%s does not accept this appliance's client id and secret. Who runs the appliance can mend it.", r.Name).Because(cause)
	}
	return api.Errorf(http.StatusBadGateway, "provider-down", "%s does not answer: sign-in through it is not possible now. Other ways to sign in still work.", r.Name).Because(cause)
}

// redirectOf is where a provider sends the browser back: another address for each
// provider, so that one of them cannot pass its answer off as another's.
func redirectOf(r *http.Request, provider string) string {
	return originOf(r) + redirectPath(provider)
}

func redirectPath(provider string) string { return "/api/v1/sso/" + provider + "/callback" }

func originOf(r *http.Request) string {
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	return scheme + "://" + r.Host
}

// local is a path of the console, "/" for anything that leads elsewhere.
func local(path string) string {
	u, err := url.Parse(path)
	if err != nil || u.Scheme != "" || u.Host != "" || u.User != nil || !strings.HasPrefix(path, "/") || strings.HasPrefix(path, "//") ||
		len(path) > 1000 || strings.ContainsFunc(path, func(c rune) bool { return c <= ' ' || c == '\\' || c == 0x7f }) {
		return "/"
	}
	return path
}

// maxBack bounds what a provider sends back in the address.
const maxBack = 8 << 10

// serveCallback changes nothing and asks for no cookie: a request that another site
// began carries none that is SameSite=Strict. It hands what came back to the console
// in the fragment, which no log and no Referer has; the console's own request to
// finish carries the cookies again, and is the one that counts.
func (s *Service) serveCallback(w http.ResponseWriter, r *http.Request) error {
	back := url.Values{"provider": {r.PathValue("provider")}}
	for _, name := range []string{"state", "code", "iss", "error"} {
		if v := r.URL.Query()[name]; len(v) == 1 && len(v[0]) <= maxBack {
			back.Set(name, v[0])
		}
	}
	w.Header().Set("Location", "/sso#"+back.Encode())
	w.WriteHeader(http.StatusSeeOther)
	return nil
}

// serveFinish is the one step that counts. The journey ends with it, whatever comes
// of it.
func (s *Service) serveFinish(w http.ResponseWriter, r *http.Request) error {
	var in Finish
	if err := api.Read(r, &in); err != nil {
		return err
	}
	if err := s.config.People.Admit(s.config.People.Address(r)); err != nil {
		return err
	}
	j, row, err := s.journeyOf(r, in)
	http.SetCookie(w, s.endCookie(r))
	if err != nil {
		return err
	}
	c, err := s.redeem(r.Context(), row, j, in)
	if err != nil {
		return s.failed(r, row, j, err)
	}
	out, err := s.arrive(w, r, row, j, c)
	if err != nil {
		return err
	}
	s.config.People.Forgive(s.config.People.Address(r))
	return api.Respond(w, http.StatusOK, out)
}

func errBeginAgain() *api.Problem {
	return api.Errorf(http.StatusUnauthorized, "sign-in-expired", "This sign-in was not begun in this browser, took longer than ten minutes, or was used already. Begin again.")
}

// journeyOf finds what the request finishes. Who set out signed in must still be.
func (s *Service) journeyOf(r *http.Request, in Finish) (journey, row, error) {
	j, ok := s.begun.end(in.State, s.token(r))
	if !ok || j.provider != in.Provider || j.redirect != redirectOf(r, j.provider) {
		return j, row{}, errBeginAgain()
	}
	if j.person != "" && data.ActorFrom(r.Context()) != (data.Actor{Kind: data.Person, ID: j.person}) {
		return j, row{}, errBeginAgain()
	}
	row, err := s.provider(r.Context(), j.provider)
	if err == nil && row.generation() != j.generation { // changed meanwhile
		err = errBeginAgain()
	}
	return j, row, err
}

// redeem asks the provider, after the answer was seen to be its own.
func (s *Service) redeem(ctx context.Context, r row, j journey, in Finish) (claims, error) {
	a, err := s.authority(ctx, r)
	if err != nil {
		return claims{}, err
	}
	switch {
	case !a.names(in.Iss):
		return claims{}, ErrRefused
	case in.Error != "":
		return claims{}, errDenied
	case in.Code == "":
		return claims{}, ErrRefused
	}
	return a.redeem(ctx, j, in.Code)
}

var errDenied = errors.New("the provider says that it was not allowed")

// arrive does what the journey was for.
func (s *Service) arrive(w http.ResponseWriter, r *http.Request, row row, j journey, c claims) (Finished, error) {
	out := Finished{Purpose: string(j.purpose), Return: j.back}
	switch j.purpose {
	case toLink:
		return out, s.linkOwn(r, row, j.person, c)
	case toStepUp:
		return out, s.stepUp(w, r, row, j, c)
	}
	p, err := s.whom(r.Context(), row, c)
	if err != nil {
		return out, s.refused(r, row, j, p.ID, err)
	}
	if err := s.showNewLink(r.Context(), row, p); err != nil {
		return out, err
	}
	out.Answer, err = s.config.People.SignIn(w, r, Vouched{Person: p.ID, Provider: row.ID, Scope: row.Scope, Strong: row.strong(c), Fresh: shownAt(c, s.now())})
	return out, err
}

// linkOwn links what the person who set out came back with, if that may still be.
func (s *Service) linkOwn(r *http.Request, row row, person string, c claims) error {
	p, err := s.config.People.ByID(r.Context(), person)
	if err == nil {
		err = row.admits(p)
	}
	if err == nil {
		err = s.mayLink(r, row)
	}
	if err != nil {
		return err
	}
	return s.link(r.Context(), row, person, c)
}

// mayLink keeps sessions that rest on a tenant's provider from making themselves a way
// in that is not that tenant's.
func (s *Service) mayLink(r *http.Request, row row) error {
	tenant, err := s.config.People.Tenant(r)
	if err == nil && tenant != "" && tenant != row.Scope {
		err = errTenantSession()
	}
	return err
}

func errTenantSession() error {
	return api.Errorf(http.StatusForbidden, "tenant-session", "You came in through a tenant's own identity provider, which may not change how you sign in. Sign in another way for that.").Because(api.ErrForbidden)
}

// stepUp takes only who is linked, and only a factor that was shown for it. What the
// provider may is asked again: there may be a role elsewhere by now.
func (s *Service) stepUp(w http.ResponseWriter, r *http.Request, row row, j journey, c claims) error {
	p, err := s.config.People.ByID(r.Context(), j.person)
	if err != nil {
		return err
	}
	if err := row.admits(p); err != nil {
		return s.refused(r, row, j, j.person, err)
	}
	l, err := s.linkOf(r.Context(), row.ID, j.person)
	if err != nil {
		return err
	}
	if l.Subject != c.Subject {
		return s.refused(r, row, j, j.person, api.Errorf(http.StatusForbidden, "another-account", "You came back with another account of %s than the one that is linked.", row.Name))
	}
	if !shownAgain(c, j) {
		return s.refused(r, row, j, j.person, api.Errorf(http.StatusForbidden, "not-asked-again", "%s did not ask you again. Add a passkey or an authenticator app under Profile and security, or sign out and in.", row.Name))
	}
	return s.config.People.StepUp(w, r, Vouched{Person: j.person, Provider: row.ID, Scope: row.Scope, Strong: row.strong(c), Fresh: s.now()})
}

// failed says what the matter is with a provider's answer.
func (s *Service) failed(r *http.Request, row row, j journey, cause error) error {
	switch {
	case errors.Is(cause, errDenied):
		return s.refused(r, row, j, "", api.Errorf(http.StatusUnauthorized, "sign-in-denied", "%s says that the sign-in was cancelled or not allowed.", row.Name))
	case errors.Is(cause, ErrRefused):
		s.config.Logger.WarnContext(r.Context(), "an identity provider's answer was refused", "provider", row.ID, "error", cause)
		return s.refused(r, row, j, "", api.Errorf(http.StatusUnauthorized, "sign-in-refused", "What came back from %s was not accepted. Begin again.", row.Name).Because(cause))
	}
	return s.down(r.Context(), row, cause)
}

// refused records a try that came to nothing. An error that is not an answer is given
// back as it is.
func (s *Service) refused(r *http.Request, row row, j journey, person string, cause error) error {
	var answer *api.Problem
	if !errors.As(cause, &answer) {
		return cause
	}
	target := person
	if person == "" {
		target = "unknown"
	}
	err := s.record(r.Context(), "session.create", target, api.Failed, map[string]string{"method": "sso", "provider": row.ID,
		"address": s.config.People.Address(r), "purpose": string(j.purpose), "code": answer.Code})
	if err != nil {
		return err
	}
	return cause
}
