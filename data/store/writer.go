package store

import (
	"context"
	"database/sql/driver"
	"errors"
	"sync"
)

// writer is the one connection that writes to data.db, with its warm page cache
// and statements, shared by many sessions. A session has the connection from BEGIN
// to COMMIT, in the order in which they came; then the next has it, while the
// session waits, still inside its Commit, until the log is on the disk. Whoever
// waits at the same time shares one sync. So an answer, a hook after the write, a
// realtime message come after durability, and the next write does not. Single
// statements that wait for the connection share a turn: see merge.go.
//
//	session 1   | turn: BEGIN .. COMMIT | wait for the disk ........ | answer
//	session 2                           | turn: BEGIN .. COMMIT | .. | answer
//	the log                             | sync                       | sync
type writer struct {
	connector
	settle func(context.Context) error // returns when what was committed is on the disk
	commit func() (done func())        // told of each commit, before and after

	turn turn // who has it has the connection

	mu       sync.Mutex
	sessions int
	real     *conn // made by the first turn, closed with the last session; guarded by the turn
}

var _ driver.Connector = (*writer)(nil)

func newWriter(c connector, commit func() func(), settle func(context.Context) error) *writer {
	return &writer{connector: c, commit: commit, settle: settle}
}

// Connect opens a session.
func (w *writer) Connect(context.Context) (driver.Conn, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sessions++
	return &session{writer: w}, nil
}

// take waits for the connection.
func (w *writer) take(ctx context.Context) error {
	if err := w.turn.take(ctx); err != nil {
		return err
	}
	err := w.connected(ctx)
	if err != nil {
		w.turn.give()
	}
	return err
}

// connected makes the connection where there is none. The turn is the caller's.
func (w *writer) connected(ctx context.Context) error {
	if w.real != nil {
		return nil
	}
	c, err := w.connector.Connect(context.WithoutCancel(ctx))
	if err == nil {
		w.real = c.(*conn)
	}
	return err
}

// give passes the connection on, out of any transaction.
func (w *writer) give() {
	if w.real != nil && w.real.ResetSession(context.Background()) != nil {
		_ = w.real.Rollback() // somebody spelt BEGIN by hand
	}
	w.turn.give()
}

// leave closes the connection with the last session.
func (w *writer) leave() error {
	w.mu.Lock()
	w.sessions--
	last := w.sessions == 0
	w.mu.Unlock()
	if !last {
		return nil
	}
	if err := w.turn.take(context.Background()); err != nil {
		return err
	}
	defer w.turn.give()
	w.mu.Lock()
	again := w.sessions > 0
	w.mu.Unlock()
	if again || w.real == nil {
		return nil
	}
	err := w.real.Close()
	w.real = nil
	return err
}

// session is what database/sql takes for a connection: one goroutine at a time
// uses it.
type session struct {
	writer *writer
	inside bool // of a transaction: the turn is ours
	wrote  bool // in it
}

var (
	_ driver.Conn              = (*session)(nil)
	_ driver.ConnBeginTx       = (*session)(nil)
	_ driver.ExecerContext     = (*session)(nil)
	_ driver.QueryerContext    = (*session)(nil)
	_ driver.NamedValueChecker = (*session)(nil)
	_ driver.SessionResetter   = (*session)(nil)
)

// Close leaves the connection to the others.
func (s *session) Close() error {
	return errors.Join(s.Rollback(), s.writer.leave())
}

// ResetSession gives up a session that is left inside a transaction.
func (s *session) ResetSession(context.Context) error {
	if s.inside {
		return driver.ErrBadConn
	}
	return nil
}

// CheckNamedValue takes what bind can bind.
func (s *session) CheckNamedValue(a *driver.NamedValue) error { return checkNamedValue(a) }

// Prepare gives a statement that prepares when it runs.
func (s *session) Prepare(query string) (driver.Stmt, error) { return &stmt{s, query}, nil }

// Begin is of driver.Conn; database/sql calls BeginTx.
func (s *session) Begin() (driver.Tx, error) {
	return s.BeginTx(context.Background(), driver.TxOptions{})
}

// BeginTx waits for the connection and begins.
func (s *session) BeginTx(ctx context.Context, o driver.TxOptions) (driver.Tx, error) {
	if err := s.writer.take(ctx); err != nil {
		return nil, err
	}
	if _, err := s.writer.real.BeginTx(ctx, o); err != nil {
		s.writer.give()
		return nil, err
	}
	s.inside, s.wrote = true, false
	return s, nil
}

// Commit returns when the transaction is on the disk. Where it fails for want of
// that, the transaction may be there or not.
func (s *session) Commit() error {
	done := s.writer.commit()
	err := s.writer.real.Commit()
	done()
	s.inside = false
	s.writer.give()
	if err == nil && s.wrote {
		err = s.writer.settle(context.Background())
	}
	return err
}

// Rollback is nothing outside a transaction.
func (s *session) Rollback() error {
	if !s.inside {
		return nil
	}
	err := s.writer.real.Rollback()
	s.inside = false
	s.writer.give()
	return err
}

// ExecContext runs a statement. Outside a transaction it is one by itself.
func (s *session) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	if s.inside {
		s.wrote = true
		return s.writer.real.ExecContext(ctx, query, args)
	}
	if mergeable(ctx, query, args) {
		return s.writer.together(ctx, query, args)
	}
	if err := s.writer.take(ctx); err != nil {
		return nil, err
	}
	done := s.writer.commit()
	r, err := s.writer.real.ExecContext(ctx, query, args)
	done()
	s.writer.give()
	if err == nil {
		err = s.writer.settle(context.WithoutCancel(ctx))
	}
	return r, err
}

// QueryContext runs a statement; outside a transaction the connection is taken
// until its rows are closed.
func (s *session) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	if s.inside {
		r, err := s.writer.real.query(ctx, query, args)
		if err != nil {
			return nil, err
		}
		s.wrote = s.wrote || !r.stmt.ReadOnly() // RETURNING
		return r, nil
	}
	if err := s.writer.take(ctx); err != nil {
		return nil, err
	}
	r, err := s.writer.real.query(ctx, query, args)
	if err != nil {
		s.writer.give()
		return nil, err
	}
	taken := &takenRows{rows: r, writer: s.writer}
	if !r.stmt.ReadOnly() {
		taken.wrote = s.writer.commit() // with its last step
	}
	return taken, nil
}

// takenRows give the connection back when they are closed.
type takenRows struct {
	*rows
	writer *writer
	wrote  func() // the end of the commit, where the statement writes
}

// Close waits for the disk where the statement wrote.
func (r *takenRows) Close() error {
	if r.stmt == nil {
		return nil
	}
	err := r.rows.Close()
	if r.wrote != nil {
		r.wrote()
	}
	r.writer.give()
	if err == nil && r.wrote != nil {
		err = r.writer.settle(context.WithoutCancel(r.ctx))
	}
	return err
}
