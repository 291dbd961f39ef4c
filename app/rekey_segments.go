package app

import (
	"context"
	"errors"
	"slices"
	"time"

	"holdfast/data"
	"holdfast/data/keys"
)

// storeSegments is a store's snapshots. They stay as they are: pruning and compaction
// make them go, and the key that sealed them with the last of them.
type storeSegments struct {
	*rekeys
	id data.StoreID
}

func (storeSegments) Rekey(context.Context, func(done, total int64)) error { return nil }

// Generations asks the targets, but not on the day on which the key was replaced:
// nothing can have gone yet.
func (s storeSegments) Generations(ctx context.Context) ([]uint32, error) {
	key := keyOf{keys.Owner(s.id.String()), keys.Segments}
	all, since := s.retired(key)
	if s.now().Sub(since) < lookAgainAfter {
		return all, nil
	}
	in, err := s.recovery.SegmentGenerations(ctx, s.id, since)
	if errors.Is(err, data.ErrBusy) {
		s.tell(key, "a snapshot is waiting to be shipped; it is looked at again in a day")
		return all, nil
	}
	if err == nil && slices.ContainsFunc(all, func(g uint32) bool { return slices.Contains(in, g) }) {
		s.tell(key, "snapshots under it are on targets; it is destroyed when they are pruned")
	}
	return in, err
}

// retired gives the retired generations of a key, and when the last of them was
// replaced.
func (k *rekeys) retired(key keyOf) (all []uint32, since time.Time) {
	for _, e := range k.ring.Entries() {
		if e.Owner == key.owner && e.Purpose == key.purpose && e.State == keys.Retired {
			all = append(all, e.Generation)
			if e.Changed.After(since) {
				since = e.Changed
			}
		}
	}
	return all, since
}

func (k *rekeys) tell(key keyOf, why string) {
	k.telling.Lock()
	defer k.telling.Unlock()
	k.why[key] = why
}

// needed says what still needs the retired generations of a key.
func (k *rekeys) needed(owner keys.Owner, purpose keys.Purpose) string {
	k.telling.Lock()
	why := k.why[keyOf{owner, purpose}]
	k.telling.Unlock()
	switch {
	case why != "":
		return why
	case purpose == keys.Segments && owner == keys.System:
		return "certificates in the ledger and snapshots of the appliance are under it"
	case purpose == keys.Segments:
		return "snapshots on targets may be under it; they are looked through once a day"
	case purpose == keys.Personal:
		return "it tells which records were erased"
	case purpose == keys.AuditSigning:
		return "not every target has the entry by which its successor vouches for it"
	}
	return "what is under it is being sealed anew"
}
