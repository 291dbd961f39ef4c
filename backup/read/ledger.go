package read

import (
	"context"
	"errors"
	"slices"
	"strings"

	"holdfast/backup"
	"holdfast/data"
)

// Ledger is what the prunes on a target say together. The zero one says that
// nothing was ever pruned. A nil Ledger is the zero one.
type Ledger struct {
	*backup.Prune                 // the newest; nil if there is none
	Numbers       []int64         // of all prunes on the target, ascending
	condemned     map[string]bool // by any of them
	prefix        string
}

// Ledger reads all prunes of the chain: one, or two around a sweep. Errors name
// the object.
func (r *Reader) Ledger(ctx context.Context) (*Ledger, error) {
	const tries = 5
	for try := 1; ; try++ {
		l, err := r.readLedger(ctx)
		// One that is listed and then gone was an old one, dropped after a sweep.
		if !errors.Is(err, data.ErrNotFound) || try == tries {
			return l, err
		}
	}
}

func (r *Reader) readLedger(ctx context.Context) (*Ledger, error) {
	l := &Ledger{condemned: map[string]bool{}, prefix: backup.Prefix(r.store)}
	list, err := r.source.List(ctx, backup.PrunePrefix(r.store), "", listPage)
	if err != nil {
		return nil, err
	}
	for _, info := range list {
		number, err := backup.ParsePruneName(r.store, info.Name)
		if err == nil {
			err = r.addPrune(ctx, l, number)
		}
		if err != nil {
			return nil, Named(info.Name, err)
		}
	}
	return l, nil
}

func (r *Reader) addPrune(ctx context.Context, l *Ledger, number int64) error {
	name := backup.PruneName(r.store, number)
	object, err := backup.Fetch(ctx, r.source, name, backup.MaxObject)
	if err != nil {
		return Named(name, err)
	}
	p, err := r.codec.OpenPrune(number, object)
	if err != nil {
		return Named(name, err)
	}
	l.Prune, l.Numbers = p, append(l.Numbers, number)
	for _, n := range p.Condemned {
		l.condemned[n] = true
	}
	return nil
}

// Horizon is the sequence up to which points are kept only if they are listed.
func (l *Ledger) Horizon() int64 {
	if l == nil || l.Prune == nil {
		return 0
	}
	return l.Until
}

// Kept reports whether a point may be restored.
func (l *Ledger) Kept(sequence int64) bool {
	if sequence > l.Horizon() {
		return true
	}
	_, ok := slices.BinarySearch(l.Points, sequence)
	return ok
}

// Condemned reports whether an object is to be deleted, or has been lately: it
// must not be relied on.
func (l *Ledger) Condemned(name string) bool {
	return l != nil && l.condemned[strings.TrimPrefix(name, l.prefix)]
}
