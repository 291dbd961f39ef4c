package cryptfs

import (
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"

	"holdfast/data/cryptfs/disk"
)

// mark is how far a database's log must reach when it is opened again, kept on
// disk apart from the log. It is never ahead of the log:
//
//   - raised after the log was synced (or, where durability is relaxed, written),
//     without a sync of its own: a power cut may leave it behind;
//   - lowered, and synced, before SQLite overwrites or removes what it counts.
type mark struct {
	disk   disk.System
	path   string
	sealer *sealer
	boot   [16]byte
	high   atomic.Uint32 // no frame above was ever counted in this generation of the log

	mu    sync.Mutex
	now   markRecord
	last  uint32    // slot written last
	file  disk.File // held while the database is open
	epoch uint64    // how often it was lowered
	buf   [markSlotSize]byte
}

func newMark(fs *FS, path, name string) *mark {
	return &mark{disk: fs.Disk, path: path + markSuffix, boot: fs.boot, sealer: newSealer(fs.Keys, "mark", fs.Identity, name)}
}

// bootID tells one run of the system from another; zeros where it has no name.
func bootID() (id [16]byte) {
	text, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	b, err := hex.DecodeString(strings.ReplaceAll(strings.TrimSpace(string(text)), "-", ""))
	if err == nil && len(b) == len(id) {
		copy(id[:], b)
	}
	return id
}

// bootOf is bootID, unless a disk that stands in for the system's has one of its
// own: rooms above test with it what a power cut leaves.
func bootOf(d disk.System) [16]byte {
	if s, ok := d.(interface{ Boot() [16]byte }); ok {
		return s.Boot()
	}
	return bootID()
}

// begin counts from zero in a new generation of the log.
func (m *mark) begin(salt [8]byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.now.log == salt && m.now.written == 0 {
		return nil
	}
	next := m.now
	if next.written > 0 { // else its header may never have reached the disk
		next.before = next.log
	}
	next.log, next.synced, next.written, next.born = salt, 0, 0, true
	if err := m.write(next, true); err != nil {
		return err
	}
	m.high.Store(0)
	return nil
}

// adopt follows the generation that the log is of. It is another than expected
// where a power cut came before the log's new header was synced.
func (m *mark) adopt(salt [8]byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if salt == m.now.log || salt == ([8]byte{}) {
		return nil
	}
	next := m.now
	next.log = salt
	return m.write(next, false)
}

// counts says whether a frame of the log is one that must be there.
func (m *mark) counts(salt [8]byte, frame uint32) bool {
	if frame > m.high.Load() {
		return false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return salt == m.now.log && frame <= m.now.written
}

// lower takes back what reaches beyond some frames, which SQLite overwrites
// because a commit came to nothing.
func (m *mark) lower(frames uint32) error {
	if frames >= m.high.Load() {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	next := m.now
	next.synced, next.written = min(next.synced, frames), min(next.written, frames)
	m.epoch++
	if err := m.write(next, true); err != nil {
		return err
	}
	m.high.Store(frames)
	return nil
}

// markPoint is a commitPoint and the mark's state when it was taken.
type markPoint struct {
	commitPoint
	epoch uint64
}

func (m *mark) point(t *tracker) markPoint {
	m.mu.Lock()
	epoch := m.epoch
	m.mu.Unlock()
	return markPoint{t.written(), epoch}
}

// raise counts the frames up to a point: those are synced, or only written.
func (m *mark) raise(p markPoint, synced bool) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if p.salt != m.now.log || p.epoch != m.epoch || p.salt == ([8]byte{}) {
		return nil // SQLite has begun the log anew meanwhile
	}
	next := m.now
	next.written = max(next.written, p.frame)
	if synced {
		next.synced = max(next.synced, p.frame)
	}
	if next.synced == m.now.synced && next.written == m.now.written {
		return nil
	}
	m.high.Store(max(m.high.Load(), next.written)) // even if the write fails, it may be there
	return m.write(next, false)
}

// write writes the slot whose turn it is. mu is held.
func (m *mark) write(next markRecord, sync bool) error {
	if err := m.open(); err != nil {
		return fmt.Errorf("mark: %w", err)
	}
	slot := 1 - m.last
	next.serial, next.boot = m.now.serial+1, m.boot
	err := sealMark(m.sealer, m.buf[:], next, slot)
	if err == nil {
		_, err = m.file.WriteAt(m.buf[:], markSlot(slot))
	}
	if err == nil && sync {
		err = m.file.Sync()
	}
	if err != nil {
		return fmt.Errorf("mark: %w", err)
	}
	m.now, m.last = next, slot
	return nil
}

func (m *mark) open() (err error) {
	if m.file == nil {
		m.file, err = m.disk.Open(m.path, os.O_RDWR, 0)
	}
	return err
}

// rest lets go of the file.
func (m *mark) rest() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.file != nil {
		m.file.Close() // what matters was synced
		m.file = nil
	}
}

// create makes the file anew, for a database that holds what r says, and makes
// it durable.
func (m *mark) create(r markRecord) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.file != nil {
		m.file.Close()
		m.file = nil
	}
	f, err := m.disk.Open(m.path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	m.file, m.now, m.last = f, r, 1
	m.high.Store(r.written)
	for range 2 {
		if err := m.write(m.now, true); err != nil {
			return err
		}
	}
	return errors.Join(f.Truncate(markFileSize), f.Sync(), m.disk.SyncDir(filepath.Dir(m.path)))
}

// renew seals both slots under the current key, and forgets those before oldest.
func (m *mark) renew(oldest uint32) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sealer.forget(oldest)
	return errors.Join(m.write(m.now, true), m.write(m.now, true))
}

// generations is what the slots are sealed under.
func (m *mark) generations() (in []uint32) {
	b, err := os.ReadFile(m.path)
	for i := range uint32(2) {
		if end := int(markSlot(i)) + markSlotSize; err == nil && len(b) >= end {
			in = append(in, generationOf(b[:end]))
		}
	}
	return in
}
