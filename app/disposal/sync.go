package disposal

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/jmoiron/sqlx"
	"golang.org/x/mod/sumdb/note"

	"holdfast/backup"
	"holdfast/data"
)

// Standing is how the ledger here and on one target compare.
type Standing struct {
	Target   string     `json:"target"`
	Compared *time.Time `json:"compared" doc:"last time that all of it was read"`
	Waiting  int        `json:"waiting" doc:"entries that the target lacks"`
	Error    string     `json:"error,omitempty" doc:"why it could not be compared the last time"`
}

// compareEvery is how often a target that can be reached is read again.
const compareEvery = time.Hour

// CompareAll compares the ledger with every target, waiting no longer than
// Config.Patience for each. A target that cannot be read is told in the log and
// tried again by Sweep.
func (s *Service) CompareAll(ctx context.Context) error {
	targets, err := s.config.Targets(ctx)
	if err != nil {
		return err
	}
	var all sync.WaitGroup
	for _, t := range targets {
		all.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, s.config.Patience)
			defer cancel()
			if err := s.compare(ctx, t); err != nil {
				s.config.Logger.WarnContext(ctx, "the ledger of destructions could not be compared with a target; "+
					"if this data folder is an old copy, what was destroyed since may be back until the target is reached",
					"target", t.Name, "error", err)
			}
		})
	}
	all.Wait()
	s.warnGaps(ctx)
	return nil
}

// Sweep compares what is due, ships what waits and carries out what is new. The one
// clock calls it.
func (s *Service) Sweep(ctx context.Context, now time.Time) error {
	targets, err := s.config.Targets(ctx)
	if err != nil {
		return err
	}
	standing, err := s.standings(ctx)
	if err != nil {
		return err
	}
	if len(standing) > len(targets) {
		if err := s.forgetTargets(ctx, targets); err != nil {
			return err
		}
	}
	var errs []error
	for _, t := range targets {
		st := standing[t.ID]
		if st.Error != "" || st.Waiting > 0 || st.Compared == nil || now.Sub(*st.Compared) >= compareEvery {
			if err := s.compare(ctx, t); err != nil && st.Error == "" { // told once
				errs = append(errs, fmt.Errorf("target %s: %w", t.Name, err))
			}
		}
	}
	if s.unapplied.Load() {
		errs = append(errs, s.Apply(ctx))
	}
	return errors.Join(errs...)
}

// Consult reads the ledger of a target that is about to be restored from, and
// carries out what it says. It fails when the target's ledger cannot be trusted
// whole: what was erased must not come back unsaid.
func (s *Service) Consult(ctx context.Context, target string) error {
	targets, err := s.config.Targets(ctx)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(targets, func(t Target) bool { return t.ID == target })
	if i < 0 {
		return fmt.Errorf("target %s: %w", target, data.ErrNotFound)
	}
	if err := s.compare(ctx, targets[i]); err != nil {
		return err
	}
	return s.Apply(ctx)
}

// compare makes the ledger here and on a target the same: the union of both.
func (s *Service) compare(ctx context.Context, t Target) error {
	s.syncing.Lock()
	defer s.syncing.Unlock()
	err := s.exchange(ctx, t)
	failure := ""
	if err != nil {
		failure = err.Error()
	}
	now := s.now().UnixMilli()
	noted := s.config.DB.Update(context.WithoutCancel(ctx), func(tx *sqlx.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO ledger_targets (target, tried, compared, error) VALUES (?, ?, ?, ?)
			ON CONFLICT (target) DO UPDATE SET tried = excluded.tried, error = excluded.error,
			compared = CASE excluded.compared WHEN 0 THEN compared ELSE excluded.compared END`,
			t.ID, now, map[bool]int64{true: now}[err == nil], failure)
		return err
	})
	return errors.Join(err, noted)
}

func (s *Service) exchange(ctx context.Context, t Target) error {
	store, err := t.Open()
	if err != nil {
		return err
	}
	known, err := s.trusted(ctx)
	if err != nil {
		return err
	}
	r := &reader{service: s, store: store, there: map[string]bool{}, known: known, done: map[string]bool{}}
	if err := r.all(ctx); err != nil {
		return err
	}
	if err := s.take(ctx, t.Name, r.fresh); err != nil {
		return err
	}
	if err := s.ship(ctx, t, store, r.there); err != nil {
		return err
	}
	return errors.Join(r.damaged...)
}

// reader reads what a target has and this host has not.
type reader struct {
	service *Service
	store   backup.ObjectStore
	known   map[string]note.Verifier // by name
	done    map[string]bool          // keys that were read
	there   map[string]bool          // hashes of the entries on the target
	fresh   []found
	damaged []error
}

type found struct {
	entry
	hash, signer, signed string
}

// all reads below every known key; a key that an entry vouches for becomes known.
func (r *reader) all(ctx context.Context) error {
	for {
		next := ""
		for name := range r.known {
			if !r.done[name] {
				next = name
			}
		}
		if next == "" {
			break
		}
		r.done[next] = true
		if err := r.below(ctx, next); err != nil {
			return err
		}
	}
	slices.SortFunc(r.fresh, func(a, b found) int {
		return cmp.Or(cmp.Compare(a.Number, b.Number), cmp.Compare(a.hash, b.hash))
	})
	return nil
}

const listPage = 1000

func (r *reader) below(ctx context.Context, key string) error {
	for after := ""; ; {
		list, err := r.store.List(ctx, objectPrefix(key), after, listPage)
		if err != nil {
			return fmt.Errorf("list the ledger: %w", err)
		}
		for _, info := range list {
			if err := r.object(ctx, key, info.Name); err != nil {
				return err
			}
		}
		if len(list) < listPage {
			return nil
		}
		after = list[len(list)-1].Name
	}
}

// object reads one entry unless it is here. What is not authentic is kept for the
// end: the rest counts all the same.
func (r *reader) object(ctx context.Context, key, name string) error {
	hash, err := parseObjectName(key, name)
	if err != nil {
		r.damaged = append(r.damaged, &backup.ObjectError{Name: name, Err: err})
		return nil
	}
	r.there[hash] = true
	if have, err := r.service.has(ctx, hash); have || err != nil {
		return err
	}
	signed, err := backup.Fetch(ctx, r.store, name, maxEntry+1024)
	if err != nil && !errors.Is(err, backup.ErrFormat) {
		return fmt.Errorf("read the ledger: %w", err)
	}
	e, got, err := openEntry(signed, r.known[key])
	if err == nil && got != hash {
		err = fmt.Errorf("%w: another entry lies under this name", data.ErrTampered)
	}
	if err != nil {
		r.damaged = append(r.damaged, &backup.ObjectError{Name: name, Err: err})
		delete(r.there, hash)
		return nil
	}
	return r.accept(found{e, hash, key, string(signed)})
}

func (r *reader) accept(f found) error {
	r.fresh = append(r.fresh, f)
	if f.Kind != kindKey {
		return nil
	}
	v, err := note.NewVerifier(f.Key)
	if err == nil && v.Name() == signerName {
		r.known[keyName(v)] = v
	}
	return nil
}

func (s *Service) has(ctx context.Context, hash string) (yes bool, err error) {
	err = s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		return tx.GetContext(ctx, &yes, `SELECT EXISTS (SELECT 1 FROM ledger WHERE hash = ?)`, hash)
	})
	return yes, err
}

// take stores entries from a target and what follows from them.
func (s *Service) take(ctx context.Context, target string, fresh []found) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	for _, f := range fresh {
		err := s.config.DB.Update(ctx, func(tx *sqlx.Tx) error {
			if _, err := insert(ctx, tx, f.entry, f.signer, target, f.signed); err != nil {
				return err
			}
			return s.adopt(ctx, tx, f)
		})
		if err != nil {
			return fmt.Errorf("take entry %s from %s: %w", f.hash, target, err)
		}
	}
	if len(fresh) > 0 {
		s.unapplied.Store(true)
		s.config.Logger.WarnContext(ctx, "a target knows of destructions or erasures that this data folder does not: it is an older copy",
			"target", target, "entries", len(fresh))
	}
	return nil
}

// standings is how the ledger compares with each target, by its id.
func (s *Service) standings(ctx context.Context) (map[string]Standing, error) {
	var rows []struct {
		Target   string `db:"target"`
		Compared int64  `db:"compared"`
		Error    string `db:"error"`
		Shipped  int    `db:"shipped"`
		Total    int    `db:"total"`
	}
	err := s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		return tx.SelectContext(ctx, &rows, `SELECT target, compared, error, (SELECT count(*) FROM ledger) AS total,
			(SELECT count(*) FROM ledger_shipped h WHERE h.target = t.target) AS shipped FROM ledger_targets t`)
	})
	if err != nil {
		return nil, fmt.Errorf("standing of the ledger: %w", err)
	}
	out := map[string]Standing{}
	for _, r := range rows {
		st := Standing{Waiting: r.Total - r.Shipped, Error: r.Error}
		if r.Compared != 0 {
			at := time.UnixMilli(r.Compared).UTC()
			st.Compared = &at
		}
		out[r.Target] = st
	}
	return out, nil
}

// forgetTargets drops what is known of targets that were removed.
func (s *Service) forgetTargets(ctx context.Context, targets []Target) error {
	ids := []string{""}
	for _, t := range targets {
		ids = append(ids, t.ID)
	}
	err := s.config.DB.Update(ctx, func(tx *sqlx.Tx) error {
		for _, table := range []string{"ledger_shipped", "ledger_targets"} {
			query, args, err := sqlx.In(`DELETE FROM `+table+` WHERE target NOT IN (?)`, ids)
			if err == nil {
				_, err = tx.ExecContext(ctx, query, args...)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("forget targets of the ledger: %w", err)
	}
	return nil
}

func (s *Service) warnGaps(ctx context.Context) {
	missing, err := s.gaps(ctx)
	if err != nil || len(missing) > 0 {
		s.config.Logger.WarnContext(ctx, "the ledger of destructions has gaps: entries were taken away", "missing", missing, "error", err)
	}
}
