package identity

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/jmoiron/sqlx"

	"holdfast/app/api"
	"holdfast/data"
)

// record writes into the appliance's audit log.
func (s *Service) record(ctx context.Context, action, target string, o api.Outcome, detail map[string]string) error {
	return s.recordIn(ctx, "", action, target, o, detail)
}

// recordIn writes into a store's audit log. It is durable before the action answers.
func (s *Service) recordIn(ctx context.Context, store, action, target string, o api.Outcome, detail map[string]string) error {
	err := s.config.Recorder.Record(ctx, api.Event{Action: action, Target: target, Store: store, Outcome: o, Detail: detail})
	if err != nil {
		return fmt.Errorf("record %s: %w", action, err)
	}
	return nil
}

// orUndo takes back what an action did when it could not be recorded: an action
// that is not in the log must not have happened.
func (s *Service) orUndo(ctx context.Context, err error, undo string, args ...any) error {
	if err == nil {
		return nil
	}
	undone := s.config.DB.Update(context.WithoutCancel(ctx), func(tx *sqlx.Tx) error {
		_, err := tx.ExecContext(ctx, undo, args...)
		return err
	})
	s.grants.forget()
	return errors.Join(err, undone)
}

// noted makes a change and enters it into the log before it is committed: what cannot be
// recorded does not happen, and nothing that happened is missing from the log, wherever
// the process ends. Between the two, the log tells of what did not come to be, which lets
// nobody in. note must not write to the database.
func (s *Service) noted(ctx context.Context, change func(*sqlx.Tx) error, note func(context.Context) error) error {
	ctx = context.WithoutCancel(ctx) // who hangs up now must not leave an entry alone
	defer s.grants.forget()
	return s.config.DB.Update(ctx, func(tx *sqlx.Tx) error {
		if err := change(tx); err != nil {
			return err
		}
		return note(ctx)
	})
}

// changedOne gives data.ErrNotFound when a statement changed no row.
func changedOne(done sql.Result, err error) error {
	if err != nil {
		return err
	}
	n, err := done.RowsAffected()
	if err == nil && n == 0 {
		err = data.ErrNotFound
	}
	return err
}
