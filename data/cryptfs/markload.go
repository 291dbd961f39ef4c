package cryptfs

import (
	"errors"
	"fmt"
	"io"
	"os"
)

// markSlots are both slots as they were read.
type markSlots struct {
	records [2]markRecord
	errs    [2]error // errUnsealed, where a slot is torn or was changed
}

// load takes up what the mark's file says: the newer slot.
func (m *mark) load() (markRecord, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.open(); err != nil {
		return markRecord{}, err
	}
	slots, err := m.readSlots()
	if err != nil {
		return markRecord{}, err
	}
	newer := slots.newer()
	r := slots.records[newer]
	// Since the system started anew, what was only written may be gone, and of
	// the writes since the last sync any may be missing or torn.
	restarted := r.boot != m.boot || r.boot == [16]byte{}
	if r.serial == 0 {
		return r, m.damaged(0, slots.errs[0])
	}
	if err := slots.other(newer); err != nil && !restarted {
		return r, m.damaged(1-newer, err)
	}
	if restarted {
		r.written = r.synced
	}
	m.now, m.last = r, newer
	m.high.Store(r.written)
	return r, nil
}

// unfinished is of a file whose making was cut off: the database was not begun.
func (m *mark) unfinished() bool {
	info, err := os.Stat(m.path)
	return err == nil && info.Size() < markFileSize
}

func (m *mark) damaged(slot uint32, err error) error {
	return &PageError{File: m.path, Page: slot, Reason: err.Error() + "; " + advice, cut: true}
}

func (m *mark) readSlots() (s markSlots, err error) {
	for i := range s.records {
		s.records[i], s.errs[i] = m.readSlot(uint32(i))
		if err := s.errs[i]; err != nil && !errors.Is(err, errUnsealed) {
			return s, err
		}
	}
	return s, nil
}

func (m *mark) readSlot(i uint32) (markRecord, error) {
	_, err := readFull(m.file, m.buf[:], markSlot(i))
	if err == io.EOF {
		return markRecord{}, fmt.Errorf("is cut short: %w", errUnsealed)
	}
	if err != nil {
		return markRecord{}, err
	}
	return openMark(m.sealer, m.buf[:], i)
}

func (s markSlots) newer() uint32 {
	if s.records[1].serial > s.records[0].serial {
		return 1
	}
	return 0
}

// other says what is wrong with the slot that is not the newer.
func (s markSlots) other(newer uint32) error {
	switch err := s.errs[1-newer]; {
	case err != nil:
		return err
	case s.records[1-newer].serial+1 != s.records[newer].serial:
		return errors.New("is older than the one before the newest")
	}
	return nil
}
