package tenant

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"

	"holdfast/data"
	"holdfast/data/system"
)

// The states of a tenant. Creating is not shown in lists: nobody was told that
// the tenant is there.
const (
	creating  = "creating"
	Live      = "live"
	Parked    = "parked"
	Destroyed = "destroyed"
)

// Times are Unix milliseconds; 0 means never. A row that is not settled tells what
// shall be: keys and stores are not there yet. Adopted rows are filled by a restore,
// which cannot be taken up again after a crash.
var migrations = []system.Migration{{Name: "tenants", SQL: `
CREATE TABLE tenants (
	id           TEXT PRIMARY KEY,
	slug         TEXT NOT NULL,
	name         TEXT NOT NULL,
	state        TEXT NOT NULL CHECK (state IN ('creating', 'live', 'parked', 'destroyed')),
	settled      INTEGER NOT NULL DEFAULT 0,
	adopted      INTEGER NOT NULL DEFAULT 0,
	created      INTEGER NOT NULL,
	created_by   TEXT NOT NULL,
	changed      INTEGER NOT NULL,
	parked_until INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE UNIQUE INDEX tenants_slug ON tenants (slug) WHERE state <> 'destroyed';
CREATE INDEX tenants_past_slug ON tenants (slug, created) WHERE state = 'destroyed';
CREATE INDEX tenants_name ON tenants (name COLLATE NOCASE, slug);
CREATE INDEX tenants_created ON tenants (created, slug);
CREATE INDEX tenants_due ON tenants (parked_until) WHERE state = 'parked';
CREATE INDEX tenants_unsettled ON tenants (id) WHERE settled = 0;
CREATE TABLE environments (
	tenant  TEXT NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
	name    TEXT NOT NULL CHECK (name IN ('prod', 'test', 'dev')),
	state   TEXT NOT NULL CHECK (state IN ('creating', 'live')),
	created INTEGER NOT NULL,
	PRIMARY KEY (tenant, name)
) STRICT, WITHOUT ROWID;`}, {Name: "who asked for a deletion", SQL: `
ALTER TABLE tenants ADD COLUMN deleted_by TEXT NOT NULL DEFAULT '';
ALTER TABLE tenants ADD COLUMN deleted INTEGER NOT NULL DEFAULT 0;`}, {Name: "lists of many tenants", SQL: `
CREATE INDEX tenants_listed ON tenants (slug, state, name) WHERE state <> 'destroyed';
DROP INDEX tenants_name;
CREATE INDEX tenants_name ON tenants (name COLLATE NOCASE, slug, state);
DROP INDEX tenants_created;
CREATE INDEX tenants_created ON tenants (created, slug, state, name);`}, {Name: "for whom a tenant is made", SQL: `
ALTER TABLE tenants ADD COLUMN owner TEXT NOT NULL DEFAULT ''; -- address, while it is being made`}}

const columns = `id, slug, name, state, settled, adopted, created, created_by, parked_until, deleted_by, deleted, owner`

type row struct {
	ID          string `db:"id"`
	Slug        string `db:"slug"`
	Name        string `db:"name"`
	State       string `db:"state"`
	Settled     bool   `db:"settled"`
	Adopted     bool   `db:"adopted"`
	Created     int64  `db:"created"`
	CreatedBy   string `db:"created_by"`
	ParkedUntil int64  `db:"parked_until"`
	DeletedBy   string `db:"deleted_by"`
	Deleted     int64  `db:"deleted"`
	Owner       string `db:"owner"` // address of the first one, if not who makes it; empty once it is made

	environments []environmentRow
}

type environmentRow struct {
	Tenant  string `db:"tenant"`
	Name    string `db:"name"`
	State   string `db:"state"`
	Created int64  `db:"created"`
}

func (r row) store(environment string) data.StoreID {
	return data.StoreID{Tenant: r.ID, Environment: environment}
}

func (r row) has(environment string) bool {
	for _, e := range r.environments {
		if e.Name == environment && e.State == Live {
			return true
		}
	}
	return false
}

// bySlug finds the tenant of a slug; where there is none now, the last one that
// had it and was destroyed.
func bySlug(ctx context.Context, tx *sqlx.Tx, slug string) (row, error) {
	var r row
	err := tx.GetContext(ctx, &r, `SELECT `+columns+` FROM tenants WHERE slug = ? AND state <> 'destroyed'`, slug)
	if errors.Is(err, sql.ErrNoRows) {
		err = tx.GetContext(ctx, &r, `SELECT `+columns+` FROM tenants WHERE slug = ? AND state = 'destroyed' ORDER BY created DESC LIMIT 1`, slug)
	}
	if errors.Is(err, sql.ErrNoRows) {
		return r, fmt.Errorf("tenant %s: %w", slug, data.ErrNotFound)
	}
	if err != nil {
		return r, fmt.Errorf("find tenant %s: %w", slug, err)
	}
	list, err := environmentsOf(ctx, tx, r.ID)
	r.environments = list[r.ID]
	return r, err
}

// environmentsOf gives the environments of tenants, prod first.
func environmentsOf(ctx context.Context, tx *sqlx.Tx, tenants ...string) (map[string][]environmentRow, error) {
	out := map[string][]environmentRow{}
	if len(tenants) == 0 {
		return out, nil
	}
	query, args, err := sqlx.In(`SELECT tenant, name, state, created FROM environments WHERE tenant IN (?)
		ORDER BY tenant, CASE name WHEN 'prod' THEN 0 WHEN 'test' THEN 1 ELSE 2 END`, tenants)
	if err != nil {
		return nil, err
	}
	var rows []environmentRow
	if err := tx.SelectContext(ctx, &rows, query, args...); err != nil {
		return nil, fmt.Errorf("list environments: %w", err)
	}
	for _, e := range rows {
		out[e.Tenant] = append(out[e.Tenant], e)
	}
	return out, nil
}

func millis(t time.Time) int64 { return t.UnixMilli() }

func timeOf(ms int64) time.Time { return time.UnixMilli(ms).UTC() }
