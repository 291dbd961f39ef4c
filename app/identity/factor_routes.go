package identity

import (
	"encoding/json"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jmoiron/sqlx"

	"holdfast/app/api"
	"holdfast/data"
	"holdfast/data/signin"
	"holdfast/data/system"
)

// factorRoutes are what people do with their own factors. Enrolling asks for a fresh
// one, but not for those that the policy wants: somebody has to begin.
func (s *Service) factorRoutes() []api.Route {
	const path = "/api/v1/session/factors"
	own := func(method, path string, a api.Assurance, summary string, request, response any, status int, h handler) api.Route {
		return api.Route{Method: method, Path: path, Permission: api.Signed, Assurance: a, Summary: summary,
			Request: request, Response: response, Status: status, Handler: s.ownly(h)}
	}
	return []api.Route{
		own("GET", path, api.Bare, "One's own factors", nil, Factors{}, 0, s.serveFactors),
		own("POST", path+"/totp", api.Enrol, "Begin to enrol an authenticator app", nil, NewTOTP{}, 0, s.unlessDemanded(s.serveNewTOTP)),
		own("POST", path+"/totp/confirm", api.Enrol, "Enrol the authenticator app with its first code; other sessions end",
			ConfirmTOTP{}, Enrolled{}, http.StatusCreated, s.unlessDemanded(s.serveConfirmTOTP)),
		own("DELETE", path+"/totp", api.Fresh, "Remove the authenticator app; other sessions end", nil, nil, 0, s.byOneself(s.serveRemoveTOTP)),
		own("POST", path+"/passkeys/options", api.Enrol, "Begin to make a passkey", nil, PasskeyOptions{}, 0, s.byOneself(s.serveNewPasskey)),
		own("POST", path+"/passkeys", api.Enrol, "Keep the passkey that was made; other sessions end",
			NewPasskey{}, Enrolled{}, http.StatusCreated, s.byOneself(s.serveKeepPasskey)),
		own("PATCH", path+"/passkeys/{id}", api.Usual, "Name a passkey", PasskeyName{}, nil, 0, s.serveNamePasskey),
		own("DELETE", path+"/passkeys/{id}", api.Fresh, "Remove a passkey; other sessions end", nil, nil, 0, s.byOneself(s.serveRemovePasskey)),
		own("POST", path+"/recovery-codes", api.Enrol, "Make new recovery codes, shown this once; the old ones end",
			nil, NewRecoveryCodes{}, http.StatusCreated, s.byOneself(s.serveRecoveryCodes)),
	}
}

type handler = func(w http.ResponseWriter, r *http.Request, person string) error

// ownly hands a handler the person who is signed in; others have no factors.
func (s *Service) ownly(h handler) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		actor := data.ActorFrom(r.Context())
		if actor.Kind != data.Person {
			return api.Errorf(http.StatusForbidden, "no-person", "Only a person has this.").Because(api.ErrForbidden)
		}
		return h(w, r, actor.ID)
	}
}

// NewTOTP is a secret that waits for its first code.
type NewTOTP struct {
	Secret  string    `json:"secret" doc:"base32, to be typed where the code cannot be scanned"`
	Typed   string    `json:"typed" doc:"the same in groups of four"`
	URI     string    `json:"uri"`
	QR      []string  `json:"qr" doc:"rows of the QR code of the uri, 1 is dark"`
	Expires time.Time `json:"expires"`
}

// ConfirmTOTP is the first code.
type ConfirmTOTP struct {
	Code string `json:"code"`
	Name string `json:"name,omitempty"`
}

// NewPasskey is what the browser made.
type NewPasskey struct {
	Name    string          `json:"name"`
	Passkey json.RawMessage `json:"passkey" doc:"PublicKeyCredential.toJSON()"`
}

// PasskeyName renames a passkey.
type PasskeyName struct {
	Name string `json:"name"`
}

// Enrolled is the answer to a new factor. The first one brings recovery codes.
type Enrolled struct {
	Factor        Factor   `json:"factor"`
	RecoveryCodes []string `json:"recoveryCodes" doc:"shown this once; empty when there are some already"`
}

func (s *Service) serveFactors(w http.ResponseWriter, r *http.Request, person string) error {
	f, err := s.describeFactors(r, person)
	if err != nil {
		return err
	}
	return api.Respond(w, http.StatusOK, f)
}

// ownPending names what the request's session has half done.
func (s *Service) ownPending(r *http.Request, what string) string {
	return what + "/" + hashToken(s.token(r)).key()
}

func (s *Service) serveNewTOTP(w http.ResponseWriter, r *http.Request, person string) error {
	row, err := s.personByID(r.Context(), person)
	if err != nil {
		return err
	}
	out := NewTOTP{Secret: signin.NewSecret(), Expires: s.now().Add(FreshFor)}
	out.Typed, out.URI = signin.Typed(out.Secret), signin.URI(out.Secret, "Holdfast "+r.Host, row.Email)
	if out.QR, err = signin.QR(out.URI); err != nil {
		return err
	}
	s.pending.put(s.ownPending(r, kindTOTP), pending{person: person, secret: out.Secret, expires: out.Expires})
	return api.Respond(w, http.StatusOK, out)
}

// serveConfirmTOTP enrols the app once a code shows that it has the secret. The
// code's step counts as used.
func (s *Service) serveConfirmTOTP(w http.ResponseWriter, r *http.Request, person string) error {
	var in ConfirmTOTP
	if err := api.Read(r, &in); err != nil {
		return err
	}
	name, err := factorLabel(in.Name, "Authenticator app")
	if err != nil {
		return err
	}
	p, ok := s.pending.attempt(s.ownPending(r, kindTOTP))
	if !ok || p.person != person {
		return api.Errorf(http.StatusConflict, "begin-again", "This took too long or was tried too often. Begin again.")
	}
	step, ok := signin.Step(p.secret, in.Code, s.now())
	if !ok {
		return api.InvalidField("code", "does not fit; is the device's clock right?")
	}
	s.pending.take(s.ownPending(r, kindTOTP))
	row := factorRow{ID: system.NewID(), Person: person, Kind: kindTOTP, Name: name, Secret: p.secret, LastStep: step, Created: millis(s.now())}
	if err := s.addFactor(r.Context(), row); err != nil {
		return err
	}
	return s.enrolled(w, r, row, ByTOTP)
}

func (s *Service) serveNewPasskey(w http.ResponseWriter, r *http.Request, person string) error {
	options, challenge, err := s.beginPasskey(r, person)
	if err != nil {
		return err
	}
	s.pending.put(s.ownPending(r, kindPasskey), pending{person: person, challenge: challenge})
	return api.Respond(w, http.StatusOK, options)
}

func (s *Service) serveKeepPasskey(w http.ResponseWriter, r *http.Request, person string) error {
	var in NewPasskey
	if err := api.Read(r, &in); err != nil {
		return err
	}
	name, err := factorLabel(in.Name, "Passkey")
	if err != nil {
		return err
	}
	p, ok := s.pending.attempt(s.ownPending(r, kindPasskey))
	if !ok || p.challenge == nil || p.person != person {
		return api.Errorf(http.StatusConflict, "begin-again", "This took too long. Begin again.")
	}
	row, err := s.finishPasskey(r, person, name, p.challenge, in.Passkey)
	if err != nil {
		return err
	}
	return s.enrolled(w, r, row, ByPasskey)
}

// enrolled ends the other sessions, makes this one strong, and makes recovery codes
// where there are none.
func (s *Service) enrolled(w http.ResponseWriter, r *http.Request, row factorRow, m Method) error {
	out := Enrolled{Factor: row.factor(), RecoveryCodes: []string{}}
	codes, err := s.recoveryCodes(r.Context(), row.Person)
	if err != nil {
		return err
	}
	if codes.Left == 0 {
		made, err := s.makeRecoveryCodes(r.Context(), row.Person)
		if err != nil {
			return err
		}
		out.RecoveryCodes = made.Codes
	}
	if err := s.renewSession(w, r, row.Person, m); err != nil {
		return err
	}
	return api.Respond(w, http.StatusCreated, out)
}

func (s *Service) serveRemoveTOTP(w http.ResponseWriter, r *http.Request, person string) error {
	rows, err := s.factors(r.Context(), person)
	if err != nil {
		return err
	}
	for _, row := range ofKind(rows, kindTOTP) {
		return s.serveRemove(w, r, person, kindTOTP, row.ID)
	}
	return data.ErrNotFound
}

func (s *Service) serveRemovePasskey(w http.ResponseWriter, r *http.Request, person string) error {
	return s.serveRemove(w, r, person, kindPasskey, r.PathValue("id"))
}

func (s *Service) serveRemove(w http.ResponseWriter, r *http.Request, person, kind, id string) error {
	if err := s.removeFactor(r.Context(), person, kind, id); err != nil {
		return err
	}
	s.alertOfRemoved(r.Context(), person, kind)
	if err := s.sessions.endAll(r.Context(), person, s.token(r)); err != nil {
		return err
	}
	return api.NoContent(w)
}

func (s *Service) serveNamePasskey(w http.ResponseWriter, r *http.Request, person string) error {
	var in PasskeyName
	if err := api.Read(r, &in); err != nil {
		return err
	}
	name, err := factorLabel(in.Name, "")
	if err != nil {
		return err
	}
	err = s.config.DB.Update(r.Context(), func(tx *sqlx.Tx) error {
		done, err := tx.ExecContext(r.Context(), `UPDATE factors SET name = ? WHERE id = ? AND person = ? AND kind = ?`,
			name, r.PathValue("id"), person, kindPasskey)
		return changedOne(done, err)
	})
	if err != nil {
		return err
	}
	if err := s.record(r.Context(), "factor.name", person, api.OK, map[string]string{"factor": r.PathValue("id")}); err != nil {
		return err
	}
	return api.NoContent(w)
}

// factorLabel is a name on one line, or otherwise where there is none.
func factorLabel(name, otherwise string) (string, error) {
	if name = strings.TrimSpace(name); name == "" {
		name = otherwise
	}
	if name == "" || utf8.RuneCountInString(name) > 60 || !utf8.ValidString(name) || strings.ContainsFunc(name, func(r rune) bool { return r < ' ' }) {
		return "", api.InvalidField("name", "1 to 60 characters on one line")
	}
	return name, nil
}

func (s *Service) serveRecoveryCodes(w http.ResponseWriter, r *http.Request, person string) error {
	rows, err := s.factors(r.Context(), person)
	if err != nil {
		return err
	}
	if len(rows) == 0 {
		return api.Errorf(http.StatusConflict, "no-factor", "Recovery codes stand in for an authenticator app or a passkey. Add one of those first.")
	}
	codes, err := s.makeRecoveryCodes(r.Context(), person)
	if err != nil {
		return err
	}
	s.alertOfNewCodes(r.Context(), person)
	return api.Respond(w, http.StatusCreated, codes)
}
