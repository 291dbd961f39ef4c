// Package system is the appliance's own database: one sealed SQLite file in
// which each capability keeps its tables, brought up by ordered migrations.
package system

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/ncruces/go-sqlite3"
	"github.com/ncruces/go-sqlite3/driver"

	"holdfast/data"
)

// Database is the file's name in Config.Dir.
const Database = "system.db"

// Identity is bound into every page of the database.
const Identity = "system"

// Config says where the database is. Dir and Keys are required.
type Config struct {
	Dir      string         // the data folder; made with mode 0700 if missing
	Keys     data.KeySource // purpose "pages", owner "system"
	OnCommit func()         // called after each commit, must not block; may be nil
	Version  string         // of this program, noted beside migrations; default from the build
	Readers  int            // connections for View; default 4
	Timeout  time.Duration  // for calls whose context has no deadline; default 30 s

	// AcceptCutLog opens a database whose log was cut (cryptfs.ErrCutLog) without
	// the commits that are missing. Lost tells of it.
	AcceptCutLog bool

	// Witness knows what the database must be; nil: nobody does.
	Witness Witness
	// AcceptPutBack opens a database that is not the one the witness knows
	// (ErrPutBack), and has it be the one from then on. Lost tells of it.
	AcceptPutBack bool
}

// DB is the open database. Safe for concurrent use.
type DB struct {
	c       Config
	files   files
	tap     tap
	writer  *sqlx.DB // one connection: writers wait for it, not for SQLite's lock
	readers *sqlx.DB // query_only

	heard    testimony // the witness's, of before
	accepted error     // ErrPutBack, which Config said to go on with
	ready    bool      // it was opened
	quiet    atomic.Bool
	commits  atomic.Int64 // that are not the witness's own
	attested atomic.Int64 // of them
	turning  sync.Mutex
	turn     int64
}

// Open opens the database, making it if it is missing. data.ErrNewer for one of a
// later format, data.ErrTampered for changed bytes or another key, ErrPutBack for one
// that its witness does not know.
func Open(ctx context.Context, c Config) (*DB, error) {
	c = c.withDefaults()
	path := filepath.Join(c.Dir, Database)
	if err := makeDir(c.Dir); err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	d := &DB{c: c}
	if err := d.begin(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", path, err), d.Close())
	}
	d.ready = true
	return d, nil
}

func (d *DB) begin(ctx context.Context) error {
	if err := d.hear(ctx); err != nil {
		return err
	}
	if err := d.open(ctx); err != nil {
		return err
	}
	if err := d.within(ctx, d.prepare); err != nil {
		return err
	}
	return d.compare(ctx)
}

func (c Config) withDefaults() Config {
	if c.Version == "" {
		c.Version = buildVersion()
	}
	if c.Readers == 0 {
		c.Readers = 4
	}
	if c.Timeout == 0 {
		c.Timeout = 30 * time.Second
	}
	return c
}

func buildVersion() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(unknown)"
}

func makeDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return fmt.Errorf("%s has mode %04o: others can read it; run: chmod 700 %s", dir, mode, dir)
	}
	return nil
}

func (d *DB) open(ctx context.Context) (err error) {
	if d.files, d.tap, err = mount(ctx, d.c, d.committed); err != nil {
		return err
	}
	d.writer, err = d.pool(1, "_txlock=immediate")
	if err != nil {
		return err
	}
	d.readers, err = d.pool(d.c.Readers, "")
	return err
}

// pool opens connections; those without a parameter may only read.
func (d *DB) pool(size int, param string) (*sqlx.DB, error) {
	params := []string{}
	if param != "" {
		params = append(params, param)
	}
	db, err := driver.Open(d.files.DSN(Database, params...), func(c *sqlite3.Conn) error {
		if err := d.files.Init(c); err != nil || param != "" {
			return err
		}
		return c.Exec("PRAGMA query_only=on")
	})
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(size)
	db.SetMaxIdleConns(size)
	return sqlx.NewDb(db, "sqlite3"), nil
}

// Update runs fn in a write transaction, one at a time, and commits it; the
// commit is on disk when Update returns nil. fn must not call Update. An error
// or panic of fn rolls back. data.ErrExists for a broken uniqueness,
// data.ErrNotFound for a query without its row, data.ErrTampered for pages that
// fail authentication, data.ErrBusy when the writer stays taken.
func (d *DB) Update(ctx context.Context, fn func(*sqlx.Tx) error) error {
	return d.run(ctx, d.writer, &sql.TxOptions{}, fn)
}

// View runs fn on one consistent state, read-only; many at a time, beside an
// Update. Errors as those of Update.
func (d *DB) View(ctx context.Context, fn func(*sqlx.Tx) error) error {
	return d.run(ctx, d.readers, &sql.TxOptions{ReadOnly: true}, fn)
}

func (d *DB) run(ctx context.Context, pool *sqlx.DB, o *sql.TxOptions, fn func(*sqlx.Tx) error) error {
	return d.within(ctx, func(ctx context.Context) error {
		tx, err := pool.BeginTxx(ctx, o)
		if err != nil {
			return fmt.Errorf("begin: %w", err)
		}
		defer func() { _ = tx.Rollback() }() // does nothing after Commit
		if err := fn(tx); err != nil {
			return err
		}
		if err := tx.Commit(); err != nil {
			return fmt.Errorf("commit: %w", err)
		}
		return nil
	})
}

// within gives a call without a deadline one, and its errors the house's words.
func (d *DB) within(ctx context.Context, fn func(context.Context) error) error {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, d.c.Timeout)
		defer cancel()
	}
	return d.translate(ctx, fn(ctx))
}

// Pages hands out the database's committed pages for snapshots.
func (d *DB) Pages() data.PageSource { return d.tap }

// PagesFor hands them out to one of several followers, each with changes of its
// own.
func (d *DB) PagesFor(follower string) data.PageSource { return d.tap.View(follower) }

// Check reads every page and index and tells what is wrong.
func (d *DB) Check(ctx context.Context) error {
	return d.View(ctx, func(tx *sqlx.Tx) error {
		var findings []string
		if err := tx.SelectContext(ctx, &findings, "PRAGMA integrity_check"); err != nil {
			return fmt.Errorf("check %s: %w", Database, err)
		}
		if len(findings) != 1 || findings[0] != "ok" {
			return fmt.Errorf("check %s: %q: %w", Database, findings, data.ErrTampered)
		}
		return nil
	})
}

// Close waits for running transactions and closes the database. The witness then
// knows its file to the byte.
func (d *DB) Close() error {
	if err := d.close(); err != nil {
		return err
	}
	return d.vouch()
}

func (d *DB) close() error {
	var errs []error
	for _, pool := range []*sqlx.DB{d.readers, d.writer} {
		if pool != nil {
			errs = append(errs, pool.Close())
		}
	}
	if d.tap != nil {
		errs = append(errs, d.tap.Close())
	}
	if d.files != nil {
		errs = append(errs, d.files.Close())
	}
	return errors.Join(errs...)
}
