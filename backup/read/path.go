package read

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"holdfast/backup"
	"holdfast/data"
)

// listPage is how many names are asked for at once.
const listPage = 1000

// MergedNames lists the merged manifests that end after a sequence, up to and
// with another, in the order of their ends. Names that say nothing are left out:
// they can only be somebody else's.
func (r *Reader) MergedNames(ctx context.Context, after, last int64) (names []backup.MergedName, err error) {
	from := backup.MergedName{Last: after + 1}.In(r.store)[:len(backup.MergedPrefix(r.store))+16]
	for {
		page, err := r.source.List(ctx, backup.MergedPrefix(r.store), from, listPage)
		if err != nil {
			return nil, err
		}
		for _, info := range page {
			from = info.Name
			n, err := backup.ParseMergedName(r.store, info.Name)
			if err == nil && n.Last > last {
				return names, nil
			}
			if err == nil {
				names = append(names, n)
			}
		}
		if len(page) < listPage {
			return names, nil
		}
	}
}

// Sequences lists the manifests after a sequence, up to and with another.
func (r *Reader) Sequences(ctx context.Context, after, last int64) (all []int64, err error) {
	for after < last {
		page, err := backup.Sequences(ctx, r.source, r.store, after, int(min(listPage, last-after)))
		if err != nil {
			return nil, err
		}
		for _, s := range page {
			if s <= last {
				all = append(all, s)
			}
			after = s
		}
		if len(page) == 0 {
			return all, nil
		}
	}
	return all, nil
}

// At reads the link that ends at a sequence: its manifest, else a merged one.
func (r *Reader) At(ctx context.Context, sequence int64) (*Link, error) {
	l, err := r.Manifest(ctx, sequence)
	if !errors.Is(err, data.ErrNotFound) {
		return l, err
	}
	names, listErr := r.MergedNames(ctx, sequence-1, sequence)
	if listErr != nil || len(names) == 0 {
		return nil, errors.Join(err, listErr)
	}
	return r.Merged(ctx, names[0])
}

// Path reads the fewest links that lead from an image to a snapshot, and walks
// them; none of them is condemned. Errors name the object.
func (r *Reader) Path(ctx context.Context, sequence int64, ledger *Ledger) ([]*Link, error) {
	last, err := r.At(ctx, sequence)
	if err != nil {
		return nil, err
	}
	names, err := r.MergedNames(ctx, last.Base-1, sequence)
	if err != nil {
		return nil, err
	}
	names = slices.DeleteFunc(names, func(n backup.MergedName) bool { return ledger.Condemned(n.In(r.store)) })
	if steps := Plan(last.Base, sequence, names, r.spared(ledger)); steps != nil {
		links, err := r.Walk(ctx, steps)
		if !errors.Is(err, data.ErrNotFound) {
			return links, err
		}
	}
	return r.pathAmong(ctx, last, names, ledger)
}

// spared believes that every manifest is there that no prune condemned.
func (r *Reader) spared(ledger *Ledger) func(int64) bool {
	return func(s int64) bool { return !ledger.Condemned(backup.ManifestName(r.store, s)) }
}

// pathAmong plans again with the manifests that are there. If none leads to the
// end, it blames the first that is missing.
func (r *Reader) pathAmong(ctx context.Context, last *Link, names []backup.MergedName, ledger *Ledger) ([]*Link, error) {
	list, err := r.Sequences(ctx, last.Base-1, last.Sequence)
	if err != nil {
		return nil, err
	}
	spared := r.spared(ledger)
	steps := Plan(last.Base, last.Sequence, names, func(s int64) bool {
		_, ok := slices.BinarySearch(list, s)
		return ok && spared(s)
	})
	if steps != nil {
		return r.Walk(ctx, steps)
	}
	for s := last.Base; ; s++ {
		if _, ok := slices.BinarySearch(list, s); !ok || s == last.Sequence {
			return nil, Named(backup.ManifestName(r.store, s), fmt.Errorf("%w: no way leads past it", data.ErrNotFound))
		}
	}
}

// Walk reads links and walks them; the first must be an image.
func (r *Reader) Walk(ctx context.Context, steps []backup.MergedName) ([]*Link, error) {
	links, err := r.Stretch(ctx, steps)
	if err != nil || len(links) == 0 {
		return nil, err
	}
	return links, Follows(nil, links[0])
}

// Stretch is Walk for links that need not begin with an image.
func (r *Reader) Stretch(ctx context.Context, steps []backup.MergedName) (links []*Link, err error) {
	s := Ahead(ctx, len(steps), func(ctx context.Context, i int) (*Link, error) { return r.Step(ctx, steps[i]) })
	defer s.Close()
	var before *Link
	for range steps {
		l, err := s.Next()
		if err == nil && before != nil {
			err = Follows(before, l)
		}
		if err != nil {
			return nil, err
		}
		links, before = append(links, l), l
	}
	return links, nil
}

// Step reads the link of a step: of level 0 the manifest of Last.
func (r *Reader) Step(ctx context.Context, n backup.MergedName) (*Link, error) {
	if n.Level == 0 {
		return r.Manifest(ctx, n.Last)
	}
	return r.Merged(ctx, n)
}

// Plan finds the fewest steps from base to a sequence: merged manifests (sorted
// by their ends), and manifests (level 0) where there says that they are; nil
// believes in all. It answers nil where no way leads.
func Plan(base, sequence int64, merged []backup.MergedName, there func(int64) bool) []backup.MergedName {
	p := planner{cost: map[int64]int{base - 1: 0}, step: map[int64]backup.MergedName{}, there: there}
	at := base - 1
	for _, n := range p.stops(base, sequence, merged) {
		p.singles(at, n)
		at = n
		for _, m := range merged[p.used:] {
			if m.Last > n {
				break
			}
			p.used++
			p.take(m)
		}
	}
	return p.way(base-1, sequence)
}

// planner finds, stop by stop, the cheapest step that ends there.
type planner struct {
	there func(int64) bool
	cost  map[int64]int // steps to come to this end; only for stops
	step  map[int64]backup.MergedName
	used  int // merged names looked at
}

// stops are the sequences where steps begin or end: between two of them there
// are only manifests.
func (p *planner) stops(base, sequence int64, merged []backup.MergedName) []int64 {
	list := []int64{sequence}
	for _, m := range merged {
		if m.First >= base && m.Last <= sequence {
			list = append(list, m.Last)
			if m.First > base {
				list = append(list, m.First-1)
			}
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// singles takes the run of manifests between two stops.
func (p *planner) singles(from, to int64) {
	cost, ok := p.cost[from]
	for s := from + 1; ok && s <= to && p.there != nil; s++ {
		ok = p.there(s)
	}
	if ok {
		p.better(to, cost+int(to-from), backup.MergedName{First: from + 1, Last: to})
	}
}

func (p *planner) take(m backup.MergedName) {
	if cost, ok := p.cost[m.First-1]; ok {
		p.better(m.Last, cost+1, m)
	}
}

func (p *planner) better(end int64, cost int, step backup.MergedName) {
	old, ok := p.cost[end]
	if !ok {
		old = math.MaxInt
	}
	if cost < old {
		p.cost[end], p.step[end] = cost, step
	}
}

// way goes back from the end; runs of manifests become single steps.
func (p *planner) way(start, sequence int64) (steps []backup.MergedName) {
	for at := sequence; at != start; {
		m, ok := p.step[at]
		if !ok {
			return nil
		}
		if m.Level > 0 {
			steps = append(steps, m)
		}
		for s := m.Last; m.Level == 0 && s >= m.First; s-- {
			steps = append(steps, backup.MergedName{First: s, Last: s})
		}
		at = m.First - 1
	}
	slices.Reverse(steps)
	return steps
}
