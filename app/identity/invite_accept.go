package identity

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/go-webauthn/webauthn/webauthn"
	"github.com/jmoiron/sqlx"

	"holdfast/app/api"
	"holdfast/data"
	"holdfast/data/signin"
	"holdfast/data/system"
)

// LinkToken is the secret of a link.
type LinkToken struct {
	Token string `json:"token"`
}

// InviteShown is what the link tells who has it. It does not say whether there is an
// account: the one who made the invite may hold the link, too.
type InviteShown struct {
	Email   string     `json:"email"`
	Role    string     `json:"role"`
	Place   string     `json:"place" doc:"a tenant's slug, or the appliance"`
	By      string     `json:"by"`
	Until   *time.Time `json:"until" doc:"of the role; null: no end"`
	Expires time.Time  `json:"expires"`
}

// AcceptInvite makes the account: with a password, or with the passkey that answers
// the options.
type AcceptInvite struct {
	Token       string          `json:"token"`
	Name        string          `json:"name"`
	Password    string          `json:"password,omitempty"`
	Passkey     json.RawMessage `json:"passkey,omitempty" doc:"PublicKeyCredential.toJSON()"`
	PasskeyName string          `json:"passkeyName,omitempty"`
}

// Accepted is somebody who has come in.
type Accepted struct {
	Me            Me       `json:"me"`
	RecoveryCodes []string `json:"recoveryCodes" doc:"with a passkey; shown this once"`
}

// Each of these says what to do: the reader has nothing but the link.
func errInvite(state, by string) error {
	switch state {
	case "accepted":
		return api.Errorf(http.StatusGone, "invite-used", "This invite was used already. If that was you, sign in; else ask %s for a new one.", by)
	case "revoked":
		return api.Errorf(http.StatusGone, "invite-revoked", "This invite was taken back, or a newer one took its place. Look for a newer mail, or ask %s.", by)
	case "expired":
		return api.Errorf(http.StatusGone, "invite-expired", "This invite has expired. Ask %s for a new one.", by)
	case "void":
		return api.Errorf(http.StatusGone, "invite-void", "%s can no longer give you this role. Ask somebody else who runs it.", by)
	}
	return api.Errorf(http.StatusNotFound, "invite-unknown", "This link is not known here. Was all of it copied?")
}

// readInvite finds the invite of a token, which must be open.
func (s *Service) readInvite(r *http.Request, token string) (inviteRow, error) {
	ctx, address := r.Context(), signin.AddressOf(r.RemoteAddr)
	if err := s.admit("", address); err != nil {
		return inviteRow{}, err
	}
	hash := sha256.Sum256([]byte(token))
	var row inviteRow
	err := s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		return oneRow(tx.GetContext(ctx, &row, `SELECT `+inviteColumns+` FROM invites WHERE hash = ?`, hash[:]))
	})
	if isNotFound(err) {
		return row, errInvite("unknown", "")
	}
	if err != nil {
		return row, fmt.Errorf("find invite: %w", err)
	}
	s.origins.Forgive(address)
	by, _ := s.actorName(ctx, row.By)
	if state := row.state(s.now()); state != "open" {
		return row, errInvite(state, by)
	}
	end, err := s.stillGivable(ctx, row, by)
	row.Until = millis(sooner(fromMillis(row.Until), end))
	return row, err
}

// stillGivable refuses an invite whose maker could not give the role any more, and one
// to a tenant that is gone. It tells until when its maker can give it; zero: no end.
func (s *Service) stillGivable(ctx context.Context, row inviteRow, by string) (end time.Time, err error) {
	if _, err := s.placeOf(ctx, row.Scope); err != nil {
		return end, orElse(ifTrue(!isNotFound(err), err), errInvite("void", by))
	}
	end, err = s.giving(data.WithActor(ctx, data.ParseActor(row.By)), row.Scope, row.Role)
	if err != nil && api.AsProblem(err).Status < 500 {
		return end, errInvite("void", by)
	}
	return end, err
}

func (s *Service) serveInviteShown(w http.ResponseWriter, r *http.Request) error {
	var in LinkToken
	if err := api.Read(r, &in); err != nil {
		return err
	}
	row, err := s.readInvite(r, in.Token)
	if err != nil {
		return err
	}
	place, err := s.placeOf(r.Context(), row.Scope)
	if err != nil {
		return err
	}
	by, _ := s.actorName(r.Context(), row.By)
	return api.Respond(w, http.StatusOK, InviteShown{Email: row.Email, Role: row.Role, Place: place, By: by,
		Until: moment(row.Until), Expires: fromMillis(row.Expires)})
}

// useInvite marks an invite as used; of two who come at once, one gets it.
func useInvite(ctx context.Context, tx *sqlx.Tx, row inviteRow, person string, now time.Time) error {
	done, err := tx.ExecContext(ctx, `UPDATE invites SET accepted = ?, accepted_by = ? WHERE id = ? AND accepted = 0 AND revoked = 0 AND expires > ?`,
		millis(now), person, row.ID, millis(now))
	if err = changedOne(done, err); isNotFound(err) {
		return errInvite("accepted", "who invited you")
	}
	return err
}

// giveInvited gives the invite's role as its maker does.
func (s *Service) giveInvited(ctx context.Context, tx *sqlx.Tx, row inviteRow, g Grant, now time.Time) error {
	if _, err := s.effectOf(ctx, tx, g.Scope, g.Role); err != nil {
		return err
	}
	if err := notOwnerAndDenied(ctx, tx, s, g); err != nil {
		return err
	}
	return insertGrant(data.WithActor(ctx, data.ParseActor(row.By)), tx, g, now)
}

func (s *Service) serveAcceptInvite(w http.ResponseWriter, r *http.Request) error {
	var in AcceptInvite
	if err := api.Read(r, &in); err != nil {
		return err
	}
	row, err := s.readInvite(r, in.Token)
	if err != nil {
		return err
	}
	p, method, err := s.accept(r, row, in)
	if err != nil {
		return err
	}
	out := Accepted{RecoveryCodes: []string{}}
	if method == ByPasskey {
		codes, err := s.makeRecoveryCodes(data.WithActor(r.Context(), data.Actor{Kind: data.Person, ID: p.ID}), p.ID)
		if err != nil {
			return err
		}
		out.RecoveryCodes = codes.Codes
		http.SetCookie(w, s.endCookie(s.pendingCookie(r, "")))
	}
	if err := s.signIn(w, r, p, method); err != nil {
		return err
	}
	if out.Me, err = s.me(r.Context(), data.Actor{Kind: data.Person, ID: p.ID}); err != nil {
		return err
	}
	return api.Respond(w, http.StatusCreated, out)
}

// newcomer is an account that an invite makes.
type newcomer struct {
	id      string
	person  NewPerson
	hash    string
	passkey *factorRow
}

// accept makes the account and gives the role, or does neither.
func (s *Service) accept(r *http.Request, row inviteRow, in AcceptInvite) (Person, Method, error) {
	if s.config.Federation.Only(Appliance) || s.config.Federation.Only(row.Scope) {
		return Person{}, "", api.Errorf(http.StatusForbidden, "sso-only", "This place is open to single sign-on only. Sign in with its identity provider, then open the link again.").Because(api.ErrForbidden)
	}
	n := newcomer{id: system.NewID(), person: NewPerson{Email: row.Email, Name: in.Name, Password: in.Password}}
	wrong := n.person.clean(s.weak)
	if len(in.Passkey) > 0 && in.Password == "" {
		wrong = slices.DeleteFunc(wrong, func(f api.FieldError) bool { return f.Field == "password" })
	}
	if len(wrong) > 0 {
		return Person{}, "", api.Invalid(wrong...)
	}
	method, err := s.bringsFactor(r, &n, in)
	if err != nil {
		return Person{}, "", err
	}
	return Person{n.id, n.person.Email, n.person.Name}, method, s.addNewcomer(r.Context(), row, n)
}

// bringsFactor takes what the newcomer is to sign in with.
func (s *Service) bringsFactor(r *http.Request, n *newcomer, in AcceptInvite) (method Method, err error) {
	if len(in.Passkey) == 0 {
		n.hash, err = s.hasher.hash(r.Context(), in.Password)
		return ByInvite, err
	}
	label, err := factorLabel(in.PasskeyName, "Passkey")
	if err != nil {
		return "", err
	}
	p, ok := s.pending.attempt(s.invitePending(r))
	if !ok || p.challenge == nil {
		return "", api.Errorf(http.StatusConflict, "begin-again", "This took too long. Begin again.")
	}
	n.id = p.person
	made, err := s.madePasskey(r, holder{row: personRow{ID: n.id, Email: n.person.Email, Name: n.person.Name}}, label, p.challenge, in.Passkey)
	n.passkey = &made
	return ByPasskey, err
}

// errHasAccount is read by who holds the link: the address's owner, or who made the
// invite where no mail is set up.
func errHasAccount() error {
	return api.Errorf(http.StatusConflict, "sign-in-first", "There is an account of this address already. Sign in with it, and the invite is yours.")
}

func (s *Service) addNewcomer(ctx context.Context, row inviteRow, n newcomer) error {
	now := s.now()
	g := row.grant(n.id, now)
	err := s.noted(ctx, func(tx *sqlx.Tx) error {
		if err := useInvite(ctx, tx, row, n.id, now); err != nil {
			return err
		}
		err := insertPerson(ctx, tx, n.id, n.person, n.hash, millis(now))
		if errors.Is(err, data.ErrExists) {
			return errHasAccount()
		}
		if err == nil && n.passkey != nil {
			_, err = tx.NamedExecContext(ctx, insertFactor, *n.passkey)
		}
		if err != nil {
			return err
		}
		return s.giveInvited(ctx, tx, row, g, now)
	}, func(ctx context.Context) error {
		return s.recordAccepted(data.WithActor(ctx, data.Actor{Kind: data.Person, ID: n.id}), row, g)
	})
	if err != nil {
		return fmt.Errorf("accept invite: %w", err)
	}
	return nil
}

func (s *Service) recordAccepted(ctx context.Context, row inviteRow, g Grant) error {
	detail := g.detail()
	detail["invite"], detail["by"] = row.ID, row.By
	return s.record(ctx, "invite.accept", g.Person, api.OK, detail)
}

// serveJoinInvite gives the invite's role to somebody who has an account, which must
// be the invited address's.
func (s *Service) serveJoinInvite(w http.ResponseWriter, r *http.Request, person string) error {
	var in LinkToken
	if err := api.Read(r, &in); err != nil {
		return err
	}
	row, err := s.readInvite(r, in.Token)
	if err != nil {
		return err
	}
	me, err := s.personByID(r.Context(), person)
	if err != nil {
		return err
	}
	if me.Email != row.Email {
		return api.Errorf(http.StatusConflict, "other-account", "This invite is for %s, and you are signed in as %s. Sign out, and open the link again.", row.Email, me.Email)
	}
	if err := s.joinable(r, row.Scope); err != nil {
		return err
	}
	if err := s.join(r.Context(), row, person); err != nil {
		return err
	}
	return s.respondMe(w, r, http.StatusOK, data.ActorFrom(r.Context()))
}

func (s *Service) join(ctx context.Context, row inviteRow, person string) error {
	now := s.now()
	g := row.grant(person, now)
	has, err := s.hasRole(ctx, g)
	if err != nil {
		return err
	}
	err = s.noted(ctx, func(tx *sqlx.Tx) error {
		if err := useInvite(ctx, tx, row, person, now); err != nil || has {
			return err
		}
		return s.giveInvited(ctx, tx, row, g, now)
	}, func(ctx context.Context) error { return s.recordAccepted(ctx, row, g) })
	if err != nil {
		return fmt.Errorf("accept invite: %w", err)
	}
	return nil
}

func (s *Service) invitePending(r *http.Request) string {
	return "invite/" + hashToken(s.pendingToken(r)).key()
}

// serveInvitePasskey makes a challenge for the passkey of an account that is to be.
func (s *Service) serveInvitePasskey(w http.ResponseWriter, r *http.Request) error {
	var in AcceptInvite
	if err := api.Read(r, &in); err != nil {
		return err
	}
	if wait := s.asked.Attempt(signin.AddressOf(r.RemoteAddr)); wait > 0 { // each takes some memory
		return tooMany(wait)
	}
	row, err := s.readInvite(r, in.Token)
	if err != nil {
		return err
	}
	name := in.Name
	if name == "" {
		name = localPart(row.Email)
	}
	id := system.NewID()
	options, challenge, err := s.askNewPasskey(r, holder{row: personRow{ID: id, Email: row.Email, Name: name}})
	if err != nil {
		return err
	}
	s.keepInvitePending(w, r, id, challenge)
	return api.Respond(w, http.StatusOK, options)
}

func (s *Service) keepInvitePending(w http.ResponseWriter, r *http.Request, person string, challenge *webauthn.SessionData) {
	token := newToken()
	s.pending.put("invite/"+hashToken(token).key(), pending{person: person, challenge: challenge})
	http.SetCookie(w, s.pendingCookie(r, token))
}
