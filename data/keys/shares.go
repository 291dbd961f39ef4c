package keys

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"slices"

	"github.com/cloudflare/circl/group"
	"github.com/cloudflare/circl/secretsharing"

	"holdfast/data"
)

// Bounds of a set of shares.
const (
	minNeed   = 2
	maxShares = 16

	shareCheck = 16 // bytes of each share's check in the slot
)

// sharesBody is the body of a shares slot: enough to tell which share is wrong,
// and nothing that helps to make one.
type sharesBody struct {
	need   int
	set    setID
	checks [][shareCheck]byte // by index, from 1
}

// setID names one set of shares.
type setID [4]byte

func (s setID) String() string { return fmt.Sprintf("%x", s[:]) }

func (b sharesBody) of() int { return len(b.checks) }

func (b sharesBody) format() []byte {
	out := append([]byte{byte(b.need), byte(b.of())}, b.set[:]...)
	for _, c := range b.checks {
		out = append(out, c[:]...)
	}
	return out
}

func parseSharesBody(raw []byte) (b sharesBody, err error) {
	if len(raw) < 6 || len(raw) != 6+int(raw[1])*shareCheck || checkNeed(int(raw[0]), int(raw[1])) != nil {
		return b, fmt.Errorf("shares slot: %w", data.ErrTampered)
	}
	b.need, b.set = int(raw[0]), setID(raw[2:6])
	for c := range slices.Chunk(raw[6:], shareCheck) {
		b.checks = append(b.checks, [shareCheck]byte(c))
	}
	return b, nil
}

func checkNeed(need, of int) error {
	if need < minNeed || of < need || of > maxShares {
		return fmt.Errorf("%d of %d shares: want 2 <= needed <= made <= %d", need, of, maxShares)
	}
	return nil
}

// newShares is a set that was just made.
type newShares struct {
	need   int
	set    setID
	shares []share
	texts  []string
}

// NewShares makes a set of shares of which any need open the slot, and the texts
// to show once, one for each holder. An error for bounds that make no sense.
func NewShares(need, of int) (Slot, []string, error) {
	if err := checkNeed(need, of); err != nil {
		return nil, nil, err
	}
	n := &newShares{need: need}
	_, _ = rand.Read(n.set[:])
	split := secretsharing.New(rand.Reader, uint(need-1), group.Ristretto255.RandomNonZeroScalar(rand.Reader))
	for i, s := range split.Share(uint(of)) {
		value, err := s.Value.MarshalBinary()
		if err != nil {
			return nil, nil, fmt.Errorf("make shares: %w", err)
		}
		one := share{n.set, byte(i + 1), [32]byte(value)}
		n.shares, n.texts = append(n.shares, one), append(n.texts, one.format())
	}
	return n, slices.Clone(n.texts), nil
}

func (*newShares) Kind() Kind { return KindShares }

func (n *newShares) prepare(c *cell) error {
	b := sharesBody{need: n.need, set: n.set}
	for _, s := range n.shares {
		b.checks = append(b.checks, s.check())
	}
	c.body = b.format()
	return nil
}

func (n *newShares) secret(c cell) ([]byte, error) { return Shares(n.texts...).secret(c) }

// ways are runs of shares in which each share that was handed out takes part.
func (n *newShares) ways() (ways []Slot) {
	twice := append(slices.Clone(n.texts), n.texts...)
	for i := range n.texts {
		ways = append(ways, Shares(twice[i:i+n.need]...))
	}
	return ways
}

type shares struct{ texts []string }

// Shares is a slot opened by shares that persons typed. ErrShare for one that is
// mistyped, given twice or of another set (the error names it), ErrFewShares
// when all are good and more are needed.
func Shares(texts ...string) Slot { return shares{texts} }

func (shares) Kind() Kind { return KindShares }

func (shares) prepare(*cell) error { return ErrUnproven }

func (s shares) secret(c cell) ([]byte, error) {
	b, err := parseSharesBody(c.body)
	if err != nil {
		return nil, err
	}
	list, err := s.parse(b)
	if err != nil {
		return nil, err
	}
	key, err := combine(b.need, list)
	if err != nil {
		return nil, err
	}
	return wrapKey(key, c), nil
}

// parse reads the shares and holds each against the slot.
func (s shares) parse(b sharesBody) (list []share, err error) {
	seen := map[byte]bool{}
	for i, text := range s.texts {
		one, err := parseShare(text)
		if err == nil {
			err = b.fits(one)
		}
		if err == nil && seen[one.index] {
			err = fmt.Errorf("share %d was given twice: %w", one.index, ErrShare)
		}
		if err != nil {
			return nil, fmt.Errorf("the %s share that was given: %w", ordinal(i+1), err)
		}
		seen[one.index] = true
		list = append(list, one)
	}
	if len(list) < b.need {
		return nil, fmt.Errorf("%d of %d: %w", len(list), b.need, ErrFewShares)
	}
	return list, nil
}

// fits says whether a share is one of this slot's, by what the slot kept of it.
func (b sharesBody) fits(s share) error {
	if s.set != b.set {
		return fmt.Errorf("it is of set %s, wanted are those of set %s: %w", s.set, b.set, ErrShare)
	}
	if int(s.index) < 1 || int(s.index) > b.of() {
		return fmt.Errorf("it is share %d, the set has %d: %w", s.index, b.of(), ErrShare)
	}
	got, want := s.check(), b.checks[s.index-1]
	if subtle.ConstantTimeCompare(got[:], want[:]) != 1 {
		return fmt.Errorf("it is not share %d as it was handed out: %w", s.index, ErrShare)
	}
	return nil
}

// combine gives the secret; the primitive is circl's.
func combine(need int, list []share) (key [32]byte, err error) {
	var points []secretsharing.Share
	for _, s := range list {
		p := secretsharing.Share{ID: group.Ristretto255.NewScalar().SetUint64(uint64(s.index)), Value: group.Ristretto255.NewScalar()}
		if err := p.Value.UnmarshalBinary(s.value[:]); err != nil {
			return key, fmt.Errorf("share %d: %w", s.index, ErrShare)
		}
		points = append(points, p)
	}
	secret, err := secretsharing.Recover(uint(need-1), points)
	if err != nil {
		return key, fmt.Errorf("combine shares: %w", err)
	}
	b, err := secret.MarshalBinary()
	return [32]byte(b), err
}

func ordinal(n int) string {
	suffix := "th"
	if n%100 < 11 || n%100 > 13 {
		switch n % 10 {
		case 1:
			suffix = "st"
		case 2:
			suffix = "nd"
		case 3:
			suffix = "rd"
		}
	}
	return fmt.Sprintf("%d%s", n, suffix)
}

// check is what the slot keeps of a share.
func (s share) check() [shareCheck]byte {
	sum := sha256.Sum256(append([]byte("holdfast/share/v1|"), s.bytes()...))
	return [shareCheck]byte(sum[:])
}

// Format hides what a slot is opened with.
func (*newShares) Format(s fmt.State, _ rune) { _, _ = fmt.Fprint(s, "shares ", redacted) }

// Format hides what a slot is opened with.
func (shares) Format(s fmt.State, _ rune) { _, _ = fmt.Fprint(s, "shares ", redacted) }
