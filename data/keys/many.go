package keys

import (
	"fmt"
	"slices"

	"holdfast/data"
)

// AddMany is Add for owners that have no keys at all, with one write of the file: as
// each write is of the whole keyring, ten thousand owners one by one would take an
// hour. data.ErrExists, and nothing made, if one of them has any, destroyed ones
// included.
func (r *Ring) AddMany(owners []Owner, purposes ...Purpose) error {
	r.change.Lock()
	defer r.change.Unlock()
	if r.root.empty() {
		return fmt.Errorf("add keys: %w", data.ErrSealed)
	}
	after := make(map[Owner][]record, len(owners))
	for _, owner := range owners {
		if err := checkNames(owner, purposes); err != nil {
			return err
		}
		if len(r.owners[owner])+len(after[owner]) > 0 {
			return fmt.Errorf("add keys of %s: %w", owner, data.ErrExists)
		}
		var ks []record
		for _, p := range purposes {
			ks = append(ks, r.make(owner, p, 1))
		}
		slices.SortFunc(ks, byName)
		after[owner] = ks
	}
	if err := r.commit(after, false); err != nil {
		return fmt.Errorf("add keys: %w", err)
	}
	return nil
}
