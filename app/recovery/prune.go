package recovery

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/jmoiron/sqlx"

	"holdfast/app/api"
	"holdfast/backup/chain"
	"holdfast/data"
)

const (
	pruneEvery = 24 * time.Hour
	pruneGrace = 24 * time.Hour
	pruneRetry = time.Hour // after a failure
)

// Pruned is the result of a prune.
type Pruned struct {
	Store   string        `json:"store"`
	Targets []PrunedThere `json:"targets"`
}

// PrunedThere is what a prune did on one target.
type PrunedThere struct {
	Target    string     `json:"target"`
	Verified  int64      `json:"verified" doc:"newest snapshot that a drill restored; nothing behind it is given up; 0: no drill yet, so nothing is"`
	Until     int64      `json:"until" doc:"points up to here are kept only as the policy says"`
	Kept      int        `json:"kept" doc:"points up to there"`
	Dropped   int        `json:"dropped" doc:"points that were given up just now"`
	Condemned int        `json:"condemned" doc:"objects that are deleted when the grace is over"`
	Due       *time.Time `json:"due,omitempty" doc:"when that is"`
	Swept     int        `json:"swept" doc:"objects that were deleted just now"`
	Rescued   int        `json:"rescued" doc:"condemned objects that something came to need during the grace"`
	Locked    int        `json:"locked" doc:"objects that a lock keeps for now"`
}

// proven is the newest snapshot of a chain that a drill restored and found good;
// 0 without one.
func (s *Service) proven(ctx context.Context, key laneKey) (int64, error) {
	good, err := s.goodDrills(ctx, key.chain, key.target)
	if err != nil || len(good) == 0 {
		return 0, err
	}
	return good[len(good)-1], nil
}

// Prune starts pruning a store's chain on one target, or on all ("").
func (s *Service) Prune(ctx context.Context, slug, environment, target string) (api.Operation, error) {
	r, err := s.named(ctx, slug, environment)
	if err == nil {
		err = r.closed
	}
	if err != nil {
		return api.Operation{}, s.explain(err)
	}
	targets, err := s.chosen(ctx, target)
	if err != nil {
		return api.Operation{}, err
	}
	return s.config.Operations.Start(ctx, "snapshot.prune", r.String(), r.log(), func(ctx context.Context, p *api.Progress) (any, error) {
		result := Pruned{Store: r.chain(), Targets: []PrunedThere{}}
		for i, t := range targets {
			p.Set(ctx, int64(i), int64(len(targets)), "targets", "pruning on "+t.Name)
			done, err := s.prune(ctx, laneKey{r.chain(), t.ID}, t)
			if err := errors.Join(s.explain(err), s.recordPrune(ctx, laneKey{r.chain(), t.ID}, t, done, err)); err != nil {
				return nil, err
			}
			result.Targets = append(result.Targets, done)
		}
		return result, nil
	})
}

// prune goes one step on: it deletes what was condemned a grace ago, and condemns
// what no kept point needs now.
func (s *Service) prune(ctx context.Context, key laneKey, t targetRow) (PrunedThere, error) {
	out := PrunedThere{Target: t.Name}
	policy, err := s.policyOf(ctx, key.chain)
	if err != nil {
		return out, err
	}
	if out.Verified, err = s.proven(ctx, key); err != nil {
		return out, err
	}
	l, err := s.lane(ctx, key)
	if err != nil {
		return out, err
	}
	k, err := s.openKeeper(ctx, l, t)
	s.leave(l)
	if err != nil {
		return out, err
	}
	done, err := k.Prune(ctx, chain.PruneOrder{Policy: policy.kept(), Verified: out.Verified, Grace: pruneGrace})
	out.take(done)
	return out, errors.Join(err, s.keepPrune(ctx, key, out, err))
}

func (p *PrunedThere) take(done chain.Pruned) {
	p.Until, p.Kept, p.Dropped, p.Condemned = done.Until, done.Kept, done.Dropped, done.Condemned
	p.Swept, p.Rescued, p.Locked = done.Swept, done.Rescued, done.Locked
	if done.Number > 0 {
		due := done.Due.UTC()
		p.Due = &due
	}
}

func (s *Service) keepPrune(ctx context.Context, key laneKey, p PrunedThere, failed error) error {
	due, why := int64(0), ""
	if p.Due != nil {
		due = p.Due.UnixMilli()
	}
	if failed != nil {
		why = s.wording(failed)
	}
	return s.quietly(context.WithoutCancel(ctx), func(tx *sqlx.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT OR REPLACE INTO prunes (store, target, time, due, until, kept, condemned, swept, locked, error)
			SELECT ?, id, ?, ?, ?, ?, ?, ?, ?, ? FROM targets WHERE id = ?`,
			key.chain, s.now().UnixMilli(), due, p.Until, p.Kept, p.Condemned, p.Swept, p.Locked, why, key.target)
		return err
	})
}

// recordPrune enters in the log what was given up or deleted; a prune that did
// nothing is not told.
func (s *Service) recordPrune(ctx context.Context, key laneKey, t targetRow, p PrunedThere, failed error) error {
	if failed == nil && p.Dropped+p.Swept+p.Condemned == 0 {
		return nil
	}
	e := api.Event{Action: "snapshot.prune", Target: key.chain, Outcome: api.OK, Detail: map[string]string{
		"target": t.Name, "until": strconv.FormatInt(p.Until, 10), "kept": strconv.Itoa(p.Kept), "dropped": strconv.Itoa(p.Dropped),
		"condemned": strconv.Itoa(p.Condemned), "swept": strconv.Itoa(p.Swept), "locked": strconv.Itoa(p.Locked),
	}}
	if _, ok := key.store(); ok {
		e.Store = key.chain
	}
	if failed != nil {
		e.Outcome, e.Detail["reason"] = api.Failed, api.AsProblem(s.explain(failed)).Code
	}
	return s.config.Recorder.Record(context.WithoutCancel(ctx), e)
}

// SweepPrunes prunes each chain that is due once a day, removes what is left of
// destroyed stores, and lets the table forget. It returns at once. The one clock
// calls it.
func (s *Service) SweepPrunes(ctx context.Context, now time.Time) error {
	due, err := s.prunesDue(ctx, now)
	if err != nil {
		return err
	}
	p := &s.ships
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.on || p.pruning {
		return nil
	}
	p.pruning = true
	p.work.Go(func() {
		err := errors.Join(s.thin(p.ctx, now), s.pruneAll(p.ctx, due), s.purgeAll(p.ctx, now))
		if err != nil && p.ctx.Err() == nil {
			s.config.Logger.Error("pruning failed; it is tried again", "error", err)
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		p.pruning = false
	})
	return nil
}

// prunesDue lists the chains that were not pruned for a day and have something to
// prune: a drill's word, or a prune whose grace is over.
func (s *Service) prunesDue(ctx context.Context, now time.Time) (due []laneKey, err error) {
	var rows []struct {
		Store, Target string
		Time, Due     int64
		Error         string
	}
	err = s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		return tx.SelectContext(ctx, &rows, `SELECT store, target, time, due, error FROM prunes`)
	})
	if err != nil {
		return nil, fmt.Errorf("prunes: %w", err)
	}
	next := map[laneKey]time.Time{}
	under := map[laneKey]bool{}
	for _, r := range rows {
		wait := pruneEvery
		if r.Error != "" {
			wait = pruneRetry
		}
		key := laneKey{r.Store, r.Target}
		next[key] = time.UnixMilli(r.Time).Add(wait)
		if r.Due > 0 {
			under[key], next[key] = true, latest(time.UnixMilli(r.Due), time.UnixMilli(r.Time).Add(pruneRetry))
		}
	}
	names, err := s.chains(ctx)
	live := map[string]bool{}
	for _, name := range names {
		live[name] = true
	}
	for _, one := range s.ships.see("", now) {
		if err != nil || !live[one.key.chain] || next[one.key].After(now) || one.newest.Sequence < 2 || one.state == stateFenced {
			continue
		}
		var drilled int64
		if drilled, err = s.proven(ctx, one.key); drilled > 0 || under[one.key] {
			due = append(due, one.key)
		}
	}
	return due, err
}

func (s *Service) pruneAll(ctx context.Context, due []laneKey) error {
	var errs []error
	for _, key := range due {
		t, there := s.ships.targetOf(key.target)
		if !there || ctx.Err() != nil {
			continue
		}
		done, err := s.prune(ctx, key, t)
		errs = append(errs, err, s.recordPrune(ctx, key, t, done, err))
	}
	return errors.Join(errs...)
}

func (p *ships) targetOf(id string) (targetRow, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.target(id)
}

// askPurge has the objects of a destroyed store removed from every target, when
// pruning comes to it.
func (s *Service) askPurge(ctx context.Context, id data.StoreID) error {
	return s.config.DB.Update(ctx, func(tx *sqlx.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO purges (store, target, asked, tried, locked) SELECT ?, id, ?, 0, 0 FROM targets WHERE true
			ON CONFLICT (store, target) DO NOTHING`, id.String(), s.now().UnixMilli())
		return err
	})
}

// purgeAfter is how long what a destroyed store left on a target stays at least:
// who looks at its certificate can see it there.
const purgeAfter = time.Hour

type purgeRow struct {
	Store, Target string
	Locked        int64
}

func (s *Service) purgeAll(ctx context.Context, now time.Time) error {
	var rows []purgeRow
	err := s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		return tx.SelectContext(ctx, &rows, `SELECT store, target, locked FROM purges WHERE asked <= ? AND tried <= ?`,
			now.Add(-purgeAfter).UnixMilli(), now.Add(-pruneEvery).UnixMilli())
	})
	errs := []error{err}
	for _, row := range rows {
		if ctx.Err() == nil {
			errs = append(errs, s.purge(ctx, row))
		}
	}
	return errors.Join(errs...)
}

// purge removes what a target has of a destroyed store. What a lock keeps is tried
// again the next day.
func (s *Service) purge(ctx context.Context, row purgeRow) error {
	t, there := s.ships.targetOf(row.Target)
	id, err := data.ParseStoreID(row.Store)
	if !there || err != nil {
		return err
	}
	if _, _, err := s.config.Archive(id).Current(); !isAny(err, data.ErrDestroyed, data.ErrNotFound) {
		return nil // it lives: an older copy of the appliance asked for it
	}
	target, err := s.open(t)
	if err != nil {
		return err
	}
	deleted, locked, err := chain.Purge(ctx, target, row.Store)
	e := api.Event{Action: "snapshot.purge", Target: row.Store, Outcome: api.OK, Detail: map[string]string{
		"target": t.Name, "deleted": strconv.Itoa(deleted), "locked": strconv.Itoa(locked),
	}}
	if err != nil {
		e.Outcome, e.Detail["reason"] = api.Failed, s.wording(err)
	}
	return errors.Join(err, s.config.Recorder.Record(context.WithoutCancel(ctx), e), s.keepPurge(ctx, row, locked, err))
}

func (s *Service) keepPurge(ctx context.Context, row purgeRow, locked int, failed error) error {
	return s.quietly(context.WithoutCancel(ctx), func(tx *sqlx.Tx) error {
		if failed != nil || locked > 0 {
			_, err := tx.ExecContext(ctx, `UPDATE purges SET tried = ?, locked = ? WHERE store = ? AND target = ?`, s.now().UnixMilli(), locked, row.Store, row.Target)
			return err
		}
		for _, table := range []string{"purges", "snapshots", "prunes", "shipping", "unshipped"} {
			if _, err := tx.ExecContext(ctx, `DELETE FROM `+table+` WHERE store = ? AND target = ?`, row.Store, row.Target); err != nil {
				return err
			}
		}
		return nil
	})
}

func (s *Service) servePrune(w http.ResponseWriter, r *http.Request) error {
	var c Choice
	if err := api.Read(r, &c); err != nil {
		return err
	}
	op, err := s.Prune(r.Context(), r.PathValue("slug"), r.PathValue("env"), c.Target)
	return accepted(w, op, err)
}
