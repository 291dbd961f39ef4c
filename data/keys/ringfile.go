package keys

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"holdfast/data"
)

// The keyring file: a readable header, the sealed entries, a sum. README.md has
// the bytes.
const (
	ringVersion = 1
	ringHeader  = 72
	ringLimit   = 256 << 20
	wrapSize    = 32 + sealOverhead
	printSize   = 16
	recordUsual = 160 // what an entry usually takes; only a hint
)

var (
	ringMagic  = []byte("HFRING\r\n")
	stateBytes = map[State]byte{Live: 1, Parked: 2, Retired: 3, Destroyed: 4}
	byteStates = map[byte]State{1: Live, 2: Parked, 3: Retired, 4: Destroyed}
)

// record is one key as the file holds it: wrapped on its own, so that it is in
// memory in clear only once it was asked for.
type record struct {
	owner      Owner
	purpose    Purpose
	generation uint32
	state      State
	created    time.Time // whole seconds, as changed
	changed    time.Time // when it came into this state
	print      [printSize]byte
	wrap       []byte // nil once destroyed
}

// aad binds a wrap to what the key is for and to its state.
func (r record) aad() []byte {
	b := []byte("holdfast/keyring/v1|entry|")
	b = appendString(appendString(b, string(r.owner)), string(r.purpose))
	b = binary.BigEndian.AppendUint32(b, r.generation)
	return append(b, stateBytes[r.state])
}

func (r record) append(b []byte) []byte {
	b = appendString(appendString(b, string(r.owner)), string(r.purpose))
	b = binary.BigEndian.AppendUint32(b, r.generation)
	b = append(b, stateBytes[r.state])
	b = binary.BigEndian.AppendUint64(b, uint64(r.created.Unix()))
	b = binary.BigEndian.AppendUint64(b, uint64(r.changed.Unix()))
	return append(append(b, r.print[:]...), r.wrap...)
}

func appendString(b []byte, s string) []byte { return append(append(b, byte(len(s))), s...) }

// content is a keyring file's inside.
type content struct {
	serial  uint64 // one more with each write
	salt    [32]byte
	records []record
}

// formatRing seals c under root; the salt gives each write a key of its own.
func formatRing(root Root, c content) []byte {
	b := newRingFile(len(c.records) * recordUsual)
	for _, r := range c.records {
		b = r.append(b)
	}
	return sealRing(root, c.serial, c.salt, len(c.records), b)
}

// ringEntries is where the entries begin: behind the header and the nonce.
const ringEntries = ringHeader + 12

// newRingFile begins a file that will have so many bytes of entries: room before and
// behind them, so that they are sealed where they are encoded.
func newRingFile(size int) []byte {
	return make([]byte, ringEntries, ringEntries+size+sealOverhead+sumSize)
}

// sealRing makes a file of one whose entries are encoded. What it is given is not to
// be used again.
func sealRing(root Root, serial uint64, salt [32]byte, count int, b []byte) []byte {
	id := root.id()
	head := append(b[:0], ringMagic...)
	head = binary.BigEndian.AppendUint16(head, ringVersion)
	head = binary.BigEndian.AppendUint16(head, 0)
	head = binary.BigEndian.AppendUint32(head, uint32(count)) //nolint:gosec // bounded by ringLimit
	head = append(head, id[:]...)
	head = binary.BigEndian.AppendUint64(head, serial)
	head = append(head, salt[:]...)
	return addSum(sealInPlace(root.derive(salt[:], "keyring file", 32), b, ringEntries, head))
}

// ringFrame is what can be read of a keyring without the root key.
type ringFrame struct {
	root   [16]byte
	count  uint32
	serial uint64
	salt   [32]byte
	header []byte
	body   []byte // sealed
}

// parseFrame checks the sum, which holds for all versions, then the version.
func parseFrame(b []byte) (f ringFrame, err error) {
	if len(b) < ringHeader+sealOverhead+sumSize || !bytes.HasPrefix(b, ringMagic) || !sumHolds(b) {
		return f, fmt.Errorf("checksum: %w", data.ErrTampered)
	}
	if err := checkVersion(binary.BigEndian.Uint16(b[8:]), ringVersion); err != nil {
		return f, err
	}
	f.count = binary.BigEndian.Uint32(b[12:])
	copy(f.root[:], b[16:])
	f.serial = binary.BigEndian.Uint64(b[32:])
	copy(f.salt[:], b[40:])
	f.header, f.body = b[:ringHeader], b[ringHeader:len(b)-sumSize]
	return f, nil
}

// parseRing opens a keyring. Changed bytes are data.ErrTampered, a later format
// data.ErrNewer, a keyring under another root key ErrWrongKey.
func parseRing(root Root, b []byte) (content, error) {
	f, err := parseFrame(b)
	if err != nil {
		return content{}, err
	}
	if f.root != root.id() {
		return content{}, fmt.Errorf("it is under root key %x, not %s: %w", f.root, root.ID(), ErrWrongKey)
	}
	body, ok := unseal(root.derive(f.salt[:], "keyring file", 32), f.body, f.header)
	if !ok {
		return content{}, data.ErrTampered
	}
	c := content{serial: f.serial, salt: f.salt}
	c.records, err = parseRecords(body, f.count)
	return c, err
}

var errRecord = errors.New("malformed entry")

func parseRecords(b []byte, count uint32) ([]record, error) {
	records := make([]record, 0, min(int(count), len(b)/recordTail))
	for len(b) > 0 {
		r, rest, err := parseRecord(b)
		if err != nil {
			return nil, fmt.Errorf("entry %d: %w", len(records)+1, err)
		}
		records, b = append(records, r), rest
	}
	if uint32(len(records)) != count {
		return nil, fmt.Errorf("%d entries instead of %d: %w", len(records), count, errRecord)
	}
	return records, nil
}

// recordTail is the size behind the two names, without the wrap.
const recordTail = 4 + 1 + 8 + 8 + printSize

func parseRecord(b []byte) (r record, rest []byte, err error) {
	owner, b, ok1 := cutString(b)
	purpose, b, ok2 := cutString(b)
	if !ok1 || !ok2 || len(b) < recordTail {
		return r, nil, errRecord
	}
	r = record{owner: Owner(owner), purpose: Purpose(purpose), generation: binary.BigEndian.Uint32(b)}
	r.state = byteStates[b[4]]
	r.created = time.Unix(int64(binary.BigEndian.Uint64(b[5:])), 0).UTC()
	r.changed = time.Unix(int64(binary.BigEndian.Uint64(b[13:])), 0).UTC()
	copy(r.print[:], b[21:])
	b = b[recordTail:]
	if r.state == "" || r.generation == 0 {
		return r, nil, errRecord
	}
	if r.state == Destroyed {
		return r, b, nil
	}
	if len(b) < wrapSize {
		return r, nil, errRecord
	}
	r.wrap = b[:wrapSize:wrapSize]
	return r, b[wrapSize:], nil
}

func cutString(b []byte) (s string, rest []byte, ok bool) {
	if len(b) < 1 || len(b) < 1+int(b[0]) {
		return "", nil, false
	}
	n := 1 + int(b[0])
	return string(b[1:n]), b[n:], true
}
