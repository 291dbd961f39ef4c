package vault

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/dgraph-io/badger/v4"
)

// rekeyBytes bounds the values that one commit of a re-key writes.
const rekeyBytes = 512 << 10

// Rekey seals every value under the current generation of the key that is sealed
// under an older one, while the vault is in use. What ctx or a crash cuts short,
// the next Rekey goes on with. It takes at most half the disk's time. progress
// counts values; it may be nil. Badger's own encryption follows when the vault
// is next opened.
func (v *Vault) Rekey(ctx context.Context, progress func(done, total int64)) error {
	target, _, err := v.sealer.keys.Current()
	if err != nil {
		return fmt.Errorf("re-key the vault: %w", err)
	}
	if err := v.state.updates.drain(ctx); err != nil {
		return fmt.Errorf("re-key the vault: %w", err)
	}
	old, err := v.older(ctx, target)
	if err != nil {
		return fmt.Errorf("re-key the vault: %w", err)
	}
	done := 0
	for done < len(old) {
		began := time.Now()
		n, err := v.sealAnew(ctx, target, old[done:])
		if err != nil {
			return fmt.Errorf("re-key the vault: %w", err)
		}
		if done += n; progress != nil {
			progress(int64(done), int64(len(old)))
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("re-key the vault: %w", ctx.Err())
		case <-time.After(time.Since(began)):
		}
	}
	return nil
}

// older lists the keys of values under generations before target.
func (v *Vault) older(ctx context.Context, target uint32) (old [][]byte, err error) {
	err = v.eachValue(ctx, func(full []byte, generation uint32) {
		if generation < target {
			old = append(old, full)
		}
	})
	return old, err
}

// eachValue authenticates all values and tells what they are sealed under.
func (v *Vault) eachValue(ctx context.Context, fn func(full []byte, generation uint32)) error {
	whole := &Vault{v.db, v.sealer, v.state, ""}
	return whole.View(ctx, func(t *Tx) error {
		return t.walk(nil, nil, func(full []byte, item *badger.Item) (bool, error) {
			generation, err := generationOf(item)
			if err == nil {
				_, err = t.open(full, item)
			}
			if err == nil {
				fn(full, generation)
			}
			return true, err
		}, true)
	})
}

func generationOf(item *badger.Item) (generation uint32, err error) {
	err = guard(func() error {
		return item.Value(func(sealed []byte) error {
			if len(sealed) >= headSize {
				generation = binary.BigEndian.Uint32(sealed) & 0xffffff
			}
			return nil
		})
	})
	return generation, err
}

// sealAnew writes as many values as one commit should hold, and tells how many
// keys it is done with.
func (v *Vault) sealAnew(ctx context.Context, target uint32, old [][]byte) (n int, err error) {
	whole := &Vault{v.db, v.sealer, v.state, ""}
	err = whole.Update(ctx, func(t *Tx) error {
		n = 0
		for size := 0; n < len(old) && size < rekeyBytes; n++ {
			written, err := t.setAnew(old[n], target)
			if err != nil {
				return err
			}
			size += written
		}
		return nil
	})
	return n, err
}

// setAnew writes one value again, unless it is gone or was written meanwhile.
func (t *Tx) setAnew(full []byte, target uint32) (size int, err error) {
	var item *badger.Item
	err = guard(func() (err error) { item, err = t.txn.Get(full); return err })
	if errors.Is(err, badger.ErrKeyNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, foreign(err)
	}
	generation, err := generationOf(item)
	if err != nil || generation >= target {
		return 0, foreign(err)
	}
	value, err := t.open(full, item)
	if err != nil {
		return 0, err
	}
	return len(value) + len(full), t.set(full, value, item.ExpiresAt())
}

// Generations are those of the key that anything of the vault is sealed under, in
// ascending order. Badger's own encryption keeps the one that was current when the
// vault was opened.
func (v *Vault) Generations(ctx context.Context) ([]uint32, error) {
	found := map[uint32]bool{v.state.outer: true}
	if err := v.eachValue(ctx, func(_ []byte, generation uint32) { found[generation] = true }); err != nil {
		return nil, fmt.Errorf("generations of the vault: %w", err)
	}
	return slices.Sorted(maps.Keys(found)), nil
}

// updates counts the writing transactions under way. One may have sealed a value
// under a key that was rotated before it committed.
type updates struct {
	mu    sync.Mutex
	epoch uint64
	count map[uint64]int
}

// enter counts a transaction until what it gives is called.
func (u *updates) enter() (leave func()) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.count == nil {
		u.count = map[uint64]int{}
	}
	epoch := u.epoch
	u.count[epoch]++
	return func() {
		u.mu.Lock()
		defer u.mu.Unlock()
		if u.count[epoch]--; u.count[epoch] == 0 {
			delete(u.count, epoch)
		}
	}
}

// drain waits for those that are under way; others may begin meanwhile.
func (u *updates) drain(ctx context.Context) error {
	u.mu.Lock()
	before := u.epoch
	u.epoch++
	u.mu.Unlock()
	for {
		u.mu.Lock()
		left := 0
		for epoch, n := range u.count {
			if epoch <= before {
				left += n
			}
		}
		u.mu.Unlock()
		if left == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
	}
}
