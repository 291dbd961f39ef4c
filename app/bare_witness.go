package app

import (
	"context"
	"errors"
	"fmt"
	"time"

	"holdfast/app/audit"
	"holdfast/app/recovery"
	"holdfast/backup"
	"holdfast/data"
)

// witnessLate is how far a store's chain and the log may be apart: both are shipped about
// each second, but a target may have failed for one of them for a while.
const witnessLate = 10 * time.Minute

// witnessed holds a store's chain against the store's log, which is shipped apart from it
// and names each change: recovery.ErrCut where one of them ends long before the other. So
// a chain that was cut is found even where the system database knows nothing of it,
// because nobody used it meanwhile or because the bucket was moved.
func (b *bare) witnessed(ctx context.Context, h *house, r returning) error {
	policy, err := h.recovery.Policy(ctx, r.id)
	if err != nil || policy.EverySeconds == 0 { // shipped only when asked: nobody knows when
		return err
	}
	at, holds, err := h.recovery.End(ctx, b.from(r.name), r.id)
	if errors.Is(err, backup.ErrNoSnapshot) { // said where it is missed
		return nil
	}
	if err != nil {
		return err
	}
	newest, settled, err := b.changes(ctx, h, r.id.String())
	if err != nil {
		return err
	}
	err = apart(end{at, holds}, newest, settled, b.result.Vault.Time)
	if b.cut && errors.Is(err, recovery.ErrCut) {
		b.warn("%s: %v", r.name, err)
		return nil
	}
	return err
}

// end is how far something tells of a store.
type end struct {
	at time.Time
	to data.Position
}

// changes finds the newest change that a store's log has, and the newest of those that
// were there long before the log was shipped last. Zero where there is none.
func (b *bare) changes(ctx context.Context, h *house, log string) (newest, settled end, err error) {
	const page = 500
	before := b.result.Vault.Time.Add(-witnessLate)
	for offset := 0; ; offset += page {
		entries, _, err := h.audit.List(ctx, log, audit.Query{Offset: offset, Limit: page})
		if err != nil {
			return newest, settled, fmt.Errorf("read the log: %w", err)
		}
		for _, e := range entries {
			if e.Position == nil {
				continue
			}
			one := end{e.Time, *e.Position}
			if newest.at.IsZero() {
				newest = one
			}
			if e.Time.Before(before) {
				return newest, one, nil
			}
		}
		if len(entries) < page {
			return newest, settled, nil
		}
	}
}

// apart says which of a store's chain and its log was cut, if one was. Positions of
// different lives cannot be compared; their times can.
func apart(chain, newest, settled end, log time.Time) error {
	misses := func(has, wants end) bool {
		if has.to.Incarnation == wants.to.Incarnation {
			return has.to.Sequence < wants.to.Sequence
		}
		return has.at.Before(wants.at)
	}
	switch {
	case !settled.at.IsZero() && misses(chain, settled):
		return fmt.Errorf("%w: the log tells of change %d at %s; the chain ends at change %d, %s", recovery.ErrCut,
			settled.to.Sequence, settled.at.Format(time.RFC3339), chain.to.Sequence, chain.at.Format(time.RFC3339))
	case chain.at.After(log.Add(witnessLate)) && misses(newest, chain):
		return fmt.Errorf("%w: the chain goes up to change %d, %s; the log, which was to tell of it, ends at %s", recovery.ErrCut,
			chain.to.Sequence, chain.at.Format(time.RFC3339), log.Format(time.RFC3339))
	}
	return nil
}
