package keys

import (
	"errors"
	"fmt"

	"holdfast/data"
)

// source is one owner's keys for one purpose.
type source struct {
	ring    *Ring
	owner   Owner
	purpose Purpose
	parked  bool // opens parked keys too
}

var _ data.KeySource = (*source)(nil)

// Source gives the owner's keys for a purpose; it may be asked for before they
// exist. It follows rotations, and answers data.ErrNotFound, data.ErrParked,
// data.ErrDestroyed, and data.ErrSealed after Seal.
func (r *Ring) Source(owner Owner, purpose Purpose) data.KeySource {
	return &source{r, owner, purpose, false}
}

// Archive is a Source that opens parked keys too, for a restore within the
// undelete window.
func (r *Ring) Archive(owner Owner, purpose Purpose) data.KeySource {
	return &source{r, owner, purpose, true}
}

// Current implements data.KeySource.
func (s *source) Current() (uint32, [32]byte, error) {
	k, key, err := s.settled(func(ks []record) *record { return newest(ks, s.purpose) })
	if k == nil {
		return 0, key, s.failed(data.ErrNotFound)
	}
	return k.generation, key, err
}

// Generation implements data.KeySource.
func (s *source) Generation(generation uint32) ([32]byte, error) {
	k, key, err := s.settled(func(ks []record) *record { return find(ks, s.purpose, generation) })
	if k == nil {
		return key, s.failed(fmt.Errorf("generation %d: %w", generation, data.ErrNotFound))
	}
	return key, err
}

// settled opens the record that is picked; one that came into another state between
// the look and the opening, as a rotation makes it, is looked for anew.
func (s *source) settled(pick func([]record) *record) (*record, [32]byte, error) {
	for {
		s.ring.mu.RLock()
		k := pick(s.ring.owners[s.owner])
		s.ring.mu.RUnlock()
		if k == nil {
			return nil, [32]byte{}, nil
		}
		key, err := s.key(*k)
		if !errors.Is(err, errMoved) {
			return k, key, err
		}
	}
}

// errMoved is of a record that is no longer as it was looked up.
var errMoved = errors.New("the key came into another state")

func find(ks []record, p Purpose, generation uint32) *record {
	for i := range ks {
		if ks[i].purpose == p && ks[i].generation == generation {
			return &ks[i]
		}
	}
	return nil
}

func (s *source) key(k record) ([32]byte, error) {
	if k.state == Destroyed || k.state == Parked && !s.parked {
		return [32]byte{}, s.failed(stateError(k.state))
	}
	key, err := s.ring.unwrapped(k)
	if err != nil {
		return [32]byte{}, s.failed(err)
	}
	return key, nil
}

func (s *source) failed(err error) error {
	return fmt.Errorf("%s key of %s: %w", s.purpose, s.owner, err)
}

// unwrapped opens a key once and keeps it for the next time.
func (r *Ring) unwrapped(k record) ([32]byte, error) {
	r.mu.RLock()
	key, root := r.open[k.name()], r.root
	if key != nil {
		defer r.mu.RUnlock()
		return *key, nil
	}
	r.mu.RUnlock()
	if root.empty() {
		return [32]byte{}, data.ErrSealed
	}
	return r.unwrapAndKeep(k)
}

func (r *Ring) unwrapAndKeep(k record) ([32]byte, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.root.empty() {
		return [32]byte{}, data.ErrSealed
	}
	key, err := unwrap(r.root, k)
	if err != nil {
		return key, err
	}
	// Only what still stands so may stay in memory: k may have been destroyed
	// since it was looked up.
	if now := find(r.owners[k.owner], k.purpose, k.generation); now == nil || now.state != k.state {
		return [32]byte{}, errMoved
	}
	kept := key
	r.open[k.name()] = &kept
	return key, nil
}

// Format hides the keys from every verb of package fmt.
func (r *Ring) Format(s fmt.State, _ rune) { _, _ = fmt.Fprint(s, "keyring ", redacted) }

// Format hides the keys from every verb of package fmt.
func (s *source) Format(f fmt.State, _ rune) {
	_, _ = fmt.Fprintf(f, "%s key of %s %s", s.purpose, s.owner, redacted)
}
