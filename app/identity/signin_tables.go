package identity

import "holdfast/data/system"

// signInMigrations are what people show to sign in, and when they did. They come
// after migrations, whose persons they refer to.
var signInMigrations = []system.Migration{{Name: "factors", SQL: `
CREATE TABLE factors (
	id TEXT PRIMARY KEY,
	person TEXT NOT NULL REFERENCES persons (id) ON DELETE CASCADE,
	kind TEXT NOT NULL,                       -- totp, passkey
	name TEXT NOT NULL,
	secret TEXT NOT NULL DEFAULT '',          -- totp: base32; the whole database is sealed
	last_step INTEGER NOT NULL DEFAULT 0,     -- totp: the newest step that was used
	credential_id BLOB UNIQUE,                -- passkey: null for others
	credential TEXT NOT NULL DEFAULT '',      -- passkey: JSON of the credential record
	host TEXT NOT NULL DEFAULT '',            -- passkey: the relying party's id it was made for
	created INTEGER NOT NULL,
	last_used INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX factors_person ON factors (person, kind);
CREATE TABLE recovery_codes (
	person TEXT NOT NULL REFERENCES persons (id) ON DELETE CASCADE,
	hash TEXT NOT NULL,                       -- PHC string; all of a person have one salt
	created INTEGER NOT NULL,
	used INTEGER NOT NULL DEFAULT 0,
	PRIMARY KEY (person, hash)
) STRICT, WITHOUT ROWID;
CREATE TABLE sign_ins (
	id TEXT PRIMARY KEY,
	person TEXT NOT NULL REFERENCES persons (id) ON DELETE CASCADE,
	at INTEGER NOT NULL,
	outcome TEXT NOT NULL,                    -- ok, failed
	method TEXT NOT NULL,
	address TEXT NOT NULL,
	agent TEXT NOT NULL,
	new_device INTEGER NOT NULL DEFAULT 0     -- an agent that the person had not signed in with before
) STRICT;
CREATE INDEX sign_ins_person ON sign_ins (person, at);
`}, {Name: "policies", SQL: `
CREATE TABLE sign_in_policies (
	scope TEXT PRIMARY KEY,                   -- 'appliance' or a tenant id
	policy TEXT NOT NULL,                     -- JSON
	updated INTEGER NOT NULL, updated_by TEXT NOT NULL
) STRICT, WITHOUT ROWID;
`}}
