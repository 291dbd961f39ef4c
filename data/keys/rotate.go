package keys

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"holdfast/data"
)

// nextSuffix names the slots of a root key that is about to take over.
const nextSuffix = ".next"

// RotateRoot makes a new root key, wraps it in the given slots, and puts ring,
// which must be the keyring beside these slots, under it. All other slots end:
// nothing is left that the old root key opens. A crash leaves the old root key
// or the new one, with its slots; OpenSlots sorts that out.
func (s *Slots) RotateRoot(ring *Ring, slots ...Slot) (Root, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	root, err := s.rotate(ring, slots)
	if err != nil {
		return Root{}, fmt.Errorf("rotate the root key: %w", err)
	}
	return root, nil
}

func (s *Slots) rotate(ring *Ring, slots []Slot) (Root, error) {
	if err := s.belongsTo(ring); err != nil {
		return Root{}, err
	}
	if err := s.stillOurs(); err != nil {
		return Root{}, err
	}
	if len(slots) == 0 {
		return Root{}, ErrLastSlot
	}
	if err := removeFile(s.path + nextSuffix); err != nil {
		return Root{}, err
	}
	key := random32()
	root, next := Root{&key}, &Slots{path: s.path + nextSuffix, now: s.now}
	if _, err := next.add(root, slots...); err != nil {
		return Root{}, err
	}
	if err := ring.Rewrap(root); err != nil {
		return Root{}, err
	}
	s.cells, s.seal, s.file = next.cells, next.seal, next.file
	return root, takeOver(s.path)
}

func (s *Slots) belongsTo(ring *Ring) error {
	if filepath.Clean(ring.dir) != filepath.Dir(s.path) {
		return fmt.Errorf("keyring in %s, slots in %s: %w", ring.dir, filepath.Dir(s.path), data.ErrNotFound)
	}
	ring.mu.RLock()
	defer ring.mu.RUnlock()
	return s.owns(ring.root)
}

// takeOver puts the next slots in the old ones' place and overwrites those.
func takeOver(path string) error {
	b, err := readPrivate(path+nextSuffix, (maxSlots+1)*cellSize)
	if err != nil {
		return err
	}
	if err := replaceShredding(path, b); err != nil {
		return err
	}
	return removeFile(path + nextSuffix)
}

// finishRotation goes on where a crash stopped RotateRoot: the next slots count
// once the keyring is under their root key.
func finishRotation(path string) error {
	next, err := os.ReadFile(path + nextSuffix)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	ring, err := os.ReadFile(filepath.Join(filepath.Dir(path), RingFile))
	if err != nil {
		return nil // OpenRing tells
	}
	f, err := parseFrame(ring)
	if err != nil || !bytes.Equal(rootOf(next), f.root[:]) {
		return nil
	}
	return takeOver(path)
}

// rootOf is the root id in the first slot that is whole.
func rootOf(file []byte) []byte {
	s := &Slots{}
	_ = s.parse(file)
	for _, c := range s.cells {
		if c.err == nil {
			return c.root[:]
		}
	}
	return nil
}
