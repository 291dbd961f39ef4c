package mail

import "holdfast/data/system"

// Times in the tables are Unix milliseconds; 0 means never. The database is sealed.
var migrations = []system.Migration{{Name: "mail", SQL: `
CREATE TABLE mail_settings (
	id INTEGER PRIMARY KEY CHECK (id = 1),
	settings TEXT NOT NULL,                   -- JSON
	updated INTEGER NOT NULL, updated_by TEXT NOT NULL
) STRICT;
CREATE TABLE mail_outbox (
	id TEXT PRIMARY KEY,
	recipient TEXT NOT NULL,
	kind TEXT NOT NULL,
	subject TEXT NOT NULL,
	body TEXT NOT NULL,                       -- emptied once the letter has gone or ended
	state TEXT NOT NULL,                      -- waiting, sending, sent, failed, expired
	tries INTEGER NOT NULL DEFAULT 0,
	created INTEGER NOT NULL,
	expires INTEGER NOT NULL,
	due INTEGER NOT NULL,                     -- not tried before
	ended INTEGER NOT NULL DEFAULT 0,
	error TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE INDEX mail_outbox_open ON mail_outbox (due) WHERE state IN ('waiting', 'sending');
CREATE INDEX mail_outbox_created ON mail_outbox (created);
`}}
