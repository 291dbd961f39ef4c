package disposal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/jmoiron/sqlx"

	"holdfast/backup"
	"holdfast/data"
)

// shipSoon ships new entries to every target, waiting no longer than Config.Patience.
// What does not arrive waits for Sweep.
func (s *Service) shipSoon(ctx context.Context) {
	targets, err := s.config.Targets(ctx)
	standing, unknown := s.standings(ctx)
	err = errors.Join(err, unknown)
	var all sync.WaitGroup
	for _, t := range targets {
		all.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, s.config.Patience)
			defer cancel()
			if err := s.shipTo(ctx, t, standing[t.ID]); err != nil {
				s.config.Logger.WarnContext(ctx, "the ledger of destructions waits for a target", "target", t.Name, "error", err)
			}
		})
	}
	all.Wait()
	if err != nil {
		s.config.Logger.WarnContext(ctx, "the ledger of destructions was not shipped", "error", err)
	}
}

// shipTo ships to one target; a new one is compared whole at once.
func (s *Service) shipTo(ctx context.Context, t Target, st Standing) error {
	if st.Compared == nil {
		return s.compare(ctx, t)
	}
	store, err := t.Open()
	if err != nil {
		return err
	}
	return s.ship(ctx, t, store, nil)
}

// shipPage is how many entries are in memory at once.
const shipPage = 100

// shipRow is an entry as it lies on a target.
type shipRow struct {
	Hash   string `db:"hash"`
	Number int64  `db:"number"`
	Signer string `db:"signer"`
	Note   string `db:"note"`
}

// ship puts what the target lacks: what is not there, or, where nobody looked, what
// was not shipped before.
func (s *Service) ship(ctx context.Context, t Target, store backup.ObjectStore, there map[string]bool) error {
	for last := (shipRow{}); ; {
		rows, err := s.shippable(ctx, t, last, there != nil)
		if err != nil || len(rows) == 0 {
			return err
		}
		if err := s.shipRows(ctx, t, store, rows, there); err != nil {
			return err
		}
		last = rows[len(rows)-1]
	}
}

// shippable gives the entries behind one, a page of them.
func (s *Service) shippable(ctx context.Context, t Target, last shipRow, all bool) (rows []shipRow, err error) {
	err = s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		return tx.SelectContext(ctx, &rows, `SELECT hash, number, signer, note FROM ledger l WHERE (number, hash) > (?, ?)
			AND (? OR NOT EXISTS (SELECT 1 FROM ledger_shipped h WHERE h.target = ? AND h.hash = l.hash)) ORDER BY number, hash LIMIT ?`,
			last.Number, last.Hash, all, t.ID, shipPage)
	})
	if err != nil {
		return nil, fmt.Errorf("ship the ledger: %w", err)
	}
	return rows, nil
}

func (s *Service) shipRows(ctx context.Context, t Target, store backup.ObjectStore, rows []shipRow, there map[string]bool) error {
	for _, r := range rows {
		if there[r.Hash] {
			continue
		}
		if err := put(ctx, store, objectName(r.Signer, r.Number, r.Hash), r.Note); err != nil {
			return fmt.Errorf("ship the ledger: %w", err)
		}
	}
	return s.config.DB.Update(ctx, func(tx *sqlx.Tx) error {
		for _, r := range rows {
			if _, err := tx.ExecContext(ctx, `INSERT OR IGNORE INTO ledger_shipped (target, hash) VALUES (?, ?)`, t.ID, r.Hash); err != nil {
				return err
			}
		}
		return nil
	})
}

func put(ctx context.Context, store backup.ObjectStore, name, content string) error {
	err := store.Put(ctx, name, strings.NewReader(content), int64(len(content)), backup.PutOptions{IfNoneMatch: true})
	if !errors.Is(err, data.ErrExists) {
		return err
	}
	there, err := backup.Fetch(ctx, store, name, maxEntry+1024)
	if err == nil && !bytes.Equal(there, []byte(content)) {
		err = &backup.ObjectError{Name: name, Err: data.ErrTampered}
	}
	return err
}
