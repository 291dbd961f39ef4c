package disposal

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"

	"github.com/jmoiron/sqlx"

	"holdfast/data"
)

// append signs an entry that follows all that is known and stores it. The caller's
// transaction makes it durable; with may add rows to it.
func (s *Service) append(ctx context.Context, e entry, with func(*sqlx.Tx) error) (hash string, err error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	own, err := s.signers()
	if err != nil {
		return "", err
	}
	err = s.config.DB.Update(ctx, func(tx *sqlx.Tx) error {
		if err := s.vouch(ctx, tx, own); err != nil {
			return err
		}
		if hash, err = s.appendAs(ctx, tx, own[len(own)-1], e); err != nil {
			return err
		}
		return with(tx)
	})
	if err != nil {
		return "", fmt.Errorf("append to the ledger: %w", err)
	}
	return hash, nil
}

// vouch lets the newest of the older keys sign the current one, once, so that
// somebody who only knows the older one accepts what the current one signs.
func (s *Service) vouch(ctx context.Context, tx *sqlx.Tx, own []*signer) error {
	if len(own) < 2 {
		return nil
	}
	var known int
	current := own[len(own)-1]
	if err := tx.GetContext(ctx, &known, `SELECT count(*) FROM ledger_keys WHERE vkey = ?`, current.vkey); err != nil || known > 0 {
		return err
	}
	_, err := s.appendAs(ctx, tx, own[len(own)-2], entry{Kind: kindKey, Key: current.vkey})
	return err
}

// Vouch has each key that signed the ledger vouch for the one after it, and the current
// one for all before it, where they did not, and ships that. Then the older ones are
// needed no more: see Vouched.
func (s *Service) Vouch(ctx context.Context) error {
	if err := s.vouchAll(ctx); err != nil {
		return fmt.Errorf("vouch for the ledger's keys: %w", err)
	}
	s.shipSoon(ctx)
	return nil
}

func (s *Service) vouchAll(ctx context.Context) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	own, err := s.signers()
	if err != nil {
		return err
	}
	return s.config.DB.Update(ctx, func(tx *sqlx.Tx) error {
		for n := 2; n <= len(own); n++ {
			if err := s.vouch(ctx, tx, own[:n]); err != nil {
				return err
			}
		}
		current := own[len(own)-1]
		older, err := unvouched(ctx, tx, own)
		for _, vkey := range older {
			if _, err := s.appendAs(ctx, tx, current, entry{Kind: kindKey, Key: vkey}); err != nil {
				return err
			}
		}
		return err
	})
}

// unvouched are the keys that the current one has not vouched for: those of the keyring
// before it, and those that are gone from there and known from the ledger. Who knows the
// current one alone would not look at what they signed.
func unvouched(ctx context.Context, tx *sqlx.Tx, own []*signer) (left []string, err error) {
	var known []string
	if err := tx.SelectContext(ctx, &known, `SELECT vkey FROM ledger_keys ORDER BY vkey`); err != nil {
		return nil, err
	}
	current := own[len(own)-1]
	for _, o := range own {
		if !slices.Contains(known, o.vkey) {
			known = append(known, o.vkey)
		}
	}
	for _, vkey := range known {
		var n int
		err := tx.GetContext(ctx, &n, `SELECT count(*) FROM ledger WHERE kind = 'key' AND signer = ? AND instr(note, ?) > 0`, current.name(), vkey)
		if err != nil {
			return nil, err
		}
		if n == 0 && vkey != current.vkey {
			left = append(left, vkey)
		}
	}
	return left, nil
}

// Vouched says that whoever knows any key of the ledger accepts what the others signed:
// they vouch for one another, and no target lacks an entry.
func (s *Service) Vouched(ctx context.Context) (bool, error) {
	own, err := s.signers()
	if err != nil {
		return false, err
	}
	for _, o := range own[1:] {
		var known, older int
		err := s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
			left, err := unvouched(ctx, tx, own)
			older = len(left)
			return errors.Join(err, tx.GetContext(ctx, &known, `SELECT count(*) FROM ledger_keys WHERE vkey = ?`, o.vkey))
		})
		if err != nil || known == 0 || older > 0 {
			return false, err
		}
	}
	targets, err := s.config.Targets(ctx)
	if err != nil {
		return false, err
	}
	standing, err := s.standings(ctx)
	for _, t := range targets {
		if st := standing[t.ID]; st.Compared == nil || st.Waiting > 0 || st.Error != "" {
			return false, err
		}
	}
	return true, err
}

func (s *Service) appendAs(ctx context.Context, tx *sqlx.Tx, by *signer, e entry) (string, error) {
	e.Time = s.now()
	if err := tx.GetContext(ctx, &e.Number, `SELECT coalesce(max(number), 0) + 1 FROM ledger`); err != nil {
		return "", err
	}
	if err := tx.SelectContext(ctx, &e.Links, `SELECT hash FROM ledger WHERE head = 1 ORDER BY hash`); err != nil {
		return "", err
	}
	if err := e.check(); err != nil {
		return "", err
	}
	signed, err := by.sign(e)
	if err != nil {
		return "", err
	}
	return insert(ctx, tx, e, by.name(), "", signed)
}

// insert stores an entry, here made or read from a target, and what follows from
// it. One that is there already changes nothing.
func insert(ctx context.Context, tx *sqlx.Tx, e entry, signer, source, signed string) (string, error) {
	hash := hashOf(e.format())
	var children int
	if err := tx.GetContext(ctx, &children, `SELECT count(*) FROM ledger_links WHERE parent = ?`, hash); err != nil {
		return "", err
	}
	done, err := tx.ExecContext(ctx, `INSERT OR IGNORE INTO ledger (hash, number, kind, id, time, records, signer, source, head, note)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`, hash, e.Number, e.Kind, e.ID, e.Time.UnixMilli(), len(e.Records), signer, source, children == 0, signed)
	if err != nil {
		return "", err
	}
	if n, err := done.RowsAffected(); err != nil || n == 0 {
		return hash, err
	}
	return hash, follow(ctx, tx, e, hash)
}

// follow writes what an entry says into the tables that are asked.
func follow(ctx context.Context, tx *sqlx.Tx, e entry, hash string) error {
	exec := func(query string, args ...any) error { _, err := tx.ExecContext(ctx, query, args...); return err }
	for _, l := range e.Links {
		if err := errors.Join(
			exec(`INSERT INTO ledger_links (parent, child) VALUES (?, ?)`, l, hash),
			exec(`UPDATE ledger SET head = 0 WHERE hash = ? AND head = 1`, l)); err != nil {
			return err
		}
	}
	for _, id := range e.Stores {
		if err := exec(`INSERT OR IGNORE INTO ledger_stores (store, kind, entry) VALUES (?, ?, ?)`, id.String(), e.Kind, hash); err != nil {
			return err
		}
	}
	if e.Kind == kindKey {
		return exec(`INSERT OR IGNORE INTO ledger_keys (vkey) VALUES (?)`, e.Key)
	}
	return nil
}

// Destroyed gives the id of the disposal under which a store was destroyed, or ""
// when the ledger knows of none.
func (s *Service) Destroyed(ctx context.Context, id data.StoreID) (disposal string, err error) {
	err = s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		return tx.GetContext(ctx, &disposal, `SELECT l.id FROM ledger_stores s JOIN ledger l ON l.hash = s.entry
			WHERE s.store = ? AND s.kind = 'destroy' ORDER BY l.number LIMIT 1`, id.String())
	})
	if errors.Is(err, sql.ErrNoRows) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("ask the ledger for %s: %w", id, err)
	}
	return disposal, nil
}

// entryPage is how many entries are in memory at once.
const entryPage = 50

// eachErasure reads the entries of a store's erasures, oldest first.
func (s *Service) eachErasure(ctx context.Context, id data.StoreID, fn func(entry) error) error {
	for last := (shipRow{}); ; {
		var rows []shipRow
		err := s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
			return tx.SelectContext(ctx, &rows, `SELECT number, hash, note FROM ledger_stores s JOIN ledger l ON l.hash = s.entry
				WHERE s.store = ? AND s.kind = ? AND (number, hash) > (?, ?) ORDER BY number, hash LIMIT ?`,
				id.String(), kindErase, last.Number, last.Hash, entryPage)
		})
		if err != nil {
			return fmt.Errorf("read the ledger: %w", err)
		}
		for _, r := range rows {
			e, err := parseNote(r.Note)
			if err != nil {
				return fmt.Errorf("read the ledger: %w", err)
			}
			if err := fn(e); err != nil {
				return err
			}
		}
		if len(rows) < entryPage {
			return nil
		}
		last = rows[len(rows)-1]
	}
}

// gaps are hashes that entries link to and nobody has: entries that were taken away.
func (s *Service) gaps(ctx context.Context) (missing []string, err error) {
	err = s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		return tx.SelectContext(ctx, &missing, `SELECT DISTINCT parent FROM ledger_links
			WHERE NOT EXISTS (SELECT 1 FROM ledger WHERE hash = parent) ORDER BY parent LIMIT 100`)
	})
	if err != nil {
		return nil, fmt.Errorf("look for gaps in the ledger: %w", err)
	}
	return slices.Clip(missing), nil
}
