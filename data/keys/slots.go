package keys

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"holdfast/data"
)

// maxSlots bounds the file; more is not a slots file.
const maxSlots = 64

// Slots is the file of wrapped copies of one root key. Safe for concurrent use.
type Slots struct {
	path string
	now  func() time.Time

	mu    sync.Mutex
	cells []slotCell
	seal  []byte // the seal cell; nil when it is damaged or gone
	file  []byte // as last read or written; nil before the first write
}

// slotCell keeps the bytes as read, so that a rewrite changes no other slot.
type slotCell struct {
	raw []byte
	cell
	err error // why it cannot be used
}

// SlotInfo describes a slot. A damaged one has only what could still be read.
type SlotInfo struct {
	ID        string
	Kind      string
	Created   time.Time
	Damaged   bool
	Recipient string // of an age slot: the public half
	Set       string // of a shares slot: its set's name
	Need, Of  int    // of a shares slot: how many shares open, how many there are
}

// Unattended says that the slot opens without a person: at every start.
func (i SlotInfo) Unattended() bool {
	return !i.Damaged && (i.Kind == KindKeyFile.String() || i.Kind == KindCredential.String())
}

// CreateSlots makes a new random root key and a file that wraps it once for
// each slot. data.ErrExists if the file is there already; ErrWeak for a short
// passphrase. Nothing is left at path after an error.
func CreateSlots(path string, slots ...Slot) (Root, error) {
	if _, err := os.Lstat(path); err == nil {
		return Root{}, fmt.Errorf("create slots %s: %w", path, data.ErrExists)
	}
	if len(slots) == 0 {
		return Root{}, fmt.Errorf("create slots %s: %w", path, ErrLastSlot)
	}
	if err := makeDir(filepath.Dir(path)); err != nil {
		return Root{}, fmt.Errorf("create slots: %w", err)
	}
	key := random32()
	root, s := Root{&key}, &Slots{path: path, now: time.Now}
	if _, err := s.Add(root, slots...); err != nil {
		return Root{}, err
	}
	return root, nil
}

// OpenSlots reads the file. data.ErrNotFound without one, ErrExposed when others
// can read it, data.ErrNewer for a later format, data.ErrTampered when no slot
// is left whole; a damaged slot beside whole ones is told by List and Check.
func OpenSlots(path string) (*Slots, error) {
	if err := finishRotation(path); err != nil {
		return nil, fmt.Errorf("open slots: %w", err)
	}
	b, err := readPrivate(path, (maxSlots+1)*cellSize)
	if err != nil {
		return nil, fmt.Errorf("open slots: %w", err)
	}
	s := &Slots{path: path, now: time.Now}
	if err := s.parse(b); err != nil {
		return nil, fmt.Errorf("open slots %s: %w", path, err)
	}
	return s, removeLeftovers(path, s.now())
}

func (s *Slots) damage() (errs []error) {
	for _, c := range s.cells {
		if c.err != nil {
			errs = append(errs, c.err)
		}
	}
	return errs
}

// Unlock tries each given slot on each of its kind in the file and returns the
// root key. When none opens the error tells why of each: ErrWrongKey, ErrCode,
// ErrExposed, data.ErrNotFound for a missing key file, and data.ErrTampered too
// when a damaged slot may have been the one.
func (s *Slots) Unlock(slots ...Slot) (Root, error) {
	root, _, err := s.Open(slots...)
	return root, err
}

// Open is Unlock, and tells the ID of the slot that opened.
func (s *Slots) Open(slots ...Slot) (root Root, id string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, slot := range slots {
		if root, id, err = s.unlock(slot); err == nil {
			return root, id, nil
		}
		errs = append(errs, err)
	}
	errs = append(errs, s.damage()...)
	return Root{}, "", fmt.Errorf("unlock %s: %w", s.path, errors.Join(append(errs, ErrWrongKey)...))
}

func (s *Slots) unlock(slot Slot) (root Root, id string, err error) {
	var errs []error
	for i, c := range s.cells {
		if c.err != nil || c.kind != slot.Kind() {
			continue
		}
		if root, err = c.unlock(slot); err == nil {
			return root, c.name(i), nil
		}
		errs = append(errs, err)
	}
	if len(errs) == 0 {
		errs = append(errs, fmt.Errorf("there is no %s slot", slot.Kind()))
	}
	return Root{}, "", errors.Join(errs...)
}

func (c cell) unlock(slot Slot) (Root, error) {
	key, err := slot.secret(c)
	if err != nil {
		return Root{}, err
	}
	defer clear(key)
	plain, ok := unseal(key, c.wrap, c.bound())
	if !ok {
		return Root{}, fmt.Errorf("the %s does not open its slot", c.kind)
	}
	root := Root{(*[32]byte)(plain)}
	if root.id() != c.root {
		return Root{}, fmt.Errorf("%s slot holds another root key: %w", c.kind, data.ErrTampered)
	}
	return root, nil
}

// Add wraps root for more slots, proves that each opens, and returns their IDs
// once the new file would survive a power cut. Nothing changes after an error.
// ErrWrongKey for a root key that is not this file's; ErrUnproven for an age
// recipient, whose slot begins with Begin.
func (s *Slots) Add(root Root, slots ...Slot) (ids []string, err error) {
	for _, slot := range slots {
		if _, blind := slot.(*ageRecipient); blind {
			return nil, fmt.Errorf("add %s slot: %w", slot.Kind(), ErrUnproven)
		}
	}
	return s.add(root, slots...)
}

func (s *Slots) add(root Root, slots ...Slot) (ids []string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.owns(root); err != nil {
		return nil, fmt.Errorf("add slot: %w", err)
	}
	cells := append([]slotCell(nil), s.cells...)
	for _, slot := range slots {
		c, err := s.wrap(root, slot)
		if err == nil {
			err = c.prove(slot)
		}
		if err != nil {
			return nil, fmt.Errorf("add %s slot: %w", slot.Kind(), err)
		}
		cells, ids = append(cells, c), append(ids, c.name(len(cells)))
	}
	return ids, s.write(root, cells)
}

func (s *Slots) wrap(root Root, slot Slot) (slotCell, error) {
	c := cell{kind: slot.Kind(), root: root.id(), created: s.now().Truncate(time.Second).UTC(), salt: random32()}
	_, _ = rand.Read(c.id[:])
	if err := slot.prepare(&c); err != nil {
		return slotCell{}, err
	}
	key, err := slot.secret(c)
	if err != nil {
		return slotCell{}, err
	}
	defer clear(key)
	if len(c.body) > maxBody {
		return slotCell{}, fmt.Errorf("a slot's body of %d bytes, at most %d fit: %w", len(c.body), maxBody, data.ErrTampered)
	}
	c.wrap = seal(key, root.key[:], c.bound())
	return written(c)
}

// written is the cell as it will be read from disk.
func written(c cell) (slotCell, error) {
	raw := c.format()
	back, err := parseCell(raw)
	return slotCell{raw: raw, cell: back}, err
}

// prove opens a new slot from the bytes that will stand on disk, in every way
// that was handed out.
func (c slotCell) prove(slot Slot) error {
	ways := []Slot{slot}
	if m, ok := slot.(interface{ ways() []Slot }); ok {
		ways = m.ways()
	}
	for _, way := range ways {
		if _, err := c.unlock(way); err != nil {
			return fmt.Errorf("the new slot does not open: %w", err)
		}
	}
	return nil
}

// Remove takes the slot with this ID away and overwrites the old file.
// data.ErrNotFound without one, ErrLastSlot when nothing usable would be left.
func (s *Slots) Remove(root Root, id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.owns(root); err != nil {
		return fmt.Errorf("remove slot: %w", err)
	}
	var left []slotCell
	usable := 0
	for i, c := range s.cells {
		if c.name(i) == id {
			continue
		}
		left = append(left, c)
		if c.err == nil && c.kind <= lastKind {
			usable++
		}
	}
	switch {
	case len(left) == len(s.cells):
		return fmt.Errorf("remove slot %s: %w", id, data.ErrNotFound)
	case usable == 0:
		return fmt.Errorf("remove slot %s: %w", id, ErrLastSlot)
	}
	return s.write(root, left)
}

// owns says whether root is the key that these slots wrap.
func (s *Slots) owns(root Root) error {
	if root.empty() {
		return data.ErrSealed
	}
	for _, c := range s.cells {
		if c.err == nil && c.root != root.id() {
			return fmt.Errorf("%s wraps another root key: %w", s.path, ErrWrongKey)
		}
	}
	return nil
}

// Check tells with data.ErrTampered whether any byte of the file is not as it
// was written: damaged slots, slots taken away or put back.
func (s *Slots) Check(root Root) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.owns(root); err != nil {
		return err
	}
	errs := s.damage()
	file := joinCells(s.cells)
	if len(file)%cellSize != 0 || !bytes.Equal(sealCell(root, file), s.seal) {
		errs = append(errs, fmt.Errorf("the seal of the file does not fit: %w", data.ErrTampered))
	}
	if len(errs) == 0 {
		return nil
	}
	return fmt.Errorf("check %s: %w", s.path, errors.Join(errs...))
}

// List describes the slots in the order they were added.
func (s *Slots) List() []SlotInfo {
	s.mu.Lock()
	defer s.mu.Unlock()
	infos := make([]SlotInfo, len(s.cells))
	for i, c := range s.cells {
		infos[i] = c.info(i)
	}
	return infos
}

func (c slotCell) info(i int) SlotInfo {
	if c.err != nil {
		return SlotInfo{ID: c.name(i), Kind: "damaged", Damaged: true}
	}
	info := SlotInfo{ID: c.name(i), Kind: c.kind.String(), Created: c.created}
	switch c.kind {
	case KindAge:
		if b, err := parseAgeBody(c.body); err == nil {
			info.Recipient = b.recipient
		}
	case KindShares:
		if b, err := parseSharesBody(c.body); err == nil {
			info.Set, info.Need, info.Of = b.set.String(), b.need, b.of()
		}
	}
	return info
}

// name is the slot's ID; of a damaged one, whose ID cannot be trusted, its place.
func (c slotCell) name(i int) string {
	if c.err != nil {
		return fmt.Sprintf("damaged-%d", i+1)
	}
	return fmt.Sprintf("%x", c.id[:4])
}
