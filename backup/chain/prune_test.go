package chain_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"holdfast/backup"
	"holdfast/backup/backuptest"
	"holdfast/backup/chain"
	"holdfast/backup/objects"
	"holdfast/backup/read"
	"holdfast/backup/restore"
	"holdfast/data"
)

func (r *rig) prune(k *chain.Keeper, p chain.Policy, verified int64) chain.Pruned {
	r.t.Helper()
	done, err := k.Prune(r.t.Context(), chain.PruneOrder{Policy: p, Verified: verified, Grace: chain.MinGrace})
	if err != nil {
		r.t.Fatal(err)
	}
	return done
}

func (r *rig) count() int {
	r.t.Helper()
	list, err := r.target.List(r.t.Context(), "", "", 100_000)
	if err != nil {
		r.t.Fatal(err)
	}
	return len(list)
}

// Ten days of a busy chain come down to what the policy keeps.
func TestPrune(t *testing.T) {
	r := newRig(t, objects.NewMemory())
	k := r.keeper()
	seen := map[int64]moment{}
	for range 10 * 4 {
		r.now = r.now.Truncate(6 * time.Hour).Add(6 * time.Hour)
		for i := range 5 {
			r.write(1+uint32(i)%4, fmt.Sprint(r.now))
			r.files.Set(fmt.Sprint("f/", i%3), fmt.Sprint(r.now))
			r.now = r.now.Add(19 * time.Second)
			res := r.ship()
			seen[res.Sequence] = moment{r.pages.Copy(), r.files.Copy(), r.now}
		}
		r.compact(k)
	}
	before, newest := r.count(), r.chain.Status().Sequence
	policy := chain.Policy{All: 24 * time.Hour, Hourly: 30, Daily: 4}
	if done := r.prune(k, policy, newest/2); done.Until > newest/2 {
		t.Fatalf("%+v: nothing behind the drill may go", done)
	}
	r.now = r.now.Add(chain.MinGrace)
	r.prune(k, policy, newest)
	first := r.prune(k, policy, newest)
	if first.Condemned == 0 || r.now.Before(first.Due.Add(-chain.MinGrace)) {
		t.Fatalf("%+v", first)
	}
	r.now = first.Due
	if done := r.prune(k, policy, newest); done.Swept == 0 || done.Locked+done.Rescued > 0 {
		t.Fatalf("%+v", done)
	}
	done := r.prune(k, policy, newest) // says what its next sweep deletes
	if rep := r.verified(); len(rep.Leftover) != done.Condemned {
		t.Errorf("%d condemned, left over: %v", done.Condemned, rep.Leftover)
	}
	if after := r.count(); after > before/2 {
		t.Errorf("%d objects of %d are left", after, before)
	}
	r.keptComeBack(seen)
	r.shipsOn()
}

// keptComeBack restores every point that is still promised, and wants others to
// be refused.
func (r *rig) keptComeBack(seen map[int64]moment) {
	r.t.Helper()
	rd, err := read.New(r.target, store, r.keys)
	if err != nil {
		r.t.Fatal(err)
	}
	ledger, err := rd.Ledger(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	for sequence, m := range seen {
		if ledger.Kept(sequence) {
			r.back(sequence, m)
			continue
		}
		c := r.source()
		c.Sequence = sequence
		if _, err := restore.Run(r.t.Context(), c, backuptest.NewCopied()); !errors.Is(err, backup.ErrNoSnapshot) {
			r.t.Errorf("%d was pruned: %v", sequence, err)
		}
	}
}

func (r *rig) shipsOn() {
	r.t.Helper()
	r.write(1, "after the prune")
	r.ship()
	r.same()
}

func TestPruneRefuses(t *testing.T) {
	r := newRig(t, objects.NewMemory())
	k := r.keeper()
	for _, o := range []chain.PruneOrder{
		{Policy: chain.Policy{}, Verified: 1, Grace: chain.MinGrace},
		{Policy: chain.Policy{Last: 1}, Verified: 1, Grace: chain.MinGrace - 1},
	} {
		if _, err := k.Prune(t.Context(), o); err == nil {
			t.Errorf("%+v was taken", o)
		}
	}
	if done := r.prune(k, chain.Policy{Last: 1}, 5); done != (chain.Pruned{}) {
		t.Errorf("of nothing: %+v", done)
	}
}

// --at among points that were pruned finds the last that was kept.
func TestAtAfterPrune(t *testing.T) {
	r := newRig(t, objects.NewMemory())
	r.hours(6)
	k := r.keeper()
	r.compact(k)
	r.now = r.now.Add(24 * time.Hour)
	r.prune(k, chain.Policy{Hourly: 4}, r.chain.Status().Sequence)
	for offset := -7 * time.Hour; offset < 0; offset += 10 * time.Minute {
		cfg := r.source()
		cfg.At, cfg.Until = r.now.Add(offset-24*time.Hour), r.now
		res, err := restore.Run(t.Context(), cfg, backuptest.NewCopied())
		var outside *restore.RangeError
		if errors.As(err, &outside) && cfg.At.Before(outside.First) {
			continue
		}
		if err != nil || res.Time.After(cfg.At) || cfg.At.Sub(res.Time) > time.Hour {
			t.Errorf("at %v: %v, %v", cfg.At, res.Time, err)
		}
	}
}

// A host that was replaced long ago, whose sequences were pruned, is still
// stopped at its next manifest.
func TestPruneKeepsTheFence(t *testing.T) {
	a := newRig(t, objects.NewMemory())
	a.hours(1)
	b := newRig(t, a.target)
	b.now = a.now
	b.hours(4)
	k := b.keeper()
	b.compact(k)
	b.now = b.now.Add(48 * time.Hour)
	b.write(1, "x")
	b.ship()
	for range 3 {
		b.prune(k, chain.Policy{Last: 1}, b.chain.Status().Sequence)
		b.now = b.now.Add(chain.MinGrace)
	}
	a.now = b.now
	a.write(1, "stale")
	if _, err := a.chain.Ship(t.Context(), a.pages, a.files, data.Position{}); !errors.Is(err, backup.ErrFenced) {
		t.Fatalf("the replaced host went on: %v", err)
	}
	b.same()
	b.verified()
}
