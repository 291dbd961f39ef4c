package read

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"

	"holdfast/backup"
	"holdfast/data"
)

// Overlay holds the newest image of each page that changed after the base, in a
// nameless scratch file, sealed under a key that only this process ever has.
type Overlay struct {
	f     *os.File
	aead  cipher.AEAD
	slots map[uint32]int64 // page to slot
	count uint64           // writes so far: the nonce, never used twice
	Total uint32           // size of the database so far
	Low   uint32           // base pages above it were cut off at some point
}

// SlotSize is what a page takes in the scratch file, in bytes.
const SlotSize = nonceSize + data.PageSize + 16

const nonceSize = 12

// NewOverlay makes the scratch file in a folder (the system's if it is "").
func NewOverlay(dir string) (*Overlay, error) {
	f, err := os.CreateTemp(dir, "overlay-")
	if err != nil {
		return nil, fmt.Errorf("scratch: %w", err)
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(fmt.Errorf("scratch: %w", err), f.Close())
	}
	var key [32]byte
	rand.Read(key[:]) //nolint:errcheck // never fails
	block, err := aes.NewCipher(key[:])
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &Overlay{f: f, aead: aead, slots: map[uint32]int64{}}, nil
}

// Close gives the scratch file's room back.
func (o *Overlay) Close() { _ = o.f.Close() }

// Resize follows the size of the database: what is cut off is gone, even if
// the database grows again.
func (o *Overlay) Resize(total uint32) {
	grew := total >= o.Total
	o.Total, o.Low = total, min(o.Low, total)
	if grew {
		return
	}
	for pgno := range o.slots {
		if pgno > total {
			delete(o.slots, pgno)
		}
	}
}

// Begin takes the size of the image that the overlay lies over.
func (o *Overlay) Begin(total uint32) { o.Total, o.Low = total, total }

// Numbers lists the pages that the overlay has, in order.
func (o *Overlay) Numbers() []uint32 { return slices.Sorted(maps.Keys(o.slots)) }

// PutAll takes pages.
func (o *Overlay) PutAll(l *backup.PageList) error {
	for i, pgno := range l.Numbers {
		if err := o.put(pgno, l.Image(i)); err != nil {
			return fmt.Errorf("scratch: %w", err)
		}
	}
	return nil
}

func (o *Overlay) put(pgno uint32, image []byte) error {
	slot, ok := o.slots[pgno]
	if !ok {
		slot = int64(o.count)
	}
	o.count++
	b := make([]byte, nonceSize, SlotSize)
	binary.BigEndian.PutUint64(b[4:], o.count)
	b = o.aead.Seal(b, b[:nonceSize], image, associated(pgno))
	if _, err := o.f.WriteAt(b, slot*SlotSize); err != nil {
		return err
	}
	o.slots[pgno] = slot
	return nil
}

// Get fills page and reports whether the overlay has it.
func (o *Overlay) Get(pgno uint32, page []byte) (bool, error) {
	slot, ok := o.slots[pgno]
	if !ok {
		return false, nil
	}
	b := make([]byte, SlotSize)
	if _, err := o.f.ReadAt(b, slot*SlotSize); err != nil {
		return false, fmt.Errorf("scratch: %w", err)
	}
	if _, err := o.aead.Open(page[:0], b[:nonceSize], b[nonceSize:], associated(pgno)); err != nil {
		return false, fmt.Errorf("scratch: %w", data.ErrTampered)
	}
	return true, nil
}

func associated(pgno uint32) []byte { return binary.BigEndian.AppendUint32(nil, pgno) }
