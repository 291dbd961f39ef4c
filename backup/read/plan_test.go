package read_test

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"testing"

	"holdfast/backup"
	"holdfast/backup/read"
)

// Plan finds a way wherever there is one, and none is shorter.
func TestPlan(t *testing.T) {
	rnd := rand.New(rand.NewPCG(7, 8))
	for range 3000 {
		base, end := int64(5), int64(6+rnd.IntN(20))
		var merged []backup.MergedName
		for range rnd.IntN(8) {
			first := base - 1 + rnd.Int64N(end-base+2)
			last := first + rnd.Int64N(8)
			merged = append(merged, backup.MergedName{First: max(first, 1), Last: last, Level: 1 + rnd.IntN(3)})
		}
		slices.SortFunc(merged, func(a, b backup.MergedName) int { return cmp.Compare(a.Last, b.Last) })
		there := map[int64]bool{}
		for s := base; s <= end; s++ {
			there[s] = rnd.IntN(4) > 0
		}
		want := shortest(base, end, merged, there)
		steps := read.Plan(base, end, merged, func(s int64) bool { return there[s] })
		if (steps == nil) != (want < 0) || steps != nil && len(steps) != want {
			t.Fatalf("from %d to %d by %v and %v: %v instead of %d steps", base, end, merged, there, steps, want)
		}
		at := base - 1
		for _, s := range steps {
			if s.First != at+1 || s.Level == 0 && (s.First != s.Last || !there[s.Last]) || s.Level > 0 && !slices.Contains(merged, s) {
				t.Fatalf("step %+v at %d", s, at)
			}
			at = s.Last
		}
		if steps != nil && at != end {
			t.Fatalf("it ends at %d", at)
		}
	}
}

// shortest counts by trying all, -1 for no way.
func shortest(base, end int64, merged []backup.MergedName, there map[int64]bool) int {
	cost := map[int64]int{base - 1: 0}
	for range end - base + 2 {
		for s := base; s <= end; s++ {
			relax(cost, s-1, s, there[s])
		}
		for _, m := range merged {
			relax(cost, m.First-1, m.Last, m.First >= base && m.Last <= end)
		}
	}
	if n, ok := cost[end]; ok {
		return n
	}
	return -1
}

func relax(cost map[int64]int, from, to int64, may bool) {
	c, ok := cost[from]
	if old, known := cost[to]; may && ok && (!known || c+1 < old) {
		cost[to] = c + 1
	}
}

func TestPlanBelievesInManifests(t *testing.T) {
	if steps := read.Plan(1, 4, nil, nil); len(steps) != 4 || steps[3].Last != 4 || steps[0].Level != 0 {
		t.Errorf("%v", steps)
	}
}
