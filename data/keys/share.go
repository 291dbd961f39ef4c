package keys

import (
	"crypto/sha256"
	"fmt"
)

// A share's text is 40 bytes in the letters of a code: set (4), index (1),
// value (32), check (3).
const (
	shareBytes   = 4 + 1 + 32
	shareLetters = (shareBytes + codeCheck) * 8 / 5
)

// share is one point of a set.
type share struct {
	set   setID
	index byte // from 1
	value [32]byte
}

func (s share) bytes() []byte {
	return append(append(s.set[:len(s.set):len(s.set)], s.index), s.value[:]...)
}

func (s share) format() string {
	b := s.bytes()
	return formatLetters(append(b, shareSum(b)...))
}

// parseShare reads what a person typed; its errors never repeat it.
func parseShare(text string) (share, error) {
	b, err := parseLetters(text, shareLetters, ErrShare)
	if err != nil {
		return share{}, err
	}
	s := share{setID(b[:4]), b[4], [32]byte(b[5:shareBytes])}
	if string(shareSum(b[:shareBytes])) != string(b[shareBytes:]) {
		return share{}, fmt.Errorf("mistyped (it reads as share %d of set %s, and its check letters do not fit): %w", s.index, s.set, ErrShare)
	}
	return s, nil
}

func shareSum(b []byte) []byte {
	sum := sha256.Sum256(append([]byte("holdfast/share-text/v1|"), b...))
	return sum[:codeCheck]
}

// ShareInfo is what a share tells of itself, and of the slot it belongs to.
type ShareInfo struct {
	Set   string
	Index int
	Need  int // how many open the slot
	Of    int
}

// CheckShare tells which share was given, and that it is one of a slot's in this
// file. ErrShare for one that is mistyped or of another set.
func (s *Slots) CheckShare(text string) (ShareInfo, error) {
	one, err := parseShare(text)
	if err != nil {
		return ShareInfo{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	err = fmt.Errorf("it is of set %s, of which there is no slot: %w", one.set, ErrShare)
	for _, c := range s.cells {
		body, bad := parseSharesBody(c.body)
		if c.err != nil || c.kind != KindShares || bad != nil || body.set != one.set {
			continue
		}
		if err = body.fits(one); err == nil {
			return ShareInfo{one.set.String(), int(one.index), body.need, body.of()}, nil
		}
	}
	return ShareInfo{}, err
}
