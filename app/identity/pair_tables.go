package identity

import "holdfast/data/system"

// pairMigrations are the tables of what takes two persons.
var pairMigrations = []system.Migration{{Name: "two persons", SQL: `
CREATE TABLE pair_requests (
	id TEXT PRIMARY KEY,
	requester TEXT NOT NULL,                  -- a person's id, or 'host', which asks nobody
	action TEXT NOT NULL,
	title TEXT NOT NULL,
	permission TEXT NOT NULL,                 -- what who approves must hold on the appliance
	tenant TEXT NOT NULL,                     -- tenant id; '' for none
	facts TEXT NOT NULL,                      -- JSON: what was asked for, without secrets
	secrets TEXT NOT NULL,                    -- JSON: names of the fields that were left out
	digest TEXT NOT NULL,                     -- SHA-256 of who asks and of exactly what, in hex
	asked INTEGER NOT NULL,
	expires INTEGER NOT NULL,                 -- of the question, then of the approval
	state TEXT NOT NULL,                      -- open, approved, refused, withdrawn, expired, used, alone
	decided INTEGER NOT NULL DEFAULT 0, decided_by TEXT NOT NULL DEFAULT '',
	note TEXT NOT NULL DEFAULT '',            -- of who decided
	used INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX pair_requests_digest ON pair_requests (digest, asked);
CREATE INDEX pair_requests_asked ON pair_requests (asked);
CREATE INDEX pair_requests_waiting ON pair_requests (state, expires) WHERE state IN ('open', 'approved');
CREATE TABLE pair_policy (
	one INTEGER PRIMARY KEY CHECK (one = 1),
	mode TEXT NOT NULL                        -- auto, on, off
) STRICT;
INSERT INTO pair_policy (one, mode) VALUES (1, 'auto');
CREATE TABLE pair_force (
	permission TEXT PRIMARY KEY,              -- of what is asked for
	since INTEGER NOT NULL,                   -- two persons are asked for since then; 0: they are not
	seen INTEGER NOT NULL                     -- when there were last two who could approve
) STRICT, WITHOUT ROWID;
`}, {Name: "whose a role is, one question of each", SQL: `
ALTER TABLE grants ADD COLUMN made INTEGER NOT NULL DEFAULT 0; -- where it took the place of as much: when that was given; 0: see created
ALTER TABLE grants ADD COLUMN made_by TEXT NOT NULL DEFAULT ''; -- and by whom
ALTER TABLE pair_policy ADD COLUMN updated INTEGER NOT NULL DEFAULT 0;
UPDATE pair_requests SET state = 'expired' WHERE state IN ('open', 'approved') AND id <> (
	SELECT o.id FROM pair_requests o WHERE o.requester = pair_requests.requester AND o.digest = pair_requests.digest
	AND o.state IN ('open', 'approved') ORDER BY o.state = 'approved' DESC, o.asked DESC, o.id LIMIT 1);
CREATE UNIQUE INDEX pair_requests_one ON pair_requests (requester, digest) WHERE state IN ('open', 'approved');
`}}
