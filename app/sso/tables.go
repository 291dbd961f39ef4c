package sso

import (
	"database/sql"
	"errors"
	"time"

	"holdfast/data"
	"holdfast/data/system"
)

// Times in the tables are Unix milliseconds; 0 means never. The whole database is
// sealed, the clients' secrets with it.
var migrations = []system.Migration{{Name: "providers", SQL: `
CREATE TABLE sso_providers (
	id TEXT PRIMARY KEY,                      -- in addresses, chosen by who adds it
	scope TEXT NOT NULL,                      -- 'appliance' or a tenant id
	name TEXT NOT NULL,
	kind TEXT NOT NULL,                       -- google, github, microsoft, oidc
	issuer TEXT NOT NULL,
	client_id TEXT NOT NULL,
	client_secret TEXT NOT NULL,
	domains TEXT NOT NULL DEFAULT '[]',       -- JSON: of addresses that may come in
	role TEXT NOT NULL DEFAULT '',            -- of accounts made just in time; empty: none are made
	mfa INTEGER NOT NULL DEFAULT 0,           -- its word on second factors counts
	mfa_acr TEXT NOT NULL DEFAULT '',         -- an acr that stands for one
	created INTEGER NOT NULL, updated INTEGER NOT NULL, updated_by TEXT NOT NULL
) STRICT;
CREATE INDEX sso_providers_scope ON sso_providers (scope);
CREATE TABLE sso_links (
	id TEXT PRIMARY KEY,
	provider TEXT NOT NULL REFERENCES sso_providers (id) ON DELETE CASCADE,
	subject TEXT NOT NULL,                    -- never given to another person by the provider
	person TEXT NOT NULL,
	email TEXT NOT NULL,                      -- as the provider last told it
	created INTEGER NOT NULL,
	last_used INTEGER NOT NULL DEFAULT 0,
	UNIQUE (provider, subject),
	UNIQUE (provider, person)
) STRICT;
CREATE INDEX sso_links_person ON sso_links (person);
CREATE TABLE sso_only (
	scope TEXT PRIMARY KEY,                   -- 'appliance' or a tenant id: where passwords are refused
	updated INTEGER NOT NULL, updated_by TEXT NOT NULL
) STRICT, WITHOUT ROWID;
`}, {Name: "accounts of tenants' providers are an operator's to allow", SQL: `
UPDATE sso_providers SET role = '' WHERE scope <> 'appliance' -- nobody had confirmed their domains
`}, {Name: "providers that are switched off", SQL: `
ALTER TABLE sso_providers ADD COLUMN disabled INTEGER NOT NULL DEFAULT 0
`}}

// oneRow turns "no rows" into data.ErrNotFound.
func oneRow(err error) error {
	if errors.Is(err, sql.ErrNoRows) {
		return data.ErrNotFound
	}
	return err
}

// changedOne gives data.ErrNotFound when a statement changed no row.
func changedOne(done sql.Result, err error) error {
	if err != nil {
		return err
	}
	n, err := done.RowsAffected()
	if err == nil && n == 0 {
		err = data.ErrNotFound
	}
	return err
}

func fromMillis(ms int64) time.Time { return time.UnixMilli(ms).UTC() }

// moment is a time that may be never, as JSON shows it.
func moment(ms int64) *time.Time {
	if ms == 0 {
		return nil
	}
	t := fromMillis(ms)
	return &t
}
