package identity

import "holdfast/data/system"

// requestMigrations are the tables of access requests and of what was read by them.
var requestMigrations = []system.Migration{{Name: "access requests", SQL: `
CREATE TABLE access_requests (
	id TEXT PRIMARY KEY,
	tenant TEXT NOT NULL,                     -- tenant id
	requester TEXT NOT NULL,                  -- a person's id, or 'host'
	role TEXT NOT NULL,                       -- of the tenant; 'glass' or 'glass-export' for reading only
	glass INTEGER NOT NULL,
	emergency INTEGER NOT NULL,               -- 1: two operators may approve it, if the tenant allows that
	seconds INTEGER NOT NULL,                 -- how long the grant lasts from the approval
	why TEXT NOT NULL,
	asked INTEGER NOT NULL,
	expires INTEGER NOT NULL,                 -- unanswered until then: it counts no more
	state TEXT NOT NULL,                      -- open, approved, refused, withdrawn, expired, ended
	decided INTEGER NOT NULL DEFAULT 0, decided_by TEXT NOT NULL DEFAULT '',
	note TEXT NOT NULL DEFAULT '',            -- of who decided
	grant_id TEXT NOT NULL DEFAULT '',
	valid_until INTEGER NOT NULL DEFAULT 0    -- of the grant
) STRICT;
CREATE INDEX access_requests_tenant ON access_requests (tenant, asked);
CREATE INDEX access_requests_requester ON access_requests (requester, asked);
CREATE INDEX access_requests_waiting ON access_requests (state, expires) WHERE state IN ('open', 'approved');
CREATE TABLE access_approvals (
	request TEXT NOT NULL,
	person TEXT NOT NULL,
	at INTEGER NOT NULL,
	PRIMARY KEY (request, person)
) STRICT, WITHOUT ROWID;
CREATE TABLE access_reads (
	id INTEGER PRIMARY KEY,
	tenant TEXT NOT NULL,
	store TEXT NOT NULL,
	request TEXT NOT NULL,
	person TEXT NOT NULL,
	at INTEGER NOT NULL,
	what TEXT NOT NULL,                       -- the call or the route's pattern
	name TEXT NOT NULL,                       -- collection or file
	query TEXT NOT NULL                       -- SHA-256 of filter and order, in hex; '' for none
) STRICT;
CREATE INDEX access_reads_tenant ON access_reads (tenant, at);
CREATE TABLE access_policies (
	tenant TEXT PRIMARY KEY,
	emergency INTEGER NOT NULL,               -- 1: two operators may approve an emergency
	updated INTEGER NOT NULL, updated_by TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE access_marks (
	name TEXT PRIMARY KEY,
	at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
`}}
