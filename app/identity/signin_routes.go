package identity

import (
	"errors"
	"net/http"
	"time"

	"holdfast/app/api"
	"holdfast/data"
	"holdfast/data/signin"
)

// PendingSignIn is a sign-in that still wants a second factor. It is no session: the
// cookie that comes with it opens nothing but the next step.
type PendingSignIn struct {
	Factors []string  `json:"factors" doc:"totp, passkey, recovery-code, mail-code: what can be shown now"`
	Expires time.Time `json:"expires"`
}

// signInRoutes are the way in.
func (s *Service) signInRoutes() []api.Route {
	const path = "/api/v1/session"
	return []api.Route{
		{
			Method: http.MethodPost, Path: path, Permission: api.Public, Request: SignInRequest{}, Response: Me{}, Status: http.StatusCreated,
			Summary: "Sign in with a password. 202 with a PendingSignIn when a second factor is enrolled", Handler: s.serveSignIn,
		},
		{
			Method: http.MethodPost, Path: path + "/factor", Permission: api.Public, Request: Shown{}, Response: Me{}, Status: http.StatusCreated,
			Summary: "Sign in with the second factor after a password, or with a passkey alone", Handler: s.serveFactor,
		},
		{
			Method: http.MethodPost, Path: path + "/passkey", Permission: api.Public, Response: PasskeyOptions{},
			Summary: "Begin to sign in with a passkey", Handler: s.serveAskPasskey,
		},
	}
}

func (s *Service) serveSignIn(w http.ResponseWriter, r *http.Request) error {
	var in SignInRequest
	if err := api.Read(r, &in); err != nil {
		return err
	}
	p, err := s.verify(r.Context(), in.Email, in.Password, signin.AddressOf(r.RemoteAddr))
	if err != nil {
		return err
	}
	rows, err := s.factors(r.Context(), p.ID)
	if err != nil {
		return err
	}
	if len(rows) > 0 {
		return s.askFactor(w, r, p, rows)
	}
	code, err := s.wantsMailCode(r.Context(), p.ID, len(rows))
	if err != nil {
		return err
	}
	if code {
		return s.askMailCode(w, r, p)
	}
	return s.letIn(w, r, p, ByPassword)
}

// letIn starts the session and says who it is.
func (s *Service) letIn(w http.ResponseWriter, r *http.Request, p Person, m Method) error {
	if err := s.signIn(w, r, p, m); err != nil {
		return err
	}
	return s.respondMe(w, r, http.StatusCreated, data.Actor{Kind: data.Person, ID: p.ID})
}

// askFactor answers 202: the password was right, and is not enough.
func (s *Service) askFactor(w http.ResponseWriter, r *http.Request, p Person, rows []factorRow) error {
	out, err := s.pendFactor(w, r, p, rows, pending{method: ByPassword})
	if err != nil {
		return err
	}
	return api.Respond(w, http.StatusAccepted, out)
}

// pendFactor waits for a second factor after the first thing that was shown.
func (s *Service) pendFactor(w http.ResponseWriter, r *http.Request, p Person, rows []factorRow, first pending) (PendingSignIn, error) {
	token := newToken()
	out := PendingSignIn{Factors: []string{}, Expires: s.now().Add(pendingLife)}
	if len(ofKind(rows, kindTOTP)) > 0 {
		out.Factors = append(out.Factors, kindTOTP)
	}
	if party, err := relyingParty(r); err == nil && len(atHost(rows, party.Config.RPID)) > 0 {
		out.Factors = append(out.Factors, kindPasskey)
	}
	codes, err := s.recoveryCodes(r.Context(), p.ID)
	if err != nil {
		return out, err
	}
	if codes.Left > 0 {
		out.Factors = append(out.Factors, "recovery-code")
	}
	first.person, first.expires = p.ID, out.Expires
	s.pending.put(hashToken(token).key(), first)
	http.SetCookie(w, s.pendingCookie(r, token))
	return out, nil
}

// serveAskPasskey makes a challenge: for the person whose password was right, or
// for whoever comes.
func (s *Service) serveAskPasskey(w http.ResponseWriter, r *http.Request) error {
	if wait := s.asked.Attempt(signin.AddressOf(r.RemoteAddr)); wait > 0 { // each takes some memory
		return tooMany(wait)
	}
	token := s.pendingToken(r)
	p, ok := s.pending.get(hashToken(token).key())
	options, challenge, err := s.askPasskey(r, p.person)
	if err != nil {
		return err
	}
	if ok {
		s.pending.challenge(hashToken(token).key(), challenge)
		return api.Respond(w, http.StatusOK, options)
	}
	token = newToken()
	s.pending.put(hashToken(token).key(), pending{challenge: challenge})
	http.SetCookie(w, s.pendingCookie(r, token))
	return api.Respond(w, http.StatusOK, options)
}

var errPendingGone = errors.New("no sign-in is pending")

func errBeginAgain() error {
	return api.Errorf(http.StatusUnauthorized, "sign-in-expired", "This sign-in took too long or was tried too often. Begin again.").Because(errPendingGone)
}

// serveFactor is the second step, or the only one of a passkey. What is pending
// counts its tries and ends with the right one.
func (s *Service) serveFactor(w http.ResponseWriter, r *http.Request) error {
	var in Shown
	if err := api.Read(r, &in); err != nil {
		return err
	}
	name := hashToken(s.pendingToken(r)).key()
	p, ok := s.pending.attempt(name)
	if !ok {
		return errBeginAgain()
	}
	person, method, err := s.shownBy(r, p, in)
	if err != nil {
		return s.factorFailed(r, person, method, err)
	}
	row, err := s.personByID(r.Context(), person)
	if err != nil {
		return err
	}
	if row.State != active { // locked meanwhile
		return s.signInFailed(r.Context(), person, method, signin.AddressOf(r.RemoteAddr), errBadCredentials())
	}
	if !p.method.federated() { // a passkey alone, or after a password
		if err := s.notWithPassword(r.Context(), person); err != nil {
			return errors.Join(s.signInFailed(r.Context(), person, method, signin.AddressOf(r.RemoteAddr), nil), err)
		}
	}
	if !s.pending.take(name) {
		return errBeginAgain()
	}
	http.SetCookie(w, s.endCookie(s.pendingCookie(r, "")))
	if err := s.signInAt(w, r, row.person(), method.after(p.method), s.now(), p.scope); err != nil {
		return err
	}
	return s.respondMe(w, r, http.StatusCreated, data.Actor{Kind: data.Person, ID: person})
}

// shownBy checks what was shown against what is pending. The person is given with
// an error, too, where one is known.
func (s *Service) shownBy(r *http.Request, p pending, in Shown) (string, Method, error) {
	if p.person != "" {
		m, err := s.provePending(r, p, in)
		return p.person, m, err
	}
	if len(in.Passkey) == 0 {
		return "", "", errBeginAgain()
	}
	address := signin.AddressOf(r.RemoteAddr)
	if err := s.admit("", address); err != nil {
		return "", ByPasskey, err
	}
	who, cause, err := s.checkPasskey(r, p.challenge, in.Passkey)
	if err == nil && who == "" {
		err = errBadFactor(cause)
	}
	if err == nil {
		s.origins.Forgive(address)
	}
	return who, ByPasskey, err
}

// factorFailed records a wrong factor, but not that there were too many.
func (s *Service) factorFailed(r *http.Request, person string, m Method, err error) error {
	if api.AsProblem(err).Code != "bad-factor" {
		return err
	}
	if m == "" {
		m = ByPassword // all that was right
	}
	return s.signInFailed(r.Context(), person, m, signin.AddressOf(r.RemoteAddr), err)
}

const pendingCookieName = "__Host-holdfast-pending"

// pendingCookie carries the token of what is pending to this browser alone.
func (s *Service) pendingCookie(r *http.Request, token string) *http.Cookie {
	c := s.cookie(r, token)
	c.Name, c.MaxAge = pendingName(c), int(pendingLife.Seconds())
	return c
}

func pendingName(c *http.Cookie) string {
	if !c.Secure {
		return "holdfast-insecure-pending"
	}
	return pendingCookieName
}

func (s *Service) endCookie(c *http.Cookie) *http.Cookie {
	c.MaxAge = -1
	return c
}

func (s *Service) pendingToken(r *http.Request) string {
	if found := r.CookiesNamed(s.pendingCookie(r, "").Name); len(found) == 1 {
		return found[0].Value
	}
	return ""
}
