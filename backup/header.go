package backup

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"

	"holdfast/data"
)

// Kind says what an object holds.
type Kind uint8

// The kinds of object. Vault is for the vault's own stream, which has the same
// frame. Staging never leaves this host.
const (
	Pages    Kind = 1 // changed pages of the database
	Files    Kind = 2 // one chunk of one file's content
	Vault    Kind = 3 // the vault's records
	Tree     Kind = 4 // changes of the file tree
	Manifest Kind = 5 // the signed list that makes a snapshot
	Staging  Kind = 6 // what the shipping side remembers

	MergedKind Kind = 7 // the signed list of a merged segment
	PruneKind  Kind = 8 // what a prune keeps, and what it is about to delete
)

func (k Kind) String() string {
	names := [...]string{1: "pages", 2: "files", 3: "vault", 4: "tree", 5: "manifest", 6: "staging", 7: "merged", 8: "prune"}
	if int(k) < len(names) && names[k] != "" {
		return names[k]
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// Epoch is the random name of one unbroken run of a chain, which begins with a base.
type Epoch [8]byte

func (e Epoch) String() string { return hex.EncodeToString(e[:]) }

// ParseEpoch is the inverse of String.
func ParseEpoch(s string) (e Epoch, err error) {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(e) {
		return e, fmt.Errorf("%w: epoch %q", ErrFormat, s)
	}
	copy(e[:], b)
	return e, nil
}

// Hash is the SHA-256 of a whole object, or of a state.
type Hash [32]byte

func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// MarshalText gives the hexadecimal form.
func (h Hash) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText is the inverse of MarshalText.
func (h *Hash) UnmarshalText(b []byte) error {
	if len(b) != 2*len(h) {
		return fmt.Errorf("%w: hash of %d characters", ErrFormat, len(b))
	}
	if _, err := hex.Decode(h[:], b); err != nil {
		return fmt.Errorf("%w: hash %q", ErrFormat, b)
	}
	return nil
}

const (
	magic   = "holdfast"
	version = 1
	// HeaderSize is how many bytes at its beginning an object's header takes.
	HeaderSize = 72
)

// Header stands in clear, but authenticated, before the sealed part of every
// object.
type Header struct {
	Kind       Kind
	Generation uint32 // of the segments key that sealed the object
	Epoch      Epoch
	Sequence   int64 // of the snapshot that first shipped the object, from 1
	Part       uint32
	Previous   Hash // of the object before this one in the chain; zero for the first
}

// Format gives the header's bytes.
func (h Header) Format() []byte {
	b := make([]byte, 0, HeaderSize)
	b = append(b, magic...)
	b = append(b, version, byte(h.Kind), 0, 0)
	b = binary.BigEndian.AppendUint32(b, h.Generation)
	b = append(b, h.Epoch[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(h.Sequence)) //nolint:gosec // never negative
	b = binary.BigEndian.AppendUint32(b, h.Part)
	b = append(b, 0, 0, 0, 0)
	return append(b, h.Previous[:]...)
}

// ParseHeader reads the header at the start of an object. It answers ErrFormat,
// or data.ErrNewer for a later version of the format.
func ParseHeader(b []byte) (Header, error) {
	if len(b) < HeaderSize || string(b[:8]) != magic {
		return Header{}, ErrFormat
	}
	if b[8] != version {
		return Header{}, fmt.Errorf("object of format version %d: %w", b[8], data.ErrNewer)
	}
	h := Header{
		Kind:       Kind(b[9]),
		Generation: binary.BigEndian.Uint32(b[12:]),
		Epoch:      Epoch(b[16:24]),
		Sequence:   int64(binary.BigEndian.Uint64(b[24:])), //nolint:gosec // checked below
		Part:       binary.BigEndian.Uint32(b[32:]),
		Previous:   Hash(b[40:72]),
	}
	if h.Kind < Pages || h.Kind > PruneKind || h.Sequence < 0 || b[10]|b[11]|b[36]|b[37]|b[38]|b[39] != 0 {
		return Header{}, fmt.Errorf("%w: bad header", ErrFormat)
	}
	return h, nil
}
