package system

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"syscall"

	"github.com/ncruces/go-sqlite3"

	"holdfast/data"
)

// words are the house's for what SQLite answers.
var words = []struct{ sqlite, house error }{
	{sql.ErrNoRows, data.ErrNotFound},
	{sqlite3.CONSTRAINT_UNIQUE, data.ErrExists},
	{sqlite3.CONSTRAINT_PRIMARYKEY, data.ErrExists},
	{sqlite3.BUSY, data.ErrBusy},
	{sqlite3.FULL, syscall.ENOSPC},
	{sqlite3.CORRUPT, data.ErrTampered},
	{sqlite3.NOTADB, data.ErrTampered},
}

// nearlyFull is how many free bytes count as none: an I/O error of SQLite does not
// always tell that it was for want of room.
const nearlyFull = 256 << 10

// translate adds the house's word to an error of SQLite, and the page that
// failed when that is why.
func (d *DB) translate(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if ended := ctx.Err(); ended != nil && !errors.Is(err, ended) {
		return fmt.Errorf("%w (%w)", err, ended)
	}
	if fault := d.files.Fault(); fault != nil && isSQLite(err) {
		return fmt.Errorf("%w (%w)", fault, err)
	}
	if errors.Is(err, sqlite3.IOERR) && diskFull(d.c.Dir) {
		return fmt.Errorf("%w (%w)", err, syscall.ENOSPC)
	}
	for _, w := range words {
		if errors.Is(err, w.sqlite) && !errors.Is(err, w.house) {
			return fmt.Errorf("%w (%w)", err, w.house)
		}
	}
	return err
}

// isSQLite says whether SQLite refused for what it found on disk.
func isSQLite(err error) bool {
	return errors.Is(err, sqlite3.CORRUPT) || errors.Is(err, sqlite3.NOTADB) || errors.Is(err, sqlite3.IOERR) ||
		errors.Is(err, sqlite3.CANTOPEN)
}
