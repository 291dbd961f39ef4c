package keys

import (
	"errors"
	"fmt"
	"maps"
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
	all := maps.Clone(r.owners)
	for _, owner := range owners {
		if err := checkNames(owner, purposes); err != nil {
			return err
		}
		if _, ok := all[owner]; ok {
			return fmt.Errorf("add keys of %s: %w", owner, data.ErrExists)
		}
		var ks []record
		for _, p := range purposes {
			ks = append(ks, r.make(owner, p, 1))
		}
		slices.SortFunc(ks, byName)
		all[owner] = ks
	}
	c := content{serial: r.serial + 1, salt: random32(), records: sorted(all)}
	if err := r.save(c, false); err != nil {
		return errors.Join(fmt.Errorf("add keys: %w", err), r.reload())
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.serial, r.owners = c.serial, all
	return nil
}
