package store

import (
	"context"
	"database/sql/driver"
	"errors"
	"strings"
	"time"

	"github.com/ncruces/go-sqlite3"
)

// connector opens connections that keep their prepared statements: PocketBase
// writes the same few statements over and over, and preparing is a fifth of a
// read's time. database/sql above it prepares nothing for itself.
type connector struct {
	dsn   string
	begin string // BEGIN, or BEGIN IMMEDIATE for the writer
	init  func(*sqlite3.Conn) error
	most  time.Duration // that a statement which only reads may take
}

var _ driver.Connector = connector{}

// Connect opens and readies one connection.
func (c connector) Connect(ctx context.Context) (driver.Conn, error) {
	raw, err := sqlite3.OpenContext(ctx, c.dsn)
	if err != nil {
		return nil, err
	}
	if err := c.init(raw); err != nil {
		return nil, errors.Join(err, raw.Close())
	}
	return &conn{raw: raw, begin: c.begin, most: c.most, idle: map[prepared]*sqlite3.Stmt{}}, nil
}

// Driver is asked for by database/sql, never by us.
func (c connector) Driver() driver.Driver { return nil }

// conn is one connection; database/sql lets one goroutine at a time use it.
type conn struct {
	raw   *sqlite3.Conn
	begin string
	most  time.Duration
	idle  map[prepared]*sqlite3.Stmt // not in use
}

var (
	_ driver.Conn              = (*conn)(nil)
	_ driver.ConnBeginTx       = (*conn)(nil)
	_ driver.ExecerContext     = (*conn)(nil)
	_ driver.QueryerContext    = (*conn)(nil)
	_ driver.NamedValueChecker = (*conn)(nil)
	_ driver.SessionResetter   = (*conn)(nil)
)

// mostIdle bounds the statements that a connection keeps.
const mostIdle = 64

// Close drops the statements and the connection.
func (c *conn) Close() error {
	var errs []error
	for _, s := range c.idle {
		errs = append(errs, s.Close())
	}
	return errors.Join(append(errs, c.raw.Close())...)
}

// ResetSession gives up a connection that is left inside a transaction.
func (c *conn) ResetSession(context.Context) error {
	if !c.raw.GetAutocommit() {
		return driver.ErrBadConn
	}
	return nil
}

// interruptible lets ctx end what runs until the returned func is called. The
// feed's triggers and the authorizer find their context there too.
func (c *conn) interruptible(ctx context.Context) func() {
	old := c.raw.SetInterrupt(ctx)
	return func() { c.raw.SetInterrupt(old) }
}

// prepared names a statement by its text, and apart by whether the authorizer let
// it through for us alone.
type prepared struct {
	query string
	inner bool
}

// take gives a prepared statement for the text, its own for as long as it is in
// use.
func (c *conn) take(ctx context.Context, query string) (*sqlite3.Stmt, error) {
	name := prepared{query, isInner(ctx)}
	if s, ok := c.idle[name]; ok {
		delete(c.idle, name)
		return s, nil
	}
	s, tail, err := c.raw.PrepareFlags(query, sqlite3.PREPARE_PERSISTENT)
	switch {
	case err != nil:
		return nil, err
	case s == nil:
		return nil, errors.New("an empty statement")
	case strings.TrimSpace(tail) != "":
		return nil, errors.Join(errors.New("several statements where one is wanted"), s.Close())
	}
	return s, nil
}

func (c *conn) put(ctx context.Context, query string, s *sqlite3.Stmt) {
	name := prepared{query, isInner(ctx)}
	if c.idle[name] != nil || s.Reset() != nil || s.ClearBindings() != nil {
		_ = s.Close() // its error was told when it ran
		return
	}
	if len(c.idle) >= mostIdle {
		for text, old := range c.idle {
			_ = old.Close()
			delete(c.idle, text)
			break
		}
	}
	c.idle[name] = s
}

// BeginTx begins a transaction; the writer's takes the lock at once.
func (c *conn) BeginTx(ctx context.Context, _ driver.TxOptions) (driver.Tx, error) {
	defer c.interruptible(ctx)()
	if err := c.run(ctx, c.begin); err != nil {
		return nil, err
	}
	return c, nil
}

// run runs a statement of the driver's own.
func (c *conn) run(ctx context.Context, query string) error {
	s, err := c.take(ctx, query)
	if err != nil {
		return err
	}
	defer c.put(ctx, query, s)
	return s.Exec()
}

// Commit rolls back where it fails, so that no transaction is left open.
func (c *conn) Commit() error {
	err := c.run(context.Background(), "COMMIT")
	if err != nil && !c.raw.GetAutocommit() {
		return errors.Join(err, c.Rollback())
	}
	return err
}

// Rollback is never interrupted.
func (c *conn) Rollback() error {
	defer c.interruptible(context.Background())()
	if c.raw.GetAutocommit() {
		return nil // SQLite did it by itself
	}
	return c.run(context.Background(), "ROLLBACK")
}

// ExecContext runs a statement, or several when there are no arguments.
func (c *conn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	defer c.interruptible(ctx)()
	if len(args) == 0 {
		if err := c.raw.Exec(query); err != nil {
			return nil, err
		}
		return result{c.raw.LastInsertRowID(), c.raw.Changes()}, nil
	}
	s, err := c.take(ctx, query)
	if err != nil {
		return nil, err
	}
	defer c.put(ctx, query, s)
	if err := bind(s, args); err != nil {
		return nil, err
	}
	if err := s.Exec(); err != nil {
		return nil, err
	}
	return result{c.raw.LastInsertRowID(), c.raw.Changes()}, nil
}

type result struct{ id, rows int64 }

func (r result) LastInsertId() (int64, error) { return r.id, nil }
func (r result) RowsAffected() (int64, error) { return r.rows, nil }

// patience bounds what a query may take, so that an expensive filter or view does
// not hold a core for as long as it likes. Where there is a deadline already, that
// is PocketBase's, of the same length; our own statements need none.
func (c *conn) patience(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, bounded := ctx.Deadline(); bounded || c.most <= 0 || isInner(ctx) {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, c.most)
}

// QueryContext runs a statement.
func (c *conn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	r, err := c.query(ctx, query, args)
	if err != nil {
		return nil, err // a nil *rows is not a nil Rows
	}
	return r, nil
}

// query runs a statement and takes its first step, which prepares it anew after a
// change of schema: before that the columns of t.* are old ones.
func (c *conn) query(ctx context.Context, query string, args []driver.NamedValue) (*rows, error) {
	ctx, stop := c.patience(ctx)
	defer c.interruptible(ctx)()
	query = plainCount(query)
	s, err := c.take(ctx, query)
	if err != nil {
		stop()
		return nil, err
	}
	r := &rows{conn: c, ctx: ctx, stop: stop, query: query, stmt: s}
	if err := bind(s, args); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	if r.more = s.Step(); !r.more && s.Err() != nil {
		return nil, errors.Join(s.Err(), r.Close())
	}
	r.describe()
	return r, nil
}
