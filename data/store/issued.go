package store

import (
	"crypto/sha256"
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
	until time.Time
}

func (i *issued) add(token string, id data.StoreID, now time.Time) {
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
	i.tokens[sha256.Sum256([]byte(token))] = issue{id, now.Add(studioTokenLife)}
}

func (i *issued) has(token string, id data.StoreID, now time.Time) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	t, ok := i.tokens[sha256.Sum256([]byte(token))]
	return ok && t.store == id && now.Before(t.until)
}

// checkSuperuser runs after PocketBase has authenticated: of all superuser tokens
// only those of an open studio count. Keys have passed the gate already.
func (s *Store) checkSuperuser(e *core.RequestEvent) error {
	if e.Auth == nil || !e.Auth.IsSuperuser() || reachFrom(e.Request.Context()).Scope != Public {
		return e.Next()
	}
	token := e.Request.Header.Get("Authorization")
	if len(token) > 7 && strings.EqualFold(token[:7], "bearer ") {
		token = token[7:]
	}
	if !s.pool.issued.has(token, s.id, s.pool.config.Clock()) {
		return router.NewUnauthorizedError("This token is not one of an open studio. Open the studio from the console again.", nil)
	}
	return e.Next()
}
