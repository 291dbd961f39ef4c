package users

import (
	"crypto/rand"
	"sync"
	"time"

	"github.com/go-webauthn/webauthn/webauthn"

	"holdfast/data/signin"
)

// Shared is what the stores of one process remember of sign-ins that are under way.
// It outlives a store's closing, not the process: a restart means beginning again.
type Shared struct {
	clock    func() time.Time
	accounts *signin.Backoff
	origins  *signin.Backoff
	asked    *signin.Backoff

	mu     sync.Mutex
	byName map[string]pending
}

// NewShared makes one that remembers nothing.
func NewShared(clock func() time.Time) *Shared {
	return &Shared{
		clock: clock, byName: map[string]pending{},
		accounts: signin.NewBackoff(signin.Patience{Free: 10, Longest: time.Minute, Quiet: 15 * time.Minute}, clock),
		origins:  signin.NewBackoff(signin.Patience{Free: 50, Longest: time.Minute, Quiet: time.Hour}, clock),
		// A challenge proves nothing and takes a little memory.
		asked: signin.NewBackoff(signin.Patience{Free: 200, Longest: time.Minute, Quiet: 10 * time.Minute}, clock),
	}
}

// pending is something half done: a sign-in whose first factor was right, a
// passkey's challenge, a secret that no code has confirmed. It is of one store and
// one collection, and of the user as that was then: a password that was changed
// meanwhile ends it.
type pending struct {
	store, collection string
	record            string // "": a passkey is to say who
	tokenKey          string // of the record when it began
	method            string // what was shown so far
	enroll            bool   // the user has no factor, and must add one to come in
	secret            string // of an authenticator app that is being added
	challenge         *webauthn.SessionData
	party             string // the host that the challenge is for
	mfa               string // the sign-in that the challenge is the second step of
	tries             int
	expires           time.Time
}

// Bounds of what is half done.
const (
	pendingLife  = 10 * time.Minute
	pendingTries = 5
	mostPending  = 20_000
)

// begin keeps p under a name that nobody can guess.
func (m *Shared) begin(p pending) string {
	name := rand.Text()
	m.put(name, p)
	return name
}

// put keeps p under a name, in place of what was there.
func (m *Shared) put(name string, p pending) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.clock()
	p.expires = now.Add(pendingLife)
	if len(m.byName) >= mostPending {
		m.shed(now)
	}
	m.byName[name] = p
}

// shed drops what has ended, and then whatever chance names: a flood must not take
// the memory, and who is dropped begins again.
func (m *Shared) shed(now time.Time) {
	m.drop(now)
	for name := range m.byName {
		if len(m.byName) < mostPending*9/10 {
			return
		}
		delete(m.byName, name)
	}
}

func (m *Shared) drop(now time.Time) {
	for name, p := range m.byName {
		if !now.Before(p.expires) {
			delete(m.byName, name)
		}
	}
}

// peek gives what is pending and counts nothing.
func (m *Shared) peek(name string) (pending, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p, ok := m.byName[name]
	return p, ok && m.clock().Before(p.expires)
}

// attempt counts a try and gives what is pending; after pendingTries there are none left.
func (m *Shared) attempt(name string) (pending, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p, ok := m.byName[name]
	if !ok || p.tries >= pendingTries || !m.clock().Before(p.expires) {
		delete(m.byName, name)
		return pending{}, false
	}
	p.tries++
	m.byName[name] = p
	return p, true
}

// take ends what is pending; of two that come at once, one gets it.
func (m *Shared) take(name string) (pending, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p, ok := m.byName[name]
	delete(m.byName, name)
	return p, ok && m.clock().Before(p.expires)
}

// Sweep lets go of what has ended.
func (m *Shared) Sweep() {
	m.accounts.Sweep()
	m.origins.Sweep()
	m.asked.Sweep()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.drop(m.clock())
}
