package store

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/ncruces/go-sqlite3"

	"holdfast/data"
	"holdfast/data/cryptfs"
)

// Loss is what of a store's log is missing: commits that were acknowledged.
type Loss struct {
	Cut       bool          `json:"cut" doc:"the store does not open: acknowledged commits are missing from a log"`
	Findings  []Finding     `json:"findings" doc:"which file, at which frame, and why"`
	Integrity []string      `json:"integrity" doc:"after the acceptance: what SQLite finds wrong in what is left"`
	Position  data.Position `json:"position" doc:"after the acceptance: where the store goes on, in a life of its own"`
}

// CheckLog looks whether a store does not open because a log of its was cut, changed
// or removed. It changes nothing. data.ErrNotFound for a store that is not there.
func (p *Pool) CheckLog(ctx context.Context, id data.StoreID) (Loss, error) {
	if s, err := p.Acquire(ctx, id); err == nil {
		s.Release()
		return Loss{}, nil
	} else if !errors.Is(err, data.ErrTampered) {
		return Loss{}, err
	}
	var loss Loss
	err := p.alone(id, func() (err error) {
		loss.Findings, err = p.cutLogs(ctx, id, false)
		return err
	})
	loss.Cut = len(loss.Findings) > 0
	return loss, err
}

// AcceptLoss gives up the commits that are missing from a cut log: the store goes on
// from what is left, in a new life, so that the numbers of lost changes never stand
// for others. data.ErrExists where nothing is missing, data.ErrBusy while somebody
// opens the store.
func (p *Pool) AcceptLoss(ctx context.Context, id data.StoreID) (loss Loss, err error) {
	err = p.alone(id, func() error {
		if loss.Findings, err = p.cutLogs(ctx, id, true); err != nil {
			return err
		}
		if loss.Cut = len(loss.Findings) > 0; !loss.Cut {
			return fmt.Errorf("accept the loss of %s: its log is whole: %w", id, data.ErrExists)
		}
		if loss.Integrity, err = p.integrity(ctx, id); err != nil {
			return err
		}
		loss.Position, err = p.newLife(ctx, id, "loss accepted")
		return err
	})
	return loss, err
}

// alone runs fn while nobody can open the store, which must not be open.
func (p *Pool) alone(id data.StoreID, fn func() error) error {
	e, mine, err := p.enter(id)
	if err != nil {
		return err
	}
	if !mine {
		return fmt.Errorf("store %s is open: %w", id, data.ErrBusy)
	}
	defer func() {
		p.mu.Lock()
		e.err = fmt.Errorf("store %s is looked at: %w", id, data.ErrBusy) // of who waits for it to open
		delete(p.stores, id)
		p.mu.Unlock()
		close(e.gone)
		close(e.ready)
	}()
	return fn()
}

// cutLogs names the databases whose log was cut, and with accept opens them so.
func (p *Pool) cutLogs(ctx context.Context, id data.StoreID, accept bool) (findings []Finding, err error) {
	for _, name := range []string{dataFile, auxFile} {
		var cut *cryptfs.PageError
		fault, err := p.tryDatabase(ctx, id, name, accept, nil)
		switch {
		case errors.As(fault, &cut) && errors.Is(fault, cryptfs.ErrCutLog):
			findings = append(findings, Finding{File: filepath.Base(cut.File), Page: cut.Page, Reason: cut.Reason})
		case fault != nil || err != nil:
			return nil, errors.Join(err, fault)
		}
	}
	return findings, nil
}

// integrity is what SQLite finds wrong in data.db.
func (p *Pool) integrity(ctx context.Context, id data.StoreID) (wrong []string, err error) {
	wrong = []string{}
	fault, err := p.tryDatabase(ctx, id, dataFile, false, func(c *sqlite3.Conn) error {
		return eachRow(c, "PRAGMA integrity_check(20)", func(row *sqlite3.Stmt) error {
			if text := row.ColumnText(0); text != "ok" {
				wrong = append(wrong, text)
			}
			return nil
		})
	})
	return wrong, errors.Join(err, fault)
}

// tryDatabase opens one database under a mount of its own, and gives the fault that
// it met there.
func (p *Pool) tryDatabase(ctx context.Context, id data.StoreID, name string, accept bool, fn func(*sqlite3.Conn) error) (fault, err error) {
	s := &Store{id: id, dir: p.path(id), pool: p, keys: p.config.Keys}
	c := s.mounting()
	c.OnCommit, c.AcceptCutLog, c.Durability = nil, accept, cryptfs.Full
	disk, err := cryptfs.Mount(c)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, disk.Close()) }()
	db, err := sqlite3.OpenContext(ctx, disk.DSN(name))
	if err != nil {
		return disk.Fault(), err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if err = disk.Init(db); err == nil {
		err = eachRow(db, "PRAGMA schema_version", func(*sqlite3.Stmt) error { return nil })
	}
	if err == nil && fn != nil {
		err = fn(db)
	}
	return disk.Fault(), err
}

// newLife opens the store outside the pool and begins a life from where it stands.
func (p *Pool) newLife(ctx context.Context, id data.StoreID, reason string) (at data.Position, err error) {
	s, err := p.open(ctx, id, p.path(id), p.config.Keys)
	if err != nil {
		return at, err
	}
	defer func() { err = errors.Join(err, s.shut()) }()
	if err := beginIncarnation(ctx, s.app, reason, p.config.Clock()); err != nil {
		return at, err
	}
	if at, err = s.Position(ctx); err == nil {
		err = s.sync(ctx)
	}
	return at, err
}
