package recovery

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"

	"holdfast/data"
)

// Start begins continuous shipping. Stores that a crash or an absent target left
// unshipped, and those that a target has nothing of, are shipped first; idle ones
// are not opened.
func (s *Service) Start(ctx context.Context) error {
	unshipped, err := s.remember(ctx)
	if err != nil {
		return fmt.Errorf("start shipping: %w", err)
	}
	s.ships.mu.Lock()
	s.ships.on = true
	s.ships.mu.Unlock()
	return s.look(ctx, func(key laneKey) (time.Time, bool) {
		if at, ok := unshipped[key]; ok {
			return at, true
		}
		id, ok := key.store()
		return time.Time{}, !ok || !s.config.Stores.ClosedWell(id)
	})
}

// remember reads what the tables know.
func (s *Service) remember(ctx context.Context) (unshipped map[laneKey]time.Time, err error) {
	var targets []targetRow
	var newest []snapshotRow
	var policies []struct{ Store, Policy string }
	var states []struct{ Store, Target, State, Error string }
	var waits []struct {
		Store, Target string
		Since         int64
	}
	err = s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		for _, q := range []struct {
			into any
			sql  string
		}{
			{&targets, `SELECT * FROM targets ORDER BY name`},
			{&newest, `SELECT s.* FROM (SELECT store, target, max(sequence) AS sequence FROM snapshots GROUP BY store, target) m
				JOIN snapshots s ON s.store = m.store AND s.target = m.target AND s.sequence = m.sequence`},
			{&policies, `SELECT store, policy FROM snapshot_policies`},
			{&states, `SELECT store, target, state, error FROM shipping WHERE state = 'fenced'`},
			{&waits, `SELECT store, target, since FROM unshipped`},
		} {
			if err := tx.SelectContext(ctx, q.into, q.sql); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	p := &s.ships
	p.mu.Lock()
	defer p.mu.Unlock()
	p.targets = targets
	for _, row := range newest {
		p.course(laneKey{row.Store, row.Target}).newest = row
	}
	for _, row := range policies {
		set := defaultPolicy()
		if err := json.Unmarshal([]byte(row.Policy), &set); err != nil {
			return nil, err
		}
		p.policies[row.Store] = set
	}
	for _, row := range states {
		c := p.course(laneKey{row.Store, row.Target})
		c.state, c.written, c.why, c.alarmed = row.State, row.State, row.Error, true
	}
	unshipped = map[laneKey]time.Time{}
	for _, row := range waits {
		key := laneKey{row.Store, row.Target}
		unshipped[key] = time.UnixMilli(row.Since).UTC()
		p.course(key).noted = true
	}
	return unshipped, nil
}

// look sees to it that every live store and part of the appliance is shipped to
// every target that has nothing of it, or where due says so (and since when).
func (s *Service) look(ctx context.Context, due func(laneKey) (time.Time, bool)) error {
	names, err := s.chains(ctx)
	if err != nil {
		return err
	}
	p := &s.ships
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, name := range names {
		for _, t := range p.targets {
			c := p.course(laneKey{name, t.ID})
			if c.dirty || c.running {
				p.plan(c) // a policy or a target may let it now
				continue
			}
			since, is := time.Time{}, c.newest.Sequence == 0
			if due != nil && !is {
				since, is = due(c.key)
			}
			if since.IsZero() && c.newest.Sequence > 0 {
				since = c.newest.at()
			}
			if since.IsZero() {
				since = s.now()
			}
			if is && p.on {
				p.touch(c, since)
			}
		}
	}
	return nil
}

// chains names everything that is to be shipped.
func (s *Service) chains(ctx context.Context) (names []string, err error) {
	var live []data.StoreID
	if s.config.Live != nil {
		if live, err = s.config.Live(ctx); err != nil {
			return nil, err
		}
	}
	names = sortedKeys(s.config.Own)
	for _, id := range live {
		names = append(names, id.String())
	}
	return names, nil
}

// Sweep closes the chains that have long had no work, keeps the others short and
// looks for stores that are new. The one clock calls it each minute.
func (s *Service) Sweep(ctx context.Context, now time.Time) error {
	if err := s.closeOld(now); err != nil {
		return err
	}
	if !s.ships.running() {
		return s.flush(ctx)
	}
	s.shorten()
	return s.look(ctx, nil)
}

func (p *ships) running() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.on
}

// shorten has every chain that was shipped since merged. It returns at once.
func (s *Service) shorten() {
	p := &s.ships
	p.mu.Lock()
	defer p.mu.Unlock()
	for key, c := range p.courses {
		t, there := p.target(key.target)
		if !p.on || !c.unmerged || !there || c.merging || c.state != "" {
			continue
		}
		c.unmerged, c.merging = false, true
		p.work.Go(func() {
			if err := s.compact(p.ctx, key, t); err != nil && p.ctx.Err() == nil {
				s.config.Logger.Warn("a chain could not be shortened; it is tried again", "store", key.chain, "target", t.Name, "error", err)
			}
			p.mu.Lock()
			defer p.mu.Unlock()
			c.merging = false
		})
	}
}

// mergers is how many chains on one target are merged at the same time: fewer than
// the slots, so that shipping goes on.
const mergers = slots / 4

// compact merges beside shipping.
func (s *Service) compact(ctx context.Context, key laneKey, t targetRow) error {
	r := s.ships.routeOf(t.ID)
	select {
	case r.merging <- struct{}{}:
		defer func() { <-r.merging }()
	case <-ctx.Done():
		return ctx.Err()
	}
	l, err := s.lane(ctx, key)
	if err != nil {
		return err
	}
	k, err := s.openKeeper(ctx, l, t)
	newest := int64(0)
	if err == nil && l.chain != nil {
		newest = l.chain.Status().Sequence
	}
	s.leave(l)
	if err != nil || newest == 0 {
		return err
	}
	return s.shortened(ctx, key, t, k, newest)
}
