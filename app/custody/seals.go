package custody

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"holdfast/data/keys"
)

// keyName is one key of the keyring.
type keyName struct {
	owner      keys.Owner
	purpose    keys.Purpose
	generation uint32
}

// seals is how often each key sealed, as far as it is known.
func (s *Service) seals() map[keyName]Sealed {
	all := map[keyName]Sealed{}
	if s.config.Seals == nil {
		return all
	}
	for _, one := range s.config.Seals() {
		name := keyName{one.Owner, one.Purpose, one.Generation}
		if one.Count >= all[name].Count {
			all[name] = one
		}
	}
	return all
}

// near says that a key sealed half as often as it may: by then a new generation is due.
func (s Sealed) near() bool { return s.Bound > 0 && s.Count >= s.Bound/2 }

// sealFindings names the keys that near their bound and are live still. The clock
// makes a new generation by itself, so that one stands here for minutes at most,
// unless that fails.
func (s *Service) sealFindings(ctx context.Context) (all []Finding) {
	live := map[keyName]bool{}
	for _, e := range s.config.Ring.Entries() {
		live[keyName{e.Owner, e.Purpose, e.Generation}] = e.State == keys.Live
	}
	for name, one := range s.seals() {
		if !one.near() || !live[name] {
			continue
		}
		owner := cmp.Or(s.config.Name(ctx, one.Owner), string(one.Owner))
		all = append(all, Finding{"key-spent", "warning",
			fmt.Sprintf("The %s key of %s, generation %d, has sealed %d times; at %d writes are refused.", one.Purpose, owner, one.Generation, one.Count, one.Bound),
			fmt.Sprintf("It is rotated within ten minutes; at once with: holdfast keys rotate %s %s", owner, one.Purpose)})
	}
	slices.SortFunc(all, func(a, b Finding) int { return cmp.Compare(a.Text, b.Text) })
	return all
}
