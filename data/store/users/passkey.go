package users

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"

	"github.com/go-webauthn/webauthn/protocol"
	"github.com/go-webauthn/webauthn/webauthn"
	"github.com/pocketbase/dbx"
	"github.com/pocketbase/pocketbase/core"
)

// mostPasskeys a user can have.
const mostPasskeys = 20

type originKey struct{}

// WithOrigin returns a context whose request came to the tenant's own host, which is
// of that origin. Without it, as below a path of the base host, only pages that the
// policy names can use passkeys.
func WithOrigin(ctx context.Context, origin string) context.Context {
	return context.WithValue(ctx, originKey{}, origin)
}

// party is the relying party of the page that asks: the tenant's own host, or a page
// that the policy names. A passkey made there works there and nowhere else.
func (s *Service) party(e *core.RequestEvent, p Policy) (*webauthn.WebAuthn, error) {
	own, _ := e.Request.Context().Value(originKey{}).(string)
	origin := e.Request.Header.Get("Origin")
	if origin == "" {
		origin = own
	}
	u, err := url.Parse(origin)
	if err != nil || origin == "" || origin != own && !slices.Contains(p.Origins, origin) {
		return nil, e.ForbiddenError("Passkeys are not switched on for this page.", nil)
	}
	party, err := webauthn.New(&webauthn.Config{
		RPID: u.Hostname(), RPDisplayName: e.App.Settings().Meta.AppName, RPOrigins: []string{origin},
		AttestationPreference: protocol.PreferNoAttestation,
	})
	if err != nil {
		return nil, e.BadRequestError("Browsers bind passkeys to a name, not to an IP address.", nil)
	}
	return party, nil
}

// holder is a user as the library asks for one.
type holder struct {
	*core.Record
	credentials []webauthn.Credential
}

var _ webauthn.User = holder{}

// WebAuthnID is a hash: it says nothing of the user and outlives a restore.
func (h holder) WebAuthnID() []byte {
	sum := sha256.Sum256([]byte("holdfast user " + h.Collection().Id + "/" + h.Id))
	return sum[:]
}

func (h holder) WebAuthnName() string                       { return accountOf(h.Record) }
func (h holder) WebAuthnDisplayName() string                { return accountOf(h.Record) }
func (h holder) WebAuthnCredentials() []webauthn.Credential { return h.credentials }

// holder is a user with the passkeys that work at the host.
func (s *Service) holder(ctx context.Context, app core.App, r *core.Record, host string) (holder, error) {
	rows, err := s.factors(ctx, app, r)
	if err != nil {
		return holder{}, err
	}
	h := holder{Record: r}
	for _, f := range rows {
		if f.Kind != kindPasskey || f.Host != host {
			continue
		}
		c, err := f.credential()
		if err != nil {
			return holder{}, err
		}
		h.credentials = append(h.credentials, c)
	}
	return h, nil
}

// beginPasskey makes a challenge for a new passkey.
func (s *Service) beginPasskey(e *core.RequestEvent) error {
	c, p, err := s.with(e, kindPasskey)
	if err != nil {
		return err
	}
	var in struct {
		MfaID string `json:"mfaId" form:"mfaId"`
	}
	if err := read(e, &in); err != nil {
		return err
	}
	o, err := s.owns(e, c, p, in.MfaID)
	if err != nil {
		return err
	}
	party, err := s.party(e, p)
	if err != nil {
		return err
	}
	h, err := s.holder(e.Request.Context(), e.App, o.Record, party.Config.RPID)
	if err != nil {
		return err
	}
	if len(h.credentials) >= mostPasskeys {
		return e.BadRequestError("There are too many passkeys. Remove one first.", nil)
	}
	options, session, err := party.BeginRegistration(h, webauthn.WithExclusions(webauthn.Credentials(h.credentials).CredentialDescriptors()),
		webauthn.WithAuthenticatorSelection(protocol.AuthenticatorSelection{
			ResidentKey: protocol.ResidentKeyRequirementRequired, UserVerification: protocol.VerificationRequired,
		}))
	if err != nil {
		return err
	}
	s.config.Shared.put(s.pendingOf(o, kindPasskey), pending{store: s.config.Store, collection: c.Id, record: o.Id,
		tokenKey: o.TokenKey(), challenge: session, party: party.Config.RPID})
	return e.JSON(http.StatusOK, map[string]any{"publicKey": options.Response})
}

// confirmPasskey stores the passkey that answers the challenge.
func (s *Service) confirmPasskey(e *core.RequestEvent) error {
	c, p, err := s.with(e, kindPasskey)
	if err != nil {
		return err
	}
	var in struct {
		MfaID      string          `json:"mfaId"`
		Name       string          `json:"name"`
		Credential json.RawMessage `json:"credential"`
	}
	if err := read(e, &in); err != nil {
		return err
	}
	o, err := s.owns(e, c, p, in.MfaID)
	if err != nil {
		return err
	}
	made, host, err := s.createCredential(e, p, o, in.Credential)
	if err != nil {
		return err
	}
	text, err := json.Marshal(made)
	if err != nil {
		return err
	}
	now, codes, err := s.add(as(e.Request.Context(), o.Record), e.App, o.Record, p, factorRow{
		ID: rand.Text(), Kind: kindPasskey, Name: clip(in.Name, "Passkey"), Host: host,
		CredentialID: base64.RawURLEncoding.EncodeToString(made.ID), Credential: string(text),
	})
	if err != nil {
		return err
	}
	return s.admitted(e, now, o.mfa, byPasskey, codes)
}

var errPasskey = errors.New("the passkey was not accepted")

func (s *Service) createCredential(e *core.RequestEvent, p Policy, o owner, answer json.RawMessage) (*webauthn.Credential, string, error) {
	party, err := s.party(e, p)
	if err != nil {
		return nil, "", err
	}
	no := e.BadRequestError("The passkey was not accepted. Try again.", nil)
	begun, ok := s.config.Shared.take(s.config.Store, s.pendingOf(o, kindPasskey)) // a challenge is answered once
	if !ok || !unchanged(o.Record, begun) || begun.challenge == nil || begun.party != party.Config.RPID {
		return nil, "", no
	}
	h, err := s.holder(e.Request.Context(), e.App, o.Record, party.Config.RPID)
	if err != nil {
		return nil, "", err
	}
	parsed, err := protocol.ParseCredentialCreationResponseBytes(answer)
	if err != nil {
		return nil, "", no
	}
	made, err := party.CreateCredential(h, *begun.challenge, parsed)
	if err != nil {
		return nil, "", no
	}
	return made, party.Config.RPID, nil
}

// requestPasskey makes a challenge: with an mfaId for the second step of that
// sign-in, without one for whoever has a passkey, which then is both factors. It
// tells nobody whether a user has any.
func (s *Service) requestPasskey(e *core.RequestEvent) error {
	c, p, err := s.with(e, kindPasskey)
	if err != nil {
		return err
	}
	var in struct {
		MfaID string `json:"mfaId" form:"mfaId"`
	}
	if err := read(e, &in); err != nil {
		return err
	}
	if s.config.Shared.tooMany(s.config.Store, s.originName(e), e.HasSuperuserAuth()) {
		return e.TooManyRequestsError("Too many tries. Wait a moment.", nil)
	}
	party, err := s.party(e, p)
	if err != nil {
		return err
	}
	asked := pending{store: s.config.Store, collection: c.Id, party: party.Config.RPID, mfa: in.MfaID}
	var options *protocol.CredentialAssertion
	if in.MfaID == "" {
		options, asked.challenge, err = party.BeginDiscoverableLogin(webauthn.WithUserVerification(protocol.VerificationRequired))
	} else {
		options, asked.challenge, err = s.challengeOf(e, c, party, in.MfaID)
	}
	if err != nil {
		return err
	}
	return e.JSON(http.StatusOK, map[string]any{"passkeyId": s.config.Shared.begin(asked), "publicKey": options.Response})
}

// challengeOf asks for one of a known user's passkeys.
func (s *Service) challengeOf(e *core.RequestEvent, c *core.Collection, party *webauthn.WebAuthn, mfaID string) (*protocol.CredentialAssertion, *webauthn.SessionData, error) {
	begun, ok := s.config.Shared.peek(s.config.Store, mfaID)
	if !ok || begun.store != s.config.Store || begun.collection != c.Id || begun.record == "" || begun.method == "" {
		return nil, nil, errSession(e)
	}
	r, err := e.App.FindRecordById(c, begun.record)
	if err != nil || !unchanged(r, begun) {
		return nil, nil, errSession(e)
	}
	h, err := s.holder(e.Request.Context(), e.App, r, party.Config.RPID)
	if err != nil {
		return nil, nil, err
	}
	if len(h.credentials) == 0 {
		return nil, nil, e.BadRequestError("There is no passkey for this page.", nil)
	}
	return party.BeginLogin(h, webauthn.WithUserVerification(protocol.VerificationPreferred))
}

// authWithPasskey ends a sign-in with a passkey, alone or as the second step.
func (s *Service) authWithPasskey(e *core.RequestEvent) error {
	c, p, err := s.with(e, kindPasskey)
	if err != nil {
		return err
	}
	var in struct {
		PasskeyID  string          `json:"passkeyId"`
		Credential json.RawMessage `json:"credential"`
	}
	if err := read(e, &in); err != nil {
		return err
	}
	asked, ok := s.config.Shared.take(s.config.Store, in.PasskeyID) // a challenge is answered once
	if !ok || asked.store != s.config.Store || asked.collection != c.Id || asked.challenge == nil || asked.record != "" {
		return errFailed(e)
	}
	var step second
	if asked.mfa != "" {
		if step, err = s.secondStep(e, c, p, asked.mfa); err != nil {
			return err
		}
	} else if err := s.wait(e, s.config.Shared.accounts, Policy{Attempts: Attempts{Address: p.Attempts.Address, LongestWait: p.Attempts.LongestWait}}, ""); err != nil {
		return err
	}
	r, err := s.shown(e, c, p, asked, step.record, in.Credential)
	if errors.Is(err, errPasskey) {
		target := c.Name
		if r != nil {
			target = nameOf(r)
		}
		return s.refused(e, target, byPasskey)
	}
	if err != nil {
		return err
	}
	return s.arrive(e, asked.mfa, r, byPasskey)
}

// shown gives the user whose passkey answered the challenge; errPasskey when it is
// nobody's, or not that of the sign-in's user.
func (s *Service) shown(e *core.RequestEvent, c *core.Collection, p Policy, asked pending, of *core.Record, answer json.RawMessage) (*core.Record, error) {
	party, err := s.party(e, p)
	if err != nil {
		return of, err
	}
	parsed, err := protocol.ParseCredentialRequestResponseBytes(answer)
	if err != nil || party.Config.RPID != asked.party {
		return of, errPasskey
	}
	f, err := s.byCredential(e, c, parsed.RawID)
	if err != nil {
		return of, err
	}
	if f == nil || f.Host != asked.party || of != nil && f.Record != of.Id {
		return of, errPasskey
	}
	r, err := e.App.FindRecordById(c, f.Record)
	if err != nil {
		return of, errPasskey
	}
	h, err := s.holder(e.Request.Context(), e.App, r, asked.party)
	if err != nil {
		return r, err
	}
	var used *webauthn.Credential
	if of == nil {
		_, used, err = party.ValidatePasskeyLogin(func(_, handle []byte) (webauthn.User, error) {
			if !slices.Equal(handle, h.WebAuthnID()) {
				return nil, errPasskey
			}
			return h, nil
		}, *asked.challenge, parsed)
	} else {
		used, err = party.ValidateLogin(h, *asked.challenge, parsed)
	}
	if err != nil {
		return r, errPasskey
	}
	return r, s.usedPasskey(e, r, f.ID, used)
}

func (s *Service) byCredential(e *core.RequestEvent, c *core.Collection, id []byte) (*factorRow, error) {
	var rows []factorRow
	err := s.all(e.Request.Context(), e.App, &rows, `SELECT `+factorColumns+` FROM _hf_user_factors WHERE collection = {:c} AND credential_id = {:id}`,
		dbx.Params{"c": c.Id, "id": base64.RawURLEncoding.EncodeToString(id)})
	if err != nil || len(rows) == 0 || len(id) == 0 {
		return nil, err
	}
	return &rows[0], nil
}

// usedPasskey stores the new counter. One that went back tells of a copied key.
func (s *Service) usedPasskey(e *core.RequestEvent, r *core.Record, id string, c *webauthn.Credential) error {
	ctx := as(e.Request.Context(), r)
	if c.Authenticator.CloneWarning {
		err := s.record(ctx, Event{Action: "user.factor.cloned", Target: nameOf(r), Refused: true, Detail: map[string]string{"factor": id}})
		return errors.Join(errPasskey, err)
	}
	text, err := json.Marshal(c)
	if err != nil {
		return err
	}
	n, err := s.count(ctx, e.App, `UPDATE _hf_user_factors SET credential = {:credential}, used = {:now} WHERE id = {:id}`,
		dbx.Params{"credential": string(text), "now": s.now().UnixMilli(), "id": id})
	if err == nil && n != 1 {
		err = errPasskey
	}
	return err
}
