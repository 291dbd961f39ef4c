package custody

import (
	"context"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"

	"holdfast/data"
	"holdfast/data/system"
)

// Times are Unix milliseconds. What was seen of a target's copies is kept as JSON:
// it is only shown, and seen anew at each visit.
var migrations = []system.Migration{{Name: "slots and copies", SQL: `
CREATE TABLE slot_proofs (
	slot TEXT PRIMARY KEY, proven INTEGER NOT NULL, by TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE key_copies (
	target TEXT PRIMARY KEY, name TEXT NOT NULL, added INTEGER NOT NULL, added_by TEXT NOT NULL,
	seen TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE key_copies_id (id TEXT NOT NULL) STRICT;
`}}

// markProven notes that a slot was opened by its secret just now.
func (s *Service) markProven(ctx context.Context, slot string) error {
	return s.config.DB.Update(ctx, func(tx *sqlx.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT OR REPLACE INTO slot_proofs (slot, proven, by) VALUES (?, ?, ?)`,
			slot, s.now().UnixMilli(), data.ActorFrom(ctx).String())
		return err
	})
}

// proofs is when each slot was last opened by its secret.
func (s *Service) proofs(ctx context.Context) (map[string]time.Time, error) {
	var rows []struct {
		Slot   string `db:"slot"`
		Proven int64  `db:"proven"`
	}
	err := s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		return tx.SelectContext(ctx, &rows, `SELECT slot, proven FROM slot_proofs`)
	})
	if err != nil {
		return nil, fmt.Errorf("read proofs: %w", err)
	}
	byID := map[string]time.Time{}
	for _, r := range rows {
		byID[r.Slot] = time.UnixMilli(r.Proven).UTC()
	}
	return byID, nil
}
