package identity

import (
	"net/netip"
	"sync"
	"time"
)

// policy is how patience runs out: after free attempts each further one doubles
// the wait, from a second up to the longest; quiet time forgives.
type policy struct {
	free    int
	longest time.Duration
	quiet   time.Duration
}

var (
	// An account's wait stays short: a stranger must not be able to lock its owner out.
	accountPolicy = policy{free: 5, longest: time.Minute, quiet: 15 * time.Minute}
	// An address may be an office, hence the more free attempts.
	addressPolicy = policy{free: 20, longest: 15 * time.Minute, quiet: time.Hour}
	// A challenge proves nothing and takes a little memory.
	challengePolicy = policy{free: 200, longest: time.Minute, quiet: 10 * time.Minute}
)

// mostTracked bounds the memory a flood of names can take.
const mostTracked = 50_000

type strikes struct {
	count       int
	last, until time.Time
}

// backoff counts attempts by name. An attempt counts as failed from its start, so
// that many at once gain nothing.
type backoff struct {
	policy policy
	clock  func() time.Time
	mu     sync.Mutex
	byName map[string]*strikes
}

func newBackoff(p policy, clock func() time.Time) *backoff {
	return &backoff{policy: p, clock: clock, byName: map[string]*strikes{}}
}

// attempt admits (0) and counts, or says how long to wait.
func (b *backoff) attempt(name string) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.clock()
	s := b.entry(name, now)
	if wait := s.until.Sub(now); wait > 0 {
		return wait
	}
	s.count++
	s.last = now
	if over := s.count - b.policy.free; over >= 0 {
		s.until = now.Add(b.delay(over))
	}
	return 0
}

func (b *backoff) entry(name string, now time.Time) *strikes {
	s := b.byName[name]
	if s == nil {
		if len(b.byName) >= mostTracked {
			b.shed()
		}
		s = &strikes{}
		b.byName[name] = s
	}
	if now.Sub(s.last) > b.policy.quiet {
		*s = strikes{}
	}
	return s
}

// shed makes room; which entries go is the map's chance, which no flood can steer.
func (b *backoff) shed() {
	for name := range b.byName {
		if len(b.byName) < mostTracked*9/10 {
			return
		}
		delete(b.byName, name)
	}
}

func (b *backoff) delay(over int) time.Duration {
	if over > 20 {
		return b.policy.longest
	}
	return min(time.Second<<over, b.policy.longest)
}

// forget clears a name after a success.
func (b *backoff) forget(name string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.byName, name)
}

// forgive takes one attempt back: it succeeded, but others under the name may not.
func (b *backoff) forgive(name string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if s := b.byName[name]; s != nil && s.count > 0 {
		s.count--
		if s.count < b.policy.free {
			s.until = time.Time{}
		}
	}
}

func (b *backoff) sweep() {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.clock()
	for name, s := range b.byName {
		if now.Sub(s.last) > b.policy.quiet {
			delete(b.byName, name)
		}
	}
}

// addressOf is whom an address counts as: an IPv6 host owns its whole /64.
func addressOf(remote string) string {
	ap, err := netip.ParseAddrPort(remote)
	if err != nil {
		return remote
	}
	addr := ap.Addr().Unmap().WithZone("")
	if addr.Is6() {
		if p, err := addr.Prefix(64); err == nil {
			return p.String()
		}
	}
	return addr.String()
}
