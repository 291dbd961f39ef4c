package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"sync"
	"time"

	"holdfast/app/api"
	"holdfast/data"
	"holdfast/data/cryptfs"
	"holdfast/data/keys"
	"holdfast/data/store"
)

// rekeys has what an owner keeps under older keys written anew, and drops keys
// that nothing is under any more. It is custody's Rekeyer; what a crash or a
// restart cut short, its sweep goes on with.
type rekeys struct {
	*house
	logger  *slog.Logger
	staging *cryptfs.Files
	now     func() time.Time

	ctx   context.Context // of the sweep under way
	stop  context.CancelFunc
	sweep sync.Mutex // held by it
	work  sync.WaitGroup
	tried map[keyOf]time.Time // of what the sweep could not end

	telling sync.Mutex
	why     map[keyOf]string // what still needs retired generations, as it was last found
}

// keyOf is a key without its generation.
type keyOf struct {
	owner   keys.Owner
	purpose keys.Purpose
}

func newRekeys(h *house, logger *slog.Logger, staging *cryptfs.Files, now func() time.Time) *rekeys {
	ctx, stop := context.WithCancel(context.Background())
	return &rekeys{house: h, logger: logger, staging: staging, now: now, ctx: ctx, stop: stop, tried: map[keyOf]time.Time{}, why: map[keyOf]string{}}
}

// sealed is what is sealed under the keys of one owner and purpose.
type sealed interface {
	// Rekey seals anew what is under an older generation than the current one.
	Rekey(ctx context.Context, progress func(done, total int64)) error
	// Generations are those that anything is still under.
	Generations(ctx context.Context) ([]uint32, error)
}

// Rekey seals anew, then drops the generations that are no longer needed. What stays as
// it is (snapshots, certificates in the ledger, entries of a log) goes on needing them.
func (k *rekeys) Rekey(ctx context.Context, owner keys.Owner, purpose keys.Purpose, progress func(done, total int64)) error {
	what, release, err := k.sealed(ctx, keyOf{owner, purpose})
	if err != nil || what == nil {
		return err
	}
	defer release()
	if err := what.Rekey(ctx, progress); err != nil {
		return fmt.Errorf("re-key %s of %s: %w", purpose, owner, err)
	}
	return k.drop(ctx, keyOf{owner, purpose}, what)
}

// sealed finds what is under a key; nil where it cannot be sealed anew.
func (k *rekeys) sealed(ctx context.Context, key keyOf) (_ sealed, release func(), err error) {
	nothing := func() {}
	switch key {
	case keyOf{keys.System, keys.Pages}:
		return k.system, nothing, nil
	case keyOf{keys.System, keys.Vault}:
		return k.vault, nothing, nil
	case keyOf{keys.System, keys.Files}:
		return k.staging, nothing, nil
	case keyOf{keys.System, keys.AuditSigning}:
		return signatures{k.house}, nothing, nil
	}
	if key.purpose == keys.Fields {
		return unused{}, nothing, nil
	}
	id, err := data.ParseStoreID(string(key.owner))
	if err == nil && key.purpose == keys.Segments {
		return storeSegments{k, id}, nothing, nil
	}
	if err != nil || key.purpose != keys.Pages && key.purpose != keys.Files {
		return nil, nothing, nil //nolint:nilerr // the system's other keys
	}
	st, err := k.pool.Acquire(ctx, id)
	if err != nil {
		return nil, nothing, err
	}
	if key.purpose == keys.Files {
		return storeFiles{k.pool, id}, st.Release, nil
	}
	return storePages{st}, st.Release, nil
}

// unused is of a purpose that nothing is sealed under: TestFieldsAreUnused holds that.
type unused struct{}

func (unused) Rekey(context.Context, func(done, total int64)) error { return nil }
func (unused) Generations(context.Context) ([]uint32, error)        { return nil, nil }

// signatures are made with a key and checked with its public half, which the log and
// the ledger keep: an older key can go once the ledger, here and on every target, has
// it vouch for the one after it.
type signatures struct{ *house }

func (s signatures) Rekey(ctx context.Context, _ func(done, total int64)) error {
	return s.disposal.Vouch(ctx)
}

func (s signatures) Generations(ctx context.Context) (in []uint32, err error) {
	vouched, err := s.disposal.Vouched(ctx)
	if vouched || err != nil {
		return nil, err
	}
	for _, e := range s.ring.Entries() {
		if e.Owner == keys.System && e.Purpose == keys.AuditSigning {
			in = append(in, e.Generation)
		}
	}
	return in, nil
}

type storePages struct{ *store.Store }

func (s storePages) Rekey(ctx context.Context, progress func(done, total int64)) error {
	return s.RekeyPages(ctx, progress)
}

func (s storePages) Generations(ctx context.Context) ([]uint32, error) { return s.PageGenerations(ctx) }

type storeFiles struct {
	pool *store.Pool
	id   data.StoreID
}

func (s storeFiles) Rekey(ctx context.Context, progress func(done, total int64)) error {
	return s.pool.RekeyFiles(ctx, s.id, progress)
}

func (s storeFiles) Generations(ctx context.Context) ([]uint32, error) {
	return s.pool.FileGenerations(ctx, s.id)
}

// drop destroys the retired generations that nothing is under. Each is in the log
// first.
func (k *rekeys) drop(ctx context.Context, key keyOf, what sealed) error {
	if id, err := data.ParseStoreID(string(key.owner)); err == nil && k.pool.Kept(id) {
		return nil // a state that a restore replaced is under them, until it is confirmed
	}
	inUse, err := what.Generations(ctx)
	if err != nil {
		k.tell(key, "what is under it could not be looked through: "+err.Error())
		return err
	}
	if key.purpose != keys.Segments { // which tells by itself
		k.tell(key, "")
	}
	for _, e := range k.ring.Entries() {
		if e.Owner != key.owner || e.Purpose != key.purpose || e.State != keys.Retired || slices.Contains(inUse, e.Generation) {
			continue
		}
		if err := k.record(ctx, "key.drop", key, map[string]string{"generation": strconv.FormatUint(uint64(e.Generation), 10), "fingerprint": e.Fingerprint}); err != nil {
			return err
		}
		if err := k.ring.Drop(key.owner, key.purpose, e.Generation); err != nil {
			return err
		}
	}
	return nil
}

func (k *rekeys) record(ctx context.Context, action string, key keyOf, detail map[string]string) error {
	e := api.Event{Action: action, Target: k.keyOwnerName(ctx, key.owner), Outcome: api.OK, Detail: detail}
	if key.owner != keys.System {
		e.Store = string(key.owner)
	}
	detail["purpose"] = string(key.purpose)
	return k.audit.Record(ctx, e)
}

// tryAgainAfter is when the sweep comes back to what it could not end. Snapshots are
// looked through once a day: the headers of what lies on every target are read.
const (
	tryAgainAfter  = time.Hour
	lookAgainAfter = 24 * time.Hour
)

func againAfter(p keys.Purpose) time.Duration {
	if p == keys.Segments {
		return lookAgainAfter
	}
	return tryAgainAfter
}

// Sweep goes on with what is left of earlier rotations, and rotates keys that have
// sealed half as often as they may. It returns at once; the work is slow on
// purpose. The one clock calls it.
func (k *rekeys) Sweep(_ context.Context, now time.Time) error {
	if !k.sweep.TryLock() {
		return nil
	}
	k.work.Go(func() {
		defer k.sweep.Unlock()
		k.rotateSpent()
		for _, key := range k.left(now) {
			if err := k.Rekey(k.ctx, key.owner, key.purpose, func(int64, int64) {}); err != nil && k.ctx.Err() == nil {
				k.logger.Error("sealing under the current key failed", "owner", key.owner, "purpose", key.purpose, "error", err)
			}
			k.tried[key] = now
		}
	})
	return nil
}

// left lists the keys of which older generations are retired.
func (k *rekeys) left(now time.Time) (left []keyOf) {
	for _, e := range k.ring.Entries() {
		key := keyOf{e.Owner, e.Purpose}
		if e.State != keys.Retired || slices.Contains(left, key) || now.Sub(k.tried[key]) < againAfter(e.Purpose) {
			continue
		}
		if state, err := k.ring.State(e.Owner); err == nil && state == keys.Live {
			left = append(left, key)
		}
	}
	return left
}

// rotateSpent makes new generations of the pages keys that need them.
func (k *rekeys) rotateSpent() {
	var owners []keys.Owner
	for _, id := range k.pool.Spent() {
		owners = append(owners, keys.Owner(id.String()))
	}
	if seals, err := k.system.Seals(); err == nil && cryptfs.RotationDue(seals) {
		owners = append(owners, keys.System)
	}
	for _, owner := range owners {
		key := keyOf{owner, keys.Pages}
		err := k.record(k.ctx, "key.rotate", key, map[string]string{"reason": "it has sealed half as often as is safe"})
		if err == nil {
			err = k.ring.Rotate(owner, keys.Pages)
		}
		if err != nil && !errors.Is(err, context.Canceled) {
			k.logger.Error("a key that has sealed often could not be rotated", "owner", owner, "error", err)
		}
	}
}

// close ends the sweep.
func (k *rekeys) close() error {
	k.stop()
	k.work.Wait()
	return nil
}
