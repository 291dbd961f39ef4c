package identity

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/jmoiron/sqlx"

	"holdfast/app/api"
	"holdfast/data"
	"holdfast/data/signin"
)

// ResetLife is how long a link for a new password can be used.
const ResetLife = 30 * time.Minute

// resetKept is how long after its end a link is told from one that never was.
const resetKept = 24 * time.Hour

// ResetRequest asks for a link to the address, if there is an account.
type ResetRequest struct {
	Email string `json:"email"`
}

// ResetAsked is the same answer to every address.
type ResetAsked struct {
	Mail bool `json:"mail" doc:"whether mail is set up here at all"`
}

// ResetShown is whose password the link is for.
type ResetShown struct {
	Email   string    `json:"email"`
	Expires time.Time `json:"expires"`
}

// Reset sets a new password with a link.
type Reset struct {
	Token    string `json:"token"`
	Password string `json:"password"`
}

// ResetLink answers who asked for somebody else's reset.
type ResetLink struct {
	Mailed  bool      `json:"mailed"`
	Link    string    `json:"link,omitempty" doc:"good once; only where no mail is set up"`
	Expires time.Time `json:"expires"`
}

func (s *Service) resetRoutes() []api.Route {
	const path = "/api/v1/reset"
	return []api.Route{
		{Method: http.MethodPost, Path: path, Permission: api.Public, Summary: "Ask for a mail with a link for a new password; the answer does not say whether there is an account",
			Request: ResetRequest{}, Response: ResetAsked{}, Status: http.StatusAccepted, Handler: s.serveResetAsked},
		{Method: http.MethodPost, Path: path + "/show", Permission: api.Public, Summary: "Whose password a link is for, by its token",
			Request: LinkToken{}, Response: ResetShown{}, Handler: s.serveResetShown},
		{Method: http.MethodPost, Path: path + "/password", Permission: api.Public, Summary: "Set a new password with a link; all sessions end, and a second factor is still asked for",
			Request: Reset{}, Handler: s.serveReset},
		{Method: http.MethodPost, Path: "/api/v1/people/{id}/reset", Permission: api.OperatorManage, Assurance: api.Fresh, Summary: "Send somebody a link for a new password",
			Response: ResetLink{}, Status: http.StatusCreated, Handler: s.serveResetOf},
	}
}

// serveResetAsked answers before it looks: neither what it says nor how long it takes
// tells of an account.
func (s *Service) serveResetAsked(w http.ResponseWriter, r *http.Request) error {
	var in ResetRequest
	if err := api.Read(r, &in); err != nil {
		return err
	}
	email, ok := cleanEmail(in.Email)
	if !ok {
		return api.InvalidField("email", "is not an e-mail address")
	}
	if err := s.admit(accountName("reset/"+email), signin.AddressOf(r.RemoteAddr)); err != nil {
		return err
	}
	ready, err := s.config.Post.Ready(r.Context())
	if err != nil {
		return err
	}
	id, actor := api.RequestID(r.Context()), data.ActorFrom(r.Context())
	if ready && !s.desk.later(func(ctx context.Context) { s.resetFor(data.WithActor(ctx, actor), email, id) }) {
		return api.Errorf(http.StatusServiceUnavailable, "busy", "Too many ask at once. Try again in a minute.").WithHeader("Retry-After", "60")
	}
	return api.Respond(w, http.StatusAccepted, ResetAsked{ready})
}

// resetFor mails the link, if there is an account that may sign in.
func (s *Service) resetFor(ctx context.Context, email, request string) {
	row, err := s.personByEmail(ctx, email)
	if isNotFound(err) || (err == nil && row.State != active) {
		return
	}
	if err == nil {
		_, err = s.sendReset(ctx, row)
	}
	if err != nil && !errors.Is(err, api.ErrForbidden) { // who signs in through a provider only gets none
		s.config.Logger.ErrorContext(ctx, "a link for a new password was not sent", "request", request, "error", err)
	}
}

// sendReset makes a link in place of all earlier ones of the person. It goes out by
// mail, or is in the answer.
func (s *Service) sendReset(ctx context.Context, row personRow) (ResetLink, error) {
	if err := s.notWithPassword(ctx, row.ID); err != nil {
		return ResetLink{}, err
	}
	mailed, err := s.config.Post.Ready(ctx)
	if err != nil {
		return ResetLink{}, err
	}
	out := ResetLink{Mailed: mailed, Expires: s.now().Add(ResetLife)}
	token := newToken()
	hash := sha256.Sum256([]byte(token))
	if err := s.insertReset(ctx, row.ID, hash[:], out.Expires); err != nil {
		return ResetLink{}, fmt.Errorf("make reset link: %w", err)
	}
	detail := map[string]string{"mailed": fmt.Sprint(mailed)}
	err = s.record(ctx, "password.reset-link", row.ID, api.OK, detail)
	if err == nil {
		err = s.tellTenants(ctx, row.ID, "password.reset-link", detail)
	}
	if err == nil && mailed {
		err = s.mailReset(ctx, row, token, out.Expires)
	}
	if err != nil {
		return ResetLink{}, s.orUndo(ctx, err, `DELETE FROM reset_links WHERE hash = ?`, hash[:])
	}
	if !mailed {
		out.Link = s.link("reset", token)
	}
	return out, nil
}

func (s *Service) insertReset(ctx context.Context, person string, hash []byte, expires time.Time) error {
	return s.config.DB.Update(ctx, func(tx *sqlx.Tx) error {
		if _, err := tx.ExecContext(ctx, `DELETE FROM reset_links WHERE person = ?`, person); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO reset_links (hash, person, created, created_by, expires) VALUES (?, ?, ?, ?, ?)`,
			hash, person, millis(s.now()), data.ActorFrom(ctx).String(), millis(expires))
		return err
	})
}

const resetText = `Hello %s,

somebody, probably you, asked for a new password for your account at %s.

Open this link to choose one. It works once, for 30 minutes:

%s

If it was not you, do nothing: your password stays as it is.
`

func (s *Service) mailReset(ctx context.Context, row personRow, token string, expires time.Time) error {
	return s.config.Post.Send(ctx, Letter{To: row.Email, Kind: "reset", Subject: "Choose a new password", Expires: expires,
		Text: fmt.Sprintf(resetText, row.Name, s.config.URL(), s.link("reset", token))})
}

func errReset(state string) error {
	switch state {
	case "used":
		return api.Errorf(http.StatusGone, "reset-used", "This link was used already. Sign in with the new password, or ask for another link.")
	case "expired":
		return api.Errorf(http.StatusGone, "reset-expired", "This link has expired: it works for 30 minutes. Ask for another one.")
	}
	return api.Errorf(http.StatusNotFound, "reset-unknown", "This link is not known here. A newer one may have taken its place; was all of it copied?")
}

// readReset finds whose link it is, which must be open.
func (s *Service) readReset(r *http.Request, token string) (row personRow, expires time.Time, err error) {
	address := signin.AddressOf(r.RemoteAddr)
	if err := s.admit("", address); err != nil {
		return row, expires, err
	}
	hash := sha256.Sum256([]byte(token))
	var found struct {
		Person  string `db:"person"`
		Expires int64  `db:"expires"`
		Used    int64  `db:"used"`
	}
	err = s.config.DB.View(r.Context(), func(tx *sqlx.Tx) error {
		return oneRow(tx.GetContext(r.Context(), &found, `SELECT person, expires, used FROM reset_links WHERE hash = ?`, hash[:]))
	})
	switch {
	case isNotFound(err):
		return row, expires, errReset("unknown")
	case err != nil:
		return row, expires, fmt.Errorf("find reset link: %w", err)
	case found.Used > 0:
		return row, expires, errReset("used")
	case found.Expires <= millis(s.now()):
		return row, expires, errReset("expired")
	}
	s.origins.Forgive(address)
	row, err = s.personByID(r.Context(), found.Person)
	if err == nil && row.State != active { // locked meanwhile: who holds the link learns nothing
		err = errReset("unknown")
	}
	return row, fromMillis(found.Expires), err
}

func (s *Service) serveResetShown(w http.ResponseWriter, r *http.Request) error {
	var in LinkToken
	if err := api.Read(r, &in); err != nil {
		return err
	}
	row, expires, err := s.readReset(r, in.Token)
	if err != nil {
		return err
	}
	return api.Respond(w, http.StatusOK, ResetShown{row.Email, expires})
}

// serveReset sets the password and lets nobody in: signing in asks for the second
// factor as always.
func (s *Service) serveReset(w http.ResponseWriter, r *http.Request) error {
	var in Reset
	if err := api.Read(r, &in); err != nil {
		return err
	}
	row, _, err := s.readReset(r, in.Token)
	if err != nil {
		return err
	}
	ctx := data.WithActor(r.Context(), data.Actor{Kind: data.Person, ID: row.ID})
	if err := s.checkNewPassword(ctx, row, in.Password); err != nil {
		return err
	}
	if err := s.useReset(ctx, row.ID, in.Token); err != nil {
		return err
	}
	if err := s.setPassword(ctx, row, in.Password); err != nil {
		return err
	}
	s.accounts.Forget(accountName(row.Email))
	if err := s.EndSessions(ctx, row.ID); err != nil {
		return err
	}
	return api.NoContent(w)
}

// useReset uses a link up: of two requests with one, one gets it. One that somebody else
// made holds the account (see recovered), and so does one that went by a mail server that
// somebody else set of late.
func (s *Service) useReset(ctx context.Context, person, token string) error {
	hash := sha256.Sum256([]byte(token))
	var by string
	err := s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		return oneRow(tx.GetContext(ctx, &by, `SELECT created_by FROM reset_links WHERE hash = ?`, hash[:]))
	})
	if err != nil {
		return err
	}
	detail := map[string]string{"linkBy": by}
	if !somebodyElses(by, person) {
		if by, _, err = s.mailOfLate(ctx, person); err != nil {
			return err
		}
		if by != "" {
			detail["mailServerBy"] = by
		}
	}
	if err := s.tellTenants(ctx, person, "password.reset", detail); err != nil {
		return err
	}
	defer s.grants.forget()
	err = s.config.DB.Update(ctx, func(tx *sqlx.Tx) error {
		done, err := tx.ExecContext(ctx, `UPDATE reset_links SET used = ? WHERE hash = ? AND used = 0 AND expires > ?`, millis(s.now()), hash[:], millis(s.now()))
		if err = changedOne(done, err); err != nil || by == "" {
			return err
		}
		return s.recovered(ctx, tx, person, by)
	})
	if errors.Is(err, data.ErrNotFound) {
		return errReset("used")
	}
	return err
}

func (s *Service) serveResetOf(w http.ResponseWriter, r *http.Request) error {
	person, err := s.another(r)
	if err != nil {
		return err
	}
	row, err := s.personByID(r.Context(), person)
	if err != nil {
		return err
	}
	if row.State != active {
		return api.Errorf(http.StatusConflict, "locked", "The account is locked. Unlock it first.")
	}
	out, err := s.sendReset(r.Context(), row)
	if err != nil {
		return err
	}
	s.alert(r.Context(), row.ID, "A link for a new password was made for you", "somebody who runs the appliance made a link for a new password of your account.")
	return api.Respond(w, http.StatusCreated, out)
}
