package chain

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"holdfast/backup"
	"holdfast/backup/read"
	"holdfast/data"
)

// MinGrace is the shortest time between the word that objects are to be deleted
// and their deletion. What reads or refers to them must be done by then.
const MinGrace = 4 * relied

// ErrGrace means that a prune was asked for with too short a grace.
var ErrGrace = fmt.Errorf("the grace of a prune is at least %v", MinGrace)

// PruneOrder says what to prune.
type PruneOrder struct {
	Policy Policy
	// Verified is the newest sequence that a drill restored and found good. No
	// point behind it is dropped, none before it without it.
	Verified int64
	// Grace passes between a prune's word and its deletions, at least MinGrace. A
	// restore that takes longer may lose a point that was dropped meanwhile.
	Grace time.Duration
}

// Pruned is what a Prune did: one sweep if one was due, then the word about what
// comes next.
type Pruned struct {
	Swept   int // objects that are gone
	Rescued int // that something came to need during the grace
	Locked  int // that the target holds under a lock; a later prune tries again

	Number    int64     // of the prune that is under way; 0 if none
	Due       time.Time // when its grace is over
	Until     int64     // points up to here are kept only as the policy says
	Kept      int       // points up to Until
	Dropped   int       // points that were given up just now
	Condemned int       // objects that are to be deleted
}

// Prune deletes what no kept point needs, in two steps that lie a grace apart:
// it says in a signed object which points are kept and what is condemned; after
// the grace, a later call looks again and deletes what nothing needs. Called when
// there is nothing to do, it makes few requests. Interrupted at any point, it
// goes on with the next call.
func (k *Keeper) Prune(ctx context.Context, o PruneOrder) (Pruned, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	var done Pruned
	if err := o.Policy.Validate(); err != nil {
		return done, err
	}
	if o.Grace < MinGrace {
		return done, ErrGrace
	}
	if err := k.prune(ctx, o, &done); err != nil {
		return done, fmt.Errorf("prune %s: %w", k.cfg.Store, err)
	}
	return done, nil
}

func (k *Keeper) prune(ctx context.Context, o PruneOrder, done *Pruned) error {
	ledger, err := k.reader.Ledger(ctx)
	if err != nil {
		return err
	}
	if ledger.Prune != nil {
		finished, err := k.finish(ctx, o, ledger, done)
		if err != nil || !finished {
			return err
		}
	}
	return k.condemn(ctx, o, ledger, done)
}

// finish sweeps the newest prune when it is due; it reports whether nothing of it
// is left to do.
func (k *Keeper) finish(ctx context.Context, o PruneOrder, ledger *read.Ledger, done *Pruned) (bool, error) {
	swept := backup.SweptName(k.cfg.Store, ledger.Number)
	_, err := k.cfg.Target.Stat(ctx, swept)
	if !errors.Is(err, data.ErrNotFound) {
		return err == nil, err
	}
	done.Number, done.Due, done.Until = ledger.Number, ledger.Time.Add(o.Grace), ledger.Until
	done.Kept, done.Condemned = len(ledger.Points), len(ledger.Prune.Condemned)
	if k.cfg.Clock().Before(done.Due) {
		return false, nil
	}
	k.line = nil
	if err := k.sweep(ctx, ledger, done); err != nil {
		return false, err
	}
	err = k.create(ctx, swept, nil)
	if err != nil && !errors.Is(err, data.ErrExists) {
		return false, err
	}
	done.Number, done.Due, done.Condemned = 0, time.Time{}, 0
	return true, k.dropOld(ctx, ledger)
}

// dropOld removes the prunes before the newest: their time is long over.
func (k *Keeper) dropOld(ctx context.Context, ledger *read.Ledger) error {
	for _, n := range ledger.Numbers[:len(ledger.Numbers)-1] {
		for _, name := range []string{backup.PruneName(k.cfg.Store, n), backup.SweptName(k.cfg.Store, n)} {
			if err := k.cfg.Target.Delete(ctx, name); err != nil && !errors.Is(err, backup.ErrLocked) {
				return err
			}
		}
	}
	return nil
}

// condemn works out what to keep and says what is to go.
func (k *Keeper) condemn(ctx context.Context, o PruneOrder, ledger *read.Ledger, done *Pruned) error {
	m := &mark{k: k, ledger: ledger, links: map[string]*read.Link{}}
	if err := m.survey(ctx); err != nil || m.newest == 0 {
		return err
	}
	next, dropped, err := m.choose(ctx, o)
	if err != nil {
		return err
	}
	if next.Condemned, err = m.unneeded(ctx, next); err != nil {
		return err
	}
	done.Until, done.Kept = next.Until, len(next.Points)
	if len(next.Condemned) == 0 {
		return nil
	}
	if err := k.say(ctx, next); err != nil {
		if errors.Is(err, data.ErrExists) {
			return nil // another keeper was faster: its word counts
		}
		return err
	}
	done.Number, done.Due, done.Condemned, done.Dropped = next.Number, next.Time.Add(o.Grace), len(next.Condemned), dropped
	return nil
}

// errLate means that a prune's word came so late that its grace cannot be counted.
var errLate = errors.New("the word of the prune took too long; the next prune says it anew")

// say puts the word. Its time is that of now, however long it took to find out what
// to say: nobody could heed it before. One that came late nevertheless (the host
// slept) is done with at once, without a sweep.
func (k *Keeper) say(ctx context.Context, next *backup.Prune) error {
	next.Time = k.cfg.Clock().UTC()
	object, err := k.reader.Codec().SealPrune(next)
	if err != nil {
		return err
	}
	err = k.create(ctx, backup.PruneName(k.cfg.Store, next.Number), object)
	if k.cfg.Clock().Sub(next.Time) <= relied || err != nil && !errors.Is(err, data.ErrExists) {
		return err
	}
	return errors.Join(errLate, k.create(ctx, backup.SweptName(k.cfg.Store, next.Number), nil))
}

// create puts an object of a prune: never under a lock.
func (k *Keeper) create(ctx context.Context, name string, object []byte) error {
	ctx, cancel := context.WithTimeout(ctx, requestLimit)
	defer cancel()
	return k.cfg.Target.Put(ctx, name, bytes.NewReader(object), int64(len(object)), backup.PutOptions{IfNoneMatch: true})
}

// choose decides which points stay.
func (m *mark) choose(ctx context.Context, o PruneOrder) (*backup.Prune, int, error) {
	now := m.k.cfg.Clock().UTC()
	points, err := m.points(ctx)
	if err != nil {
		return nil, 0, err
	}
	next := &backup.Prune{Store: m.k.cfg.Store, Number: 1, Time: now, Until: m.ledger.Horizon(), Points: []int64{}, Bases: []int64{}}
	if m.ledger.Prune != nil {
		next.Number = m.ledger.Number + 1
	}
	for _, p := range points {
		if p.Sequence <= o.Verified && p.Sequence < m.newest && now.Sub(p.Time) >= o.Policy.All {
			next.Until = max(next.Until, p.Sequence)
		}
	}
	for _, p := range o.Policy.Keep(points, now) {
		if p.Sequence <= next.Until {
			next.Points = append(next.Points, p.Sequence)
		}
	}
	old, _ := slices.BinarySearchFunc(points, next.Until+1, func(p Point, s int64) int { return int(p.Sequence - s) })
	next.Bases, err = m.bases(ctx, next.Until)
	return next, old - len(next.Points), err
}
