package recovery

import (
	"cmp"
	"context"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"time"

	"holdfast/app/api"
	"holdfast/data"
)

// state is that of a course; mu is held.
func (p *ships) state(c *course, now time.Time) (state, why string) {
	if out := p.keptOut(c); out != "" {
		return statePaused, out
	}
	if c.state != "" {
		return c.state, c.why
	}
	if c.dirty || c.running || c.newest.Sequence == 0 {
		if !p.on {
			return stateBehind, "Nothing is shipped by itself now: no server runs."
		}
		if c.newest.Sequence == 0 {
			return stateBehind, "The first snapshot is not there yet."
		}
		if late := max(10*time.Second, 5*p.every(c.key.chain)); lagOf(c, now) > late {
			return stateBehind, "Changes come faster than the target takes them, or it is slow."
		}
	}
	return stateCurrent, ""
}

// lagOf is the age of the oldest change that the target has not got.
func lagOf(c *course, now time.Time) time.Duration {
	switch {
	case !c.taking.IsZero():
		return max(0, now.Sub(c.taking))
	case c.dirty:
		return max(0, now.Sub(c.since))
	}
	return 0
}

// seen is what is known of one chain at a moment.
type seen struct {
	key    laneKey
	target targetRow
	newest snapshotRow
	state  string
	why    string
	lag    time.Duration
}

// see tells of the chains of one name, or of all (""), by target.
func (p *ships) see(name string, now time.Time) (out []seen) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for key, c := range p.courses {
		t, there := p.target(key.target)
		if !there || name != "" && key.chain != name {
			continue
		}
		one := seen{key: key, target: t, newest: c.newest, lag: lagOf(c, now)}
		one.state, one.why = p.state(c, now)
		out = append(out, one)
	}
	slices.SortFunc(out, func(a, b seen) int {
		return cmp.Or(cmp.Compare(a.key.chain, b.key.chain), cmp.Compare(a.target.Name, b.target.Name))
	})
	return out
}

// courseOf tells of one chain.
func (s *Service) courseOf(key laneKey) seen {
	p := &s.ships
	p.mu.Lock()
	defer p.mu.Unlock()
	c := p.course(key)
	one := seen{key: key, newest: c.newest, lag: lagOf(c, s.now())}
	one.state, one.why = p.state(c, s.now())
	return one
}

// stagedBytes is what waits on this host's disk for a target.
func (s *Service) stagedBytes(key laneKey) (n int64) {
	for _, name := range []string{"pending", "pending.new"} {
		if info, err := os.Stat(filepath.Join(s.stagingOf(key), name)); err == nil {
			n += info.Size()
		}
	}
	return n
}

// Overview is how one store is kept, over all its targets.
type Overview struct {
	Store      string     `json:"store" doc:"<tenant id>/<environment>, or a part of the appliance: system, vault"`
	Slug       string     `json:"slug,omitempty"`
	State      string     `json:"state" enum:"current,behind,absent,fenced,paused" doc:"the worst of its targets"`
	Why        string     `json:"why,omitempty"`
	LagSeconds float64    `json:"lag_seconds" doc:"the longest of its targets"`
	Newest     *time.Time `json:"newest,omitempty" doc:"newest point that any target has"`
	Targets    int        `json:"targets" doc:"that have a snapshot of it"`
	Places     int        `json:"places" doc:"different ones of targets that are current"`
	Bytes      int64      `json:"bytes" doc:"of its database, in the newest snapshot"`
	Files      int64      `json:"files" doc:"in the newest snapshot"`
	Lanes      []Lane     `json:"lanes" doc:"each of its targets"`
	Drill      *LastDrill `json:"drill,omitempty" doc:"the last one, if there was any"`
}

// badness orders states, worst first.
var badness = []string{stateFenced, stateAbsent, stateBehind, statePaused, stateCurrent}

// Overviews lists every store that is shipped or could be, worst first.
func (s *Service) Overviews(ctx context.Context) ([]Overview, error) {
	if !s.ships.running() { // in a command without a server nothing is remembered
		if _, err := s.remember(ctx); err != nil {
			return nil, err
		}
	}
	names, err := s.chains(ctx)
	if err != nil {
		return nil, err
	}
	var list []Overview
	all := s.ships.see("", s.now())
	for _, name := range names {
		i, _ := slices.BinarySearchFunc(all, name, func(a seen, name string) int { return cmp.Compare(a.key.chain, name) })
		o := Overview{Store: name, State: statePaused, Why: "There is no target.", Lanes: []Lane{}}
		places := map[string]bool{}
		for first := true; i < len(all) && all[i].key.chain == name; i++ {
			o.add(all[i], first, places)
			first = false
		}
		o.Places = len(places)
		list = append(list, o)
	}
	slices.SortStableFunc(list, func(a, b Overview) int {
		return cmp.Or(cmp.Compare(slices.Index(badness, a.State), slices.Index(badness, b.State)), cmp.Compare(b.LagSeconds, a.LagSeconds))
	})
	return list, nil
}

func (o *Overview) add(one seen, first bool, places map[string]bool) {
	if first || slices.Index(badness, one.state) < slices.Index(badness, o.State) {
		o.State, o.Why = one.state, one.why
	}
	o.LagSeconds = max(o.LagSeconds, one.lag.Seconds())
	o.Lanes = append(o.Lanes, shownLane(one))
	if one.newest.Sequence > 0 {
		o.Targets++
		if at := one.newest.at(); o.Newest == nil || at.After(*o.Newest) {
			o.Newest, o.Bytes, o.Files = &at, one.newest.Total*data.PageSize, one.newest.Files
		}
	}
	if one.state == stateCurrent && one.newest.Sequence > 0 {
		places[one.target.Place] = true
	}
}

func (s *Service) serveOverview(w http.ResponseWriter, r *http.Request) error {
	p, err := api.ReadPage(r)
	if err != nil {
		return err
	}
	list, err := s.Overviews(r.Context())
	if err != nil {
		return err
	}
	if p.Filter != "" {
		list = slices.DeleteFunc(list, func(o Overview) bool {
			return o.State != p.Filter && (p.Filter != "trouble" || o.State == stateCurrent)
		})
	}
	page := api.Cut(list, p)
	if err := s.complete(r.Context(), page.Items); err != nil {
		return err
	}
	return api.Respond(w, http.StatusOK, page)
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
