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
// Each store has a share of it, and a flood at one sheds nothing of the others.
type Shared struct {
	clock    func() time.Time
	accounts *signin.Backoff
	origins  *signin.Backoff
	asked    *signin.Backoff

	mu   sync.Mutex
	half *signin.Shares[pending] // by store
}

// NewShared makes one that remembers nothing.
func NewShared(clock func() time.Time) *Shared {
	return &Shared{
		clock: clock, half: signin.NewShares[pending](pendingShare, mostPending),
		accounts: signin.NewSharedBackoff(signin.Patience{Free: 10, Longest: time.Minute, Quiet: 15 * time.Minute}, clock),
		origins:  signin.NewSharedBackoff(signin.Patience{Free: 50, Longest: time.Minute, Quiet: time.Hour}, clock),
		// A challenge proves nothing and takes a little memory.
		asked: signin.NewSharedBackoff(signin.Patience{Free: 200, Longest: time.Minute, Quiet: 10 * time.Minute}, clock),
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
	pendingShare = 5_000 // of one store
)

// begin keeps p under a name that nobody can guess.
func (m *Shared) begin(p pending) string {
	name := rand.Text()
	m.put(name, p)
	return name
}

// put keeps p under a name of its store, in place of what was there. What a flood
// sheds is the store's own, and who is dropped begins again.
func (m *Shared) put(name string, p pending) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.clock()
	p.expires = now.Add(pendingLife)
	if m.half.Full(p.store) {
		m.half.DropOf(p.store, func(p pending) bool { return !now.Before(p.expires) })
	}
	m.half.Put(p.store, name, p)
}

// tooMany counts a challenge that somebody asks for, and says when it is too early
// for another. A key's address is the tenant's own server, which asks for many: that
// one waits only while its store floods.
func (m *Shared) tooMany(store, address string, key bool) bool {
	if m.asked.AttemptUnder(m.asked.Patience(), store, address) == 0 {
		return false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return !key || m.half.Count(store) > pendingShare/2
}

// peek gives what is pending at a store and counts nothing.
func (m *Shared) peek(store, name string) (pending, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p, ok := m.half.Get(store, name)
	return p, ok && m.clock().Before(p.expires)
}

// attempt counts a try and gives what is pending; after pendingTries there are none left.
func (m *Shared) attempt(store, name string) (pending, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p, ok := m.half.Get(store, name)
	if !ok || p.tries >= pendingTries || !m.clock().Before(p.expires) {
		m.half.Delete(store, name)
		return pending{}, false
	}
	p.tries++
	m.half.Put(store, name, p)
	return p, true
}

// take ends what is pending; of two that come at once, one gets it.
func (m *Shared) take(store, name string) (pending, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p, ok := m.half.Get(store, name)
	m.half.Delete(store, name)
	return p, ok && m.clock().Before(p.expires)
}

// Sweep lets go of what has ended.
func (m *Shared) Sweep() {
	m.accounts.Sweep()
	m.origins.Sweep()
	m.asked.Sweep()
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.clock()
	m.half.Drop(func(p pending) bool { return !now.Before(p.expires) })
}
