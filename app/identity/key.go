package identity

import (
	"crypto/rand"
	"errors"
	"hash/crc32"
	"net/http"
	"strings"
)

// A key reads "hfk_" (of a store) or "hfa_" (of the control plane), an id of 15, a
// secret of 40, and a checksum of 6 characters. The checksum tells a mistyped key from a wrong one without a look-up, and lets
// scanners of leaked secrets know one when they see it.
const (
	keyPrefix       = "hfk_"
	appliancePrefix = "hfa_"
	keyIDLen        = 15
	secretLen       = 40 // base62: 238 bits
	checksumLen     = 6
	keyLen          = len(keyPrefix) + keyIDLen + secretLen + checksumLen
)

// StoreKeyPrefix begins the keys of stores.
const StoreKeyPrefix = keyPrefix

const base62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// ErrKeyFormat is a string that no key can be.
var ErrKeyFormat = errors.New("not an API key")

// formatKey is the whole key of a store.
func formatKey(id, secret string) string { return formatAs(keyPrefix, id, secret) }

func formatAs(prefix, id, secret string) string {
	body := id + secret
	return prefix + body + checksum(body)
}

// parseKey takes a store's key apart. ErrKeyFormat.
func parseKey(raw string) (id, secret string, err error) { return parseAs(keyPrefix, raw) }

func parseAs(prefix, raw string) (id, secret string, err error) {
	body, ok := strings.CutPrefix(raw, prefix)
	if !ok || len(raw) != keyLen {
		return "", "", ErrKeyFormat
	}
	body, sum := body[:keyIDLen+secretLen], body[keyIDLen+secretLen:]
	if checksum(body) != sum || strings.Trim(body, base62) != "" {
		return "", "", ErrKeyFormat
	}
	return body[:keyIDLen], body[keyIDLen:], nil
}

// checksum guards against mistakes, not against anyone's will.
func checksum(body string) string {
	n := crc32.ChecksumIEEE([]byte(body))
	var out [checksumLen]byte
	for i := checksumLen - 1; i >= 0; i-- {
		out[i] = base62[n%62]
		n /= 62
	}
	return string(out[:])
}

// newSecret draws each character evenly.
func newSecret() string {
	out := make([]byte, 0, secretLen)
	var b [64]byte
	for len(out) < secretLen {
		_, _ = rand.Read(b[:]) // never fails (crypto/rand)
		for _, c := range b {
			if c < 248 && len(out) < secretLen { // 248 = 4 * 62: no character is likelier
				out = append(out, base62[c%62])
			}
		}
	}
	return string(out)
}

// KeyFromRequest finds an API key in the request: as bearer, as the whole
// Authorization header, or as X-API-Key. It is "" when there is none; a
// token of another kind is not one.
func KeyFromRequest(r *http.Request) string {
	auth := r.Header.Get("Authorization")
	if scheme, rest, ok := strings.Cut(auth, " "); ok && strings.EqualFold(scheme, "bearer") {
		auth = strings.TrimSpace(rest)
	}
	if strings.HasPrefix(auth, keyPrefix) || strings.HasPrefix(auth, appliancePrefix) {
		return auth
	}
	return r.Header.Get("X-API-Key")
}
