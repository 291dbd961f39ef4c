package edge

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/certmagic"

	"holdfast/data"
	"holdfast/data/vault"
)

var _ certmagic.Storage = (*storage)(nil)

// storage is certmagic's storage in the vault, so that private keys are never in
// clear on the disk. A value is eight bytes of Unix nanoseconds (when it was
// written), then the content. Locks are in memory: one process has the vault.
type storage struct {
	vault *vault.Vault
	mu    sync.Mutex
	locks map[string]chan struct{} // closed when the lock is free again
}

func newStorage(v *vault.Vault) *storage {
	return &storage{vault: v, locks: map[string]chan struct{}{}}
}

const stampLen = 8

// Lock waits until the name is free, or the context ends.
func (s *storage) Lock(ctx context.Context, name string) error {
	for {
		s.mu.Lock()
		held, taken := s.locks[name]
		if !taken {
			s.locks[name] = make(chan struct{})
			s.mu.Unlock()
			return nil
		}
		s.mu.Unlock()
		select {
		case <-held:
		case <-ctx.Done():
			return fmt.Errorf("lock %q: %w", name, ctx.Err())
		}
	}
}

// Unlock frees a name; one that is not locked is an error.
func (s *storage) Unlock(_ context.Context, name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	held, taken := s.locks[name]
	if !taken {
		return fmt.Errorf("unlock %q: not locked", name)
	}
	delete(s.locks, name)
	close(held)
	return nil
}

// Store is durable when it returns.
func (s *storage) Store(ctx context.Context, key string, value []byte) error {
	stamped := binary.BigEndian.AppendUint64(make([]byte, 0, stampLen+len(value)), uint64(time.Now().UnixNano()))
	stamped = append(stamped, value...)
	return s.vault.Update(ctx, func(tx *vault.Tx) error { return tx.Set([]byte(key), stamped) })
}

// Load returns fs.ErrNotExist without a value.
func (s *storage) Load(ctx context.Context, key string) ([]byte, error) {
	value, _, err := s.read(ctx, key)
	return value, err
}

func (s *storage) read(ctx context.Context, key string) (value []byte, modified time.Time, err error) {
	var stamped []byte
	err = s.vault.View(ctx, func(tx *vault.Tx) error {
		stamped, err = tx.Get([]byte(key))
		return err
	})
	if errors.Is(err, data.ErrNotFound) {
		return nil, modified, fmt.Errorf("%w (%w)", fs.ErrNotExist, err)
	}
	if err != nil {
		return nil, modified, err
	}
	if len(stamped) < stampLen {
		return nil, modified, fmt.Errorf("read %q: %d bytes: %w", key, len(stamped), data.ErrTampered)
	}
	return stamped[stampLen:], time.Unix(0, int64(binary.BigEndian.Uint64(stamped))), nil
}

// Delete removes the key and everything below it.
func (s *storage) Delete(ctx context.Context, key string) error {
	return s.vault.Update(ctx, func(tx *vault.Tx) error {
		if err := tx.Delete([]byte(key)); err != nil {
			return err
		}
		var below [][]byte
		err := tx.Keys(directory(key), nil, func(k []byte) (bool, error) {
			below = append(below, k)
			return true, nil
		})
		for _, k := range below {
			if err == nil {
				err = tx.Delete(k)
			}
		}
		return err
	})
}

func directory(path string) []byte {
	if path == "" {
		return nil
	}
	return []byte(strings.TrimSuffix(path, "/") + "/")
}

// Exists says whether the key has a value or others below it.
func (s *storage) Exists(ctx context.Context, key string) bool {
	_, err := s.Stat(ctx, key)
	return err == nil
}

// List gives the keys in a path: all of them, or the path's own children.
func (s *storage) List(ctx context.Context, path string, recursive bool) ([]string, error) {
	var keys []string
	prefix := directory(path)
	err := s.vault.View(ctx, func(tx *vault.Tx) error {
		return tx.Keys(prefix, nil, func(key []byte) (bool, error) {
			keys = appendKey(keys, string(prefix), string(key), recursive)
			return true, nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("list %q: %w", path, err)
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("list %q: %w", path, fs.ErrNotExist)
	}
	return keys, nil
}

// appendKey adds a key, or the directory of its first step, once: keys come sorted.
func appendKey(keys []string, prefix, key string, recursive bool) []string {
	if !recursive {
		if child, _, deeper := strings.Cut(key[len(prefix):], "/"); deeper {
			key = prefix + child
		}
	}
	if n := len(keys); n > 0 && keys[n-1] == key {
		return keys
	}
	return append(keys, key)
}

// Stat tells of a key, or of a path with keys below it.
func (s *storage) Stat(ctx context.Context, key string) (certmagic.KeyInfo, error) {
	value, modified, err := s.read(ctx, key)
	if err == nil {
		return certmagic.KeyInfo{Key: key, Modified: modified, Size: int64(len(value)), IsTerminal: true}, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return certmagic.KeyInfo{}, err
	}
	if _, below := s.List(ctx, key, false); below != nil {
		return certmagic.KeyInfo{}, err
	}
	return certmagic.KeyInfo{Key: key}, nil
}
