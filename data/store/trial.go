package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/ncruces/go-sqlite3"

	"holdfast/data"
)

// trialID names every store that is only tried. No tenant has it.
var trialID = data.StoreID{Tenant: "trial", Environment: data.Prod}

// Try puts a store together in scratch, has look look at it, and throws it away.
// Nothing of it is renewed or amended: look sees what build wrote. It is sealed
// under a key that only this process ever has, so what a crash leaves of it nobody
// can read, and New removes it. look must not keep the store.
func (p *Pool) Try(ctx context.Context, build func(context.Context, InstallTarget) error, look func(context.Context, *Store) error) (err error) {
	dir, err := p.scratch()
	if err != nil {
		return fmt.Errorf("try a store: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	key, config := newThrowaway(), p.config
	config.Keys = key
	if err := build(ctx, &installTarget{config: config, id: trialID, dir: dir}); err != nil {
		return fmt.Errorf("try a store: %w", err)
	}
	s, err := p.open(ctx, trialID, dir, key)
	if err != nil {
		return fmt.Errorf("try a store: %w", err)
	}
	defer func() { err = errors.Join(err, s.shut()) }()
	return look(ctx, s)
}

// Peek gives a store only if it is open anyway, else nil; asking is no use of it.
// The caller calls release once.
func (p *Pool) Peek(id data.StoreID) (s *Store, release func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.stores[id]
	if e == nil || e.store == nil || e.closing || p.closed {
		return nil, func() {}
	}
	e.holds++
	return e.store, func() { p.letGo(e.store, time.Time{}) }
}

// Integrity has SQLite check the whole database: structure, indexes, constraints.
// It lists what is wrong, which is nothing in a sound one.
func (s *Store) Integrity(ctx context.Context) (wrong []string, err error) {
	err = s.reading(ctx, func(c *sqlite3.Conn) error {
		return eachRow(c, "PRAGMA integrity_check", func(row *sqlite3.Stmt) error {
			if text := row.ColumnText(0); text != "ok" {
				wrong = append(wrong, text)
			}
			return nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("check the integrity of %s: %w", s.id, err)
	}
	return wrong, nil
}

// Probe asks PocketBase for its collections and some records of each, and tells
// how many collections it read records of.
func (s *Store) Probe(ctx context.Context) (collections int, err error) {
	if err := s.whole(func() error { return s.probe(ctx) }); err != nil {
		return 0, err
	}
	all, err := s.Collections(ctx)
	return len(all), err
}

// reading gives fn a connection of its own that only reads, in one transaction, and
// is ended by the context alone.
func (s *Store) reading(ctx context.Context, fn func(*sqlite3.Conn) error) (err error) {
	c, err := sqlite3.OpenContext(ctx, s.disk.DSN(dataFile))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	if err := s.prepare(c, true); err != nil {
		return err
	}
	c.SetInterrupt(inner(ctx))
	if err := c.Exec("BEGIN"); err != nil {
		return err
	}
	defer c.Exec("ROLLBACK") //nolint:errcheck // it has read only
	return s.toldWhy(fn(c))
}

func eachRow(c *sqlite3.Conn, query string, fn func(*sqlite3.Stmt) error, args ...int64) (err error) {
	stmt, _, err := c.Prepare(query)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stmt.Close()) }()
	for i, arg := range args {
		if err := stmt.BindInt64(i+1, arg); err != nil {
			return err
		}
	}
	for stmt.Step() {
		if err := fn(stmt); err != nil {
			return err
		}
	}
	return stmt.Err()
}

func quoted(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }
