package keys

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"holdfast/data"
)

func (s *Slots) parse(b []byte) error {
	s.file = b
	usable := 0
	for i := 0; len(b) > 0; i++ {
		raw := b[:min(cellSize, len(b))]
		b = b[len(raw):]
		c, err := parseCell(raw)
		if !readable(err) {
			return err
		}
		if err == nil && c.kind == 0 && len(b) == 0 {
			s.seal = raw
			break
		}
		if err == nil && c.kind == 0 {
			err = data.ErrTampered
		}
		if err != nil {
			err = fmt.Errorf("slot %d: %w", i+1, err)
		} else {
			usable++
		}
		s.cells = append(s.cells, slotCell{raw, c, err})
	}
	if usable == 0 {
		return errors.Join(append(s.damage(), fmt.Errorf("no slot is whole: %w", data.ErrTampered))...)
	}
	return nil
}

func (s *Slots) write(root Root, cells []slotCell) error {
	if len(cells) > maxSlots {
		return fmt.Errorf("write %s: more than %d slots", s.path, maxSlots)
	}
	cells = slices.DeleteFunc(cells, func(c slotCell) bool { return len(c.raw) < cellSize })
	file := joinCells(cells)
	seal := sealCell(root, file)
	file = append(file, seal...)
	if err := s.stillOurs(); err != nil {
		return fmt.Errorf("write %s: %w", s.path, err)
	}
	if err := replaceShredding(s.path, file); err != nil {
		return fmt.Errorf("write %s: %w", s.path, err)
	}
	s.cells, s.seal, s.file = cells, seal, file
	return nil
}

// stillOurs refuses to go on over what another process wrote meanwhile.
func (s *Slots) stillOurs() error {
	b, err := os.ReadFile(s.path)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	if err == nil && !bytes.Equal(b, s.file) {
		err = fmt.Errorf("the file changed meanwhile: %w", data.ErrBusy)
	}
	return err
}

func joinCells(cells []slotCell) (file []byte) {
	for _, c := range cells {
		file = append(file, c.raw...)
	}
	return file
}

// sealCell authenticates the cells before it, so that Check notices a slot that
// was taken away or put back by who has no key.
func sealCell(root Root, cells []byte) []byte {
	b := newCell(0, root.id())
	binary.BigEndian.PutUint32(b[atID:], uint32(len(cells)/cellSize))
	mac := hmac.New(sha256.New, root.derive(nil, "slots seal", 32))
	mac.Write(cells)
	copy(b[atSeal:], mac.Sum(nil))
	return addSum(b)
}
