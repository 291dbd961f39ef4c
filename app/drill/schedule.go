package drill

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"time"

	"github.com/jmoiron/sqlx"

	"holdfast/app/api"
	"holdfast/data"
)

// Tick is how often the one clock is to call Sweep.
const Tick = 10 * time.Minute

// grace is what a drill may be late before it is overdue: a quarter of the time
// between two, at least a day.
func grace(every time.Duration) time.Duration { return max(every/4, 24*time.Hour) }

// Standing is how the drills of one store and target stand.
type Standing struct {
	Store        string     `json:"store"`
	Name         string     `json:"name"`
	Target       string     `json:"target"`
	EverySeconds int64      `json:"every_seconds" doc:"between two drills; 0: none on schedule"`
	Last         *Result    `json:"last" doc:"the newest drill; null: there was none"`
	LastGood     *time.Time `json:"last_good" doc:"when the newest one that passed began"`
	Due          *time.Time `json:"due" doc:"when the next one is due; null when there are none on schedule"`
	Overdue      bool       `json:"overdue" doc:"none has passed since well before it was due"`
	Alarm        bool       `json:"alarm" doc:"the last one failed, or one is overdue"`

	chain   Chain
	started time.Time // of the newest
	alarms  map[string]bool
}

// standings are those of all live stores' chains, by name and target.
func (s *Service) standings(ctx context.Context) ([]Standing, error) {
	chains, err := s.config.Chains.Chains(ctx, "")
	if err != nil {
		return nil, err
	}
	last, good, err := s.newest(ctx)
	if err != nil {
		return nil, err
	}
	alarms, err := s.alarms(ctx)
	if err != nil {
		return nil, err
	}
	var out []Standing
	for _, c := range chains {
		name, err := s.nameOf(ctx, c)
		if errors.Is(err, data.ErrNotFound) || errors.Is(err, data.ErrParked) || errors.Is(err, data.ErrDestroyed) || errors.Is(err, data.ErrBusy) {
			continue // nothing is due of what is deleted
		}
		if err != nil {
			return nil, err
		}
		policy, err := s.policyOf(ctx, c)
		if err != nil {
			return nil, err
		}
		st, err := standingOf(c, name, policy, last[pairOf(c)], good[pairOf(c)], s.now())
		if err != nil {
			return nil, err
		}
		st.alarms = alarms[pairOf(c)]
		st.Alarm = st.Overdue || st.alarms[alarmFailed]
		out = append(out, st)
	}
	slices.SortStableFunc(out, func(a, b Standing) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Target, b.Target)) })
	return out, nil
}

type pair struct{ store, target string }

func pairOf(c Chain) pair { return pair{c.name(), c.Target} }

// nameOf is what people call it; data.ErrNotFound for a part that nobody can try.
func (s *Service) nameOf(ctx context.Context, c Chain) (string, error) {
	if c.Own == "" {
		return s.config.Tenants.Name(ctx, c.Store)
	}
	if s.config.Own[c.Own] == nil {
		return "", data.ErrNotFound
	}
	return c.Own, nil
}

// standingOf decides when the next drill is due: a period after the last one began,
// whatever came of it, and for a new chain within a day of its first snapshot. It is
// overdue when none has passed for a period and the grace.
func standingOf(c Chain, name string, p Policy, last *drillRow, good int64, now time.Time) (Standing, error) {
	st := Standing{Store: c.name(), Name: name, Target: c.TargetName, EverySeconds: int64(p.Every / time.Second), chain: c}
	if last != nil {
		d, err := last.drill()
		if err != nil {
			return st, err
		}
		shown := resultOf(d)
		st.Last, st.started = &shown, d.Started
	}
	proven := c.First
	if good > 0 {
		at := timeOf(good)
		st.LastGood, proven = &at, at
	}
	if p.Every <= 0 {
		return st, nil
	}
	due := c.First.Add(spread(c, min(p.Every, 24*time.Hour)))
	if last != nil {
		due = st.started.Add(p.Every)
	}
	st.Due = &due
	st.Overdue = now.After(proven.Add(p.Every + grace(p.Every)))
	return st, nil
}

// spread gives each chain a delay of its own, so that not all are due at once.
func spread(c Chain, within time.Duration) time.Duration {
	h := fnv.New64a()
	h.Write([]byte(c.name() + " " + c.Target))
	return time.Duration(h.Sum64() % uint64(within))
}

// newest reads the newest drill of each chain, and when the newest good one began.
func (s *Service) newest(ctx context.Context) (last map[pair]*drillRow, good map[pair]int64, err error) {
	var rows []drillRow
	var passed []struct {
		Store   string `db:"store"`
		Target  string `db:"target"`
		Started int64  `db:"started"`
	}
	err = s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		err := tx.SelectContext(ctx, &rows, `SELECT d.* FROM drills d JOIN
			(SELECT store, target, max(started) AS started FROM drills GROUP BY store, target) g
			ON g.store = d.store AND g.target = d.target AND g.started = d.started`)
		return errors.Join(err, tx.SelectContext(ctx, &passed, `SELECT store, target, max(started) AS started FROM drills WHERE ok = 1 GROUP BY store, target`))
	})
	if err != nil {
		return nil, nil, fmt.Errorf("newest drills: %w", err)
	}
	last, good = map[pair]*drillRow{}, map[pair]int64{}
	for i, r := range rows {
		last[pair{r.Store, r.Target}] = &rows[i]
	}
	for _, r := range passed {
		good[pair{r.Store, r.Target}] = r.Started
	}
	return last, good, nil
}

func (s *Service) alarms(ctx context.Context) (map[pair]map[string]bool, error) {
	var rows []struct {
		Store  string `db:"store"`
		Target string `db:"target"`
		Kind   string `db:"kind"`
	}
	err := s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		return tx.SelectContext(ctx, &rows, `SELECT store, target, kind FROM drill_alarms`)
	})
	if err != nil {
		return nil, fmt.Errorf("alarms of drills: %w", err)
	}
	out := map[pair]map[string]bool{}
	for _, r := range rows {
		p := pair{r.Store, r.Target}
		if out[p] == nil {
			out[p] = map[string]bool{}
		}
		out[p][r.Kind] = true
	}
	return out, nil
}

// Sweep raises alarms, has stores added up that changed, and drills as many chains
// as are due and as it takes to get round in time. It returns at once; the work
// goes on beside. The one clock calls it.
func (s *Service) Sweep(ctx context.Context, now time.Time) error {
	if !s.round.TryLock() {
		return nil
	}
	all, err := s.standings(ctx)
	if err != nil {
		s.round.Unlock()
		return err
	}
	s.work.Go(func() {
		defer s.round.Unlock()
		s.turnRound(all, now)
	})
	return nil
}

func (s *Service) turnRound(all []Standing, now time.Time) {
	for _, st := range all {
		if !st.Overdue {
			continue
		}
		if err := s.raiseOverdue(s.ctx, st); err != nil && s.ctx.Err() == nil {
			s.config.Logger.Error("an overdue drill could not be told", "store", st.Store, "error", err)
		}
	}
	s.addUp(all, now)
	for _, st := range dueOf(all, now) {
		if s.ctx.Err() != nil {
			return
		}
		if err := s.scheduled(st); err != nil && s.ctx.Err() == nil {
			s.config.Logger.Error("a drill did not end", "store", st.Store, "target", st.Target, "error", err)
		}
	}
	if err := s.config.Chains.VerifyNext(s.ctx, now); err != nil && s.ctx.Err() == nil {
		s.config.Logger.Error("a verification did not end", "error", err)
	}
}

// dueOf takes those that are longest due, not more than it takes to get round
// within the shortest period.
func dueOf(all []Standing, now time.Time) (due []Standing) {
	shortest := DefaultPolicy().Every
	scheduled := 0
	for _, st := range all {
		if st.Due == nil {
			continue
		}
		scheduled++
		shortest = min(shortest, time.Duration(st.EverySeconds)*time.Second)
		if !st.Due.After(now) {
			due = append(due, st)
		}
	}
	slices.SortStableFunc(due, func(a, b Standing) int { return a.Due.Compare(*b.Due) })
	ticks := max(1, int(shortest/Tick))
	return due[:min(len(due), (scheduled+ticks-1)/ticks)]
}

// scheduled waits for the end of a drill, which is an operation like one that a
// person asks for.
func (s *Service) scheduled(st Standing) error {
	op, err := s.start(s.ctx, task{chain: st.chain, name: st.Name, cause: scheduled})
	if err == nil {
		_, err = s.config.Operations.Wait(s.ctx, op.ID)
	}
	return err
}

func (s *Service) start(ctx context.Context, t task) (api.Operation, error) {
	return s.config.Operations.Start(ctx, "drill", t.name, t.chain.log(), func(ctx context.Context, p *api.Progress) (any, error) {
		d, err := s.carryOut(ctx, p, t)
		if err != nil {
			return nil, s.config.Chains.Explain(err)
		}
		return resultOf(d), nil
	})
}

// addUp has each store added up that has shipped something since the last time: at
// once when it is open anyway, else once a day.
func (s *Service) addUp(all []Standing, now time.Time) {
	seen := map[data.StoreID]bool{}
	for _, st := range all {
		id := st.chain.Store
		if seen[id] || st.chain.Own != "" || s.ctx.Err() != nil {
			continue
		}
		seen[id] = true
		if err := s.addUpOne(id, st.chain, now); err != nil && s.ctx.Err() == nil {
			s.config.Logger.Warn("a store could not be added up", "store", id.String(), "error", err)
		}
	}
}

func (s *Service) addUpOne(id data.StoreID, c Chain, now time.Time) error {
	newest, when, err := s.lastWitness(s.ctx, id)
	if err != nil || now.Sub(when) < witnessAge {
		return err
	}
	if newest.Incarnation == c.Position.Incarnation && c.Position.Sequence <= newest.Sequence {
		return nil // it has changed nothing since
	}
	st, release := s.config.Stores.Peek(id)
	defer release()
	if st != nil {
		return s.witness(s.ctx, st)
	}
	return s.Witness(s.ctx, id)
}

// lastWitness is the newest position that a store was added up at, and when.
func (s *Service) lastWitness(ctx context.Context, id data.StoreID) (at data.Position, when time.Time, err error) {
	var rows []struct {
		Incarnation string `db:"incarnation"`
		Sequence    int64  `db:"sequence"`
		Time        int64  `db:"time"`
	}
	err = s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		return tx.SelectContext(ctx, &rows, `SELECT incarnation, sequence, time FROM added_up WHERE store = ?`, id.String())
	})
	if err != nil || len(rows) == 0 {
		return at, when, err
	}
	return data.Position{Incarnation: rows[0].Incarnation, Sequence: rows[0].Sequence}, timeOf(rows[0].Time), nil
}
