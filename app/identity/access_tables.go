package identity

import "holdfast/data/system"

// accessMigrations are the tables of roles and grants beyond the first ones. The
// local socket's actor may hold grants on tenants like a person, as "host": the
// trigger does what the foreign key to persons did.
var accessMigrations = []system.Migration{{Name: "roles and grants", SQL: `
CREATE TABLE grants_anew (
	id TEXT PRIMARY KEY,
	person TEXT NOT NULL,                     -- a person's id, or 'host'
	role TEXT NOT NULL,                       -- built-in, or the name of one of the scope's own
	scope TEXT NOT NULL,                      -- 'appliance' or a tenant id
	valid_from INTEGER NOT NULL,
	valid_until INTEGER NOT NULL DEFAULT 0,
	why TEXT NOT NULL DEFAULT '',
	request TEXT NOT NULL DEFAULT '',         -- the access request that it came of
	glass INTEGER NOT NULL DEFAULT 0,         -- 1: each use is recorded and shown to the tenant
	created INTEGER NOT NULL, created_by TEXT NOT NULL,
	revoked INTEGER NOT NULL DEFAULT 0, revoked_by TEXT NOT NULL DEFAULT ''
) STRICT;
INSERT INTO grants_anew (id, person, role, scope, valid_from, valid_until, why, created, created_by, revoked, revoked_by)
	SELECT id, person, role, scope, valid_from, valid_until, why, created, created_by, revoked, revoked_by FROM grants;
DROP TABLE grants;
ALTER TABLE grants_anew RENAME TO grants;
CREATE INDEX grants_person ON grants (person);
CREATE INDEX grants_scope ON grants (scope);
CREATE TRIGGER grants_of_gone_persons AFTER DELETE ON persons BEGIN DELETE FROM grants WHERE person = OLD.id; END;
CREATE TABLE roles (
	tenant TEXT NOT NULL,                     -- tenant id
	name TEXT NOT NULL,
	about TEXT NOT NULL,
	allow TEXT NOT NULL,                      -- JSON
	deny TEXT NOT NULL,                       -- JSON
	created INTEGER NOT NULL, created_by TEXT NOT NULL,
	changed INTEGER NOT NULL,
	PRIMARY KEY (tenant, name)
) STRICT, WITHOUT ROWID;
`}}
