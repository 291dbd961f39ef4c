package disposal

import (
	"holdfast/data/system"
)

// Times are Unix milliseconds; 0 means not yet. Notes are signed entries as they
// lie on the targets; the other columns of the ledger are read out of them.
var migrations = []system.Migration{{Name: "ledger, disposals, erasures", SQL: `
CREATE TABLE ledger (
	hash    TEXT PRIMARY KEY,
	number  INTEGER NOT NULL,
	kind    TEXT NOT NULL,
	id      TEXT NOT NULL,
	time    INTEGER NOT NULL,
	records INTEGER NOT NULL,
	signer  TEXT NOT NULL,
	source  TEXT NOT NULL,
	head    INTEGER NOT NULL,
	note    TEXT NOT NULL
) STRICT;
CREATE INDEX ledger_number ON ledger (number);
CREATE INDEX ledger_id ON ledger (id, kind);
CREATE INDEX ledger_heads ON ledger (hash) WHERE head = 1;
CREATE TABLE ledger_links (parent TEXT NOT NULL, child TEXT NOT NULL, PRIMARY KEY (parent, child)) STRICT, WITHOUT ROWID;
CREATE TABLE ledger_stores (
	store TEXT NOT NULL, kind TEXT NOT NULL, entry TEXT NOT NULL REFERENCES ledger (hash),
	PRIMARY KEY (store, kind, entry)
) STRICT, WITHOUT ROWID;
CREATE TABLE ledger_keys (vkey TEXT PRIMARY KEY) STRICT, WITHOUT ROWID;
CREATE TABLE ledger_shipped (
	target TEXT NOT NULL, hash TEXT NOT NULL REFERENCES ledger (hash),
	PRIMARY KEY (target, hash)
) STRICT, WITHOUT ROWID;
CREATE TABLE ledger_targets (
	target TEXT PRIMARY KEY, tried INTEGER NOT NULL, compared INTEGER NOT NULL, error TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE disposals (
	id          TEXT PRIMARY KEY,
	tenant      TEXT NOT NULL UNIQUE,
	slug        TEXT NOT NULL,
	begun       INTEGER NOT NULL,
	finished    INTEGER NOT NULL,
	terms       TEXT NOT NULL,
	certificate TEXT NOT NULL,
	signature   TEXT NOT NULL,
	vkey        TEXT NOT NULL
) STRICT;
CREATE INDEX disposals_begun ON disposals (begun, id);
CREATE TABLE erasures (
	id         TEXT PRIMARY KEY,
	store      TEXT NOT NULL,
	collection TEXT NOT NULL,
	records    INTEGER NOT NULL,
	reason     TEXT NOT NULL,
	asked      INTEGER NOT NULL,
	actor      TEXT NOT NULL,
	finished   INTEGER NOT NULL
) STRICT;
CREATE INDEX erasures_store ON erasures (store, asked, id);
CREATE INDEX erasures_pending ON erasures (id) WHERE finished = 0;
`}, {Name: "copies of stores", SQL: `
CREATE TABLE copies (
	copy   TEXT PRIMARY KEY,
	source TEXT NOT NULL,
	point  INTEGER NOT NULL,
	made   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX copies_source ON copies (source);
ALTER TABLE erasures ADD COLUMN origin TEXT NOT NULL DEFAULT '';
CREATE INDEX erasures_origin ON erasures (origin) WHERE origin <> '';
`}}
