package cryptfs

import (
	"encoding/binary"
	"errors"
	"fmt"

	"holdfast/data"
)

// The mark of a database, "<database>-mark", says how far its log must reach. It
// has two slots, each at the start of a block of its own and written in turn, so
// that what tears one leaves the other. A slot is 64 bytes, sealed under a key of
// the mark's own; see markRecord.
const (
	markSuffix   = "-mark"
	kindMark     = 'M'
	markContent  = 64
	markSlotSize = markContent + Reserved
	markFileSize = data.PageSize + markSlotSize
	markBorn     = 1 // flag
)

// markRecord is the content of a slot:
//
//	serial 8 | log 8 | before 8 | synced 4 | written 4 | boot 16 | flags 1 | 0 (15)
type markRecord struct {
	serial  uint64   // of the slot; the greater is the newer
	log     [8]byte  // salt of the log's generation; zeros: none, all is in the database
	before  [8]byte  // salt of the generation before, which a power cut may bring back while this one has no frames
	synced  uint32   // frames of commits that no power cut takes back
	written uint32   // frames of commits that outlive the process; from synced
	boot    [16]byte // of the system that wrote them
	born    bool     // the database has pages
}

func (r markRecord) format() (b [markContent]byte) {
	binary.BigEndian.PutUint64(b[:], r.serial)
	copy(b[8:], r.log[:])
	copy(b[16:], r.before[:])
	binary.BigEndian.PutUint32(b[24:], r.synced)
	binary.BigEndian.PutUint32(b[28:], r.written)
	copy(b[32:], r.boot[:])
	if r.born {
		b[48] = markBorn
	}
	return b
}

var errMark = errors.New("is no mark")

// parseMark is the inverse of format. It answers errMark.
func parseMark(b []byte) (r markRecord, err error) {
	if len(b) != markContent || b[48]&^markBorn != 0 || [15]byte(b[49:]) != ([15]byte{}) {
		return r, errMark
	}
	r = markRecord{serial: binary.BigEndian.Uint64(b), log: [8]byte(b[8:]), before: [8]byte(b[16:]),
		synced: binary.BigEndian.Uint32(b[24:]), written: binary.BigEndian.Uint32(b[28:]),
		boot: [16]byte(b[32:]), born: b[48] == markBorn}
	if r.serial == 0 || r.written < r.synced || r.log == [8]byte{} && r.written > 0 {
		return r, errMark
	}
	return r, nil
}

func markSlot(i uint32) int64 { return int64(i) * data.PageSize }

// sealMark fills a slot.
func sealMark(s *sealer, slot []byte, r markRecord, i uint32) error {
	plain := r.format()
	return s.seal(slot, plain[:], place{kind: kindMark, number: i})
}

// openMark reads a slot.
func openMark(s *sealer, slot []byte, i uint32) (markRecord, error) {
	if err := s.open(slot, slot, markContent, place{kind: kindMark, number: i}); err != nil {
		return markRecord{}, err
	}
	r, err := parseMark(slot[:markContent])
	if err != nil {
		err = fmt.Errorf("%w: %w", err, errUnsealed)
	}
	return r, err
}
