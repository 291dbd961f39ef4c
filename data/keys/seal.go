package keys

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
)

// sealOverhead is what seal adds: a random nonce before, a tag behind.
const sealOverhead = 12 + 16

// derive expands the root key for one use. The purposes are those of README.md.
func (r Root) derive(salt []byte, use string, size int) []byte {
	return expand(r.key[:], salt, "holdfast/root/v1|"+use, size)
}

// expand is HKDF-SHA256. It fails only for sizes no caller asks for.
func expand(secret, salt []byte, info string, size int) []byte {
	key, err := hkdf.Key(sha256.New, secret, salt, info, size)
	if err != nil {
		panic("keys: " + err.Error())
	}
	return key
}

// seal is AES-256-GCM: nonce (12, random), ciphertext, tag (16).
func seal(key, plain, aad []byte) []byte { return gcm(key).Seal(nil, nil, plain, aad) }

// sealInPlace is seal of what b has from an offset on, with the nonce in the 12 bytes
// before it: b then ends in what seal would have given.
func sealInPlace(key, b []byte, from int, aad []byte) []byte {
	block, err := aes.NewCipher(key)
	if err != nil {
		panic("keys: " + err.Error())
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic("keys: " + err.Error())
	}
	nonce := b[from-aead.NonceSize() : from]
	_, _ = rand.Read(nonce)
	return aead.Seal(b[:from], nonce, b[from:], aad)
}

// unseal undoes seal; ok is false for a wrong key or changed bytes alike.
func unseal(key, sealed, aad []byte) (plain []byte, ok bool) {
	plain, err := gcm(key).Open(nil, nil, sealed, aad)
	return plain, err == nil
}

func gcm(key []byte) cipher.AEAD {
	block, err := aes.NewCipher(key)
	if err != nil {
		panic("keys: " + err.Error())
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic("keys: " + err.Error())
	}
	return aead
}

// random32 gives 32 bytes of the system's generator, which never fails.
func random32() (b [32]byte) {
	_, _ = rand.Read(b[:])
	return b
}
