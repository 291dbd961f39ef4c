package identity

import "holdfast/data/system"

// accountMigrations are what accounts have beyond who they are and how they sign in.
var accountMigrations = []system.Migration{{Name: "policies and history", SQL: `
CREATE TABLE account_policies (
	scope TEXT PRIMARY KEY,                   -- 'appliance' or a tenant id
	policy TEXT NOT NULL,                     -- JSON
	updated INTEGER NOT NULL, updated_by TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE password_history (
	id INTEGER PRIMARY KEY,
	person TEXT NOT NULL REFERENCES persons (id) ON DELETE CASCADE,
	hash TEXT NOT NULL,                       -- PHC string of a password that was
	ended INTEGER NOT NULL
) STRICT;
CREATE INDEX password_history_person ON password_history (person, id);
-- who has no password any more has none in any form
CREATE TRIGGER password_history_ends AFTER UPDATE OF password ON persons WHEN NEW.password = ''
	BEGIN DELETE FROM password_history WHERE person = NEW.id; END;
`}}
