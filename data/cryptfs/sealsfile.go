package cryptfs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"holdfast/data"
)

// The file of counts, "<database>-seals", has two slots of a page each, written in
// turn, so that a torn write leaves the other. A slot is sealed like a page, under
// a key of its own:
//
//	serial 8 | number of rows 2 | 0 (6) | rows: generation 4, pages 8, log 8 | zeros
const (
	sealsSuffix   = "-seals"
	kindSeals     = 'S'
	sealsHead     = 16
	sealsRow      = 4 + 8*partCount
	maxSealsRows  = (pageContent - sealsHead) / sealsRow
	sealsFileSize = 2 * data.PageSize
)

// sealsFile is the content of the newer slot.
type sealsFile struct {
	serial uint64
	slot   int
	counts []sealsOf
}

type sealsOf struct {
	generation uint32
	counts     [partCount]int64
}

func (f sealsFile) format() []byte {
	b := make([]byte, sealsHead, pageContent)
	binary.BigEndian.PutUint64(b, f.serial)
	binary.BigEndian.PutUint16(b[8:], uint16(len(f.counts))) //nolint:gosec // at most maxSealsRows
	for _, c := range f.counts {
		b = binary.BigEndian.AppendUint32(b, c.generation)
		for _, n := range c.counts {
			b = binary.BigEndian.AppendUint64(b, uint64(n)) //nolint:gosec // never negative
		}
	}
	return b[:pageContent]
}

var errSeals = errors.New("is no count of seals")

// parseSeals is the inverse of format. It answers errSeals.
func parseSeals(b []byte) (f sealsFile, err error) {
	if len(b) != pageContent {
		return f, errSeals
	}
	f.serial = binary.BigEndian.Uint64(b)
	rows := int(binary.BigEndian.Uint16(b[8:]))
	if f.serial == 0 || rows > maxSealsRows || [6]byte(b[10:sealsHead]) != ([6]byte{}) {
		return f, errSeals
	}
	for last := uint32(0); rows > 0; rows-- {
		row := b[sealsHead+len(f.counts)*sealsRow:]
		c := sealsOf{generation: binary.BigEndian.Uint32(row)}
		for part := range c.counts {
			n := binary.BigEndian.Uint64(row[4+8*part:])
			if n > sealBound {
				return f, errSeals
			}
			c.counts[part] = int64(n) //nolint:gosec // checked
		}
		if c.generation <= last && last != 0 || c.generation > maxGeneration {
			return f, errSeals
		}
		last = c.generation
		f.counts = append(f.counts, c)
	}
	if slices.ContainsFunc(b[sealsHead+len(f.counts)*sealsRow:], func(x byte) bool { return x != 0 }) {
		return f, errSeals
	}
	return f, nil
}

// read gives the newer slot. Where the other one does not authenticate, it may
// have been the newer: then two blocks are added. os.ErrNotExist says that there is
// no file, or one whose first write a power cut took or tore.
func (t *tally) read() (f sealsFile, err error) {
	r, err := t.disk.Open(t.path, os.O_RDONLY, 0)
	if err != nil {
		return f, err
	}
	defer r.Close()
	bad, empty, last := 0, 0, error(nil)
	for slot := range 2 {
		got, err := t.readSlot(r, slot)
		switch {
		case err == io.EOF:
			empty++
		case errors.Is(err, errUnsealed):
			bad, last = bad+1, err
		case err != nil:
			return f, err
		case got.serial > f.serial:
			f = got
		}
	}
	switch {
	case f.serial == 0 && bad > 0 && empty == 0:
		return f, &PageError{File: t.path, Page: 1, Reason: last.Error()}
	case f.serial == 0: // a torn slot alone is of a first write that was never synced: nothing was sealed after it
		return f, os.ErrNotExist
	case bad > 0:
		f.add(2 * sealBlock)
	}
	return f, nil
}

func (f *sealsFile) add(n int64) {
	for i := range f.counts {
		for part := range f.counts[i].counts {
			f.counts[i].counts[part] += n
		}
	}
}

// readSlot answers io.EOF for a slot that was never written.
func (t *tally) readSlot(r io.ReaderAt, slot int) (sealsFile, error) {
	var p [data.PageSize]byte
	n, err := readFull(r, p[:], int64(slot)*data.PageSize)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return sealsFile{}, err
	}
	if n == 0 || p == ([data.PageSize]byte{}) {
		return sealsFile{}, io.EOF
	}
	at := place{kind: kindSeals, number: uint32(slot) + 1} //nolint:gosec // 1 or 2
	if err := t.sealer.open(p[:], p[:], pageContent, at); err != nil {
		return sealsFile{}, err
	}
	f, err := parseSeals(p[:pageContent])
	if err != nil {
		return f, fmt.Errorf("%w: %w", err, errUnsealed)
	}
	f.slot = slot
	return f, nil
}

// save writes the slot whose turn it is. mu is held.
func (t *tally) save(sync bool) error {
	f := sealsFile{serial: t.serial + 1, slot: 1 - t.slot}
	for generation, c := range t.counts {
		row := sealsOf{generation: generation}
		for part := range c {
			row.counts[part] = min(max(c[part].ahead.Load(), 0), sealBound)
		}
		f.counts = append(f.counts, row)
	}
	slices.SortFunc(f.counts, func(a, b sealsOf) int { return int(a.generation) - int(b.generation) })
	f.counts = f.counts[max(0, len(f.counts)-maxSealsRows):]
	if err := t.write(f, sync); err != nil {
		return err
	}
	t.serial, t.slot = f.serial, f.slot
	return nil
}

func (t *tally) write(f sealsFile, sync bool) error {
	var sealed [data.PageSize]byte
	at := place{kind: kindSeals, number: uint32(f.slot) + 1} //nolint:gosec // 1 or 2
	if err := t.sealer.seal(sealed[:], f.format(), at); err != nil {
		return err
	}
	w, err := t.disk.Open(t.path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	_, err = w.WriteAt(sealed[:], int64(f.slot)*data.PageSize)
	if err == nil && sync {
		err = w.Sync()
	}
	if err = errors.Join(err, w.Close()); err == nil && sync && t.serial == 0 { // it may be new
		err = t.disk.SyncDir(filepath.Dir(t.path))
	}
	return err
}
