package audit

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"fmt"
	"sync"
)

// maxCiphers bounds the ciphers kept in memory, a kilobyte each.
const maxCiphers = 1024

// ciphers holds the body ciphers of logs lately used. The key source is asked each
// time all the same: a destroyed key opens nothing more.
type ciphers struct {
	mu   sync.RWMutex
	made map[cipherName]madeCipher
}

type cipherName struct {
	log        string
	generation uint32
}

type madeCipher struct {
	key  [32]byte
	aead cipher.AEAD
}

func newCiphers() *ciphers { return &ciphers{made: map[cipherName]madeCipher{}} }

// of gives the cipher of a log under one generation of its owner's key.
func (c *ciphers) of(log string, generation uint32, key [32]byte) (cipher.AEAD, error) {
	name := cipherName{log, generation}
	c.mu.RLock()
	m, ok := c.made[name]
	c.mu.RUnlock()
	if ok && m.key == key {
		return m.aead, nil
	}
	aead, err := bodyCipher(log, key)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.made) >= maxCiphers {
		clear(c.made)
	}
	c.made[name] = madeCipher{key, aead}
	return aead, nil
}

// bodyCipher derives the log's own key, so that one purpose key serves no two
// formats, and two logs never share one.
func bodyCipher(log string, key [32]byte) (cipher.AEAD, error) {
	own, err := hkdf.Key(sha256.New, key[:], nil, "holdfast/audit/v1|body|"+log, 32)
	if err != nil {
		return nil, fmt.Errorf("derive audit key: %w", err)
	}
	block, err := aes.NewCipher(own)
	if err != nil {
		return nil, fmt.Errorf("derive audit key: %w", err)
	}
	return cipher.NewGCMWithRandomNonce(block)
}
