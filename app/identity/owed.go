package identity

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"

	"holdfast/app/api"
	"holdfast/data"
	"holdfast/data/system"
)

// owedMigrations are of entries that the log has still to get. What ends access holds
// even when it cannot be recorded: its entries are stored with it, in one transaction,
// and paid right after; what a crash leaves is paid by the next Sweep.
var owedMigrations = []system.Migration{{Name: "entries that are owed to the log", SQL: `
CREATE TABLE owed_entries (
	id INTEGER PRIMARY KEY AUTOINCREMENT,
	at INTEGER NOT NULL, actor TEXT NOT NULL,
	store TEXT NOT NULL,                      -- whose log; empty: the appliance's
	action TEXT NOT NULL, target TEXT NOT NULL,
	detail TEXT NOT NULL                      -- JSON
) STRICT;
`}}

type owedRow struct {
	ID     int64  `db:"id"`
	At     int64  `db:"at"`
	Actor  string `db:"actor"`
	Store  string `db:"store"`
	Action string `db:"action"`
	Target string `db:"target"`
	Detail string `db:"detail"`
}

// owe stores an entry in the transaction of what it tells of.
func (s *Service) owe(ctx context.Context, tx *sqlx.Tx, store, action, target string, detail map[string]string) error {
	text, err := json.Marshal(detail)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO owed_entries (at, actor, store, action, target, detail) VALUES (?, ?, ?, ?, ?, ?)`,
		millis(s.now()), data.ActorFrom(ctx).String(), store, action, target, string(text))
	if err != nil {
		return fmt.Errorf("owe an entry: %w", err)
	}
	return nil
}

// pay gives the log what it is owed, in order. A crash amid it gives an entry twice
// rather than never.
func (s *Service) pay(ctx context.Context) error {
	s.paying.Lock()
	defer s.paying.Unlock()
	ctx = context.WithoutCancel(ctx)
	var rows []owedRow
	err := s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		return tx.SelectContext(ctx, &rows, `SELECT id, at, actor, store, action, target, detail FROM owed_entries ORDER BY id`)
	})
	if err != nil || len(rows) == 0 {
		return err
	}
	paid := int64(0)
	for _, r := range rows {
		if err = s.payOne(ctx, r); err != nil {
			break
		}
		paid = r.ID
	}
	return errors.Join(err, s.config.DB.Update(ctx, func(tx *sqlx.Tx) error {
		_, err := tx.ExecContext(ctx, `DELETE FROM owed_entries WHERE id <= ?`, paid)
		return err
	}))
}

// late is after how long an entry says when it was that what it tells of happened.
const late = time.Minute

func (s *Service) payOne(ctx context.Context, r owedRow) error {
	var detail map[string]string
	if err := json.Unmarshal([]byte(r.Detail), &detail); err != nil {
		return fmt.Errorf("pay an owed entry: %w", err)
	}
	if at := fromMillis(r.At); s.now().Sub(at) > late {
		if detail == nil {
			detail = map[string]string{}
		}
		detail["at"] = at.Format(time.RFC3339)
	}
	return s.recordIn(data.WithActor(ctx, data.ParseActor(r.Actor)), r.Store, r.Action, r.Target, api.OK, detail)
}

// holding is somebody who has, or had, something in a scope.
type holding struct{ holder, scope string }

// ending runs a change that ends access, closes at once what those whom it concerns have
// open, and pays what the change owes to the log.
func (s *Service) ending(ctx context.Context, change func(*sqlx.Tx) ([]holding, error)) error {
	ctx = context.WithoutCancel(ctx)
	var over []holding
	err := s.config.DB.Update(ctx, func(tx *sqlx.Tx) (err error) {
		over, err = change(tx)
		return err
	})
	s.grants.forget()
	if err != nil {
		return err
	}
	for _, h := range over {
		s.disconnect(h.holder, h.scope)
	}
	return s.pay(ctx)
}
