package identity

import "holdfast/data/system"

// linkMigrations are the links with one use that bring people in, or back in. They
// come after migrations, whose persons they refer to.
var linkMigrations = []system.Migration{{Name: "invites and resets", SQL: `
CREATE TABLE invites (
	id TEXT PRIMARY KEY,
	hash BLOB NOT NULL UNIQUE,                -- SHA-256 of the token
	email TEXT NOT NULL,                      -- lower case
	role TEXT NOT NULL,
	scope TEXT NOT NULL,                      -- 'appliance' or a tenant id
	valid_until INTEGER NOT NULL DEFAULT 0,   -- of the grant
	why TEXT NOT NULL DEFAULT '',
	mailed INTEGER NOT NULL DEFAULT 0,
	created INTEGER NOT NULL, created_by TEXT NOT NULL,
	expires INTEGER NOT NULL,                 -- of the link
	accepted INTEGER NOT NULL DEFAULT 0, accepted_by TEXT NOT NULL DEFAULT '',
	revoked INTEGER NOT NULL DEFAULT 0, revoked_by TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE INDEX invites_scope ON invites (scope, created);
CREATE TABLE reset_links (
	hash BLOB PRIMARY KEY,                    -- SHA-256 of the token
	person TEXT NOT NULL REFERENCES persons (id) ON DELETE CASCADE,
	created INTEGER NOT NULL, created_by TEXT NOT NULL,
	expires INTEGER NOT NULL,
	used INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;
CREATE INDEX reset_links_person ON reset_links (person);
`}}
