package store

import (
	"context"
	"database/sql"
	"fmt"
	"path/filepath"

	"github.com/ncruces/go-sqlite3"
	"github.com/pocketbase/dbx"

	"holdfast/data"
)

// connect is PocketBase's DBConnect. It is called twice for each database: first
// for the concurrent pool, which only reads, then for the single writer.
func (s *Store) connect(path string) (*dbx.DB, error) {
	name := filepath.Base(path)
	s.connects[name]++
	reader := s.connects[name]%2 == 1
	c := connector{dsn: s.disk.DSN(name), begin: "BEGIN IMMEDIATE", most: s.pool.config.QueryTimeout, init: func(c *sqlite3.Conn) error {
		return s.prepare(c, reader)
	}}
	if reader {
		c.begin = "BEGIN"
	}
	if name == dataFile && !reader {
		s.writer = newWriter(c, s.answers.committing, s.settle)
		return dbx.NewFromDB(sql.OpenDB(s.writer), dialect), nil
	}
	return dbx.NewFromDB(sql.OpenDB(c), dialect), nil
}

// prepare makes a new connection fit for PocketBase: sealed pages first, then our
// functions, then the authorizer, which from there on guards every statement.
func (s *Store) prepare(c *sqlite3.Conn, reader bool) error {
	if err := s.disk.Init(c); err != nil {
		return err
	}
	if err := s.addFunctions(c); err != nil {
		return err
	}
	pragmas := fmt.Sprintf("PRAGMA cache_size=-%d; PRAGMA journal_size_limit=200000000;", s.pool.config.cacheKiB())
	if reader {
		// PocketBase routes by the first word, so WITH ... DELETE lands here.
		pragmas += "PRAGMA query_only=ON;"
	}
	if err := c.Exec(pragmas); err != nil {
		return err
	}
	return c.SetAuthorizer(authorizer(c))
}

// addFunctions gives the feed's triggers their clock and their actor. They are
// innocuous so that triggers may call them under trusted_schema=OFF.
func (s *Store) addFunctions(c *sqlite3.Conn) error {
	err := c.CreateFunction("hf_actor", 0, sqlite3.INNOCUOUS, func(x sqlite3.Context, _ ...sqlite3.Value) {
		x.ResultText(data.ActorFrom(x.Conn().GetInterrupt()).String())
	})
	if err != nil {
		return err
	}
	return c.CreateFunction("hf_now", 0, sqlite3.INNOCUOUS, func(x sqlite3.Context, _ ...sqlite3.Value) {
		x.ResultInt64(s.pool.config.Clock().UnixMicro())
	})
}

type innerKey struct{}

// inner returns a context whose statements may touch the feed's tables and
// triggers. It never leaves this package.
func inner(ctx context.Context) context.Context {
	return context.WithValue(ctx, innerKey{}, true)
}

func isInner(ctx context.Context) bool {
	if ctx == nil {
		return false
	}
	ok, _ := ctx.Value(innerKey{}).(bool)
	return ok
}

// execInner runs one statement of our own on PocketBase's writer or transaction.
func execInner(ctx context.Context, db dbx.Builder, query string, params dbx.Params) (sql.Result, error) {
	return db.NewQuery(query).WithContext(inner(ctx)).Bind(params).Execute()
}
