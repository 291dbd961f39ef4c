package identity

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/go-webauthn/webauthn/webauthn"
	"github.com/jmoiron/sqlx"

	"holdfast/app/api"
)

// Kinds of factors that are enrolled. The password is none of them.
const (
	kindTOTP    = "totp"
	kindPasskey = "passkey"
)

// Method is how somebody showed who they are.
type Method string

// The methods. All but a password, a setup link and a provider's plain word are strong:
// something that is had, or two things.
const (
	ByPassword     Method = "password"
	ByTOTP         Method = "password+totp"
	ByRecoveryCode Method = "password+recovery-code"
	ByKeyToo       Method = "password+passkey"
	ByPasskey      Method = "passkey"
	BySetupLink    Method = "setup-link"
	ByInvite       Method = "invite"
	ByMailCode     Method = "password+mail-code"
)

func (m Method) strong() bool {
	return m != ByPassword && m != BySetupLink && m != BySSO && m != ByInvite
}

type factorRow struct {
	ID           string `db:"id"`
	Person       string `db:"person"`
	Kind         string `db:"kind"`
	Name         string `db:"name"`
	Secret       string `db:"secret"`
	LastStep     int64  `db:"last_step"`
	CredentialID []byte `db:"credential_id"`
	Credential   string `db:"credential"`
	Host         string `db:"host"`
	Created      int64  `db:"created"`
	LastUsed     int64  `db:"last_used"`
}

const factorColumns = `id, person, kind, name, secret, last_step, credential_id, credential, host, created, last_used`

const insertFactor = `INSERT INTO factors (` + factorColumns + `) VALUES
	(:id, :person, :kind, :name, :secret, :last_step, :credential_id, :credential, :host, :created, :last_used)`

// factors are all that a person has enrolled, the oldest first.
func (s *Service) factors(ctx context.Context, person string) (rows []factorRow, err error) {
	err = s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		return tx.SelectContext(ctx, &rows, `SELECT `+factorColumns+` FROM factors WHERE person = ? ORDER BY created, id`, person)
	})
	if err != nil {
		return nil, fmt.Errorf("read factors: %w", err)
	}
	return rows, nil
}

func ofKind(rows []factorRow, kind string) []factorRow {
	var found []factorRow
	for _, r := range rows {
		if r.Kind == kind {
			found = append(found, r)
		}
	}
	return found
}

// atHost are the passkeys that a browser can use at this host: the others it would
// not offer.
func atHost(rows []factorRow, host string) []factorRow {
	var found []factorRow
	for _, r := range ofKind(rows, kindPasskey) {
		if r.Host == host {
			found = append(found, r)
		}
	}
	return found
}

// Factors is what a person has to show who they are.
type Factors struct {
	Password      bool          `json:"password"`
	TOTP          *Factor       `json:"totp" doc:"null when there is none"`
	Passkeys      []Passkey     `json:"passkeys"`
	RecoveryCodes RecoveryCodes `json:"recoveryCodes"`
	PasskeysHere  bool          `json:"passkeysHere" doc:"whether passkeys can be made at this address; not at a bare IP address"`
}

// Factor is one enrolled factor.
type Factor struct {
	ID       string     `json:"id"`
	Name     string     `json:"name"`
	Created  time.Time  `json:"created"`
	LastUsed *time.Time `json:"lastUsed"`
}

// Passkey is one passkey.
type Passkey struct {
	Factor
	Host   string `json:"host" doc:"the address that it works at"`
	Synced bool   `json:"synced" doc:"whether it can be on more than one device"`
}

func (r factorRow) factor() Factor {
	return Factor{r.ID, r.Name, fromMillis(r.Created), moment(r.LastUsed)}
}

func (r factorRow) passkey() (Passkey, error) {
	c, err := r.credential()
	return Passkey{Factor: r.factor(), Host: r.Host, Synced: c.Flags.BackupEligible}, err
}

func (r factorRow) credential() (c webauthn.Credential, err error) {
	if err := json.Unmarshal([]byte(r.Credential), &c); err != nil {
		return c, fmt.Errorf("read passkey %s: %w", r.ID, err)
	}
	return c, nil
}

// describeFactors is what the person itself sees.
func (s *Service) describeFactors(r *http.Request, person string) (Factors, error) {
	ctx := r.Context()
	row, err := s.personByID(ctx, person)
	if err != nil {
		return Factors{}, err
	}
	rows, err := s.factors(ctx, person)
	if err != nil {
		return Factors{}, err
	}
	codes, err := s.recoveryCodes(ctx, person)
	if err != nil {
		return Factors{}, err
	}
	f := Factors{Password: row.Password != "", Passkeys: []Passkey{}, RecoveryCodes: codes}
	_, hostErr := relyingParty(r)
	f.PasskeysHere = hostErr == nil
	for _, found := range ofKind(rows, kindTOTP) {
		totp := found.factor()
		f.TOTP = &totp
	}
	for _, found := range ofKind(rows, kindPasskey) {
		p, err := found.passkey()
		if err != nil {
			return Factors{}, err
		}
		f.Passkeys = append(f.Passkeys, p)
	}
	return f, nil
}

// addFactor stores a factor and records it, or takes it back: then the one that it
// replaced is there again.
func (s *Service) addFactor(ctx context.Context, row factorRow) error {
	var replaced []factorRow
	err := s.config.DB.Update(ctx, func(tx *sqlx.Tx) (err error) {
		if row.Kind == kindTOTP { // one at a time: the new one takes the old one's place
			if replaced, err = takeTOTP(ctx, tx, row.Person); err != nil {
				return err
			}
		}
		_, err = tx.NamedExecContext(ctx, insertFactor, row)
		return err
	})
	if err != nil {
		return fmt.Errorf("add %s: %w", row.Kind, err)
	}
	err = s.record(ctx, "factor.add", row.Person, api.OK, map[string]string{"kind": row.Kind, "factor": row.ID})
	if err == nil {
		s.alert(ctx, row.Person, "A new way to confirm who you are", fmt.Sprintf("%s was added to your account on %s.",
			factorNames[row.Kind], s.stamp(ctx, row.Person, fromMillis(row.Created))))
		return nil
	}
	return errors.Join(err, s.putBack(context.WithoutCancel(ctx), row, replaced))
}

func takeTOTP(ctx context.Context, tx *sqlx.Tx, person string) (taken []factorRow, err error) {
	err = tx.SelectContext(ctx, &taken, `SELECT `+factorColumns+` FROM factors WHERE person = ? AND kind = ?`, person, kindTOTP)
	if err == nil {
		_, err = tx.ExecContext(ctx, `DELETE FROM factors WHERE person = ? AND kind = ?`, person, kindTOTP)
	}
	return taken, err
}

func (s *Service) putBack(ctx context.Context, added factorRow, replaced []factorRow) error {
	return s.config.DB.Update(ctx, func(tx *sqlx.Tx) error {
		_, err := tx.ExecContext(ctx, `DELETE FROM factors WHERE id = ?`, added.ID)
		for i := 0; err == nil && i < len(replaced); i++ {
			_, err = tx.NamedExecContext(ctx, insertFactor, replaced[i])
		}
		return err
	})
}

// removeFactor takes a factor away, but never the last way in.
func (s *Service) removeFactor(ctx context.Context, person, kind, id string) error {
	linked, err := s.config.Federation.Linked(ctx, person)
	if err != nil {
		return err
	}
	// First the record: a factor that is gone can no longer be put back.
	if err := s.record(ctx, "factor.remove", person, api.OK, map[string]string{"kind": kind, "factor": id}); err != nil {
		return err
	}
	return s.config.DB.Update(ctx, func(tx *sqlx.Tx) error {
		done, err := tx.ExecContext(ctx, `DELETE FROM factors WHERE id = ? AND person = ? AND kind = ?`, id, person, kind)
		if err := changedOne(done, err); err != nil {
			return fmt.Errorf("remove factor: %w", err)
		}
		if err := stillLetsIn(ctx, tx, person, linked); err != nil {
			return err
		}
		// Recovery codes stand in for a factor: without one they are nothing.
		_, err = tx.ExecContext(ctx, `DELETE FROM recovery_codes WHERE person = ?
			AND NOT EXISTS (SELECT 1 FROM factors WHERE person = ?)`, person, person)
		return err
	})
}

// stillLetsIn refuses a change that would leave a person without a way to sign in. An
// account at an identity provider is one.
func stillLetsIn(ctx context.Context, tx *sqlx.Tx, person string, linked bool) error {
	if linked {
		return nil
	}
	var way bool
	err := tx.GetContext(ctx, &way, `SELECT EXISTS (SELECT 1 FROM persons WHERE id = ? AND password != '')
		OR EXISTS (SELECT 1 FROM factors WHERE person = ? AND kind = ?)`, person, person, kindPasskey)
	if err == nil && !way {
		return api.Errorf(http.StatusConflict, "last-way-in", "You could not sign in any more. Set a password or add another passkey first.")
	}
	return err
}
