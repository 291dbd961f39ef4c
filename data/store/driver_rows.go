package store

import (
	"context"
	"database/sql/driver"
	"errors"
	"io"
	"time"

	"github.com/ncruces/go-sqlite3"
)

func bind(s *sqlite3.Stmt, args []driver.NamedValue) (err error) {
	for _, a := range args {
		i := a.Ordinal
		if a.Name != "" {
			i = s.BindIndex(":" + a.Name)
		}
		switch v := a.Value.(type) {
		case nil:
			err = s.BindNull(i)
		case bool:
			err = s.BindBool(i, v)
		case int64:
			err = s.BindInt64(i, v)
		case float64:
			err = s.BindFloat(i, v)
		case string:
			err = s.BindText(i, v)
		case []byte:
			err = s.BindBlob(i, v)
		case time.Time:
			err = s.BindTime(i, v, sqlite3.TimeFormatDefault)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// CheckNamedValue takes what bind can bind; database/sql converts the rest.
func (c *conn) CheckNamedValue(a *driver.NamedValue) error { return checkNamedValue(a) }

func checkNamedValue(a *driver.NamedValue) error {
	switch a.Value.(type) {
	case nil, bool, int64, float64, string, []byte, time.Time:
		return nil
	}
	return driver.ErrSkip
}

// rows are a statement under way. The first step was taken already.
type rows struct {
	conn  *conn
	ctx   context.Context
	stop  context.CancelFunc // its deadline's
	query string
	stmt  *sqlite3.Stmt
	names []string
	bools []bool // columns declared BOOLEAN
	more  bool
	begun bool
}

func (r *rows) describe() {
	n := r.stmt.ColumnCount()
	r.names, r.bools = make([]string, n), make([]bool, n)
	for i := range n {
		r.names[i] = r.stmt.ColumnName(i)
		r.bools[i] = isBool(r.stmt.ColumnDeclType(i))
	}
}

func isBool(declared string) bool { return declared == "BOOLEAN" || declared == "boolean" }

// Columns are the columns' names.
func (r *rows) Columns() []string { return r.names }

// Close gives the statement back.
func (r *rows) Close() error {
	if r.stmt != nil {
		r.conn.put(r.ctx, r.query, r.stmt)
		r.stmt = nil
		r.stop()
	}
	return nil
}

// Next reads one row.
func (r *rows) Next(dest []driver.Value) error {
	if r.begun {
		defer r.conn.interruptible(r.ctx)()
		r.more = r.stmt.Step()
	}
	r.begun = true
	if !r.more {
		if err := r.stmt.Err(); err != nil {
			return err
		}
		return io.EOF
	}
	for i := range dest {
		dest[i] = r.column(i)
	}
	return nil
}

func (r *rows) column(i int) driver.Value {
	switch r.stmt.ColumnType(i) {
	case sqlite3.INTEGER:
		n := r.stmt.ColumnInt64(i)
		if r.bools[i] {
			return n != 0
		}
		return n
	case sqlite3.FLOAT:
		return r.stmt.ColumnFloat(i)
	case sqlite3.TEXT:
		return r.stmt.ColumnText(i)
	case sqlite3.BLOB:
		return r.stmt.ColumnBlob(i, nil)
	}
	return nil
}

// Begin and Prepare are of driver.Conn; database/sql calls BeginTx, and
// PrepareContext's fallback below for dbx's prepared queries.
func (c *conn) Begin() (driver.Tx, error) { return c.BeginTx(context.Background(), driver.TxOptions{}) }

// Prepare gives a statement that prepares when it runs.
func (c *conn) Prepare(query string) (driver.Stmt, error) { return &stmt{c, query}, nil }

// stmt stands for a statement by its text.
type stmt struct {
	conn interface {
		driver.ExecerContext
		driver.QueryerContext
	}
	query string
}

var (
	_ driver.StmtExecContext  = (*stmt)(nil)
	_ driver.StmtQueryContext = (*stmt)(nil)
)

var errNoContext = errors.New("called without a context")

func (s *stmt) Close() error                               { return nil }
func (s *stmt) NumInput() int                              { return -1 }
func (s *stmt) Exec([]driver.Value) (driver.Result, error) { return nil, errNoContext }
func (s *stmt) Query([]driver.Value) (driver.Rows, error)  { return nil, errNoContext }
func (s *stmt) ExecContext(ctx context.Context, args []driver.NamedValue) (driver.Result, error) {
	return s.conn.ExecContext(ctx, s.query, args)
}
func (s *stmt) QueryContext(ctx context.Context, args []driver.NamedValue) (driver.Rows, error) {
	return s.conn.QueryContext(ctx, s.query, args)
}
