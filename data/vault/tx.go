package vault

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/dgraph-io/badger/v4"

	"holdfast/data"
)

// Tx is one transaction, for use within View or Update only, by one goroutine.
type Tx struct {
	v     *Vault
	txn   *badger.Txn
	ctx   context.Context
	wrote []string // whole keys
}

// Get returns the value of key; data.ErrNotFound without one, data.ErrTampered
// when its bytes on disk are not what was written under this key.
func (t *Tx) Get(key []byte) ([]byte, error) {
	full := t.full(key)
	var item *badger.Item
	err := guard(func() (err error) { item, err = t.txn.Get(full); return err })
	if errors.Is(err, badger.ErrKeyNotFound) {
		return nil, fmt.Errorf("vault key %q: %w", key, data.ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("read vault key %q: %w", key, foreign(err))
	}
	return t.open(full, item)
}

// Set writes a value of at most MaxValue bytes. Neither slice may change before
// the transaction ends.
func (t *Tx) Set(key, value []byte) error { return t.set(key, value, 0) }

// SetTTL writes a value that is gone after ttl, in whole seconds.
func (t *Tx) SetTTL(key, value []byte, ttl time.Duration) error {
	if ttl <= 0 {
		return t.Delete(key)
	}
	return t.set(key, value, uint64(time.Now().Add(ttl).Unix()))
}

func (t *Tx) set(key, value []byte, expires uint64) error {
	if len(value) > MaxValue {
		return fmt.Errorf("write vault key %q: %d bytes: %w", key, len(value), ErrTooBig)
	}
	full := t.full(key)
	sealed, err := t.v.sealer.seal(full, value, expires)
	if err != nil {
		return fmt.Errorf("write vault key %q: %w", key, err)
	}
	entry := badger.NewEntry(full, sealed)
	entry.ExpiresAt = expires
	if err := t.txn.SetEntry(entry); err != nil {
		return fmt.Errorf("write vault key %q: %w", key, foreign(err))
	}
	t.wrote = append(t.wrote, string(full))
	return nil
}

// Delete removes key, if it is there.
func (t *Tx) Delete(key []byte) error {
	full := t.full(key)
	if err := t.txn.Delete(full); err != nil {
		return fmt.Errorf("delete vault key %q: %w", key, foreign(err))
	}
	t.wrote = append(t.wrote, string(full))
	return nil
}

// Walk calls fn for each key that begins with prefix, in byte order, from start
// on (a whole key; nil from the first), until fn says no more. fn may keep both
// slices and may write; it sees the state as of before the walk.
func (t *Tx) Walk(prefix, start []byte, fn func(key, value []byte) (more bool, err error)) error {
	return t.walk(prefix, start, func(full []byte, item *badger.Item) (bool, error) {
		value, err := t.open(full, item)
		if err != nil {
			return false, err
		}
		return fn(full[len(t.v.prefix):], value)
	}, true)
}

// Keys is Walk without the values, which it does not even read.
func (t *Tx) Keys(prefix, start []byte, fn func(key []byte) (more bool, err error)) error {
	return t.walk(prefix, start, func(full []byte, _ *badger.Item) (bool, error) {
		return fn(full[len(t.v.prefix):])
	}, false)
}

func (t *Tx) walk(prefix, start []byte, fn func([]byte, *badger.Item) (bool, error), values bool) error {
	o := badger.DefaultIteratorOptions
	o.PrefetchValues, o.PrefetchSize, o.Prefix = values, 32, t.full(prefix)
	it := t.txn.NewIterator(o)
	defer it.Close()
	from := o.Prefix
	if len(start) > 0 {
		from = t.full(start)
	}
	err := guard(func() error { it.Seek(from); return nil })
	for err == nil && it.Valid() {
		if err := t.ctx.Err(); err != nil {
			return err
		}
		if more, err := fn(it.Item().KeyCopy(nil), it.Item()); err != nil || !more {
			return err
		}
		err = guard(func() error { it.Next(); return nil })
	}
	return err
}

func (t *Tx) open(full []byte, item *badger.Item) (value []byte, err error) {
	err = guard(func() error {
		return item.Value(func(sealed []byte) error {
			value, err = t.v.sealer.open(full, sealed, item.ExpiresAt())
			return err
		})
	})
	if err != nil {
		return nil, fmt.Errorf("read vault key %q: %w", full[len(t.v.prefix):], foreign(err))
	}
	return value, nil
}

func (t *Tx) full(key []byte) []byte {
	full := make([]byte, 0, len(t.v.prefix)+len(key))
	return append(append(full, t.v.prefix...), key...)
}
