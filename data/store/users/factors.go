package users

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/go-webauthn/webauthn/webauthn"
	"github.com/pocketbase/dbx"
	"github.com/pocketbase/pocketbase/core"
	"github.com/pocketbase/pocketbase/tools/router"
)

// Kinds of factors.
const (
	kindTOTP    = "totp"
	kindPasskey = "passkey"
)

type factorRow struct {
	ID           string `db:"id"`
	Collection   string `db:"collection"`
	Record       string `db:"record"`
	Kind         string `db:"kind"`
	Name         string `db:"name"`
	Secret       string `db:"secret"`
	LastStep     int64  `db:"last_step"`
	CredentialID string `db:"credential_id"`
	Credential   string `db:"credential"`
	Host         string `db:"host"`
	Created      int64  `db:"created"`
	Used         int64  `db:"used"`
}

const factorColumns = `id, collection, record, kind, name, secret, last_step, credential_id, credential, host, created, used`

// Factor is one enrolled factor, as it is shown: nothing of it is secret.
type Factor struct {
	ID       string     `json:"id"`
	Kind     string     `json:"kind" enum:"totp,passkey"`
	Name     string     `json:"name"`
	Host     string     `json:"host,omitempty" doc:"where a passkey works"`
	Created  time.Time  `json:"created"`
	LastUsed *time.Time `json:"lastUsed"`
}

// Factors is what a user has beside the password.
type Factors struct {
	Items         []Factor `json:"items"`
	RecoveryCodes int      `json:"recoveryCodes" doc:"how many are left"`
}

func (f factorRow) shown() Factor {
	out := Factor{ID: f.ID, Kind: f.Kind, Name: f.Name, Host: f.Host, Created: time.UnixMilli(f.Created).UTC()}
	if f.Used > 0 {
		used := time.UnixMilli(f.Used).UTC()
		out.LastUsed = &used
	}
	return out
}

func (f factorRow) credential() (c webauthn.Credential, err error) {
	if err := json.Unmarshal([]byte(f.Credential), &c); err != nil {
		return c, fmt.Errorf("read passkey %s: %w", f.ID, err)
	}
	return c, nil
}

func whose(r *core.Record) dbx.Params {
	return dbx.Params{"c": r.Collection().Id, "r": r.Id}
}

// factors are all that a user has, the oldest first.
func (s *Service) factors(ctx context.Context, app core.App, r *core.Record) ([]factorRow, error) {
	var rows []factorRow
	err := s.all(ctx, app, &rows, `SELECT `+factorColumns+` FROM _hf_user_factors WHERE collection = {:c} AND record = {:r} ORDER BY created, id`, whose(r))
	if err != nil {
		return nil, fmt.Errorf("read the factors of %s: %w", nameOf(r), err)
	}
	return rows, nil
}

// Describe is what a user has, without secrets.
func (s *Service) Describe(ctx context.Context, app core.App, r *core.Record) (Factors, error) {
	rows, err := s.factors(ctx, app, r)
	if err != nil {
		return Factors{}, err
	}
	out := Factors{Items: []Factor{}}
	for _, f := range rows {
		out.Items = append(out.Items, f.shown())
	}
	codes, err := s.codes(ctx, app, r)
	out.RecoveryCodes = len(codes)
	return out, err
}

// add stores a factor in the place of those that it replaces, makes recovery codes
// for who had none, and ends the user's other tokens where the policy says so. It
// gives the user as that is afterwards.
func (s *Service) add(ctx context.Context, app core.App, r *core.Record, p Policy, f factorRow) (now *core.Record, codes []string, err error) {
	if err := s.record(ctx, Event{Action: "user.factor.add", Target: nameOf(r), Detail: map[string]string{"kind": f.Kind, "factor": f.ID}}); err != nil {
		return nil, nil, err
	}
	f.Collection, f.Record, f.Created = r.Collection().Id, r.Id, s.now().UnixMilli()
	err = app.RunInTransaction(func(tx core.App) error {
		if now, err = present(tx, r); err != nil {
			return err
		}
		if f.Kind == kindTOTP { // one at a time
			if err := s.exec(ctx, tx, `DELETE FROM _hf_user_factors WHERE collection = {:c} AND record = {:r} AND kind = 'totp'`, whose(r)); err != nil {
				return err
			}
		}
		if err := s.insert(ctx, tx, f); err != nil {
			return err
		}
		had, err := s.codes(ctx, tx, r)
		if err != nil {
			return err
		}
		if len(had) == 0 {
			if codes, err = s.makeCodes(ctx, tx, r); err != nil {
				return err
			}
		}
		return endOthers(tx, now, p)
	})
	if err != nil {
		return nil, nil, fmt.Errorf("add %s of %s: %w", f.Kind, nameOf(r), err)
	}
	return now, codes, nil
}

func (s *Service) insert(ctx context.Context, tx core.App, f factorRow) error {
	return s.exec(ctx, tx, `INSERT INTO _hf_user_factors (`+factorColumns+`) VALUES ({:id}, {:c}, {:r}, {:kind}, {:name}, {:secret},
		{:step}, {:credentialId}, {:credential}, {:host}, {:created}, {:used})`, dbx.Params{
		"id": f.ID, "c": f.Collection, "r": f.Record, "kind": f.Kind, "name": f.Name, "secret": f.Secret, "step": f.LastStep,
		"credentialId": f.CredentialID, "credential": f.Credential, "host": f.Host, "created": f.Created, "used": f.Used,
	})
}

var errChanged = router.NewUnauthorizedError("The request requires valid record authorization token.", nil)

// present is the user as that is now; 401 when it is gone, or when its tokens ended
// since r was read: a client can hold its request back for as long as that takes.
func present(app core.App, r *core.Record) (*core.Record, error) {
	now, err := app.FindRecordById(r.Collection(), r.Id)
	if errors.Is(err, sql.ErrNoRows) || err == nil && !unchanged(now, pending{tokenKey: r.TokenKey()}) {
		return nil, errChanged
	}
	return now, err
}

// endOthers gives the user another token key: every token that there is ends. All
// columns are written, so now must have been read in the same transaction.
func endOthers(tx core.App, now *core.Record, p Policy) error {
	if !p.Sessions.EndOnChange {
		return nil
	}
	now.RefreshTokenKey()
	return tx.SaveNoValidate(now)
}

// remove takes a factor away, and gives the user as that is afterwards; false when
// the user has none of that id.
func (s *Service) remove(ctx context.Context, app core.App, r *core.Record, p Policy, id string) (now *core.Record, found bool, err error) {
	if err := s.record(ctx, Event{Action: "user.factor.remove", Target: nameOf(r), Detail: map[string]string{"factor": id}}); err != nil {
		return nil, false, err
	}
	err = app.RunInTransaction(func(tx core.App) error {
		if now, err = present(tx, r); err != nil {
			return err
		}
		params := whose(r)
		params["id"] = id
		n, err := s.count(ctx, tx, `DELETE FROM _hf_user_factors WHERE collection = {:c} AND record = {:r} AND id = {:id}`, params)
		if found = n == 1; err != nil || !found {
			return err
		}
		// Recovery codes stand in for a factor: without one they are nothing.
		err = s.exec(ctx, tx, `DELETE FROM _hf_user_codes WHERE collection = {:c} AND record = {:r}
			AND NOT EXISTS (SELECT 1 FROM _hf_user_factors WHERE collection = {:c} AND record = {:r})`, whose(r))
		if err != nil {
			return err
		}
		return endOthers(tx, now, p)
	})
	return now, found, err
}

// Reset takes all factors of a user away, for one who lost them: the password is
// enough from then on, or a new factor is asked for while signing in. It is not the
// user who asks, so that a password changed meanwhile does not stand in the way;
// sql.ErrNoRows when the user is gone.
func (s *Service) Reset(ctx context.Context, app core.App, r *core.Record) error {
	if err := s.record(ctx, Event{Action: "user.factors.reset", Target: nameOf(r)}); err != nil {
		return err
	}
	return app.RunInTransaction(func(tx core.App) error {
		now, err := tx.FindRecordById(r.Collection(), r.Id)
		if err != nil {
			return fmt.Errorf("reset the factors of %s: %w", nameOf(r), err)
		}
		if err := s.drop(ctx, tx, now); err != nil {
			return err
		}
		return endOthers(tx, now, Policy{Sessions: Sessions{EndOnChange: true}})
	})
}

func (s *Service) drop(ctx context.Context, app core.App, r *core.Record) error {
	for _, table := range []string{factorsTable, codesTable} {
		if err := s.exec(ctx, app, "DELETE FROM "+table+" WHERE collection = {:c} AND record = {:r}", whose(r)); err != nil {
			return fmt.Errorf("drop the factors of %s: %w", nameOf(r), err)
		}
	}
	return nil
}

// afterTakeover drops the factors of an account whose address becomes verified,
// whichever way: whoever made the account before with that address must not keep a
// way in, and who added the factors cannot be told. An owner who added them before
// the address was proved adds them again.
func (s *Service) afterTakeover(e *core.RecordEvent) error {
	if err := e.Next(); err != nil || !e.Record.Collection().IsAuth() {
		return err
	}
	if _, on := s.PolicyOf(e.Record.Collection()); !on {
		return nil
	}
	before := e.Record.Original()
	if before.Verified() || !e.Record.Verified() {
		return nil
	}
	return s.drop(e.Context, e.App, e.Record)
}
