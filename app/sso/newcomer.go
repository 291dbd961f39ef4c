package sso

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/jmoiron/sqlx"

	"holdfast/app/api"
	"holdfast/data"
	"holdfast/data/system"
)

// A tenant's provider says what the tenant's admins want it to. If it made accounts on
// the spot, an address with an account elsewhere would be told from a new one: one comes
// in, the other does not. So both are answered alike, and a letter goes to the address:
// only its link, opened by who has the mailbox, makes the account.

const (
	confirmLife  = 24 * time.Hour
	confirmKept  = 2 * time.Hour // beyond its end, to count letters
	letterWindow = time.Hour     // in which an address gets
	mostLetters  = 3             // so many letters at most, and
	mostOfAll    = 200           // a provider sends so many
)

// newcomerMigrations come after migrations, whose providers they refer to.
var newcomerMigrations = []system.Migration{{Name: "newcomers", SQL: `
CREATE TABLE sso_newcomers (
	hash BLOB PRIMARY KEY,                    -- SHA-256 of the link's token
	provider TEXT NOT NULL REFERENCES sso_providers (id) ON DELETE CASCADE,
	subject TEXT NOT NULL, email TEXT NOT NULL, name TEXT NOT NULL,
	created INTEGER NOT NULL, expires INTEGER NOT NULL,
	used INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;
CREATE INDEX sso_newcomers_created ON sso_newcomers (provider, created);
`}}

// newcomerRow is somebody whose address is still to be confirmed.
type newcomerRow struct {
	Hash     []byte `db:"hash"`
	Provider string `db:"provider"`
	Subject  string `db:"subject"`
	Email    string `db:"email"`
	Name     string `db:"name"`
	Created  int64  `db:"created"`
	Expires  int64  `db:"expires"`
	Used     int64  `db:"used"`
}

// Confirm is the token of a newcomer's link.
type Confirm struct {
	Token string `json:"token"`
}

// Confirmed is where a newcomer signs in from now on.
type Confirmed struct {
	Provider Way    `json:"provider"`
	Tenant   string `json:"tenant" doc:"slug"`
}

// makes says whether a provider makes accounts of an address.
func (r row) makes(email string) bool {
	return r.Role != "" && slices.Contains(r.domains(), domainOf(email))
}

// newcomer makes an account just in time, where the provider is set to and for the
// domains that are named. The appliance's own make it on the spot.
func (s *Service) newcomer(ctx context.Context, r row, c claims) (Person, error) {
	if !r.makes(c.Email) {
		return Person{}, errNoAccount(c.Email)
	}
	if r.Scope != Appliance {
		return Person{}, s.askMailbox(ctx, r, c)
	}
	return s.makeNewcomer(ctx, r, c)
}

func (s *Service) makeNewcomer(ctx context.Context, r row, c claims) (Person, error) {
	p, err := s.config.People.Make(r.inItsName(ctx), c.Email, c.Name, r.Role, r.Scope)
	if err != nil {
		return p, err
	}
	return p, s.link(ctx, r, p.ID, c)
}

// stranger is the answer to an address of whom the tenant knows nobody: the same whether
// there is an account elsewhere or none at all.
func (s *Service) stranger(ctx context.Context, r row, p Person, c claims, otherwise error) error {
	if r.Scope == Appliance || slices.Contains(p.Scopes, r.Scope) || !r.makes(c.Email) {
		return otherwise
	}
	return s.askMailbox(ctx, r, c)
}

func errConfirm(email string) error {
	return api.Errorf(http.StatusForbidden, "confirm-by-mail", "You are new here. A letter is on its way to %s: open its link within a day, then sign in again.", email)
}

// askMailbox writes to the address. It never gives nil: nobody is let in yet. Where no
// mail is set up nobody is made, for the link would go to who only says that the address
// is theirs.
func (s *Service) askMailbox(ctx context.Context, r row, c claims) error {
	token := rawToken()
	hash := sha256.Sum256([]byte(token))
	now := s.now()
	n := newcomerRow{Hash: hash[:], Provider: r.ID, Subject: c.Subject, Email: c.Email, Name: c.Name, Created: now.UnixMilli(), Expires: now.Add(confirmLife).UnixMilli()}
	ready, err := s.config.People.Writes(ctx)
	if err != nil {
		return err
	}
	if !ready {
		return errNoAccount(c.Email)
	}
	if err := s.record(ctx, "sso.newcomer", r.ID, api.OK, map[string]string{"scope": r.Scope}); err != nil {
		return err
	}
	if err := s.keepNewcomer(ctx, n); err != nil {
		return err
	}
	if err := s.writeTo(ctx, r, n, token); err != nil {
		return err
	}
	return errConfirm(c.Email)
}

func rawToken() string {
	raw := make([]byte, 32)
	_, _ = rand.Read(raw) // never fails (crypto/rand)
	return base64.RawURLEncoding.EncodeToString(raw)
}

// keepNewcomer stores it, unless letters came too fast: each goes to somebody who may
// not have asked for one.
func (s *Service) keepNewcomer(ctx context.Context, n newcomerRow) error {
	return s.config.DB.Update(ctx, func(tx *sqlx.Tx) error {
		after := s.now().Add(-letterWindow).UnixMilli()
		var of, all int
		err := errors.Join(tx.GetContext(ctx, &of, `SELECT count(*) FROM sso_newcomers WHERE provider = ? AND created > ? AND email = ?`, n.Provider, after, n.Email),
			tx.GetContext(ctx, &all, `SELECT count(*) FROM sso_newcomers WHERE provider = ? AND created > ?`, n.Provider, after))
		if err != nil {
			return err
		}
		if of >= mostLetters || all >= mostOfAll {
			return api.Errorf(http.StatusTooManyRequests, "too-many", "A letter is on its way already. Look for it, or try again in an hour.").WithHeader("Retry-After", "3600")
		}
		_, err = tx.NamedExecContext(ctx, `INSERT INTO sso_newcomers (hash, provider, subject, email, name, created, expires)
			VALUES (:hash, :provider, :subject, :email, :name, :created, :expires)`, n)
		return err
	})
}

const confirmText = `Hello,

somebody, probably you, signed in to %s with %s as %s.

Open this link to confirm that the address is yours. It works once, until %s:

%s

Then sign in with %s again. If it was not you, do nothing: nothing happens then.
`

func (s *Service) writeTo(ctx context.Context, r row, n newcomerRow, token string) error {
	slug, err := s.config.Tenants.Slug(ctx, r.Scope)
	if err != nil {
		return err
	}
	until := fromMillis(n.Expires)
	return s.config.People.Write(ctx, n.Email, "Confirm your address for "+slug, fmt.Sprintf(confirmText, slug, r.Name, n.Email,
		until.Format("2 January 2006, 15:04 UTC"), s.config.URL()+"/sso#confirm="+token, r.Name), until)
}

func errLink(state string) error {
	switch state {
	case "used":
		return api.Errorf(http.StatusGone, "confirm-used", "This link was used already. Sign in with the provider.")
	case "expired":
		return api.Errorf(http.StatusGone, "confirm-expired", "This link has expired: it works for a day. Sign in with the provider for another one.")
	case "void":
		return api.Errorf(http.StatusGone, "confirm-void", "The provider makes no accounts here any more. Ask who runs the tenant to invite you.")
	}
	return api.Errorf(http.StatusNotFound, "confirm-unknown", "This link is not known here. Was all of it copied?")
}

// serveConfirm makes the account that a letter was about. It lets nobody in: the one who
// has the mailbox signs in at the provider, as always.
func (s *Service) serveConfirm(w http.ResponseWriter, r *http.Request) error {
	var in Confirm
	if err := api.Read(r, &in); err != nil {
		return err
	}
	if err := s.config.People.Admit(s.config.People.Address(r)); err != nil {
		return err
	}
	n, provider, err := s.newcomerOf(r.Context(), in.Token)
	if err != nil {
		return err
	}
	s.config.People.Forgive(s.config.People.Address(r))
	if err := s.confirm(r.Context(), provider, n); err != nil {
		return err
	}
	slug, err := s.config.Tenants.Slug(r.Context(), provider.Scope)
	if err != nil {
		return err
	}
	return api.Respond(w, http.StatusOK, Confirmed{Provider: provider.way(), Tenant: slug})
}

// newcomerOf finds whom a link is for, and the provider, which must make accounts still.
func (s *Service) newcomerOf(ctx context.Context, token string) (n newcomerRow, r row, err error) {
	hash := sha256.Sum256([]byte(token))
	err = s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		return oneRow(tx.GetContext(ctx, &n, `SELECT hash, provider, subject, email, name, created, expires, used FROM sso_newcomers WHERE hash = ?`, hash[:]))
	})
	switch {
	case errors.Is(err, data.ErrNotFound):
		return n, r, errLink("unknown")
	case err != nil:
		return n, r, fmt.Errorf("find newcomer: %w", err)
	case n.Used > 0:
		return n, r, errLink("used")
	case n.Expires <= s.now().UnixMilli():
		return n, r, errLink("expired")
	}
	r, err = s.provider(ctx, n.Provider)
	if errors.Is(err, data.ErrNotFound) || err == nil && (r.Scope == Appliance || !r.makes(n.Email)) {
		err = errLink("void")
	}
	return n, r, err
}

// confirm uses the link up first: of two who come at once, one makes the account.
func (s *Service) confirm(ctx context.Context, r row, n newcomerRow) error {
	err := s.config.DB.Update(ctx, func(tx *sqlx.Tx) error {
		done, err := tx.ExecContext(ctx, `UPDATE sso_newcomers SET used = ? WHERE hash = ? AND used = 0`, s.now().UnixMilli(), n.Hash)
		return changedOne(done, err)
	})
	if errors.Is(err, data.ErrNotFound) {
		return errLink("used")
	}
	if err != nil {
		return fmt.Errorf("confirm newcomer: %w", err)
	}
	_, err = s.config.People.ByMail(ctx, n.Email)
	if err == nil { // only who has the mailbox is told
		return api.Errorf(http.StatusConflict, "has-account", "You have an account here already, and this provider may not sign it in. Sign in your usual way, and ask who runs the tenant to invite you.")
	}
	if !errors.Is(err, data.ErrNotFound) {
		return err
	}
	_, err = s.makeNewcomer(ctx, r, claims{Subject: n.Subject, Email: n.Email, Name: n.Name})
	return err
}

// dropNewcomers forgets links that ended; it writes only where there are some.
func (s *Service) dropNewcomers(ctx context.Context) error {
	before := s.now().Add(-confirmKept).UnixMilli()
	var any bool
	err := s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		return tx.GetContext(ctx, &any, `SELECT EXISTS (SELECT 1 FROM sso_newcomers WHERE expires < ?)`, before)
	})
	if err != nil || !any {
		return err
	}
	return s.config.DB.Update(ctx, func(tx *sqlx.Tx) error {
		_, err := tx.ExecContext(ctx, `DELETE FROM sso_newcomers WHERE expires < ?`, before)
		return err
	})
}
