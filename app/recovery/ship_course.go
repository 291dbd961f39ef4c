package recovery

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"holdfast/backup"
	"holdfast/data"
)

// ships is the schedule of continuous shipping: a course for each chain that is
// known. A timer runs only where something waits to be shipped.
type ships struct {
	s     *Service
	quiet atomic.Bool // the next commit of the system database is our own

	flushing sync.Mutex // one flush at a time

	mu       sync.Mutex
	on       bool // shipping by itself
	ctx      context.Context
	stop     context.CancelFunc
	work     sync.WaitGroup
	targets  []targetRow
	routes   map[string]*route   // by target id
	policies map[string]Policy   // by chain, where one was set
	courses  map[laneKey]*course //
	pruning  bool
	loose    map[string]bool // changed while it was off
	rows     []snapshotRow   // confirmed, not yet written down
	cleared  []laneKey       // no longer unshipped, not yet written down
	writing  *time.Timer
	shipped  func(laneKey, time.Duration) // told of each, with its lag; for measuring; may be nil
}

// course is how far one chain is. All is guarded by the lock of ships.
type course struct {
	key    laneKey
	newest snapshotRow // Sequence 0: none

	dirty    bool
	since    time.Time // of the oldest change that is not taken; zero unless dirty
	taking   time.Time // the same of what is being shipped; zero: nothing is
	noted    bool      // in the table of what is unshipped
	unmerged bool      // shipped since the chain was last kept short
	merging  bool

	running bool
	cancel  context.CancelFunc // of the one running
	timer   *time.Timer
	last    time.Time     // when the last one began
	took    time.Duration // and how long it was under way

	state    string // fenced or failed, "" while all is well
	why      string
	failures int
	retry    time.Time // not before
	failing  time.Time // since
	alarmed  bool
	audited  int64  // day of the last entry in the log
	written  string // the state that is in the table
}

// route is what all chains to one target share.
type route struct {
	slots    chan struct{} // of those that ship at the same time
	merging  chan struct{} // of those that are merged
	failures int
	retry    time.Time
}

const (
	slots      = 8 // ships to one target at a time
	backoff    = time.Second
	backoffMax = time.Minute
	alarmAfter = 5 * time.Minute
	// A stream is asked for what came since the last time, which costs a look at what
	// its source has in memory: the larger it is, the rarer, but never rarer than ownMax.
	ownSize = 256 << 20 // bytes for each second
	ownMax  = 5 * time.Second
)

// States of a chain.
const (
	stateCurrent = "current"
	stateBehind  = "behind"
	stateAbsent  = "absent"
	stateFenced  = "fenced"
	statePaused  = "paused"
)

func (p *ships) init(s *Service) {
	p.s = s
	p.ctx, p.stop = context.WithCancel(context.Background())
	p.routes, p.policies, p.courses, p.loose = map[string]*route{}, map[string]Policy{}, map[laneKey]*course{}, map[string]bool{}
}

// course finds or begins one; mu is held.
func (p *ships) course(key laneKey) *course {
	c := p.courses[key]
	if c == nil {
		c = &course{key: key}
		p.courses[key] = c
	}
	return c
}

// route finds or begins one; mu is held.
func (p *ships) route(target string) *route {
	r := p.routes[target]
	if r == nil {
		r = &route{slots: make(chan struct{}, slots), merging: make(chan struct{}, mergers)}
		p.routes[target] = r
	}
	return r
}

// Nudge tells of a commit to a store. It does not block.
func (s *Service) Nudge(id data.StoreID) { s.ships.nudge(id.String(), s.now()) }

func (p *ships) nudge(chain string, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.on {
		p.loose[chain] = true
		return
	}
	for i := range p.targets {
		p.touch(p.course(laneKey{chain, p.targets[i].ID}), now)
	}
}

// touch notes a change and sees that it is shipped; mu is held.
func (p *ships) touch(c *course, now time.Time) {
	if !c.dirty {
		c.dirty, c.since = true, now
	}
	p.plan(c)
}

// policyOf is the policy of a chain; mu is held.
func (p *ships) policyOf(chain string) Policy {
	if set, ok := p.policies[chain]; ok {
		return set
	}
	return defaultPolicy()
}

func (p *ships) policy(chain string, set Policy) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.policies[chain] = set
	for key, c := range p.courses {
		if key.chain == chain {
			c.timer = stopped(c.timer)
			p.plan(c)
		}
	}
}

// target finds one; mu is held.
func (p *ships) target(id string) (targetRow, bool) {
	for _, t := range p.targets {
		if t.ID == id {
			return t, true
		}
	}
	return targetRow{}, false
}

// keptOut tells why a chain is not shipped by itself; mu is held.
func (p *ships) keptOut(c *course) string {
	t, there := p.target(c.key.target)
	policy := p.policyOf(c.key.chain)
	switch {
	case !there:
		return "The target was removed."
	case policy.EverySeconds == 0:
		return "The policy ships only when asked."
	}
	return policy.keepsOut(t)
}

// plan sets the timer of a course that has something to ship; mu is held.
func (p *ships) plan(c *course) {
	if !p.on || !c.dirty || c.running || c.timer != nil || c.state == stateFenced || p.keptOut(c) != "" {
		return
	}
	now := time.Now()
	every := p.every(c.key.chain)
	due := latest(now.Add(every/10), c.last.Add(every-c.ahead(every)), c.retry, p.route(c.key.target).retry)
	c.timer = time.AfterFunc(due.Sub(now), func() { p.run(c) })
}

// ahead is how much sooner a ship begins than its turn is, so that the target has it
// at about its turn: what the last one took, within a quarter of the turn.
func (c *course) ahead(every time.Duration) time.Duration { return min(c.took, every/4) }

// every is how often a chain is shipped: a large stream less often.
func (p *ships) every(chain string) time.Duration {
	every := p.policyOf(chain).every()
	if own, ok := p.s.config.Own[chain]; ok && own.Size != nil {
		every = max(every, min(ownMax, time.Duration(float64(own.Size())/ownSize*float64(time.Second))))
	}
	return every
}

func latest(first time.Time, others ...time.Time) time.Time {
	for _, t := range others {
		if t.After(first) {
			first = t
		}
	}
	return first
}

// run ships one chain when its timer is due.
func (p *ships) run(c *course) {
	ctx, t, ok := p.begin(c)
	if !ok {
		return
	}
	defer p.work.Done()
	r := p.routeOf(t.ID)
	select {
	case r.slots <- struct{}{}:
	case <-ctx.Done():
		p.end(c)
		return
	}
	p.s.shipBySelf(ctx, c.key, t)
	<-r.slots
	p.end(c)
}

func (p *ships) routeOf(target string) *route {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.route(target)
}

func (p *ships) begin(c *course) (context.Context, targetRow, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c.timer = nil
	t, there := p.target(c.key.target)
	if !p.on || !there || c.running || !c.dirty || p.keptOut(c) != "" {
		return nil, t, false
	}
	p.work.Add(1)
	var ctx context.Context
	ctx, c.cancel = context.WithCancel(p.ctx)
	c.running, c.last = true, time.Now()
	return ctx, t, true
}

func (p *ships) end(c *course) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c.cancel()
	c.running, c.took = false, time.Since(c.last)
	p.plan(c)
}

// take notes that what changed until now is being shipped.
func (p *ships) take(key laneKey, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := p.course(key)
	if c.taking = c.since; c.taking.IsZero() {
		c.taking = now
	}
	c.dirty, c.since = false, time.Time{}
}

// ended notes how a ship ended, whoever asked for it.
func (s *Service) ended(key laneKey, err error) {
	p := &s.ships
	p.mu.Lock()
	defer p.mu.Unlock()
	c, r, now := p.course(key), p.route(key.target), time.Now()
	lag := s.now().Sub(c.taking)
	if err != nil {
		c.dirty, c.since = true, c.taking
	}
	c.taking = time.Time{}
	switch {
	case err == nil:
		c.state, c.why, c.failures, c.retry = "", "", 0, time.Time{}
		p.reached(key.target, r)
		if c.noted {
			c.noted, p.cleared = false, append(p.cleared, key)
			p.writeSoon()
		}
		if p.shipped != nil {
			p.shipped(key, lag)
		}
	case errors.Is(err, backup.ErrFenced):
		c.state, c.why = stateFenced, s.wording(err)
	case errors.Is(err, errClosing), errors.Is(err, context.Canceled):
		c.retry = now.Add(backoff)
	case gone(err):
		c.dirty, c.since = false, time.Time{} // until it is live again
	default:
		c.state, c.why = stateAbsent, s.wording(err)
		c.failures++
		c.retry = now.Add(pause(c.failures))
		if !errors.Is(err, errSource) {
			r.failures++
			r.retry = now.Add(pause(min(r.failures, c.failures)))
		}
	}
	if c.state == "" {
		c.failing = time.Time{}
	} else if c.failing.IsZero() {
		c.failing = s.now()
	}
	p.plan(c)
}

// gone says that a store is there no more, or for now.
func gone(err error) bool {
	return isAny(err, data.ErrParked, data.ErrDestroyed) || errors.Is(err, data.ErrNotFound) && errors.Is(err, errSource)
}

// reached has everything that waits for a target go on at once; mu is held.
func (p *ships) reached(target string, r *route) {
	if r.failures == 0 {
		return
	}
	r.failures, r.retry = 0, time.Time{}
	for key, c := range p.courses {
		if key.target == target && c.timer != nil {
			c.timer, c.retry = stopped(c.timer), time.Time{}
			p.plan(c)
		}
	}
}

// pause grows with failures that follow each other.
func pause(failures int) time.Duration {
	return min(backoffMax, backoff<<min(max(failures-1, 0), 10))
}

// stateOf is the state that an error leaves a chain in.
func stateOf(err error) string {
	switch {
	case err == nil:
		return ""
	case errors.Is(err, backup.ErrFenced):
		return stateFenced
	}
	return stateAbsent
}
