package store

import (
	"crypto/sha256"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/pocketbase/pocketbase/core"
	"github.com/pocketbase/pocketbase/tools/router"

	"holdfast/data"
)

// issued remembers the studio tokens of this process, by hash. A superuser's token
// is worth nothing without being in it: whoever got at a store's token secret
// could sign tokens, but not put them here.
type issued struct {
	mu     sync.Mutex
	tokens map[[32]byte]issue
}

type issue struct {
	store data.StoreID
	actor data.Actor
	until time.Time
}

func (i *issued) add(token string, made issue, now time.Time) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.tokens == nil {
		i.tokens = map[[32]byte]issue{}
	}
	for hash, old := range i.tokens {
		if now.After(old.until) {
			delete(i.tokens, hash)
		}
	}
	i.tokens[sha256.Sum256([]byte(token))] = made
}

func (i *issued) find(token string, id data.StoreID, now time.Time) (issue, bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	t, ok := i.tokens[sha256.Sum256([]byte(token))]
	return t, ok && t.store == id && now.Before(t.until)
}

// end forgets an actor's tokens of a store.
func (i *issued) end(id data.StoreID, actor data.Actor) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for hash, t := range i.tokens {
		if t.store == id && t.actor == actor {
			delete(i.tokens, hash)
		}
	}
}

// StudioActor tells for whom a request's studio token was made, so that it can be asked
// each time whether that one still may. False for another token, or none.
func (p *Pool) StudioActor(r *http.Request, id data.StoreID) (data.Actor, bool) {
	found, ok := p.issued.find(bearer(r), id, p.config.Clock())
	return found.actor, ok
}

// bearer is the token of a request's header, with or without the word before it.
func bearer(r *http.Request) string {
	token := r.Header.Get("Authorization")
	if len(token) > 7 && strings.EqualFold(token[:7], "bearer ") {
		return token[7:]
	}
	return token
}

// checkSuperuser runs after PocketBase has authenticated: of all superuser tokens
// only those of an open studio count. Keys have passed the gate already.
func (s *Store) checkSuperuser(e *core.RequestEvent) error {
	if e.Auth == nil || !e.Auth.IsSuperuser() || reachFrom(e.Request.Context()).Scope != Public {
		return e.Next()
	}
	if _, ok := s.pool.issued.find(bearer(e.Request), s.id, s.pool.config.Clock()); !ok {
		return router.NewUnauthorizedError("This token is not one of an open studio. Open the studio from the console again.", nil)
	}
	return e.Next()
}
