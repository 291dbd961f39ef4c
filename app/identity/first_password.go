package identity

import (
	"context"

	"github.com/jmoiron/sqlx"

	"holdfast/data/system"
)

// A password that somebody else chose is known to two. It signs in once, to be changed:
// nothing else is open until then.

var firstPasswordMigrations = []system.Migration{{Name: "first passwords", SQL: `
CREATE TABLE first_passwords (
	person TEXT PRIMARY KEY REFERENCES persons (id) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
-- a hash that is only brought up to a new cost is the same password still
CREATE TRIGGER first_passwords_end AFTER UPDATE OF password_changed ON persons
	BEGIN DELETE FROM first_passwords WHERE person = NEW.id; END;
`}}

// markFirst has a new account's password be changed at the first sign-in.
func markFirst(ctx context.Context, tx *sqlx.Tx, person string) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO first_passwords (person) VALUES (?)`, person)
	return err
}
