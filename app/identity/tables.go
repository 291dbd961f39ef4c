package identity

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/jmoiron/sqlx"

	"holdfast/data"
	"holdfast/data/system"
)

// Database is what identity needs of data/system.
type Database interface {
	Migrate(ctx context.Context, room string, ms []system.Migration) error
	Update(ctx context.Context, fn func(*sqlx.Tx) error) error
	View(ctx context.Context, fn func(*sqlx.Tx) error) error
}

// Times in the tables are Unix milliseconds; 0 means never.
var migrations = []system.Migration{{Name: "people", SQL: `
CREATE TABLE persons (
	id TEXT PRIMARY KEY,
	email TEXT NOT NULL UNIQUE,               -- lower case
	name TEXT NOT NULL,
	language TEXT NOT NULL DEFAULT '',
	time_zone TEXT NOT NULL DEFAULT '',
	state TEXT NOT NULL DEFAULT 'active',     -- active, locked, disabled
	password TEXT NOT NULL DEFAULT '',        -- PHC string; empty: no password
	password_changed INTEGER NOT NULL DEFAULT 0,
	last_sign_in INTEGER NOT NULL DEFAULT 0,
	created INTEGER NOT NULL, updated INTEGER NOT NULL
) STRICT;
CREATE TABLE memberships (
	person TEXT NOT NULL REFERENCES persons (id) ON DELETE CASCADE,
	tenant TEXT NOT NULL,                     -- tenant id
	created INTEGER NOT NULL, created_by TEXT NOT NULL,
	PRIMARY KEY (person, tenant)
) STRICT, WITHOUT ROWID;
CREATE INDEX memberships_tenant ON memberships (tenant);
CREATE TABLE grants (
	id TEXT PRIMARY KEY,
	person TEXT NOT NULL REFERENCES persons (id) ON DELETE CASCADE,
	role TEXT NOT NULL,
	scope TEXT NOT NULL,                      -- 'appliance' or a tenant id
	valid_from INTEGER NOT NULL,
	valid_until INTEGER NOT NULL DEFAULT 0,
	why TEXT NOT NULL DEFAULT '',
	created INTEGER NOT NULL, created_by TEXT NOT NULL,
	revoked INTEGER NOT NULL DEFAULT 0, revoked_by TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE INDEX grants_person ON grants (person);
CREATE INDEX grants_scope ON grants (scope);
CREATE TABLE api_keys (
	id TEXT PRIMARY KEY,
	store TEXT NOT NULL,                      -- store id; empty: the control plane
	name TEXT NOT NULL,
	scope TEXT NOT NULL,                      -- read, write, admin
	collections TEXT NOT NULL DEFAULT '[]',   -- JSON; empty: all
	addresses TEXT NOT NULL DEFAULT '[]',     -- JSON; empty: any
	hash BLOB NOT NULL,                       -- SHA-256 of the whole key
	hint TEXT NOT NULL,
	created INTEGER NOT NULL, created_by TEXT NOT NULL,
	expires INTEGER NOT NULL,
	revoked INTEGER NOT NULL DEFAULT 0, revoked_by TEXT NOT NULL DEFAULT '',
	last_used INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX api_keys_store ON api_keys (store, created);
CREATE TABLE setup_links (
	hash BLOB PRIMARY KEY,                    -- SHA-256 of the token
	created INTEGER NOT NULL, expires INTEGER NOT NULL,
	used INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;
`}, {Name: "names of a key's collections", SQL: `
ALTER TABLE api_keys ADD COLUMN names TEXT NOT NULL DEFAULT '[]'; -- JSON; of collections when the key was made
`}}

// oneRow turns "no rows" into data.ErrNotFound.
func oneRow(err error) error {
	if errors.Is(err, sql.ErrNoRows) {
		return data.ErrNotFound
	}
	return err
}

func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func fromMillis(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

// moment is a time that may be never, as JSON shows it.
func moment(ms int64) *time.Time {
	if ms == 0 {
		return nil
	}
	t := fromMillis(ms)
	return &t
}
