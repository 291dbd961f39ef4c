package keys

import (
	"fmt"
	"strings"

	"holdfast/data"
)

// Add makes a live first generation for each purpose. data.ErrExists, and
// nothing made, if the owner has one of them already; data.ErrDestroyed for an
// owner whose keys were destroyed, data.ErrParked while they are parked.
func (r *Ring) Add(owner Owner, purposes ...Purpose) error {
	if err := checkNames(owner, purposes); err != nil {
		return err
	}
	return r.edit("add keys of", owner, false, func(ks []record) ([]record, error) {
		if s := stateOf(ks); s == Parked || s == Destroyed {
			return nil, stateError(s)
		}
		for _, p := range purposes {
			if newest(ks, p) != nil {
				return nil, fmt.Errorf("purpose %s: %w", p, data.ErrExists)
			}
			ks = append(ks, r.make(owner, p, 1))
		}
		return ks, nil
	})
}

func checkNames(owner Owner, purposes []Purpose) error {
	names := []string{string(owner)}
	for _, p := range purposes {
		names = append(names, string(p))
	}
	for _, n := range names {
		if n == "" || len(n) > 255 || strings.ContainsFunc(n, func(c rune) bool { return c <= ' ' || c > '~' }) {
			return fmt.Errorf("key owner or purpose %q: want 1 to 255 printable ASCII characters", n)
		}
	}
	return nil
}

// Rotate makes a new live generation and retires the one before it, which goes
// on opening what it sealed until Drop. data.ErrNotFound without one.
func (r *Ring) Rotate(owner Owner, purpose Purpose) error {
	return r.edit("rotate keys of", owner, false, func(ks []record) ([]record, error) {
		k := newest(ks, purpose)
		if k == nil {
			return nil, fmt.Errorf("purpose %s: %w", purpose, data.ErrNotFound)
		}
		if k.state != Live {
			return nil, stateError(k.state)
		}
		generation := k.generation + 1
		if err := r.move(k, Retired); err != nil {
			return nil, err
		}
		return append(ks, r.make(owner, purpose, generation)), nil
	})
}

// Drop destroys one retired generation, once nothing sealed under it is left.
// data.ErrNotFound without it; ErrInUse for the live one.
func (r *Ring) Drop(owner Owner, purpose Purpose, generation uint32) error {
	return r.edit("drop a key of", owner, true, func(ks []record) ([]record, error) {
		for i := range ks {
			if k := &ks[i]; k.purpose == purpose && k.generation == generation {
				if k.state == Live || k.state == Parked {
					return nil, fmt.Errorf("%s generation %d is %s: %w", purpose, generation, k.state, ErrInUse)
				}
				return ks, r.move(k, Destroyed)
			}
		}
		return nil, data.ErrNotFound
	})
}

// Park keeps the owner's keys sealed for the undelete window: its sources answer
// data.ErrParked, its archives still open. Parking twice is no error.
func (r *Ring) Park(owner Owner) error {
	return r.edit("park keys of", owner, false, func(ks []record) ([]record, error) {
		if owner == System {
			return nil, ErrInUse
		}
		return ks, r.moveAll(ks, func(k record) State { return Parked })
	})
}

// Unpark undoes Park. Unparking live keys is no error; data.ErrDestroyed if the
// window is over.
func (r *Ring) Unpark(owner Owner) error {
	return r.edit("unpark keys of", owner, false, func(ks []record) ([]record, error) {
		if stateOf(ks) == Destroyed {
			return nil, data.ErrDestroyed
		}
		return ks, r.moveAll(ks, func(k record) State {
			if newest(ks, k.purpose).generation == k.generation {
				return Live
			}
			return Retired
		})
	})
}

// Destroy overwrites and removes the owner's keys, in the previous generation of
// the file too. Entries with fingerprints stay. Destroying twice is no error.
func (r *Ring) Destroy(owner Owner) error {
	return r.edit("destroy keys of", owner, true, func(ks []record) ([]record, error) {
		if owner == System {
			return nil, ErrInUse
		}
		return ks, r.moveAll(ks, func(record) State { return Destroyed })
	})
}

func (r *Ring) moveAll(ks []record, to func(record) State) error {
	if len(ks) == 0 {
		return data.ErrNotFound
	}
	for i := range ks {
		if s := to(ks[i]); ks[i].state != Destroyed && ks[i].state != s {
			if err := r.move(&ks[i], s); err != nil {
				return err
			}
		}
	}
	return nil
}

// newest gives the highest generation of a purpose, or nil.
func newest(ks []record, p Purpose) (found *record) {
	for i := range ks {
		if ks[i].purpose == p && (found == nil || ks[i].generation > found.generation) {
			found = &ks[i]
		}
	}
	return found
}

func stateOf(ks []record) State {
	for _, k := range ks {
		if k.state == Parked || k.state == Live {
			return k.state
		}
	}
	if len(ks) == 0 {
		return Live
	}
	return Destroyed
}

func stateError(s State) error {
	if s == Parked {
		return data.ErrParked
	}
	return data.ErrDestroyed
}
