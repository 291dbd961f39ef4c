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

// Bounds of the memory a flood of names can take.
const (
	mostTracked  = 50_000
	trackedShare = mostTracked / 4 // of one owner, where there are several
)

type strikes struct {
	count       int
	last, until time.Time
	under       Patience // of the last attempt
}

// over says that quiet time has forgiven all. It never ends a wait.
func (s *strikes) over(now time.Time) bool {
	return !now.Before(s.until) && now.Sub(s.last) > s.under.Quiet
}

// Backoff counts attempts by name. An attempt counts as failed from its start, so
// that many at once gain nothing.
type Backoff struct {
	patience Patience
	clock    func() time.Time
	mu       sync.Mutex
	byName   *Shares[*strikes]
}

// NewBackoff makes one that nothing was counted in.
func NewBackoff(p Patience, clock func() time.Time) *Backoff {
	return &Backoff{patience: p, clock: clock, byName: NewShares[*strikes](mostTracked, mostTracked)}
}

// NewSharedBackoff makes one whose names belong to owners, each with a share of its own.
func NewSharedBackoff(p Patience, clock func() time.Time) *Backoff {
	return &Backoff{patience: p, clock: clock, byName: NewShares[*strikes](trackedShare, mostTracked)}
}

// Patience is the one that it was made with.
func (b *Backoff) Patience() Patience { return b.patience }

// Attempt admits (0) and counts, or says how long to wait.
func (b *Backoff) Attempt(name string) time.Duration { return b.AttemptUnder(b.patience, "", name) }

// AttemptUnder is Attempt at an owner's name, with another patience.
func (b *Backoff) AttemptUnder(p Patience, owner, name string) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.clock()
	s := b.entry(owner, name, p, now)
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

func (b *Backoff) entry(owner, name string, p Patience, now time.Time) *strikes {
	s, ok := b.byName.Get(owner, name)
	if !ok {
		s = &strikes{}
		b.byName.Put(owner, name, s)
	}
	s.under = p
	if s.over(now) {
		*s = strikes{under: p}
	}
	return s
}

func (p Patience) delay(over int) time.Duration {
	if over > 20 {
		return p.Longest
	}
	return min(time.Second<<over, p.Longest)
}

// Forget clears a name after a success.
func (b *Backoff) Forget(name string) { b.ForgetOf("", name) }

// ForgetOf is Forget of an owner's name.
func (b *Backoff) ForgetOf(owner, name string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.byName.Delete(owner, name)
}

// Forgive takes one attempt back: it succeeded, but others under the name may not.
func (b *Backoff) Forgive(name string) { b.ForgiveOf("", name) }

// ForgiveOf is Forgive of an owner's name.
func (b *Backoff) ForgiveOf(owner, name string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if s, ok := b.byName.Get(owner, name); ok && s.count > 0 {
		s.count--
		if s.count < s.under.Free {
			s.until = time.Time{}
		}
	}
}

// Sweep lets go of what quiet time forgave.
func (b *Backoff) Sweep() {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.clock()
	b.byName.Drop(func(s *strikes) bool { return s.over(now) })
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
