package identity

import (
	"net/http"
	"time"

	"holdfast/app/api"
	"holdfast/data"
	"holdfast/data/signin"
)

// sessionRoutes are one's own sessions, other people's, and showing a factor again.
func (s *Service) sessionRoutes() []api.Route {
	const own, others = "/api/v1/session", "/api/v1/people/{id}/sessions"
	return []api.Route{
		{
			Method: http.MethodPost, Path: own + "/step-up", Permission: api.Signed, Assurance: api.Bare, Request: StepUp{},
			Summary: "Show a factor again, for what asks for a fresh one; the session goes on under a new cookie", Handler: s.ownly(s.serveStepUp),
		},
		{
			Method: http.MethodGet, Path: own + "/step-up", Permission: api.Signed, Assurance: api.Bare, Response: StepUpWays{},
			Summary: "What can be shown to step up", Handler: s.ownly(s.serveStepUpWays),
		},
		{
			Method: http.MethodPost, Path: own + "/step-up/passkey", Permission: api.Signed, Assurance: api.Bare, Response: PasskeyOptions{},
			Summary: "Begin to step up with a passkey", Handler: s.ownly(s.serveStepUpPasskey),
		},
		{
			Method: http.MethodGet, Path: own + "/sessions", Permission: api.Signed, Assurance: api.Bare, Paged: true, Response: api.Page[SessionShown]{},
			Summary: "One's own sessions, the one last used first", Handler: s.ownly(s.serveOwnSessions),
		},
		{
			Method: http.MethodDelete, Path: own + "/sessions/{session}", Permission: api.Signed, Assurance: api.Bare,
			Summary: "End one of one's own sessions", Handler: s.ownly(s.serveEndOwn),
		},
		{
			Method: http.MethodDelete, Path: own + "/sessions", Permission: api.Signed, Assurance: api.Bare,
			Summary: "End all of one's own sessions but this one", Handler: s.ownly(s.serveEndOthers),
		},
		{
			Method: http.MethodGet, Path: own + "/sign-ins", Permission: api.Signed, Assurance: api.Bare, Paged: true, Response: api.Page[SignIn]{},
			Summary: "Recent sign-ins, and tries that failed; kept for 90 days", Handler: s.ownly(s.serveSignIns),
		},
		{
			Method: http.MethodGet, Path: others, Permission: api.OperatorManage, Paged: true, Response: api.Page[SessionShown]{},
			Summary: "A person's sessions", Handler: s.serveSessionsOf,
		},
		{
			Method: http.MethodDelete, Path: others, Permission: api.OperatorManage,
			Summary: "End all sessions of a person", Handler: s.serveEndAllOf,
		},
		{
			Method: http.MethodDelete, Path: others + "/{session}", Permission: api.OperatorManage,
			Summary: "End one session of a person", Handler: s.serveEndOf,
		},
	}
}

// SessionShown is a session as a list shows it.
type SessionShown struct {
	ID      string    `json:"id"`
	Device  string    `json:"device"`
	Agent   string    `json:"agent"`
	Address string    `json:"address"`
	Method  Method    `json:"method,omitempty"`
	Created time.Time `json:"created"`
	Seen    time.Time `json:"seen"`
	Ends    time.Time `json:"ends" doc:"at the latest"`
	Current bool      `json:"current" doc:"the one that asks"`
}

// StepUp is a factor shown again. The password is enough where nothing else is enrolled.
type StepUp struct {
	Password string `json:"password,omitempty"`
	Shown
}

// StepUpWays tells what can be shown, the handiest first.
type StepUpWays struct {
	Factors []string   `json:"factors" doc:"passkey, totp, recovery-code, password"`
	Until   *time.Time `json:"until" doc:"how long what was last shown is fresh; null when it is not"`
	// Providers are where somebody without a factor here can sign in again.
	Providers []StepUpProvider `json:"providers"`
}

func (s *Service) serveStepUpWays(w http.ResponseWriter, r *http.Request, person string) error {
	f, err := s.describeFactors(r, person)
	if err != nil {
		return err
	}
	session, err := s.sessions.lookup(r.Context(), s.token(r))
	if err != nil {
		return err
	}
	out := StepUpWays{Factors: s.ways(r, f), Providers: []StepUpProvider{}}
	if f.TOTP == nil && len(f.Passkeys) == 0 {
		providers, err := s.config.Federation.StepUps(r.Context(), person)
		if err != nil {
			return err
		}
		out.Providers = append(out.Providers, providers...)
	}
	if until := session.Fresh.Add(FreshFor); s.now().Before(until) {
		out.Until = &until
	}
	return api.Respond(w, http.StatusOK, out)
}

func (s *Service) ways(r *http.Request, f Factors) []string {
	ways := []string{}
	if party, err := relyingParty(r); err == nil {
		for _, p := range f.Passkeys {
			if p.Host == party.Config.RPID {
				ways = append(ways, kindPasskey)
				break
			}
		}
	}
	if f.TOTP != nil {
		ways = append(ways, kindTOTP)
	}
	if f.RecoveryCodes.Left > 0 {
		ways = append(ways, "recovery-code")
	}
	if f.TOTP == nil && len(f.Passkeys) == 0 && f.Password {
		ways = append(ways, "password")
	}
	return ways
}

func (s *Service) serveStepUpPasskey(w http.ResponseWriter, r *http.Request, person string) error {
	options, challenge, err := s.askPasskey(r, person)
	if err != nil {
		return err
	}
	s.pending.put(s.ownPending(r, "step-up"), pending{person: person, challenge: challenge})
	return api.Respond(w, http.StatusOK, options)
}

// serveStepUp takes a factor, and gives the session a new token: what an older
// cookie could do does not grow.
func (s *Service) serveStepUp(w http.ResponseWriter, r *http.Request, person string) error {
	var in StepUp
	if err := api.Read(r, &in); err != nil {
		return err
	}
	p, _ := s.pending.attempt(s.ownPending(r, "step-up"))
	method, err := s.stepUp(r, person, in, p)
	if err != nil {
		return err
	}
	s.pending.take(s.ownPending(r, "step-up"))
	if err := s.record(r.Context(), "session.step-up", person, api.OK, map[string]string{"method": string(method)}); err != nil {
		return err
	}
	if err := s.renewThis(w, r, method); err != nil {
		return err
	}
	return api.NoContent(w)
}

func (s *Service) stepUp(r *http.Request, person string, in StepUp, p pending) (Method, error) {
	if in.Password == "" {
		return s.prove(r, person, in.Shown, p.challenge)
	}
	rows, err := s.factors(r.Context(), person)
	if err != nil {
		return "", err
	}
	if len(rows) > 0 { // no downgrade: who has a second factor shows that
		return "", api.InvalidField("password", "show the second factor instead")
	}
	return ByPassword, s.passwordAgain(r, person, in.Password)
}

// passwordAgain checks a signed-in person's password; it counts as a try to sign in.
func (s *Service) passwordAgain(r *http.Request, person, password string) error {
	row, err := s.personByID(r.Context(), person)
	if err != nil {
		return err
	}
	account, address := accountName(row.Email), signin.AddressOf(r.RemoteAddr)
	if err := s.admit(account, address); err != nil {
		return err
	}
	if ok, err := s.hasher.matches(r.Context(), password, row.Password); err != nil || !ok {
		return orElse(err, api.InvalidField("password", "is wrong"))
	}
	s.accounts.Forget(account)
	s.origins.Forgive(address)
	return nil
}

// renewThis gives the request's session a new token after a factor was shown.
func (s *Service) renewThis(w http.ResponseWriter, r *http.Request, m Method) error {
	return s.renewBy(w, r, m, "")
}

// renewBy is renewThis after something was shown at a tenant's provider, on which the
// session rests from then on.
func (s *Service) renewBy(w http.ResponseWriter, r *http.Request, m Method, tenant string) error {
	token, err := s.sessions.renew(r.Context(), s.token(r), func(session *Session) {
		session.Fresh, session.Strong = s.now(), session.Strong || m.strong()
		if session.Method == ByMailCode && m.strong() { // a code by mail is the least of them
			session.Method = m
		}
		if tenant != "" {
			session.Scope = tenant
		}
	})
	if err != nil {
		return err
	}
	http.SetCookie(w, s.cookie(r, token))
	return nil
}

// renewSession ends a person's other sessions, and renews this one.
func (s *Service) renewSession(w http.ResponseWriter, r *http.Request, person string, m Method) error {
	if err := s.sessions.endAll(r.Context(), person, s.token(r)); err != nil {
		return err
	}
	return s.renewThis(w, r, m)
}

func (s *Service) serveOwnSessions(w http.ResponseWriter, r *http.Request, person string) error {
	return s.listSessions(w, r, person)
}

func (s *Service) serveSessionsOf(w http.ResponseWriter, r *http.Request) error {
	if _, err := s.personByID(r.Context(), r.PathValue("id")); err != nil {
		return err
	}
	return s.listSessions(w, r, r.PathValue("id"))
}

func (s *Service) listSessions(w http.ResponseWriter, r *http.Request, person string) error {
	page, err := api.ReadPage(r)
	if err != nil {
		return err
	}
	all, err := s.sessions.of(r.Context(), person)
	if err != nil {
		return err
	}
	items := make([]SessionShown, len(all))
	this, err := s.sessions.lookup(r.Context(), s.token(r))
	if err != nil && !isNotFound(err) { // the local socket has none
		return err
	}
	for i, found := range all {
		if items[i], err = s.shownSession(r, found, this.ID); err != nil {
			return err
		}
	}
	return api.Respond(w, http.StatusOK, api.Cut(items, page))
}

// shownSession has the end that the policies leave it.
func (s *Service) shownSession(r *http.Request, session Session, current string) (SessionShown, error) {
	idle, absolute, err := s.sessionLimits(r.Context(), session.Person)
	return session.shown(current, min(idle, session.idle()), min(absolute, session.absolute())), err
}

func (s Session) shown(current string, longestIdle, longest time.Duration) SessionShown {
	ends := s.Created.Add(longest)
	if idle := s.Seen.Add(longestIdle); idle.Before(ends) {
		ends = idle
	}
	return SessionShown{ID: s.ID, Device: deviceName(s.Agent), Agent: s.Agent, Address: s.Address, Method: s.Method,
		Created: s.Created, Seen: s.Seen, Ends: ends, Current: s.ID == current}
}

func (s *Service) serveEndOwn(w http.ResponseWriter, r *http.Request, person string) error {
	return s.endSession(w, r, person, r.PathValue("session"))
}

func (s *Service) serveEndOf(w http.ResponseWriter, r *http.Request) error {
	return s.endSession(w, r, r.PathValue("id"), r.PathValue("session"))
}

func (s *Service) endSession(w http.ResponseWriter, r *http.Request, person, id string) error {
	if err := s.sessions.endByID(r.Context(), person, id); err != nil {
		return err
	}
	return s.endedSessions(w, r, person, id)
}

func (s *Service) serveEndOthers(w http.ResponseWriter, r *http.Request, person string) error {
	if err := s.sessions.endAll(r.Context(), person, s.token(r)); err != nil {
		return err
	}
	return s.endedSessions(w, r, person, "others")
}

func (s *Service) serveEndAllOf(w http.ResponseWriter, r *http.Request) error {
	person := r.PathValue("id")
	if _, err := s.personByID(r.Context(), person); err != nil {
		return err
	}
	keep := "" // one's own session stays, so that the answer can be read
	if data.ActorFrom(r.Context()) == (data.Actor{Kind: data.Person, ID: person}) {
		keep = s.token(r)
	}
	if err := s.sessions.endAll(r.Context(), person, keep); err != nil {
		return err
	}
	return s.endedSessions(w, r, person, "all")
}

// endedSessions records after the deed: an end that is not in the log is better than
// a session that goes on because the log is full.
func (s *Service) endedSessions(w http.ResponseWriter, r *http.Request, person, which string) error {
	if err := s.record(r.Context(), "session.end", person, api.OK, map[string]string{"session": which}); err != nil {
		return err
	}
	return api.NoContent(w)
}

func (s *Service) serveSignIns(w http.ResponseWriter, r *http.Request, person string) error {
	page, err := api.ReadPage(r)
	if err != nil {
		return err
	}
	list, err := s.signIns(r.Context(), person, page)
	if err != nil {
		return err
	}
	return api.Respond(w, http.StatusOK, list)
}
