package identity

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/jmoiron/sqlx"

	"holdfast/app/api"
	"holdfast/data"
)

// Scope is what an API key may do in its store.
type Scope string

// The scopes: the first three each with all of the one before. Snapshot reaches no
// record: it sees, makes and verifies the snapshots of its store.
const (
	ScopeRead     Scope = "read"
	ScopeWrite    Scope = "write"
	ScopeAdmin    Scope = "admin"
	ScopeSnapshot Scope = "snapshot"
)

// ScopePredict is kept for predictions. There are none yet: no such key is made, and one
// that a newer program made is refused everywhere.
const ScopePredict Scope = "predict"

// ScopeControl is that of a key of the control plane: it has permissions.
const ScopeControl Scope = "control"

// How long keys live.
const (
	DefaultKeyLife = 90 * 24 * time.Hour
	MaxKeyLife     = 10 * 365 * 24 * time.Hour
)

// Why a key is nothing. Each is an api.ErrUnauthenticated.
var (
	errKeyUnknown  = unauthenticated("key-invalid", "The API key is not valid here.")
	errKeyRevoked  = unauthenticated("key-revoked", "The API key was revoked.")
	errKeyExpired  = unauthenticated("key-expired", "The API key has expired.")
	errKeyDisabled = unauthenticated("key-disabled", "The API key was disabled because nobody used it. Who manages keys can enable it again.")
	errKeyAddress  = unauthenticated("key-address", "The API key is not valid from this address.")
	errKeyHere     = unauthenticated("key-here", "API keys work on a tenant's own host, not here.")
)

func unauthenticated(code, detail string) error {
	return api.Errorf(401, code, "%s", detail).Because(api.ErrUnauthenticated)
}

// KeyIdentity is who a key makes the caller.
type KeyIdentity struct {
	ID          string
	Scope       Scope
	Collections []string // ids (names in keys of old); nil: all
	Expires     time.Time
	Quota       Quota
}

// Actor is the actor that the key's requests have.
func (k KeyIdentity) Actor() data.Actor { return data.Actor{Kind: data.Key, ID: k.ID} }

type keyRow struct {
	ID          string `db:"id"`
	Store       string `db:"store"` // "": the control plane
	Name        string `db:"name"`
	Scope       string `db:"scope"`
	Collections string `db:"collections"`
	Addresses   string `db:"addresses"`
	Names       string `db:"names"`
	Permissions string `db:"permissions"`
	Hash        []byte `db:"hash"`
	Hint        string `db:"hint"`
	Created     int64  `db:"created"`
	CreatedBy   string `db:"created_by"`
	Expires     int64  `db:"expires"`
	Revoked     int64  `db:"revoked"`
	Disabled    int64  `db:"disabled"`
	Enabled     int64  `db:"enabled"`
	LastUsed    int64  `db:"last_used"`
	LastAddress string `db:"last_address"`
	Rate        int    `db:"rate"`
	Predecessor string `db:"predecessor"`
	Successor   string `db:"successor"`
	Warned      int    `db:"warned"`
}

const keyColumns = `id, store, name, scope, collections, addresses, names, permissions, hash, hint, created, created_by, expires,
	revoked, disabled, enabled, last_used, last_address, rate, predecessor, successor, warned`

// How long and how much is cached. Revocation does not wait for it: this process
// is the only writer and forgets the key itself.
const (
	keyCacheLife = 10 * time.Second
	keyCacheMost = 10_000
)

type cachedKey struct {
	row         keyRow
	collections []string
	addresses   []netip.Prefix
	permissions permissions
	read        time.Time
}

// keyCache holds keys as read from the table, and a meter for each in use.
type keyCache struct {
	mu     sync.RWMutex
	rows   map[string]cachedKey
	epoch  int      // counts forget, so that a read that was overtaken is not kept
	meters sync.Map // id -> *meter
}

func newKeyCache() *keyCache { return &keyCache{rows: map[string]cachedKey{}} }

func (c *keyCache) get(id string, now time.Time) (cachedKey, int, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	k, ok := c.rows[id]
	return k, c.epoch, ok && now.Sub(k.read) < keyCacheLife
}

func (c *keyCache) put(k cachedKey, epoch int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.epoch != epoch {
		return
	}
	if len(c.rows) >= keyCacheMost {
		clear(c.rows)
	}
	c.rows[k.row.ID] = k
}

func (c *keyCache) forget(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.epoch++
	delete(c.rows, id)
}

// ResolveKey tells who a key is in one store, and counts the request. In any other
// store the key is nothing. The errors are api.ErrUnauthenticated, with the reason
// only for who holds the whole key of this very store, or a 429 when the key's rate
// is used up. From is the connection's other end, with or without a port: a key may
// be kept to some addresses.
func (s *Service) ResolveKey(ctx context.Context, raw string, store data.StoreID, from string) (KeyIdentity, error) {
	id, _, err := parseKey(raw)
	if err != nil {
		return KeyIdentity{}, errKeyUnknown
	}
	return s.resolve(ctx, id, raw, from, func(r keyRow) bool { return r.Store == store.String() })
}

// resolve is ResolveKey for keys that are of here.
func (s *Service) resolve(ctx context.Context, id, raw, from string, here func(keyRow) bool) (KeyIdentity, error) {
	k, err := s.keyByID(ctx, id)
	if errors.Is(err, data.ErrNotFound) {
		return KeyIdentity{}, errKeyUnknown
	}
	if err != nil {
		return KeyIdentity{}, fmt.Errorf("resolve key: %w", err)
	}
	hash, now := sha256.Sum256([]byte(raw)), s.now()
	if subtle.ConstantTimeCompare(hash[:], k.row.Hash) != 1 || !here(k.row) {
		return KeyIdentity{}, errKeyUnknown
	}
	if err := k.row.ended(now); err != nil {
		return KeyIdentity{}, err
	}
	if !admits(k.addresses, from) {
		return KeyIdentity{}, errKeyAddress
	}
	q, err := s.keys.meter(id).take(now, k.row.rate(), from)
	return KeyIdentity{ID: id, Scope: Scope(k.row.Scope), Collections: k.collections, Expires: fromMillis(k.row.Expires), Quota: q}, err
}

// ended says why a key is nothing any more.
func (r keyRow) ended(now time.Time) error {
	switch {
	case r.Revoked != 0:
		return errKeyRevoked
	case millis(now) >= r.Expires:
		return errKeyExpired
	case r.Disabled != 0:
		return errKeyDisabled
	}
	return nil
}

func (s *Service) keyByID(ctx context.Context, id string) (cachedKey, error) {
	now := s.now()
	k, epoch, ok := s.keys.get(id, now)
	if ok {
		return k, nil
	}
	err := s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		return oneRow(tx.GetContext(ctx, &k.row, `SELECT `+keyColumns+` FROM api_keys WHERE id = ?`, id))
	})
	if err != nil {
		return k, err
	}
	if k.collections, err = k.row.collectionList(); err != nil {
		return k, err
	}
	if k.addresses, err = k.row.prefixes(); err != nil {
		return k, err
	}
	if k.permissions, err = k.row.permissionSet(); err != nil {
		return k, err
	}
	k.read = now
	s.keys.put(k, epoch)
	return k, nil
}

func (r keyRow) collectionList() ([]string, error) { return stringList(r.Collections) }

func stringList(text string) ([]string, error) {
	var list []string
	if err := json.Unmarshal([]byte(text), &list); err != nil {
		return nil, fmt.Errorf("read the key's collections: %w", err)
	}
	if len(list) == 0 {
		return nil, nil
	}
	return list, nil
}
