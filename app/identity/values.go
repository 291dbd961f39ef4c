package identity

import (
	"context"
	"time"

	"holdfast/data/vault"
)

var _ Values = VaultValues{}

// VaultValues is Values over a part of the vault that is identity's own.
type VaultValues struct{ Vault *vault.Vault }

// Get returns data.ErrNotFound without a value.
func (v VaultValues) Get(ctx context.Context, key string) (value []byte, err error) {
	err = v.Vault.View(ctx, func(tx *vault.Tx) error {
		value, err = tx.Get([]byte(key))
		return err
	})
	return value, err
}

// Set is durable when it returns; ttl counts in whole seconds.
func (v VaultValues) Set(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	return v.Vault.Update(ctx, func(tx *vault.Tx) error { return tx.SetTTL([]byte(key), value, ttl) })
}

// Delete removes a key, if it is there.
func (v VaultValues) Delete(ctx context.Context, key string) error {
	return v.Vault.Update(ctx, func(tx *vault.Tx) error { return tx.Delete([]byte(key)) })
}

// Keys lists the keys that begin with prefix.
func (v VaultValues) Keys(ctx context.Context, prefix string) (keys []string, err error) {
	err = v.Vault.View(ctx, func(tx *vault.Tx) error {
		return tx.Keys([]byte(prefix), nil, func(key []byte) (bool, error) {
			keys = append(keys, string(key))
			return true, nil
		})
	})
	return keys, err
}
