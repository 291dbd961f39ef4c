package restore

import (
	"cmp"
	"context"
	"math"
	"slices"

	"holdfast/backup"
)

// graph collects the steps that Verify takes: all links behind the horizon of
// the prunes, and the ways to the points that they kept before it.
func (v *verifier) graph(ctx context.Context, all []int64) error {
	v.from = map[int64][]backup.MergedName{}
	for _, s := range all {
		v.add(backup.MergedName{First: s, Last: s})
	}
	names, err := v.MergedNames(ctx, v.ledger.Horizon(), math.MaxInt64)
	if err != nil {
		return err
	}
	for _, n := range names {
		if !v.ledger.Condemned(n.In(v.cfg.Store)) {
			v.add(n)
		}
	}
	points := v.old(all)
	for _, s := range points {
		if err := v.way(ctx, s); err != nil {
			return err
		}
	}
	for first, steps := range v.from {
		slices.SortFunc(steps, func(a, b backup.MergedName) int {
			return cmp.Or(cmp.Compare(a.Last, b.Last), cmp.Compare(a.Level, b.Level))
		})
		v.from[first] = slices.Compact(steps)
	}
	return nil
}

func (v *verifier) add(n backup.MergedName) { v.from[n.First] = append(v.from[n.First], n) }

// old are the points at which a way that was partly pruned must end: those that
// were kept, and the first one behind the horizon.
func (v *verifier) old(all []int64) (points []int64) {
	if v.ledger.Horizon() == 0 {
		return nil
	}
	points = slices.Clone(v.ledger.Points)
	if len(all) > 0 {
		points = append(points, all[0])
	}
	return points
}

// way adds the steps of the way to a point, and blames who blocks it.
func (v *verifier) way(ctx context.Context, sequence int64) error {
	links, err := v.Path(ctx, sequence, v.ledger)
	if err != nil {
		return v.blame(backup.ManifestName(v.cfg.Store, sequence), err)
	}
	for _, l := range links {
		n := backup.MergedName{First: l.First, Last: l.Sequence, Level: l.Level}
		if l.Level > 0 {
			n.Time = l.Time
		}
		v.add(n)
		v.epochBase(l.Base)
	}
	return nil
}

// epochBase knows a manifest that prunes leave alone.
func (v *verifier) epochBase(base int64) { v.seen[backup.ManifestName(v.cfg.Store, base)] = true }

// starts are the sequences where lines begin: those that no step ends before.
func (v *verifier) starts() []int64 {
	ends := map[int64]bool{}
	for _, steps := range v.from {
		for _, n := range steps {
			ends[n.Last] = true
		}
	}
	var list []int64
	for first := range v.from {
		if !ends[first-1] {
			list = append(list, first)
		}
	}
	slices.Sort(list)
	return list
}
