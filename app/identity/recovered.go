package identity

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/jmoiron/sqlx"

	"holdfast/app/api"
	"holdfast/data"
	"holdfast/data/system"
)

// RecoveredFor is how long an account that somebody else opened anew waits for a
// tenant's records, where the tenant had no other owner who could say that it is right.
const RecoveredFor = 24 * time.Hour

// RecoveredAlone is how long it waits where all other owners are locked out: who locks
// them first gains no day by it, and a tenant whose other owners left is not lost.
const RecoveredAlone = 14 * 24 * time.Hour

// recoveryMigrations come after migrations, whose persons they refer to.
var recoveryMigrations = []system.Migration{{Name: "recoveries", SQL: `
CREATE TABLE recoveries (
	person TEXT PRIMARY KEY REFERENCES persons (id) ON DELETE CASCADE,
	at INTEGER NOT NULL, by TEXT NOT NULL     -- when somebody else last opened the account anew, and who
) STRICT, WITHOUT ROWID;
CREATE TABLE recoveries_confirmed (
	person TEXT NOT NULL REFERENCES persons (id) ON DELETE CASCADE,
	tenant TEXT NOT NULL,                     -- tenant id
	at INTEGER NOT NULL, by TEXT NOT NULL,
	PRIMARY KEY (person, tenant)
) STRICT, WITHOUT ROWID;
`}}

// recovered begins the hold: an operator can open anybody's account anew, so its
// permissions on records rest on each tenant until another of its owners confirms.
// The caller forgets the grants that it keeps in mind.
func (s *Service) recovered(ctx context.Context, tx *sqlx.Tx, person, by string) error {
	_, err := tx.ExecContext(ctx, `DELETE FROM recoveries_confirmed WHERE person = ?`, person)
	if err == nil {
		_, err = tx.ExecContext(ctx, `INSERT OR REPLACE INTO recoveries (person, at, by) VALUES (?, ?, ?)`, person, millis(s.now()), by)
	}
	if err != nil {
		return fmt.Errorf("hold a recovered account: %w", err)
	}
	return nil
}

// somebodyElses says whether a link that an actor made is one by which others open a
// person's account. One that nobody who is signed in asked for went to the person's mail.
func somebodyElses(by, person string) bool {
	a := data.ParseActor(by)
	return a.Kind != data.Guest && a != data.Actor{Kind: data.Person, ID: person}
}

// unconfirmed joins the recovery of p that the tenant g.scope has not confirmed.
const unconfirmed = `SELECT 1 FROM recoveries r WHERE r.person = g.person
	AND NOT EXISTS (SELECT 1 FROM recoveries_confirmed c WHERE c.person = g.person AND c.tenant = g.scope)`

// readHolds finds the tenants where a person's permissions on records rest, and until
// when: the zero time where another owner was there before, who is to confirm. One who is
// locked out cannot, but may be let in again. What was given after the recovery was given
// to who has the account now.
func (s *Service) readHolds(ctx context.Context, tx *sqlx.Tx, person string) (map[string]time.Time, error) {
	var rows []struct {
		Scope  string `db:"scope"`
		At     int64  `db:"at"`
		Others int    `db:"others"` // owners: 0 none, 1 locked out, 2 who may sign in
	}
	err := tx.SelectContext(ctx, &rows, `SELECT DISTINCT h.scope, r.at, (
			SELECT coalesce(max(CASE WHEN g.person = ? OR p.state = ? THEN 2 WHEN p.state = ? THEN 1 ELSE 0 END), 0)
			FROM grants g LEFT JOIN persons p ON p.id = g.person
			WHERE g.scope = h.scope AND g.person <> h.person AND g.role = ? AND g.revoked = 0 AND g.valid_until = 0
			AND g.created <= r.at AND NOT EXISTS (`+unconfirmed+`)) AS others
		FROM grants h JOIN recoveries r ON r.person = h.person
		WHERE h.person = ? AND h.revoked = 0 AND h.scope <> ? AND h.created <= r.at
		AND NOT EXISTS (SELECT 1 FROM recoveries_confirmed c WHERE c.person = h.person AND c.tenant = h.scope)`,
		hostHolder, active, locked, Owner, person, Appliance)
	holds := map[string]time.Time{}
	for _, r := range rows {
		holds[r.Scope] = time.Time{}
		if r.Others < 2 {
			holds[r.Scope] = fromMillis(r.At).Add([]time.Duration{RecoveredFor, RecoveredAlone}[r.Others])
		}
	}
	return holds, err
}

// rests says whether a permission waits for a confirmation: one on a tenant's records, and
// to delete the tenant, for which operators need a second person and its own people do not.
func (st standing) rests(p api.Permission, tenant string, now time.Time) bool {
	until, held := st.holds[tenant]
	return held && (p.Content() || p == api.TenantDelete) && (until.IsZero() || now.Before(until))
}

// tellTenants enters what was done to somebody's account into the log of each tenant
// where the person has a role.
func (s *Service) tellTenants(ctx context.Context, person, action string, detail map[string]string) error {
	st, err := s.standing(ctx, person)
	if err != nil {
		return err
	}
	for _, scope := range st.scopes(s.now()) {
		if scope == Appliance {
			continue
		}
		store := data.StoreID{Tenant: scope, Environment: data.Prod}.String()
		if err := s.recordIn(ctx, store, action, person, api.OK, detail); err != nil {
			return err
		}
	}
	return nil
}

func (s *Service) recoveredRoutes() []api.Route {
	return []api.Route{{
		Method: http.MethodPost, Path: "/api/v1/tenants/{slug}/members/{id}/confirm", Permission: api.MemberManage, Assurance: api.Fresh, Scope: s.tenantScope,
		Summary: "Confirm that somebody is who they were after an operator opened their account anew: their permissions on the tenant's records come back",
		Handler: s.serveConfirmMember,
	}}
}

func (s *Service) serveConfirmMember(w http.ResponseWriter, r *http.Request) error {
	tenant, err := s.tenant(r)
	if err != nil {
		return err
	}
	if err := s.confirmMember(r.Context(), tenant, r.PathValue("id")); err != nil {
		return err
	}
	return api.NoContent(w)
}

// confirmMember ends a hold. Nobody does it for themselves, nor who may less.
func (s *Service) confirmMember(ctx context.Context, tenant, person string) error {
	if holder, _ := holderOf(data.ActorFrom(ctx)); holder == person {
		return errOneself()
	}
	st, err := s.standing(ctx, person)
	if err != nil {
		return err
	}
	if _, held := st.holds[tenant]; !held {
		return data.ErrNotFound
	}
	if err := s.mayChange(ctx, tenant, person); err != nil {
		return err
	}
	if err := s.recordIn(ctx, data.StoreID{Tenant: tenant, Environment: data.Prod}.String(), "member.confirm", person, api.OK, nil); err != nil {
		return err
	}
	err = s.config.DB.Update(ctx, func(tx *sqlx.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT OR REPLACE INTO recoveries_confirmed (person, tenant, at, by) VALUES (?, ?, ?, ?)`,
			person, tenant, millis(s.now()), data.ActorFrom(ctx).String())
		return err
	})
	s.grants.forget()
	return err
}
