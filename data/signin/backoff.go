package signin

import (
	"net/netip"
	"sync"
	"time"
)

// Patience is how it runs out: after Free attempts each further one doubles
// the wait, from a second up to the longest; quiet time forgives.
type Patience struct {
	Free    int
	Longest time.Duration
	Quiet   time.Duration
}

// mostTracked bounds the memory a flood of names can take.
const mostTracked = 50_000

type strikes struct {
	count       int
	last, until time.Time
}

// Backoff counts attempts by name. An attempt counts as failed from its start, so
// that many at once gain nothing.
type Backoff struct {
	patience Patience
	clock    func() time.Time
	mu       sync.Mutex
	byName   map[string]*strikes
}

// NewBackoff makes one that nothing was counted in.
func NewBackoff(p Patience, clock func() time.Time) *Backoff {
	return &Backoff{patience: p, clock: clock, byName: map[string]*strikes{}}
}

// Attempt admits (0) and counts, or says how long to wait.
func (b *Backoff) Attempt(name string) time.Duration { return b.AttemptUnder(b.patience, name) }

// AttemptUnder is Attempt with another patience.
func (b *Backoff) AttemptUnder(p Patience, name string) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.clock()
	s := b.entry(name, p, now)
	if wait := s.until.Sub(now); wait > 0 {
		return wait
	}
	s.count++
	s.last = now
	if over := s.count - p.Free; over >= 0 {
		s.until = now.Add(p.delay(over))
	}
	return 0
}

func (b *Backoff) entry(name string, p Patience, now time.Time) *strikes {
	s := b.byName[name]
	if s == nil {
		if len(b.byName) >= mostTracked {
			b.shed()
		}
		s = &strikes{}
		b.byName[name] = s
	}
	if now.Sub(s.last) > p.Quiet {
		*s = strikes{}
	}
	return s
}

// shed makes room; which entries go is the map's chance, which no flood can steer.
func (b *Backoff) shed() {
	for name := range b.byName {
		if len(b.byName) < mostTracked*9/10 {
			return
		}
		delete(b.byName, name)
	}
}

func (p Patience) delay(over int) time.Duration {
	if over > 20 {
		return p.Longest
	}
	return min(time.Second<<over, p.Longest)
}

// Forget clears a name after a success.
func (b *Backoff) Forget(name string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.byName, name)
}

// Forgive takes one attempt back: it succeeded, but others under the name may not.
func (b *Backoff) Forgive(name string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if s := b.byName[name]; s != nil && s.count > 0 {
		s.count--
		if s.count < b.patience.Free {
			s.until = time.Time{}
		}
	}
}

// Sweep lets go of what quiet time forgave.
func (b *Backoff) Sweep() {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.clock()
	for name, s := range b.byName {
		if now.Sub(s.last) > b.patience.Quiet {
			delete(b.byName, name)
		}
	}
}

// AddressOf is whom an address counts as: an IPv6 host owns its whole /64.
func AddressOf(remote string) string {
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
