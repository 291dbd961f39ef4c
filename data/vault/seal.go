package vault

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"sync"

	"holdfast/data"
)

// A sealed value: version (1), key generation (3), expiry (8), nonce (12),
// ciphertext, tag (16). AAD is the part before the nonce, then the whole key.
const (
	valueVersion = 1
	headSize     = 1 + 3 + 8
	nonceSize    = 12
	tagSize      = 16
)

// What the vault's key is expanded for.
const (
	infoOuter = "holdfast/vault/v1|badger"
	infoValue = "holdfast/vault/v1|values"
)

// sealer seals values under the newest generation and opens them under theirs.
type sealer struct {
	keys data.KeySource
	mu   sync.RWMutex
	aead map[uint32]cached
}

// cached is an AEAD and the key it was made of: the source is asked each time,
// so that a sealed appliance opens nothing more.
type cached struct {
	key  [32]byte
	aead cipher.AEAD
}

func newSealer(keys data.KeySource) *sealer {
	return &sealer{keys: keys, aead: map[uint32]cached{}}
}

func (s *sealer) seal(name, value []byte, expires uint64) ([]byte, error) {
	generation, key, err := s.keys.Current()
	if err != nil {
		return nil, err
	}
	b := make([]byte, headSize+nonceSize, headSize+nonceSize+len(value)+tagSize)
	binary.BigEndian.PutUint32(b, generation)
	b[0] = valueVersion
	binary.BigEndian.PutUint64(b[4:], expires)
	_, _ = rand.Read(b[headSize:])
	aead := s.cipher(generation, key)
	return aead.Seal(b, b[headSize:], value, associated(b[:headSize], name)), nil
}

// open undoes seal. Any difference in name, expiry or bytes is data.ErrTampered.
func (s *sealer) open(name, b []byte, expires uint64) ([]byte, error) {
	if len(b) < headSize+nonceSize+tagSize || b[0] == 0 {
		return nil, fmt.Errorf("value of %d bytes: %w", len(b), data.ErrTampered)
	}
	if b[0] > valueVersion {
		return nil, fmt.Errorf("value format %d, this program knows %d: %w", b[0], valueVersion, data.ErrNewer)
	}
	generation := binary.BigEndian.Uint32(b) & 0xffffff
	key, err := s.keys.Generation(generation)
	if err != nil {
		return nil, err
	}
	head, nonce, sealed := b[:headSize], b[headSize:headSize+nonceSize], b[headSize+nonceSize:]
	value, err := s.cipher(generation, key).Open(nil, nonce, sealed, associated(head, name))
	if err != nil || binary.BigEndian.Uint64(head[4:]) != expires {
		return nil, data.ErrTampered
	}
	return value, nil
}

func associated(head, name []byte) []byte {
	return append(append(make([]byte, 0, len(head)+len(name)), head...), name...)
}

func (s *sealer) cipher(generation uint32, key [32]byte) cipher.AEAD {
	s.mu.RLock()
	c, ok := s.aead[generation]
	s.mu.RUnlock()
	if ok && c.key == key {
		return c.aead
	}
	c = cached{key, newAEAD(expand(key, infoValue))}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.aead[generation] = c
	return c.aead
}

func newAEAD(key []byte) cipher.AEAD {
	block, err := aes.NewCipher(key)
	if err != nil {
		panic("vault: " + err.Error())
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic("vault: " + err.Error())
	}
	return aead
}

// expand is HKDF-SHA256 to 32 bytes, which cannot fail.
func expand(key [32]byte, info string) []byte {
	out, err := hkdf.Key(sha256.New, key[:], nil, info, 32)
	if err != nil {
		panic("vault: " + err.Error())
	}
	return out
}
