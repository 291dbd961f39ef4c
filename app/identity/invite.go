package identity

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/jmoiron/sqlx"

	"holdfast/app/api"
	"holdfast/data"
	"holdfast/data/system"
)

// InviteLife is how long an invite can be used.
const InviteLife = 7 * 24 * time.Hour

const (
	mostInvites = 200       // open ones of a scope
	askedWithin = time.Hour // in which a scope makes so many at most, ended ones included
	mostAsked   = 200
	mostOfOne   = 5                   // of them for one address
	inviteKept  = 90 * 24 * time.Hour // after its end
)

// InviteRequest asks somebody in. Whether there is an account of that address is
// nobody's business but the invited one's.
type InviteRequest struct {
	Email string     `json:"email"`
	Role  string     `json:"role,omitempty" doc:"viewer of a tenant, support of the appliance when left out"`
	Until *time.Time `json:"until,omitempty" doc:"of the role; no end when left out"`
	Why   string     `json:"why,omitempty"`
}

// Invite is one as its list shows it.
type Invite struct {
	ID      string     `json:"id"`
	Email   string     `json:"email"`
	Role    string     `json:"role"`
	Until   *time.Time `json:"until" doc:"of the role; null: no end"`
	Why     string     `json:"why"`
	State   string     `json:"state" enum:"open,accepted,expired,revoked"`
	Mailed  bool       `json:"mailed"`
	Created time.Time  `json:"created"`
	By      string     `json:"by" doc:"actor"`
	Expires time.Time  `json:"expires"`
	Link    string     `json:"link,omitempty" doc:"good once; given to the one who asked, only then, and only where no mail is set up"`
}

type inviteRow struct {
	ID       string `db:"id"`
	Hash     []byte `db:"hash"`
	Email    string `db:"email"`
	Role     string `db:"role"`
	Scope    string `db:"scope"`
	Until    int64  `db:"valid_until"`
	Why      string `db:"why"`
	Mailed   bool   `db:"mailed"`
	Created  int64  `db:"created"`
	By       string `db:"created_by"`
	Expires  int64  `db:"expires"`
	Accepted int64  `db:"accepted"`
	Revoked  int64  `db:"revoked"`
}

const inviteColumns = `id, hash, email, role, scope, valid_until, why, mailed, created, created_by, expires, accepted, revoked`

func (r inviteRow) state(now time.Time) string {
	switch {
	case r.Accepted > 0:
		return "accepted"
	case r.Revoked > 0:
		return "revoked"
	case r.Expires <= millis(now):
		return "expired"
	}
	return "open"
}

func (r inviteRow) invite(now time.Time) Invite {
	return Invite{ID: r.ID, Email: r.Email, Role: r.Role, Until: moment(r.Until), Why: r.Why, State: r.state(now), Mailed: r.Mailed,
		Created: fromMillis(r.Created), By: r.By, Expires: fromMillis(r.Expires)}
}

func (r inviteRow) grant(person string, now time.Time) Grant {
	return Grant{ID: system.NewID(), Person: person, Role: r.Role, Scope: r.Scope, From: now, Until: fromMillis(r.Until), Why: r.Why}
}

// Invite makes a link with one use that brings a role, for whoever has the address.
// It goes there by mail, or is in the answer where no mail is set up. An earlier
// invite of the address to the same scope ends; a 429 where there were too many. None brings more than its maker has.
func (s *Service) Invite(ctx context.Context, scope string, n InviteRequest) (Invite, error) {
	row, err := s.newInvite(ctx, scope, n)
	if err != nil {
		return Invite{}, err
	}
	if row.Mailed, err = s.config.Post.Ready(ctx); err != nil {
		return Invite{}, fmt.Errorf("invite: %w", err)
	}
	token := newToken()
	hash := sha256.Sum256([]byte(token))
	row.Hash = hash[:]
	if err := s.insertInvite(ctx, row); err != nil {
		return Invite{}, fmt.Errorf("invite: %w", err)
	}
	err = s.record(ctx, "invite.create", row.ID, api.OK, map[string]string{"role": row.Role, "scope": scope})
	if err == nil && row.Mailed {
		err = s.mailInvite(ctx, row, token)
	}
	if err != nil {
		return Invite{}, s.orUndo(ctx, err, `DELETE FROM invites WHERE id = ?`, row.ID)
	}
	out := row.invite(s.now())
	if !row.Mailed {
		out.Link = s.link("invite", token)
	}
	return out, nil
}

// newInvite checks what was asked for.
func (s *Service) newInvite(ctx context.Context, scope string, n InviteRequest) (inviteRow, error) {
	email, ok := cleanEmail(n.Email)
	if !ok {
		return inviteRow{}, api.InvalidField("email", "is not an e-mail address")
	}
	if n.Role == "" {
		n.Role = map[bool]string{true: "support", false: "viewer"}[scope == Appliance]
	}
	now := s.now()
	g, err := NewMember{Role: n.Role, Until: n.Until, Why: n.Why}.grant(scope, now)
	if err != nil {
		return inviteRow{}, err
	}
	end, err := s.giving(ctx, scope, n.Role)
	if err != nil {
		return inviteRow{}, err
	}
	if g.Until, err = notLonger(g.Until, end); err != nil {
		return inviteRow{}, err
	}
	return inviteRow{ID: system.NewID(), Email: email, Role: n.Role, Scope: scope, Until: millis(g.Until), Why: g.Why,
		Created: millis(now), By: data.ActorFrom(ctx).String(), Expires: millis(now.Add(InviteLife))}, nil
}

func (s *Service) insertInvite(ctx context.Context, row inviteRow) error {
	return s.config.DB.Update(ctx, func(tx *sqlx.Tx) error {
		if err := notTooOften(ctx, tx, row); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, `UPDATE invites SET revoked = ?, revoked_by = ? WHERE scope = ? AND email = ? AND accepted = 0 AND revoked = 0`,
			row.Created, row.By, row.Scope, row.Email); err != nil {
			return err
		}
		var open int
		if err := tx.GetContext(ctx, &open, `SELECT count(*) FROM invites WHERE scope = ? AND accepted = 0 AND revoked = 0 AND expires > ?`, row.Scope, row.Created); err != nil {
			return err
		}
		if open >= mostInvites {
			return api.Errorf(http.StatusConflict, "too-many", "%d invites are open here. Take some back first.", mostInvites)
		}
		_, err := tx.NamedExecContext(ctx, `INSERT INTO invites (`+inviteColumns+`) VALUES
			(:id, :hash, :email, :role, :scope, :valid_until, :why, :mailed, :created, :created_by, :expires, :accepted, :revoked)`, row)
		return err
	})
}

// notTooOften refuses invites of a scope that come too fast: each is a letter to
// somebody who has not asked for one. Those that ended count, or inviting anew would
// be a way round.
func notTooOften(ctx context.Context, tx *sqlx.Tx, row inviteRow) error {
	const within = `SELECT created FROM invites WHERE scope = ? AND created > ? AND created <= ?`
	const nth = ` ORDER BY created DESC LIMIT 1 OFFSET ?`
	after := row.Created - askedWithin.Milliseconds()
	var of, all []int64 // the one that must be an hour old first
	err := errors.Join(tx.SelectContext(ctx, &of, within+` AND email = ?`+nth, row.Scope, after, row.Created, row.Email, mostOfOne-1),
		tx.SelectContext(ctx, &all, within+nth, row.Scope, after, row.Created, mostAsked-1))
	switch {
	case err != nil:
		return err
	case len(of) > 0:
		return errTooOften("This address was invited %d times within an hour.", mostOfOne, of[0]-after)
	case len(all) > 0:
		return errTooOften("%d people were invited here within an hour.", mostAsked, all[0]-after)
	}
	return nil
}

func errTooOften(what string, n int, wait int64) error {
	seconds := (wait + 999) / 1000
	return api.Errorf(http.StatusTooManyRequests, "too-many", what+" Try again in %d minutes.", n, (seconds+59)/60).
		WithHeader("Retry-After", strconv.FormatInt(seconds, 10))
}

const inviteText = `Hello,

%s invites you to %s, as %s.

Open this link to accept. It works once, until %s:

%s

If you have an account here already, sign in with it there. If you expected
nothing of the kind, leave the link alone: nothing happens then.
`

func (s *Service) mailInvite(ctx context.Context, row inviteRow, token string) error {
	place, err := s.placeOf(ctx, row.Scope)
	if err != nil {
		return err
	}
	who, _ := s.actorName(ctx, row.By)
	return s.config.Post.Send(ctx, Letter{To: row.Email, Kind: "invite", Expires: fromMillis(row.Expires), Subject: "You are invited to " + place,
		Text: fmt.Sprintf(inviteText, who, place, row.Role, fromMillis(row.Expires).Format("2 January 2006, 15:04 UTC"), s.link("invite", token))})
}

// placeOf names a scope to people. data.ErrNotFound when its tenant is gone.
func (s *Service) placeOf(ctx context.Context, scope string) (string, error) {
	if scope == Appliance {
		return "the Holdfast appliance", nil
	}
	return s.config.Tenants.Slug(ctx, scope)
}

// actorName is a person's name, or what else acted.
func (s *Service) actorName(ctx context.Context, actor string) (string, error) {
	a := data.ParseActor(actor)
	if a.Kind != data.Person {
		return "Who runs the appliance", nil
	}
	row, err := s.personByID(ctx, a.ID)
	if err != nil {
		return "Somebody", err
	}
	return row.Name, nil
}

// RevokeInvite takes an open invite of a scope back. data.ErrNotFound.
func (s *Service) RevokeInvite(ctx context.Context, scope, id string) error {
	if err := s.endInvite(ctx, scope, id); err != nil {
		return fmt.Errorf("revoke invite: %w", err)
	}
	return s.record(ctx, "invite.revoke", id, api.OK, map[string]string{"scope": scope})
}

// endInvite is RevokeInvite without the entry.
func (s *Service) endInvite(ctx context.Context, scope, id string) error {
	return s.config.DB.Update(ctx, func(tx *sqlx.Tx) error {
		done, err := tx.ExecContext(ctx, `UPDATE invites SET revoked = ?, revoked_by = ? WHERE id = ? AND scope = ? AND accepted = 0 AND revoked = 0`,
			millis(s.now()), data.ActorFrom(ctx).String(), id, scope)
		return changedOne(done, err)
	})
}

// invites lists those of a scope, the newest first; with the filter "pending" those
// that nobody has used or taken back.
func (s *Service) invites(ctx context.Context, scope string, page api.Paging) (api.Page[Invite], error) {
	where := ` FROM invites WHERE scope = ?`
	if page.Filter == "pending" {
		where += ` AND accepted = 0 AND revoked = 0`
	}
	var rows []inviteRow
	var total int
	err := s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		if err := tx.GetContext(ctx, &total, `SELECT count(*)`+where, scope); err != nil {
			return err
		}
		return tx.SelectContext(ctx, &rows, `SELECT `+inviteColumns+where+` ORDER BY created DESC, id LIMIT ? OFFSET ?`, scope, page.PerPage, page.Offset())
	})
	if err != nil {
		return api.Page[Invite]{}, fmt.Errorf("list invites: %w", err)
	}
	items := make([]Invite, len(rows))
	for i, row := range rows {
		items[i] = row.invite(s.now())
	}
	return api.NewPage(items, page, total), nil
}

// dropLinks forgets links that ended long ago; it writes only where there are some.
func (s *Service) dropLinks(ctx context.Context) error {
	var errs []error
	for _, old := range []struct {
		where  string
		before time.Time
	}{{`invites WHERE expires < ?`, s.now().Add(-inviteKept)}, {`reset_links WHERE expires < ?`, s.now().Add(-resetKept)}} {
		var any bool
		err := s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
			return tx.GetContext(ctx, &any, `SELECT EXISTS (SELECT 1 FROM `+old.where+`)`, millis(old.before))
		})
		if err == nil && any {
			err = s.config.DB.Update(ctx, func(tx *sqlx.Tx) error {
				_, err := tx.ExecContext(ctx, `DELETE FROM `+old.where, millis(old.before))
				return err
			})
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
