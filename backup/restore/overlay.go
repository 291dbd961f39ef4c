package restore

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"holdfast/backup"
	"holdfast/data"
)

// overlay holds the newest image of each page that changed after the base, in a
// nameless scratch file, sealed under a key that only this process ever has.
type overlay struct {
	f     *os.File
	aead  cipher.AEAD
	slots map[uint32]int64 // page to slot
	count uint64           // writes so far: the nonce, never used twice
	total uint32           // size of the database so far
	low   uint32           // base pages above it were cut off at some point
}

const (
	nonceSize = 12
	slotSize  = nonceSize + data.PageSize + 16
)

func newOverlay(dir string) (*overlay, error) {
	f, err := os.CreateTemp(dir, "restore-")
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
	return &overlay{f: f, aead: aead, slots: map[uint32]int64{}}, nil
}

func (o *overlay) close() { _ = o.f.Close() }

// resize follows the size of the database: what is cut off is gone, even if
// the database grows again.
func (o *overlay) resize(total uint32) {
	grew := total >= o.total
	o.total, o.low = total, min(o.low, total)
	if grew {
		return
	}
	for pgno := range o.slots {
		if pgno > total {
			delete(o.slots, pgno)
		}
	}
}

func (o *overlay) putAll(l *backup.PageList) error {
	for i, pgno := range l.Numbers {
		if err := o.put(pgno, l.Image(i)); err != nil {
			return fmt.Errorf("scratch: %w", err)
		}
	}
	return nil
}

func (o *overlay) put(pgno uint32, image []byte) error {
	slot, ok := o.slots[pgno]
	if !ok {
		slot = int64(o.count)
	}
	o.count++
	b := make([]byte, nonceSize, slotSize)
	binary.BigEndian.PutUint64(b[4:], o.count)
	b = o.aead.Seal(b, b[:nonceSize], image, associated(pgno))
	if _, err := o.f.WriteAt(b, slot*slotSize); err != nil {
		return err
	}
	o.slots[pgno] = slot
	return nil
}

// get fills page and reports whether the overlay has it.
func (o *overlay) get(pgno uint32, page []byte) (bool, error) {
	slot, ok := o.slots[pgno]
	if !ok {
		return false, nil
	}
	b := make([]byte, slotSize)
	if _, err := o.f.ReadAt(b, slot*slotSize); err != nil {
		return false, fmt.Errorf("scratch: %w", err)
	}
	if _, err := o.aead.Open(page[:0], b[:nonceSize], b[nonceSize:], associated(pgno)); err != nil {
		return false, fmt.Errorf("scratch: %w", data.ErrTampered)
	}
	return true, nil
}

func associated(pgno uint32) []byte { return binary.BigEndian.AppendUint32(nil, pgno) }
