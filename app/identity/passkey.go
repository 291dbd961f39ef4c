package identity

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"

	"github.com/go-webauthn/webauthn/protocol"
	"github.com/go-webauthn/webauthn/webauthn"
	"github.com/jmoiron/sqlx"

	"holdfast/app/api"
	"holdfast/data"
	"holdfast/data/system"
)

// mostPasskeys a person can have.
const mostPasskeys = 20

// relyingParty is the party that the request's own host is. A passkey made here
// works here and nowhere else: a tenant's page, which could ask for one of ours
// where both live under one domain, has another origin and is refused.
func relyingParty(r *http.Request) (*webauthn.WebAuthn, error) {
	host, _, err := net.SplitHostPort(r.Host)
	if err != nil {
		host = r.Host
	}
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	party, err := webauthn.New(&webauthn.Config{
		RPID: host, RPDisplayName: "Holdfast", RPOrigins: []string{scheme + "://" + r.Host},
		AttestationPreference: protocol.PreferNoAttestation,
	})
	if err != nil {
		return nil, api.Errorf(http.StatusUnprocessableEntity, "no-passkeys-here",
			"Browsers bind passkeys to a name, not to an IP address. Open the console by its name, on this machine as http://localhost.").Because(err)
	}
	return party, nil
}

// holder is a person as the library asks for one. Its handle is the account's
// random id, which says nothing of the person.
type holder struct {
	row         personRow
	credentials []webauthn.Credential
}

var _ webauthn.User = holder{}

func (h holder) WebAuthnID() []byte                         { return []byte(h.row.ID) }
func (h holder) WebAuthnName() string                       { return h.row.Email }
func (h holder) WebAuthnDisplayName() string                { return h.row.Name }
func (h holder) WebAuthnCredentials() []webauthn.Credential { return h.credentials }

// holder reads a person with the passkeys that work at the host.
func (s *Service) holder(ctx context.Context, person, host string) (holder, error) {
	row, err := s.personByID(ctx, person)
	if err != nil {
		return holder{}, err
	}
	rows, err := s.factors(ctx, person)
	if err != nil {
		return holder{}, err
	}
	h := holder{row: row}
	for _, found := range atHost(rows, host) {
		c, err := found.credential()
		if err != nil {
			return holder{}, err
		}
		h.credentials = append(h.credentials, c)
	}
	return h, nil
}

// PasskeyOptions is what the browser's navigator.credentials takes.
type PasskeyOptions struct {
	PublicKey any `json:"publicKey" doc:"as PublicKeyCredential.parseCreationOptionsFromJSON or parseRequestOptionsFromJSON reads it"`
}

// beginPasskey makes a challenge for a new passkey.
func (s *Service) beginPasskey(r *http.Request, person string) (PasskeyOptions, *webauthn.SessionData, error) {
	party, err := relyingParty(r)
	if err != nil {
		return PasskeyOptions{}, nil, err
	}
	h, err := s.holder(r.Context(), person, party.Config.RPID)
	if err != nil {
		return PasskeyOptions{}, nil, err
	}
	if len(h.credentials) >= mostPasskeys {
		return PasskeyOptions{}, nil, api.Errorf(http.StatusConflict, "too-many-passkeys", "There are %d passkeys. Remove one first.", mostPasskeys)
	}
	return s.askNewPasskey(r, h)
}

// askNewPasskey makes a challenge for a passkey of somebody who may have no account yet.
func (s *Service) askNewPasskey(r *http.Request, h holder) (PasskeyOptions, *webauthn.SessionData, error) {
	party, err := relyingParty(r)
	if err != nil {
		return PasskeyOptions{}, nil, err
	}
	options, session, err := party.BeginRegistration(h, webauthn.WithExclusions(webauthn.Credentials(h.credentials).CredentialDescriptors()),
		webauthn.WithAuthenticatorSelection(protocol.AuthenticatorSelection{
			ResidentKey: protocol.ResidentKeyRequirementRequired, UserVerification: protocol.VerificationRequired,
		}))
	if err != nil {
		return PasskeyOptions{}, nil, fmt.Errorf("begin passkey: %w", err)
	}
	return PasskeyOptions{options.Response}, session, nil
}

// finishPasskey stores the passkey that answers the challenge.
func (s *Service) finishPasskey(r *http.Request, person, name string, challenge *webauthn.SessionData, answer json.RawMessage) (factorRow, error) {
	party, err := relyingParty(r)
	if err != nil {
		return factorRow{}, err
	}
	h, err := s.holder(r.Context(), person, party.Config.RPID)
	if err != nil {
		return factorRow{}, err
	}
	row, err := s.madePasskey(r, h, name, challenge, answer)
	if err != nil {
		return factorRow{}, err
	}
	return row, s.addFactor(r.Context(), row)
}

// madePasskey checks the passkey that answers the challenge. It stores nothing.
func (s *Service) madePasskey(r *http.Request, h holder, name string, challenge *webauthn.SessionData, answer json.RawMessage) (factorRow, error) {
	party, err := relyingParty(r)
	if err != nil {
		return factorRow{}, err
	}
	parsed, err := protocol.ParseCredentialCreationResponseBytes(answer)
	if err != nil {
		return factorRow{}, errPasskey(err)
	}
	c, err := party.CreateCredential(h, *challenge, parsed)
	if err != nil {
		return factorRow{}, errPasskey(err)
	}
	text, err := json.Marshal(c)
	if err != nil {
		return factorRow{}, err
	}
	return factorRow{ID: system.NewID(), Person: h.row.ID, Kind: kindPasskey, Name: name, CredentialID: c.ID,
		Credential: string(text), Host: party.Config.RPID, Created: millis(s.now())}, nil
}

func errPasskey(cause error) error {
	return api.Errorf(http.StatusUnprocessableEntity, "bad-passkey", "The passkey was not accepted. Try again.").Because(explain(cause))
}

// explain keeps what the library says for the log.
func explain(err error) error {
	var p *protocol.Error
	if errors.As(err, &p) {
		return fmt.Errorf("%s: %s: %w", p.Details, p.DevInfo, err)
	}
	return err
}

// askPasskey makes a challenge for a passkey that there is: of a known person, as
// a second factor or again; or of whoever has one, which then has to verify its
// owner by itself.
func (s *Service) askPasskey(r *http.Request, person string) (PasskeyOptions, *webauthn.SessionData, error) {
	party, err := relyingParty(r)
	if err != nil {
		return PasskeyOptions{}, nil, err
	}
	if person == "" {
		options, session, err := party.BeginDiscoverableLogin(webauthn.WithUserVerification(protocol.VerificationRequired))
		if err != nil {
			return PasskeyOptions{}, nil, fmt.Errorf("ask for a passkey: %w", err)
		}
		return PasskeyOptions{options.Response}, session, nil
	}
	h, err := s.holder(r.Context(), person, party.Config.RPID)
	if err != nil {
		return PasskeyOptions{}, nil, err
	}
	if len(h.credentials) == 0 {
		return PasskeyOptions{}, nil, api.Errorf(http.StatusUnprocessableEntity, "no-passkey", "There is no passkey for this address.")
	}
	options, session, err := party.BeginLogin(h, webauthn.WithUserVerification(protocol.VerificationPreferred))
	if err != nil {
		return PasskeyOptions{}, nil, fmt.Errorf("ask for a passkey: %w", err)
	}
	return PasskeyOptions{options.Response}, session, nil
}

// checkPasskey tells whose passkey answered the challenge; "" when it is nobody's.
func (s *Service) checkPasskey(r *http.Request, challenge *webauthn.SessionData, answer json.RawMessage) (person string, cause, err error) {
	if challenge == nil {
		return "", errors.New("no challenge is open"), nil
	}
	party, err := relyingParty(r)
	if err != nil {
		return "", nil, err
	}
	parsed, cause := protocol.ParseCredentialRequestResponseBytes(answer)
	if cause != nil {
		return "", explain(cause), nil
	}
	find := func(_, handle []byte) (webauthn.User, error) {
		h, findErr := s.holder(r.Context(), string(handle), party.Config.RPID)
		if findErr != nil && !errors.Is(findErr, data.ErrNotFound) {
			err = findErr // ours, not the passkey's fault
		}
		return h, findErr
	}
	var user webauthn.User
	var c *webauthn.Credential
	if len(challenge.UserID) == 0 {
		user, c, cause = party.ValidatePasskeyLogin(find, *challenge, parsed)
	} else if user, cause = find(nil, challenge.UserID); cause == nil {
		c, cause = party.ValidateLogin(user, *challenge, parsed)
	}
	if err != nil || cause != nil {
		return "", explain(cause), err
	}
	return s.usedPasskey(r.Context(), string(user.WebAuthnID()), c)
}

// usedPasskey stores the new counter. One that went back tells of a copied key.
func (s *Service) usedPasskey(ctx context.Context, person string, c *webauthn.Credential) (string, error, error) {
	if c.Authenticator.CloneWarning {
		err := s.record(ctx, "factor.cloned", person, api.Failed, map[string]string{"kind": kindPasskey})
		return "", errors.New("the passkey's counter went back: it may be a copy"), err
	}
	text, err := json.Marshal(c)
	if err != nil {
		return "", nil, err
	}
	err = s.config.DB.Update(ctx, func(tx *sqlx.Tx) error {
		done, err := tx.ExecContext(ctx, `UPDATE factors SET credential = ?, last_used = ? WHERE person = ? AND credential_id = ?`,
			string(text), millis(s.now()), person, c.ID)
		return changedOne(done, err)
	})
	return person, nil, err
}
