package users

import (
	"context"
	"database/sql"
	"errors"
	"strings"

	"github.com/pocketbase/dbx"
	"github.com/pocketbase/pocketbase/core"
)

// Tables of this room. They are no PocketBase collections: no route, filter, view,
// export or stream reaches them, and the store's authorizer refuses every statement
// that is not ours.
const schema = `
CREATE TABLE IF NOT EXISTS _hf_user_policies(collection TEXT PRIMARY KEY, policy TEXT NOT NULL, history INTEGER NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS _hf_user_factors(
	id TEXT PRIMARY KEY, collection TEXT NOT NULL, record TEXT NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL,
	secret TEXT NOT NULL, last_step INTEGER NOT NULL, credential_id TEXT NOT NULL, credential TEXT NOT NULL, host TEXT NOT NULL,
	created INTEGER NOT NULL, used INTEGER NOT NULL) STRICT;
CREATE INDEX IF NOT EXISTS _hf_user_factors_of ON _hf_user_factors(collection, record);
CREATE UNIQUE INDEX IF NOT EXISTS _hf_user_factors_key ON _hf_user_factors(collection, credential_id) WHERE credential_id != '';
CREATE TABLE IF NOT EXISTS _hf_user_codes(
	collection TEXT NOT NULL, record TEXT NOT NULL, hash TEXT NOT NULL, salt TEXT NOT NULL, created INTEGER NOT NULL, used INTEGER NOT NULL,
	PRIMARY KEY (collection, record, hash)) STRICT;
CREATE TABLE IF NOT EXISTS _hf_user_passwords(
	id INTEGER PRIMARY KEY, collection TEXT NOT NULL, record TEXT NOT NULL, hash TEXT NOT NULL) STRICT;
CREATE INDEX IF NOT EXISTS _hf_user_passwords_of ON _hf_user_passwords(collection, record)`

// Names of the tables by what the store's triggers do with them.
const (
	factorsTable   = "_hf_user_factors"
	codesTable     = "_hf_user_codes"
	passwordsTable = "_hf_user_passwords"
	policiesTable  = "_hf_user_policies"
)

// Tables are all of this room.
func Tables() []string { return []string{policiesTable, factorsTable, codesTable, passwordsTable} }

// ByTrigger says what a statement within one of the store's own triggers may do to
// a table of this room: forget a deleted user, keep a former password. None of the
// columns that it may read is secret, for a name inside a view can pose as a
// trigger's.
func ByTrigger(insert, remove, read bool, table, column string) bool {
	table = strings.ToLower(table)
	switch {
	case insert:
		return table == passwordsTable
	case remove:
		return table == factorsTable || table == codesTable || table == passwordsTable
	case read:
		return column == "collection" || column == "record" || column == "id" || column == "history" || column == ""
	}
	return false
}

// Forgetting is the body of a trigger that runs after a record of the collection is
// deleted, however that is done: who gets its id next gets none of its factors.
func Forgetting(collection string) string {
	var out []string
	for _, table := range []string{factorsTable, codesTable, passwordsTable} {
		out = append(out, "DELETE FROM "+table+" WHERE collection = "+collection+" AND record = OLD.id")
	}
	return strings.Join(out, "; ")
}

// Remembering is the body of a trigger that runs after a record's password changes:
// the former one is kept where the policy asks for a history.
func Remembering(collection string) string {
	return "INSERT INTO " + passwordsTable + "(collection, record, hash) SELECT " + collection + ", OLD.id, OLD.password" +
		" WHERE OLD.password != '' AND EXISTS (SELECT 1 FROM " + policiesTable + " WHERE collection = " + collection + " AND history > 0); " +
		"DELETE FROM " + passwordsTable + " WHERE collection = " + collection + " AND record = OLD.id AND id NOT IN (SELECT id FROM " +
		passwordsTable + " WHERE collection = " + collection + " AND record = OLD.id ORDER BY id DESC LIMIT 10)"
}

func (s *Service) createTables(ctx context.Context) error {
	for _, statement := range strings.Split(schema, ";") {
		if err := s.exec(ctx, s.config.App, statement, nil); err != nil {
			return err
		}
	}
	return nil
}

func (s *Service) exec(ctx context.Context, app core.App, query string, params dbx.Params) error {
	_, err := s.count(ctx, app, query, params)
	return err
}

// count is exec that tells how many rows it changed.
func (s *Service) count(ctx context.Context, app core.App, query string, params dbx.Params) (int64, error) {
	done, err := app.NonconcurrentDB().NewQuery(query).WithContext(s.config.Inner(ctx)).Bind(params).Execute()
	if err != nil {
		return 0, err
	}
	return done.RowsAffected()
}

// all reads rows; none is no error.
func (s *Service) all(ctx context.Context, app core.App, rows any, query string, params dbx.Params) error {
	err := app.ConcurrentDB().NewQuery(query).WithContext(s.config.Inner(ctx)).Bind(params).All(rows)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	return err
}

// ForgetCollection drops what belongs to a collection that is deleted.
func (s *Service) ForgetCollection(ctx context.Context, app core.App, collection string) error {
	for _, table := range Tables() {
		if err := s.exec(ctx, app, "DELETE FROM "+table+" WHERE collection = {:c}", dbx.Params{"c": collection}); err != nil {
			return err
		}
	}
	return nil
}
