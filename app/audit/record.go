package audit

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"

	"holdfast/data"
)

// errCommitment says that a body is not the one its leaf promised.
var errCommitment = errors.New("the entry does not match its commitment")

const (
	recordVersion = 1
	flagErased    = 1
	saltSize      = 32
	recordHeader  = 1 + 1 + 4 + 4 // version, flags, key generation, leaf length
)

// body is the part of an entry that may be somebody's personal data. It is
// sealed under the log's "personal" key, so destroying the key or erasing the
// body leaves the leaf, and every proof, whole.
type body struct {
	Actor  string            `json:"actor,omitempty"`
	Target string            `json:"target,omitempty"`
	Detail map[string]string `json:"detail,omitempty"`
}

// record is one stored leaf with its sealed body.
type record struct {
	Erased     bool
	Generation uint32
	Leaf       []byte
	Sealed     []byte // nonce, then AES-256-GCM of salt and body JSON; nil when erased
}

func (r record) size() int { return recordHeader + len(r.Leaf) + len(r.Sealed) }

// formatRecord gives the stored bytes: version, flags, generation, leaf length
// (big endian), leaf, sealed body.
func formatRecord(r record) []byte {
	out := make([]byte, recordHeader, r.size())
	out[0] = recordVersion
	if r.Erased {
		out[1] = flagErased
	}
	binary.BigEndian.PutUint32(out[2:], r.Generation)
	binary.BigEndian.PutUint32(out[6:], uint32(len(r.Leaf)))
	return append(append(out, r.Leaf...), r.Sealed...)
}

// parseRecord is formatRecord's inverse.
// It answers data.ErrNewer for a version it does not know.
func parseRecord(b []byte) (record, error) {
	if len(b) < recordHeader || b[0] == 0 {
		return record{}, fmt.Errorf("parse audit record: %w", errLeaf)
	}
	if b[0] != recordVersion {
		return record{}, fmt.Errorf("parse audit record: version %d: %w", b[0], data.ErrNewer)
	}
	r := record{Erased: b[1] == flagErased, Generation: binary.BigEndian.Uint32(b[2:])}
	size := uint64(binary.BigEndian.Uint32(b[6:]))
	rest := b[recordHeader:]
	if b[1] > flagErased || size > uint64(len(rest)) {
		return record{}, fmt.Errorf("parse audit record: %w", errLeaf)
	}
	r.Leaf, r.Sealed = bytes.Clone(rest[:size]), bytes.Clone(rest[size:])
	if r.Erased == (len(r.Sealed) > 0) {
		return record{}, fmt.Errorf("parse audit record: %w", errLeaf)
	}
	return r, nil
}

// seal commits to b, completes l with the commitment, and seals b for the log.
func (c *ciphers) seal(log string, keys data.KeySource, l leaf, b body) (record, error) {
	generation, key, err := keys.Current()
	if err != nil {
		return record{}, fmt.Errorf("seal audit entry of %s: %w", log, err)
	}
	plain, err := salted(b)
	if err != nil {
		return record{}, err
	}
	l.Commitment = commit(plain)
	text, err := formatLeaf(l)
	if err != nil {
		return record{}, err
	}
	aead, err := c.of(log, generation, key)
	if err != nil {
		return record{}, err
	}
	return record{Generation: generation, Leaf: text, Sealed: aead.Seal(nil, nil, plain, text)}, nil
}

// open gives the body back after checking it against the leaf's commitment.
func (c *ciphers) open(log string, keys data.KeySource, r record) (body, error) {
	plain, err := c.plain(log, keys, r)
	if err != nil {
		return body{}, err
	}
	l, err := parseLeaf(r.Leaf)
	if err != nil {
		return body{}, err
	}
	return reveal(plain, l.Commitment)
}

// plain decrypts a record's salt and body.
func (c *ciphers) plain(log string, keys data.KeySource, r record) ([]byte, error) {
	key, err := keys.Generation(r.Generation)
	if err != nil {
		return nil, fmt.Errorf("open audit entry of %s: %w", log, err)
	}
	aead, err := c.of(log, r.Generation, key)
	if err != nil {
		return nil, err
	}
	plain, err := aead.Open(nil, nil, r.Sealed, r.Leaf)
	if err != nil || len(plain) < saltSize {
		return nil, fmt.Errorf("open audit entry of %s: %w", log, data.ErrTampered)
	}
	return plain, nil
}

func reveal(plain []byte, promised [32]byte) (b body, err error) {
	if c := commit(plain); !hmac.Equal(c[:], promised[:]) {
		return body{}, errCommitment
	}
	if err := json.Unmarshal(plain[saltSize:], &b); err != nil {
		return body{}, fmt.Errorf("open audit entry: %w", err)
	}
	return b, nil
}

// salted puts a fresh random salt before the body's JSON, so that nobody can
// guess a body from its commitment.
func salted(b body) ([]byte, error) {
	text, err := json.Marshal(b)
	if err != nil {
		return nil, fmt.Errorf("seal audit entry: %w", err)
	}
	plain := make([]byte, saltSize, saltSize+len(text))
	rand.Read(plain)
	return append(plain, text...), nil
}

// commit is HMAC-SHA256 of the body under its salt.
func commit(plain []byte) (c [32]byte) {
	mac := hmac.New(sha256.New, plain[:saltSize])
	mac.Write(plain[saltSize:])
	mac.Sum(c[:0])
	return c
}
