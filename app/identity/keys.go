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
	"holdfast/data/system"
)

// Scope is what an API key may do in its store.
type Scope string

// The scopes, each with all of the one before.
const (
	ScopeRead  Scope = "read"
	ScopeWrite Scope = "write"
	ScopeAdmin Scope = "admin"
)

// How long keys live.
const (
	DefaultKeyLife = 90 * 24 * time.Hour
	MaxKeyLife     = 10 * 365 * 24 * time.Hour
)

// Why a key is nothing. Each is an api.ErrUnauthenticated.
var (
	errKeyUnknown = unauthenticated("key-invalid", "The API key is not valid here.")
	errKeyRevoked = unauthenticated("key-revoked", "The API key was revoked.")
	errKeyExpired = unauthenticated("key-expired", "The API key has expired.")
	errKeyAddress = unauthenticated("key-address", "The API key is not valid from this address.")
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
}

// Actor is the actor that the key's requests have.
func (k KeyIdentity) Actor() data.Actor { return data.Actor{Kind: data.Key, ID: k.ID} }

type keyRow struct {
	ID          string `db:"id"`
	Store       string `db:"store"`
	Name        string `db:"name"`
	Scope       string `db:"scope"`
	Collections string `db:"collections"`
	Addresses   string `db:"addresses"`
	Names       string `db:"names"`
	Hash        []byte `db:"hash"`
	Hint        string `db:"hint"`
	Created     int64  `db:"created"`
	Expires     int64  `db:"expires"`
	Revoked     int64  `db:"revoked"`
	LastUsed    int64  `db:"last_used"`
}

const keyColumns = `id, store, name, scope, collections, addresses, names, hash, hint, created, expires, revoked, last_used`

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
	read        time.Time
}

// keyCache holds keys as read from the table, and when they were used.
type keyCache struct {
	mu    sync.RWMutex
	rows  map[string]cachedKey
	epoch int // counts forget, so that a read that was overtaken is not kept
	used  sync.Map
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

// ResolveKey tells who a key is in one store. In any other store the key is
// nothing. The errors are api.ErrUnauthenticated, with the reason only for who
// holds the whole key of this very store. From is the connection's other end, with
// or without a port: a key may be kept to some addresses.
func (s *Service) ResolveKey(ctx context.Context, raw string, store data.StoreID, from string) (KeyIdentity, error) {
	id, _, err := parseKey(raw)
	if err != nil {
		return KeyIdentity{}, errKeyUnknown
	}
	k, err := s.keyByID(ctx, id)
	if errors.Is(err, data.ErrNotFound) {
		return KeyIdentity{}, errKeyUnknown
	}
	if err != nil {
		return KeyIdentity{}, fmt.Errorf("resolve key: %w", err)
	}
	hash, now := sha256.Sum256([]byte(raw)), s.now()
	if subtle.ConstantTimeCompare(hash[:], k.row.Hash) != 1 || k.row.Store != store.String() {
		return KeyIdentity{}, errKeyUnknown
	}
	switch {
	case k.row.Revoked != 0:
		return KeyIdentity{}, errKeyRevoked
	case millis(now) >= k.row.Expires:
		return KeyIdentity{}, errKeyExpired
	case !admits(k.addresses, from):
		return KeyIdentity{}, errKeyAddress
	}
	s.keys.used.Store(id, millis(now))
	return KeyIdentity{ID: id, Scope: Scope(k.row.Scope), Collections: k.collections, Expires: fromMillis(k.row.Expires)}, nil
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

// NewKey is what a key is made of.
type NewKey struct {
	Name        string
	Scope       Scope
	Collections []string      // ids or names; empty: all
	Addresses   []string      // addresses or networks; empty: any
	Life        time.Duration // 0: DefaultKeyLife
}

// CreateKey makes a key for a store and gives it in clear, once. It answers a 422
// for a collection that the store does not have.
func (s *Service) CreateKey(ctx context.Context, store data.StoreID, n NewKey) (Key, error) {
	reach, err := s.collections(ctx, store, n.Collections)
	if err != nil {
		return Key{}, err
	}
	addresses, err := cleanAddresses(n.Addresses)
	if err != nil {
		return Key{}, err
	}
	raw, row := s.newRow(store, n)
	row.Addresses = addresses
	row.Collections, row.Names = jsonOf(reach, func(c Collection) string { return c.ID }), jsonOf(reach, func(c Collection) string { return c.Name })
	if err := s.insertKey(ctx, row); err != nil {
		return Key{}, fmt.Errorf("create key: %w", err)
	}
	err = s.recordIn(ctx, row.Store, "key.create", row.ID, api.OK, row.detail())
	if err = s.orUndo(ctx, err, `DELETE FROM api_keys WHERE id = ?`, row.ID); err != nil {
		return Key{}, err
	}
	made, err := row.key(s.now())
	made.Key = raw
	return made, err
}

// newRow makes the key itself.
func (s *Service) newRow(store data.StoreID, n NewKey) (raw string, row keyRow) {
	if n.Life == 0 {
		n.Life = DefaultKeyLife
	}
	id, now := system.NewID(), s.now()
	raw = formatKey(id, newSecret())
	hash := sha256.Sum256([]byte(raw))
	return raw, keyRow{
		ID: id, Store: store.String(), Name: n.Name, Scope: string(n.Scope),
		Hash: hash[:], Hint: raw[:len(keyPrefix)+4] + "…", Created: millis(now), Expires: millis(now.Add(n.Life)),
	}
}

func (s *Service) insertKey(ctx context.Context, row keyRow) error {
	return s.config.DB.Update(ctx, func(tx *sqlx.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO api_keys
			(id, store, name, scope, collections, addresses, names, hash, hint, created, created_by, expires) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
			row.ID, row.Store, row.Name, row.Scope, row.Collections, row.Addresses, row.Names, row.Hash, row.Hint, row.Created,
			data.ActorFrom(ctx).String(), row.Expires)
		return err
	})
}

// RevokeKey ends a key of a store at once. data.ErrNotFound when the store has no
// such key, or it was revoked before.
func (s *Service) RevokeKey(ctx context.Context, store data.StoreID, id string) error {
	err := s.config.DB.Update(ctx, func(tx *sqlx.Tx) error {
		done, err := tx.ExecContext(ctx, `UPDATE api_keys SET revoked = ?, revoked_by = ? WHERE id = ? AND store = ? AND revoked = 0`,
			millis(s.now()), data.ActorFrom(ctx).String(), id, store.String())
		return changedOne(done, err)
	})
	s.keys.forget(id)
	if err != nil {
		return fmt.Errorf("revoke key: %w", err)
	}
	if s.config.Revoked != nil {
		s.config.Revoked(store, data.Actor{Kind: data.Key, ID: id})
	}
	return s.recordIn(ctx, store.String(), "key.revoke", id, api.OK, nil)
}

// saveLastUsed writes down when keys were last used.
func (s *Service) saveLastUsed(ctx context.Context) error {
	used := map[string]int64{}
	s.keys.used.Range(func(id, at any) bool {
		used[id.(string)] = at.(int64)
		return true
	})
	if len(used) == 0 {
		return nil
	}
	err := s.config.DB.Update(ctx, func(tx *sqlx.Tx) error {
		for id, at := range used {
			if _, err := tx.ExecContext(ctx, `UPDATE api_keys SET last_used = max(last_used, ?) WHERE id = ?`, at, id); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("store last use of keys: %w", err)
	}
	for id, at := range used {
		s.keys.used.CompareAndDelete(id, at)
	}
	return nil
}
