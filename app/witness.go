package app

import (
	"context"
	"errors"
	"time"

	"holdfast/data"
	"holdfast/data/system"
	"holdfast/data/vault"
)

// attestEvery is how often the vault is told that the system database went on: an
// older copy of it that is put back after a crash is found unless it is younger.
const attestEvery = 5 * time.Minute

// systemWitness keeps in the vault what the system database must be. Its commits are no
// reason to ship the vault.
type systemWitness struct{ vault *vault.Vault }

var _ system.Witness = systemWitness{}

var systemWitnessKey = []byte("testimony")

func (w systemWitness) Load(ctx context.Context) (b []byte, err error) {
	err = w.vault.View(ctx, func(tx *vault.Tx) (err error) {
		b, err = tx.Get(systemWitnessKey)
		return err
	})
	if errors.Is(err, data.ErrNotFound) {
		return nil, nil
	}
	return b, err
}

func (w systemWitness) Store(ctx context.Context, b []byte) error {
	return w.vault.Update(vault.Quietly(ctx), func(tx *vault.Tx) error { return tx.Set(systemWitnessKey, b) })
}
