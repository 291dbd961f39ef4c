package keys

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"holdfast/data"
)

// SlotsFile is the name of the slots in the keys folder.
const SlotsFile = "root.slots"

const (
	copyVersion = 1
	copyHeader  = 56
	copyLimit   = ringLimit + (maxSlots+1)*cellSize + copyHeader + sumSize
)

var copyMagic = []byte("HFCOPY\r\n")

// Copy is slots and keyring of one moment, to be kept off the host. It is as
// sealed as they are: nothing opens it but a slot's secret.
type Copy struct {
	Made   time.Time // whole milliseconds
	Serial uint64    // of the keyring
	RootID string

	slots, ring []byte
}

// ReadCopy takes a copy of the keys folder. data.ErrTampered when slots and
// keyring do not belong together or one is damaged: nothing to be kept.
func ReadCopy(dir string, now time.Time) (Copy, error) {
	slots, err := readPrivate(filepath.Join(dir, SlotsFile), (maxSlots+1)*cellSize)
	if err != nil {
		return Copy{}, fmt.Errorf("copy the keys: %w", err)
	}
	ring, err := readPrivate(filepath.Join(dir, RingFile), ringLimit)
	if err != nil {
		return Copy{}, fmt.Errorf("copy the keys: %w", err)
	}
	c, err := newCopy(now.Truncate(time.Millisecond).UTC(), slots, ring)
	if err != nil {
		return Copy{}, fmt.Errorf("copy the keys: %w", err)
	}
	return c, nil
}

func newCopy(made time.Time, slots, ring []byte) (Copy, error) {
	f, err := parseFrame(ring)
	if err != nil {
		return Copy{}, fmt.Errorf("keyring: %w", err)
	}
	if err := (&Slots{}).parse(slots); err != nil {
		return Copy{}, fmt.Errorf("slots: %w", err)
	}
	if !bytes.Equal(rootOf(slots), f.root[:]) {
		return Copy{}, fmt.Errorf("slots and keyring are under different root keys: %w", data.ErrTampered)
	}
	return Copy{made, f.serial, fmt.Sprintf("%x", f.root), slots, ring}, nil
}

// Format gives the bytes to keep.
func (c Copy) Format() []byte {
	b := append(make([]byte, 0, copyHeader+len(c.slots)+len(c.ring)+sumSize), copyMagic...)
	b = binary.BigEndian.AppendUint16(b, copyVersion)
	b = append(b, 0, 0)
	b = binary.BigEndian.AppendUint32(b, uint32(len(c.slots)))
	b = binary.BigEndian.AppendUint32(b, uint32(len(c.ring)))
	b = append(b, 0, 0, 0, 0)
	b = append(b, rootOf(c.slots)...)
	b = binary.BigEndian.AppendUint64(b, c.Serial)
	b = binary.BigEndian.AppendUint64(b, uint64(c.Made.UnixMilli()))
	return addSum(append(append(b, c.slots...), c.ring...))
}

// ParseCopy is the inverse of Format. Damage is data.ErrTampered, a later format
// data.ErrNewer.
func ParseCopy(b []byte) (Copy, error) {
	if len(b) < copyHeader+sumSize || len(b) > copyLimit || !bytes.HasPrefix(b, copyMagic) || !sumHolds(b) {
		return Copy{}, fmt.Errorf("copy of the keys: checksum: %w", data.ErrTampered)
	}
	if err := checkVersion(binary.BigEndian.Uint16(b[8:]), copyVersion); err != nil {
		return Copy{}, fmt.Errorf("copy of the keys: %w", err)
	}
	nslots, nring := uint64(binary.BigEndian.Uint32(b[12:])), uint64(binary.BigEndian.Uint32(b[16:]))
	body := b[copyHeader : len(b)-sumSize]
	if nslots+nring != uint64(len(body)) {
		return Copy{}, fmt.Errorf("copy of the keys: lengths: %w", data.ErrTampered)
	}
	made := time.UnixMilli(int64(binary.BigEndian.Uint64(b[48:]))).UTC()
	c, err := newCopy(made, body[:nslots:nslots], body[nslots:])
	if err == nil && !bytes.Equal(c.Format(), b) {
		err = fmt.Errorf("stray bytes: %w", data.ErrTampered)
	}
	if err != nil {
		return Copy{}, fmt.Errorf("copy of the keys: %w", err)
	}
	return c, nil
}

// Slots describes the slots in the copy.
func (c Copy) Slots() []SlotInfo {
	s := &Slots{}
	_ = s.parse(c.slots)
	return s.List()
}

// Restore brings slots and keyring back into dir out of the copy, which way must
// open. Slots that are in dir and open the same root key stay: they may be newer.
// What it replaces is kept, as "*.replaced". data.ErrExists when the keyring in
// dir is whole; else the errors of Unlock and OpenRing.
func (c Copy) Restore(dir string, way Slot) (*Ring, error) {
	ring, err := c.restore(dir, way)
	if err != nil {
		return nil, fmt.Errorf("restore the keys into %s: %w", dir, err)
	}
	return ring, nil
}

func (c Copy) restore(dir string, way Slot) (*Ring, error) {
	if err := makeDir(dir); err != nil {
		return nil, err
	}
	root, keep, err := c.open(dir, way)
	if err != nil {
		return nil, err
	}
	if _, err := parseRing(root, c.ring); err != nil {
		return nil, err
	}
	if _, err := readRing(filepath.Join(dir, RingFile), root); err == nil {
		return nil, fmt.Errorf("%s is whole: %w", RingFile, data.ErrExists)
	}
	aside := []string{RingFile, PreviousFile}
	if !keep {
		aside = append(aside, SlotsFile, SlotsFile+nextSuffix)
	}
	if err := setAside(dir, aside); err != nil {
		return nil, err
	}
	if !keep {
		if err := replaceFile(filepath.Join(dir, SlotsFile), c.slots); err != nil {
			return nil, err
		}
	}
	if err := replaceFile(filepath.Join(dir, RingFile), c.ring); err != nil {
		return nil, err
	}
	return OpenRing(dir, root)
}

// open finds the copy's root key: through the slots in dir, which may stay then,
// else through the copy's own.
func (c Copy) open(dir string, way Slot) (root Root, keep bool, err error) {
	if s, err := OpenSlots(filepath.Join(dir, SlotsFile)); err == nil {
		if root, err := s.Unlock(way); err == nil && root.ID() == c.RootID {
			return root, true, nil
		}
	}
	s := &Slots{path: "in the copy"}
	if err := s.parse(c.slots); err != nil {
		return Root{}, false, err
	}
	root, err = s.Unlock(way)
	return root, false, err
}

func setAside(dir string, names []string) (err error) {
	for _, name := range names {
		path := filepath.Join(dir, name)
		if e := os.Rename(path, path+".replaced"); e != nil && !errors.Is(e, fs.ErrNotExist) {
			err = errors.Join(err, e)
		}
	}
	return err
}
