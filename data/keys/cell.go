package keys

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"holdfast/data"
)

// A slots file is a row of cells, each of one disk block and whole in itself,
// so that damage to one leaves the others usable.
const (
	cellSize    = 4096
	cellVersion = 1
	sumSize     = sha256.Size

	atKind, atRoot, atID    = 10, 16, 32
	atCreated               = 48
	atArgon, atSalt, atWrap = 64, 96, 128
	endWrap                 = atWrap + 32 + sealOverhead
	atBody                  = endWrap + 2 // kinds from the credential on; its length stands before it
	maxBody                 = cellSize - sumSize - atBody
	atSeal                  = 64 // only in the seal cell
)

var cellMagic = []byte("HFSLOT\r\n")

// Kind is the way a slot is opened.
type Kind uint16

// The kinds of slot. Zero marks the cell that seals the file.
const (
	KindKeyFile    Kind = 1
	KindPassphrase Kind = 2
	KindRecovery   Kind = 3
	KindCredential Kind = 4
	KindAge        Kind = 5
	KindShares     Kind = 6

	lastKind = KindShares
)

// String gives the kind's name as the CLI writes it.
func (k Kind) String() string {
	switch k {
	case KindKeyFile:
		return "key-file"
	case KindPassphrase:
		return "passphrase"
	case KindRecovery:
		return "recovery"
	case KindCredential:
		return "credential"
	case KindAge:
		return "age"
	case KindShares:
		return "shares"
	}
	return fmt.Sprintf("unknown (%d)", uint16(k))
}

// cost is what argon2id is told: passes, memory in KiB, lanes. Zero for slots
// whose secret is random already.
type cost struct{ passes, memory, lanes uint32 }

// cell is one slot as it stands in the file.
type cell struct {
	kind    Kind
	root    [16]byte // Root.id of the wrapped key
	id      [16]byte
	created time.Time // whole seconds
	cost    cost
	salt    [32]byte
	wrap    []byte // the root key, sealed; AAD is bound
	body    []byte // what the kind needs to be opened: see age.go, shares.go
}

// bound is what the wrap authenticates: the part of the cell before it, and the
// body behind it where the kind has one.
func (c cell) bound() []byte {
	b := c.format()
	if c.kind <= KindRecovery {
		return b[:atWrap]
	}
	return append(b[:atWrap:atWrap], b[endWrap:atBody+len(c.body)]...)
}

func (c cell) format() []byte {
	b := newCell(c.kind, c.root)
	copy(b[atID:], c.id[:])
	binary.BigEndian.PutUint64(b[atCreated:], uint64(c.created.Unix()))
	binary.BigEndian.PutUint32(b[atArgon:], c.cost.passes)
	binary.BigEndian.PutUint32(b[atArgon+4:], c.cost.memory)
	binary.BigEndian.PutUint32(b[atArgon+8:], c.cost.lanes)
	copy(b[atSalt:], c.salt[:])
	copy(b[atWrap:endWrap], c.wrap)
	binary.BigEndian.PutUint16(b[endWrap:], uint16(len(c.body)))
	copy(b[atBody:], c.body)
	return addSum(b)
}

func newCell(kind Kind, root [16]byte) []byte {
	b := make([]byte, cellSize-sumSize, cellSize)
	copy(b, cellMagic)
	binary.BigEndian.PutUint16(b[len(cellMagic):], cellVersion)
	binary.BigEndian.PutUint16(b[atKind:], uint16(kind))
	copy(b[atRoot:], root[:])
	return b
}

// parseCell reads one slot. Damage is data.ErrTampered, a later format
// data.ErrNewer. Cells of a kind this version does not know are kept as they are.
func parseCell(b []byte) (cell, error) {
	if err := checkCell(b); err != nil {
		return cell{}, err
	}
	c := cell{kind: cellKind(b), wrap: bytes.Clone(b[atWrap:endWrap])}
	copy(c.root[:], b[atRoot:])
	copy(c.id[:], b[atID:])
	copy(c.salt[:], b[atSalt:])
	c.created = time.Unix(int64(binary.BigEndian.Uint64(b[atCreated:])), 0).UTC()
	c.cost = cost{binary.BigEndian.Uint32(b[atArgon:]), binary.BigEndian.Uint32(b[atArgon+4:]), binary.BigEndian.Uint32(b[atArgon+8:])}
	if n := int(binary.BigEndian.Uint16(b[endWrap:])); c.hasBody() && n > 0 && n <= maxBody {
		c.body = bytes.Clone(b[atBody : atBody+n])
	}
	return c, c.strict(b)
}

func (c cell) hasBody() bool { return c.kind > KindRecovery && c.kind <= lastKind }

// strict refuses bytes that format would not have written.
func (c cell) strict(b []byte) error {
	if c.kind == 0 || c.kind > lastKind || bytes.Equal(c.format(), b) {
		return nil
	}
	return fmt.Errorf("stray bytes: %w", data.ErrTampered)
}

func cellKind(b []byte) Kind { return Kind(binary.BigEndian.Uint16(b[atKind:])) }

// checkCell holds for all versions: the magic in front, the sum behind.
func checkCell(b []byte) error {
	switch {
	case len(b) != cellSize:
		return fmt.Errorf("%d bytes instead of %d: %w", len(b), cellSize, data.ErrTampered)
	case !bytes.HasPrefix(b, cellMagic) || !sumHolds(b):
		return fmt.Errorf("checksum: %w", data.ErrTampered)
	}
	return checkVersion(binary.BigEndian.Uint16(b[len(cellMagic):]), cellVersion)
}

func checkVersion(found, known uint16) error {
	if found > known {
		return fmt.Errorf("format version %d, this program knows %d: %w", found, known, data.ErrNewer)
	}
	if found == 0 {
		return fmt.Errorf("format version 0: %w", data.ErrTampered)
	}
	return nil
}

// addSum appends the SHA-256 of b: it tells damage from a wrong key. Against
// intent stands the authentication inside.
func addSum(b []byte) []byte {
	sum := sha256.Sum256(b)
	return append(b, sum[:]...)
}

func sumHolds(b []byte) bool {
	body, want := b[:len(b)-sumSize], b[len(b)-sumSize:]
	got := sha256.Sum256(body)
	return bytes.Equal(got[:], want)
}

// readable says whether an error of parseCell leaves other cells to be tried.
func readable(err error) bool { return err == nil || !errors.Is(err, data.ErrNewer) }
