package system

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/jmoiron/sqlx"

	"holdfast/data"
)

// ErrChanged says that a migration differs from the one of that place that was
// applied: released migrations are never edited, new ones follow.
var ErrChanged = errors.New("an applied migration was changed")

// Migration is one step of a room's tables. Both fields are forever.
type Migration struct {
	Name string
	SQL  string // one or more statements
}

func (m Migration) hash() string {
	sum := sha256.Sum256([]byte(m.SQL))
	return hex.EncodeToString(sum[:])
}

// applied is a row of _migrations.
type applied struct {
	Step    int
	Name    string
	Hash    string
	Version string
}

// The database's own tables. application_id says whose file it is, user_version
// which format.
const (
	applicationID = 0x48465359 // "HFSY"
	formatVersion = 1
	ownTables     = `CREATE TABLE _migrations (
	room    TEXT NOT NULL,
	step    INTEGER NOT NULL,
	name    TEXT NOT NULL,
	hash    TEXT NOT NULL,
	version TEXT NOT NULL,
	applied TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
	PRIMARY KEY (room, step)
) STRICT, WITHOUT ROWID;`
)

// prepare makes the own tables, or refuses a file that is not ours or newer.
func (d *DB) prepare(ctx context.Context) error {
	var id, version, tables int
	err := d.run(ctx, d.writer, nil, func(tx *sqlx.Tx) error {
		return errors.Join(
			tx.GetContext(ctx, &id, "PRAGMA application_id"),
			tx.GetContext(ctx, &version, "PRAGMA user_version"),
			tx.GetContext(ctx, &tables, "SELECT count(*) FROM sqlite_schema"))
	})
	switch {
	case err != nil:
		return err
	case version > formatVersion:
		return fmt.Errorf("format %d, this program (%s) knows %d: %w", version, d.c.Version, formatVersion, data.ErrNewer)
	case id == applicationID:
		return nil
	case tables > 0:
		return fmt.Errorf("not a system database: %w", data.ErrTampered)
	}
	return d.run(ctx, d.writer, nil, func(tx *sqlx.Tx) error {
		_, err := tx.ExecContext(ctx, fmt.Sprintf("%s PRAGMA application_id=%d; PRAGMA user_version=%d",
			ownTables, applicationID, formatVersion))
		return err
	})
}

// Migrate brings a room's tables up: each step once, in order, all that are due in
// one transaction. ErrChanged when an applied step is not the one of its place;
// data.ErrNewer, saying by which version, when there are steps this program
// does not know.
func (d *DB) Migrate(ctx context.Context, room string, ms []Migration) error {
	err := d.Update(ctx, func(tx *sqlx.Tx) error {
		var done []applied
		err := tx.SelectContext(ctx, &done, "SELECT step, name, hash, version FROM _migrations WHERE room=? ORDER BY step", room)
		if err != nil {
			return err
		}
		if err := compare(done, ms); err != nil {
			return err
		}
		for i, m := range ms[len(done):] {
			if err := d.apply(ctx, tx, room, len(done)+i+1, m); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("migrate %s: %w", room, err)
	}
	return nil
}

func compare(done []applied, ms []Migration) error {
	for i, a := range done {
		if i >= len(ms) {
			return fmt.Errorf("step %d %q was made by version %s: %w", a.Step, a.Name, a.Version, data.ErrNewer)
		}
		if a.Step != i+1 || a.Name != ms[i].Name || a.Hash != ms[i].hash() {
			return fmt.Errorf("step %d %q, applied as %q by version %s: %w", i+1, ms[i].Name, a.Name, a.Version, ErrChanged)
		}
	}
	return nil
}

func (d *DB) apply(ctx context.Context, tx *sqlx.Tx, room string, step int, m Migration) error {
	if _, err := tx.ExecContext(ctx, m.SQL); err != nil {
		return fmt.Errorf("step %d %q: %w", step, m.Name, err)
	}
	_, err := tx.ExecContext(ctx, "INSERT INTO _migrations (room, step, name, hash, version) VALUES (?, ?, ?, ?, ?)",
		room, step, m.Name, m.hash(), d.c.Version)
	return err
}
