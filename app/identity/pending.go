package identity

import (
	"sync"
	"time"

	"github.com/go-webauthn/webauthn/webauthn"
)

// A pending is something half done: a sign-in whose password was right and whose
// second factor is still to come, a passkey's challenge, a TOTP secret that no code
// has confirmed. It is no session: nothing but the next step can be done with it. It
// lives in memory, so a restart means beginning again.
type pending struct {
	person    string // empty: a passkey is to say who
	method    Method // what was shown so far
	scope     string // of the provider that was shown, as Session.Scope
	secret    string // of a TOTP that is being enrolled
	challenge *webauthn.SessionData
	tries     int
	expires   time.Time
}

// Bounds of what is half done.
const (
	pendingLife  = 5 * time.Minute
	pendingTries = 5
	mostPending  = 20_000
)

// pendings holds them by name: the digest of a cookie's token, or the session and
// what it is doing.
type pendings struct {
	clock  func() time.Time
	mu     sync.Mutex
	byName map[string]pending
}

func newPendings(clock func() time.Time) *pendings {
	return &pendings{clock: clock, byName: map[string]pending{}}
}

// put keeps p under a name, in place of what was there. A p without an end ends
// after pendingLife.
func (ps *pendings) put(name string, p pending) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	now := ps.clock()
	if p.expires.IsZero() {
		p.expires = now.Add(pendingLife)
	}
	if len(ps.byName) >= mostPending {
		ps.shed(now)
	}
	ps.byName[name] = p
}

// shed drops what has ended, and then whatever chance names: a flood of challenges
// must not take the memory, and who is dropped begins again.
func (ps *pendings) shed(now time.Time) {
	ps.drop(now)
	for name := range ps.byName {
		if len(ps.byName) < mostPending*9/10 {
			return
		}
		delete(ps.byName, name)
	}
}

func (ps *pendings) drop(now time.Time) {
	for name, p := range ps.byName {
		if !now.Before(p.expires) {
			delete(ps.byName, name)
		}
	}
}

func (ps *pendings) get(name string) (pending, bool) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	p, ok := ps.byName[name]
	return p, ok && ps.clock().Before(p.expires)
}

// attempt counts a try and gives what is pending; after pendingTries it is gone.
// The challenge can be answered once: it is not there the next time.
func (ps *pendings) attempt(name string) (pending, bool) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	p, ok := ps.byName[name]
	if !ok || !ps.clock().Before(p.expires) {
		return pending{}, false
	}
	left := p
	left.tries++
	left.challenge = nil
	if left.tries >= pendingTries {
		delete(ps.byName, name)
	} else {
		ps.byName[name] = left
	}
	return p, true
}

// challenge puts a new challenge in the place of the old one, and leaves the count
// of tries.
func (ps *pendings) challenge(name string, c *webauthn.SessionData) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	if p, ok := ps.byName[name]; ok {
		p.challenge = c
		ps.byName[name] = p
	}
}

// take ends what is pending and says whether it was still there: of two that
// come at once, one gets it.
func (ps *pendings) take(name string) bool {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	_, ok := ps.byName[name]
	delete(ps.byName, name)
	return ok
}

func (ps *pendings) sweep() {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	ps.drop(ps.clock())
}
