package identity

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"holdfast/data/signin"
	"strings"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"
	"golang.org/x/text/unicode/norm"
)

// Cost is what one argon2id hash takes.
type Cost struct {
	Time    uint32
	Memory  uint32 // KiB
	Threads uint8
}

// production is the house's cost: about a third of a second on two cores.
var production = Cost{Time: 3, Memory: 64 * 1024, Threads: 4}

const (
	saltBytes = 16
	hashBytes = 32
	// hashing at once bounds the memory that a crowd at the door can take.
	hashingAtOnce = 2
)

// Bounds of a password in characters.
const (
	MinPassword = 12
	MaxPassword = 256
)

var errBadHash = errors.New("not an argon2id hash")

// hasher makes and checks password hashes, a few at a time.
type hasher struct {
	cost  Cost
	slots chan struct{}
	dummy string // checked when there is no such person, so that both take as long
}

func newHasher(c Cost) *hasher {
	if c == (Cost{}) {
		c = production
	}
	h := &hasher{cost: c, slots: make(chan struct{}, hashingAtOnce)}
	h.dummy = encodeHash(c, make([]byte, saltBytes), make([]byte, hashBytes))
	return h
}

// hash gives the PHC string of a password. The context's error when the wait
// for a turn was cut short.
func (h *hasher) hash(ctx context.Context, password string) (string, error) {
	if err := h.turn(ctx); err != nil {
		return "", err
	}
	defer h.done()
	salt := make([]byte, saltBytes)
	_, _ = rand.Read(salt) // never fails (crypto/rand)
	return encodeHash(h.cost, salt, derive(h.cost, password, salt, hashBytes)), nil
}

// matches checks a password against a PHC string; an empty one costs as much and
// never matches.
func (h *hasher) matches(ctx context.Context, password, phc string) (bool, error) {
	known := phc != ""
	if !known {
		phc = h.dummy
	}
	cost, salt, want, err := parseHash(phc)
	if err != nil {
		return false, err
	}
	if err := h.turn(ctx); err != nil {
		return false, err
	}
	defer h.done()
	got := derive(cost, password, salt, uint32(len(want)))
	return subtle.ConstantTimeCompare(got, want) == 1 && known, nil
}

// stale says that a hash was made at another cost than today's.
func (h *hasher) stale(phc string) bool {
	cost, _, _, err := parseHash(phc)
	return err != nil || cost != h.cost
}

func (h *hasher) turn(ctx context.Context) error {
	select {
	case h.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (h *hasher) done() { <-h.slots }

// derive works on the normal form, so that one password typed on two
// keyboards is one password.
func derive(c Cost, password string, salt []byte, length uint32) []byte {
	return argon2.IDKey([]byte(norm.NFC.String(password)), salt, c.Time, c.Memory, c.Threads, length)
}

func encodeHash(c Cost, salt, hash []byte) string {
	b := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version,
		c.Memory, c.Time, c.Threads, b.EncodeToString(salt), b.EncodeToString(hash))
}

// parseHash reads a PHC string, within bounds that keep a damaged one from taking
// the machine.
func parseHash(phc string) (c Cost, salt, hash []byte, err error) {
	parts := strings.Split(phc, "$")
	if len(parts) != 6 || parts[0] != "" || parts[1] != "argon2id" || parts[2] != fmt.Sprintf("v=%d", argon2.Version) {
		return c, nil, nil, errBadHash
	}
	if _, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &c.Memory, &c.Time, &c.Threads); err != nil {
		return c, nil, nil, errBadHash
	}
	if c.Memory < 8 || c.Memory > 1<<20 || c.Time < 1 || c.Time > 16 || c.Threads < 1 {
		return c, nil, nil, errBadHash
	}
	if salt, err = base64.RawStdEncoding.Strict().DecodeString(parts[4]); err != nil || len(salt) < 8 || len(salt) > 64 {
		return c, nil, nil, errBadHash
	}
	if hash, err = base64.RawStdEncoding.Strict().DecodeString(parts[5]); err != nil || len(hash) < 16 || len(hash) > 64 {
		return c, nil, nil, errBadHash
	}
	if encodeHash(c, salt, hash) != phc {
		return c, nil, nil, errBadHash // one hash has one form
	}
	return c, salt, hash, nil
}

// MinStrength is how many bits a new password must be worth to somebody who
// guesses words, common passwords, sequences and years first.
const MinStrength = 30

// weakness says what is wrong with a new password, "" when nothing is.
func weakness(password, email, name string) string {
	length := utf8.RuneCountInString(norm.NFC.String(password))
	switch {
	case !utf8.ValidString(password):
		return "is not valid UTF-8"
	case length < MinPassword:
		return fmt.Sprintf("needs at least %d characters", MinPassword)
	case length > MaxPassword:
		return fmt.Sprintf("has more than %d characters", MaxPassword)
	case fewDistinct(password):
		return "repeats the same few characters"
	case containsFold(password, localPart(email)), containsFold(password, name):
		return "contains your name or address"
	case signin.Common(password):
		return "is a common password"
	case signin.Bits(password) < MinStrength:
		return "is too easy to guess; add a word or two"
	}
	return ""
}

// weak is weakness, held against the list of breached passwords where the host has one.
// A list that cannot be read lets no password pass.
func (s *Service) weak(password, email, name string) string {
	if weak := weakness(password, email, name); weak != "" || s.config.Breached == nil {
		return weak
	}
	known, err := s.config.Breached(norm.NFC.String(password))
	switch {
	case err != nil:
		s.config.Logger.Error("a new password could not be held against the list of breached ones", "error", err)
		return "could not be held against the list of breached passwords; tell who runs this host"
	case known:
		return "is known from a breach; choose another one"
	}
	return ""
}

func fewDistinct(s string) bool {
	seen := map[rune]bool{}
	for _, r := range s {
		seen[r] = true
	}
	return len(seen) < 5
}

// containsFold ignores parts too short to mean anything.
func containsFold(s, part string) bool {
	return len(part) >= 4 && strings.Contains(strings.ToLower(s), strings.ToLower(part))
}

func localPart(email string) string {
	local, _, _ := strings.Cut(email, "@")
	return local
}
