package api

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jmoiron/sqlx"

	"holdfast/data"
	"holdfast/data/system"
)

// Times in the table are Unix milliseconds.
var operationMigrations = []system.Migration{{Name: "operations", SQL: `
CREATE TABLE operations (
	id TEXT PRIMARY KEY, kind TEXT NOT NULL, target TEXT NOT NULL, store TEXT NOT NULL,
	state TEXT NOT NULL, progress TEXT NOT NULL, result TEXT NOT NULL, error TEXT NOT NULL,
	actor TEXT NOT NULL, created INTEGER NOT NULL, updated INTEGER NOT NULL
) STRICT;
CREATE INDEX operations_created ON operations (created DESC);
CREATE INDEX operations_store ON operations (store, created DESC);
CREATE INDEX operations_running ON operations (state) WHERE state = 'running';
`}}

// Get gives one operation as it stands now. ErrNotFound.
func (o *Operations) Get(ctx context.Context, id string) (Operation, error) {
	var row operationRow
	err := o.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		return tx.GetContext(ctx, &row, `SELECT * FROM operations WHERE id = ?`, id)
	})
	if errors.Is(err, sql.ErrNoRows) {
		return Operation{}, fmt.Errorf("operation %q: %w", id, data.ErrNotFound)
	}
	if err != nil {
		return Operation{}, fmt.Errorf("read operation: %w", err)
	}
	return o.current(row)
}

// current prefers the progress in memory to the one stored.
func (o *Operations) current(row operationRow) (Operation, error) {
	op, err := row.operation()
	o.mu.Lock()
	p := o.live[row.ID]
	o.mu.Unlock()
	if p != nil && op.State == Running {
		op.Progress = p.Operation().Progress
	}
	return op, err
}

// List gives a page, newest first.
func (o *Operations) List(ctx context.Context, f OperationFilter, page Paging) (Page[Operation], error) {
	where, args := f.where()
	var rows []operationRow
	var total int
	err := o.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		if err := tx.GetContext(ctx, &total, `SELECT count(*) FROM operations`+where, args...); err != nil {
			return err
		}
		return tx.SelectContext(ctx, &rows, `SELECT * FROM operations`+where+
			` ORDER BY created DESC, id LIMIT ? OFFSET ?`, append(args, page.PerPage, page.Offset())...)
	})
	if err != nil {
		return Page[Operation]{}, fmt.Errorf("list operations: %w", err)
	}
	items := make([]Operation, len(rows))
	for i, row := range rows {
		if items[i], err = o.current(row); err != nil {
			return Page[Operation]{}, fmt.Errorf("list operations: %w", err)
		}
	}
	return NewPage(items, page, total), nil
}

func (f OperationFilter) where() (string, []any) {
	terms, args := []string{"true"}, []any{}
	add := func(term string, value ...any) { terms, args = append(terms, term), append(args, value...) }
	if f.State != "" {
		add("state = ?", string(f.State))
	}
	if f.Store != "" {
		add("store = ?", f.Store)
	}
	if f.Kind != "" {
		add("kind = ?", f.Kind)
	}
	if !f.Reach.All {
		tenants, _ := json.Marshal(f.Reach.Tenants) // strings always marshal
		add("substr(store, 1, instr(store, '/') - 1) IN (SELECT value FROM json_each(?))", string(tenants))
	}
	return " WHERE " + strings.Join(terms, " AND "), args
}

func (o *Operations) insert(ctx context.Context, op Operation) error {
	row, err := op.row()
	if err != nil {
		return err
	}
	return o.config.DB.Update(ctx, func(tx *sqlx.Tx) error {
		_, err := tx.NamedExecContext(ctx, `INSERT INTO operations
			(id, kind, target, store, state, progress, result, error, actor, created, updated) VALUES
			(:id, :kind, :target, :store, :state, :progress, :result, :error, :actor, :created, :updated)`, row)
		return err
	})
}

func (o *Operations) update(ctx context.Context, op Operation) error {
	row, err := op.row()
	if err != nil {
		return err
	}
	return o.config.DB.Update(ctx, func(tx *sqlx.Tx) error {
		_, err := tx.NamedExecContext(ctx, `UPDATE operations SET state = :state, target = :target, progress = :progress,
			result = :result, error = :error, updated = :updated WHERE id = :id`, row)
		return err
	})
}

// sweepBatch is how many old operations go in one transaction.
const sweepBatch = 500

// Sweep drops operations that ended before Config.Keep. Where there are none it writes
// nothing. The appliance's clock calls it.
func (o *Operations) Sweep(ctx context.Context, now time.Time) error {
	before := now.Add(-o.config.Keep).UnixMilli()
	const old = `created < ? AND updated < ? AND state <> 'running'`
	for {
		var due int64
		err := o.config.DB.View(ctx, func(tx *sqlx.Tx) error {
			return tx.GetContext(ctx, &due, `SELECT count(*) FROM (SELECT 1 FROM operations WHERE `+old+` LIMIT 1)`, before, before)
		})
		if err == nil && due > 0 {
			err = o.config.DB.Update(ctx, func(tx *sqlx.Tx) error {
				_, err := tx.ExecContext(ctx, `DELETE FROM operations WHERE id IN (SELECT id FROM operations WHERE `+old+` LIMIT ?)`, before, before, sweepBatch)
				return err
			})
		}
		if err != nil {
			return fmt.Errorf("drop old operations: %w", err)
		}
		if due == 0 {
			return nil
		}
	}
}

// saveProgress keeps the stored row near the truth for readers of the table. It
// touches a running row only: a late one must not undo the end.
func (o *Operations) saveProgress(ctx context.Context, op Operation) {
	err := o.config.DB.Update(ctx, func(tx *sqlx.Tx) error {
		progress, err := json.Marshal(op.Progress)
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `UPDATE operations SET progress = ?, updated = ? WHERE id = ? AND state = ?`,
			string(progress), op.Updated.UnixMilli(), op.ID, Running)
		return err
	})
	if err != nil && ctx.Err() == nil {
		o.config.Logger.WarnContext(ctx, "progress was not stored", "operation", op.ID, "error", err)
	}
}
