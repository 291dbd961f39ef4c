package recovery

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/jmoiron/sqlx"

	"holdfast/app/api"
	"holdfast/backup/chain"
)

// shipBySelf is a ship that nobody asked for.
func (s *Service) shipBySelf(ctx context.Context, key laneKey, t targetRow) {
	result, err := s.deliver(ctx, key, t)
	if errors.Is(err, errClosing) || errors.Is(err, context.Canceled) || gone(err) {
		return
	}
	if err := s.tell(context.WithoutCancel(ctx), key, t, result, err); err != nil {
		s.config.Logger.Error("shipping could not be entered in the log", "store", key.chain, "target", t.Name, "error", err)
	}
}

// told is what is to be written of a ship.
type told struct {
	event    *api.Event
	outcome  bool // the state is another than before
	unsent   time.Time
	state    string
	why      string
	logError bool
}

// tell keeps state and log up to date. The log has an entry for each base, for a
// chain's first snapshot of a day, and for what goes wrong and right again; never
// one for each snapshot.
func (s *Service) tell(ctx context.Context, key laneKey, t targetRow, result chain.Result, failed error) error {
	what := s.ships.told(key, t, result, failed, s.now())
	var errs []error
	if what.event != nil {
		if what.logError {
			s.config.Logger.Error("shipping does not go on", "store", key.chain, "target", t.Name, "error", failed)
		}
		errs = append(errs, s.config.Recorder.Record(ctx, *what.event))
	}
	if what.outcome {
		errs = append(errs, s.outcome(ctx, key, what.state, what.why))
	}
	if !what.unsent.IsZero() {
		errs = append(errs, s.noteUnshipped(ctx, map[laneKey]time.Time{key: what.unsent}))
	}
	return errors.Join(errs...)
}

func (p *ships) told(key laneKey, t targetRow, result chain.Result, failed error, now time.Time) (out told) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := p.course(key)
	e := api.Event{Target: key.chain, Outcome: api.OK, Detail: map[string]string{"target": t.Name, "scheduled": "true"}}
	if _, ok := key.store(); ok {
		e.Store = key.chain
	}
	switch today := now.Unix() / 86400; {
	case failed == nil && c.alarmed:
		c.alarmed, c.audited = false, today
		e.Action = "snapshot.recovered"
		fill(&e, result)
	case failed == nil && !result.Unchanged && (result.Base || c.audited != today):
		c.audited = today
		e.Action = "snapshot.create"
		fill(&e, result)
	case failed != nil && !c.alarmed && (c.state == stateFenced || now.Sub(c.failing) >= alarmAfter):
		c.alarmed, out.logError = true, true
		e.Action, e.Outcome = "snapshot."+c.state, api.Failed
		e.Detail["reason"], e.Detail["since"] = c.why, c.failing.Format(time.RFC3339)
	}
	if e.Action != "" {
		out.event = &e
	}
	if out.outcome = c.written != c.state; out.outcome {
		c.written, out.state, out.why = c.state, c.state, c.why
	}
	if failed != nil && !c.noted && c.dirty {
		c.noted, out.unsent = true, c.since
	}
	return out
}

func fill(e *api.Event, r chain.Result) {
	e.Detail["seq"], e.Detail["manifest"], e.Detail["kind"] = strconv.FormatInt(r.Sequence, 10), r.Manifest.String(), kind(r.Base)
	e.Detail["pages"], e.Detail["bytes"] = strconv.Itoa(r.Pages), strconv.FormatInt(r.Bytes, 10)
}

// noteUnshipped writes down what a restart must not forget.
func (s *Service) noteUnshipped(ctx context.Context, since map[laneKey]time.Time) error {
	if len(since) == 0 {
		return nil
	}
	return s.quietly(ctx, func(tx *sqlx.Tx) error {
		for key, at := range since {
			_, err := tx.ExecContext(ctx, `INSERT INTO unshipped (store, target, since) SELECT ?, id, ? FROM targets WHERE id = ?
				ON CONFLICT (store, target) DO NOTHING`, key.chain, at.UnixMilli(), key.target)
			if err != nil {
				return fmt.Errorf("note what is unshipped: %w", err)
			}
		}
		return nil
	})
}

// drainFor is how long the end waits for what is not yet shipped.
const drainFor = 5 * time.Second

// drain ends shipping: what waits is shipped, within a bound, and what is not is
// written down.
func (s *Service) drain() error {
	p := &s.ships
	waiting, on := p.halt()
	if on {
		ctx, cancel := context.WithTimeout(context.Background(), drainFor)
		defer cancel()
		var work sync.WaitGroup
		for key, t := range waiting {
			work.Go(func() {
				r := p.routeOf(t.ID)
				select {
				case r.slots <- struct{}{}:
					_, _ = s.deliver(ctx, key, t) // what fails is written down
					<-r.slots
				case <-ctx.Done():
				}
			})
		}
		work.Wait()
	}
	p.stop()
	p.work.Wait()
	if err := s.knowTargets(on); err != nil {
		return err
	}
	return errors.Join(s.flush(context.Background()), s.noteUnshipped(context.Background(), p.unsent(s.now())))
}

// knowTargets reads them where nothing was shipped by itself, but something changed
// that the next server is to ship.
func (s *Service) knowTargets(on bool) error {
	p := &s.ships
	p.mu.Lock()
	changed := len(p.loose) > 0
	p.mu.Unlock()
	if on || !changed {
		return nil
	}
	return s.reloadTargets(context.Background())
}

// halt ends all timers and lists what waits and can be expected to succeed.
func (p *ships) halt() (waiting map[laneKey]targetRow, on bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	on, p.on = p.on, false
	p.writing = stopped(p.writing)
	waiting = map[laneKey]targetRow{}
	for key, c := range p.courses {
		c.timer = stopped(c.timer)
		t, there := p.target(key.target)
		if there && (c.dirty || c.running) && c.state == "" && p.keptOut(c) == "" && p.route(key.target).failures == 0 {
			waiting[key] = t
		}
	}
	return waiting, on
}

// unsent is what is not shipped, of stores.
func (p *ships) unsent(now time.Time) map[laneKey]time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := map[laneKey]time.Time{}
	for key, c := range p.courses {
		if _, ok := key.store(); ok && c.dirty && !c.noted {
			out[key], c.noted = c.since, true
		}
	}
	for name := range p.loose {
		for _, t := range p.targets {
			key := laneKey{name, t.ID}
			if _, ok := key.store(); ok && !p.course(key).noted {
				out[key], p.course(key).noted = now, true
			}
		}
	}
	clear(p.loose)
	return out
}

// drop ends and forgets the courses that match, and waits for none of them.
func (p *ships) drop(match func(laneKey) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for key, c := range p.courses {
		if !match(key) {
			continue
		}
		c.timer, c.dirty = stopped(c.timer), false
		if c.running {
			c.cancel()
		}
		delete(p.courses, key)
	}
	kept := p.rows[:0]
	for _, row := range p.rows {
		if !match(laneKey{row.Store, row.Target}) {
			kept = append(kept, row)
		}
	}
	p.rows = kept
}
