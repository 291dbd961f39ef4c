package recovery

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"

	"holdfast/app/api"
	"holdfast/data"
	"holdfast/data/system"
)

// A restore outlives the process that began it: its row says what was ordered and
// how far it is.
var restoreMigrations = []system.Migration{{Name: "restores", SQL: `
CREATE TABLE restores (
	id TEXT PRIMARY KEY, operation TEXT NOT NULL, store TEXT NOT NULL, slug TEXT NOT NULL, environment TEXT NOT NULL,
	orders TEXT NOT NULL, kind TEXT NOT NULL, state TEXT NOT NULL, result TEXT NOT NULL, error TEXT NOT NULL,
	actor TEXT NOT NULL, created INTEGER NOT NULL, changed INTEGER NOT NULL
) STRICT;
CREATE INDEX restores_store ON restores (store, created DESC);
CREATE INDEX restores_open ON restores (state) WHERE state IN ('running', 'swapping', 'undoing', 'confirming');
`}}

// What a restore is made as.
const (
	asTenant = "tenant"
	inPlace  = "in_place"
	asPart   = "records"
	asPlan   = "plan"
)

// The states of a restore. Swapping, undoing and confirming are steps that a crash may
// cut short: whether they were taken is seen on the disk (Stores.Kept).
const (
	restoreRunning    = "running"
	restoreSwapping   = "swapping"
	restoreKept       = "kept" // in place, and what it replaced is kept
	restoreConfirming = "confirming"
	restoreConfirmed  = "confirmed"
	restoreUndoing    = "undoing"
	restoreUndone     = "undone"
	restoreDone       = "done"
	restoreFailed     = "failed"
)

type restoreRow struct {
	ID          string `db:"id"`
	Operation   string `db:"operation"`
	Store       string `db:"store"`
	Slug        string `db:"slug"`
	Environment string `db:"environment"`
	Orders      string `db:"orders"`
	Kind        string `db:"kind"`
	State       string `db:"state"`
	Result      string `db:"result"`
	Error       string `db:"error"`
	Actor       string `db:"actor"`
	Created     int64  `db:"created"`
	Changed     int64  `db:"changed"`
}

// Restore is a restore as it is listed.
type Restore struct {
	ID        string    `json:"id"`
	Operation string    `json:"operation"`
	Kind      string    `json:"kind" enum:"tenant,in_place,records,plan"`
	State     string    `json:"state" enum:"running,swapping,kept,confirming,confirmed,undoing,undone,done,failed" doc:"kept: in place, and what it replaced can be had back by undo until it is confirmed"`
	Order     Order     `json:"order"`
	Result    *Restored `json:"result,omitempty"`
	Error     string    `json:"error,omitempty"`
	Actor     string    `json:"actor"`
	Created   time.Time `json:"created"`
	Changed   time.Time `json:"changed"`
}

func (r restoreRow) shown() (Restore, error) {
	out := Restore{
		ID: r.ID, Operation: r.Operation, Kind: r.Kind, State: r.State, Error: r.Error, Actor: r.Actor,
		Created: time.UnixMilli(r.Created).UTC(), Changed: time.UnixMilli(r.Changed).UTC(),
	}
	err := json.Unmarshal([]byte(r.Orders), &out.Order)
	if r.Result != "" {
		out.Result = &Restored{}
		err = errors.Join(err, json.Unmarshal([]byte(r.Result), out.Result))
	}
	return out, err
}

func (s *Service) newRestore(ctx context.Context, r ref, o Order, kind string) (restoreRow, error) {
	order, err := json.Marshal(o)
	if err != nil {
		return restoreRow{}, err
	}
	now := s.now().UnixMilli()
	row := restoreRow{
		ID: system.NewID(), Store: r.id.String(), Slug: r.slug, Environment: r.environment, Orders: string(order),
		Kind: kind, State: restoreRunning, Actor: data.ActorFrom(ctx).String(), Created: now, Changed: now,
	}
	err = s.config.DB.Update(ctx, func(tx *sqlx.Tx) error {
		_, err := tx.NamedExecContext(ctx, `INSERT INTO restores
			(id, operation, store, slug, environment, orders, kind, state, result, error, actor, created, changed) VALUES
			(:id, :operation, :store, :slug, :environment, :orders, :kind, :state, :result, :error, :actor, :created, :changed)`, row)
		return err
	})
	return row, err
}

// mark brings a restore to a state; result and failure stay where they are empty.
func (s *Service) mark(ctx context.Context, id, state string, result *Restored, failure string) error {
	text := ""
	if result != nil {
		b, err := json.Marshal(result)
		if err != nil {
			return err
		}
		text = string(b)
	}
	ctx = context.WithoutCancel(ctx)
	err := s.config.DB.Update(ctx, func(tx *sqlx.Tx) error {
		_, err := tx.ExecContext(ctx, `UPDATE restores SET state = ?, changed = ?, result = iif(? = '', result, ?),
			error = iif(? = '', error, ?) WHERE id = ?`, state, s.now().UnixMilli(), text, text, failure, failure, id)
		return err
	})
	if err != nil {
		return fmt.Errorf("note how far restore %s is: %w", id, err)
	}
	return nil
}

func (s *Service) setOperation(ctx context.Context, id, operation string) error {
	return s.config.DB.Update(ctx, func(tx *sqlx.Tx) error {
		_, err := tx.ExecContext(ctx, `UPDATE restores SET operation = ? WHERE id = ?`, operation, id)
		return err
	})
}

// restoreOf finds a restore of a store. data.ErrNotFound.
func (s *Service) restoreOf(ctx context.Context, id data.StoreID, restore string) (row restoreRow, err error) {
	err = s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		return tx.GetContext(ctx, &row, `SELECT * FROM restores WHERE id = ? AND store = ?`, restore, id.String())
	})
	if errors.Is(err, sql.ErrNoRows) || errors.Is(err, data.ErrNotFound) {
		err = api.Errorf(404, "not-found", "There is no restore %q of it (not found).", restore).Because(data.ErrNotFound)
	}
	return row, err
}

// keptRestore is the restore in place of a store that is neither confirmed nor undone,
// nil if there is none.
func (s *Service) keptRestore(ctx context.Context, id data.StoreID) (*restoreRow, error) {
	var rows []restoreRow
	err := s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		return tx.SelectContext(ctx, &rows, `SELECT * FROM restores WHERE store = ? AND kind = 'in_place'
			AND state IN ('running', 'swapping', 'kept', 'confirming', 'undoing') ORDER BY created DESC LIMIT 1`, id.String())
	})
	if err != nil || len(rows) == 0 {
		return nil, err
	}
	return &rows[0], nil
}

// unfinished are the restores that an earlier process left.
func (s *Service) unfinished(ctx context.Context) (rows []restoreRow, err error) {
	err = s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		return tx.SelectContext(ctx, &rows, `SELECT * FROM restores WHERE state IN ('running', 'swapping', 'undoing', 'confirming') ORDER BY created`)
	})
	return rows, err
}

// Restores lists the restores of a store, the newest first.
func (s *Service) Restores(ctx context.Context, id data.StoreID, p api.Paging) (api.Page[Restore], error) {
	var rows []restoreRow
	var total int
	err := s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		if err := tx.GetContext(ctx, &total, `SELECT count(*) FROM restores WHERE store = ?`, id.String()); err != nil {
			return err
		}
		return tx.SelectContext(ctx, &rows, `SELECT * FROM restores WHERE store = ? ORDER BY created DESC, id LIMIT ? OFFSET ?`, id.String(), p.PerPage, p.Offset())
	})
	items := make([]Restore, len(rows))
	for i, row := range rows {
		if err == nil {
			items[i], err = row.shown()
		}
	}
	if err != nil {
		return api.Page[Restore]{}, fmt.Errorf("list restores: %w", err)
	}
	return api.NewPage(items, p, total), nil
}
