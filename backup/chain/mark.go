package chain

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"holdfast/backup"
	"holdfast/backup/read"
	"holdfast/data"
)

// mark finds out what is on the target, and what of it is needed.
type mark struct {
	k       *Keeper
	ledger  *read.Ledger
	merged  []backup.MergedName // none of them condemned
	singles []int64             // manifests that are there, none condemned
	newest  int64
	links   map[string]*read.Link // those that were read, by name
}

// survey lists the manifests of all kinds.
func (m *mark) survey(ctx context.Context) (err error) {
	if m.singles, err = m.k.reader.Sequences(ctx, 0, math.MaxInt64); err != nil || len(m.singles) == 0 {
		return err
	}
	m.newest = m.singles[len(m.singles)-1]
	if m.merged, err = m.k.reader.MergedNames(ctx, 0, m.newest); err != nil {
		return err
	}
	m.merged = slices.DeleteFunc(m.merged, func(n backup.MergedName) bool { return m.ledger.Condemned(n.In(m.k.cfg.Store)) })
	m.singles = slices.DeleteFunc(m.singles, func(s int64) bool { return m.ledger.Condemned(backup.ManifestName(m.k.cfg.Store, s)) })
	return nil
}

// points are the moments that can be kept: those that the last prune kept, then
// the ends of merged links and the manifests that no merged link stands for.
func (m *mark) points(ctx context.Context) ([]Point, error) {
	times := map[int64]backup.MergedName{}
	for _, n := range m.merged {
		times[n.Last] = n
	}
	var sequences []int64
	if m.ledger.Horizon() > 0 {
		sequences = append(sequences, m.ledger.Points...)
	}
	for _, n := range m.merged {
		if n.Last > m.ledger.Horizon() {
			sequences = append(sequences, n.Last)
		}
	}
	sequences = append(sequences, m.alone()...)
	slices.Sort(sequences)
	sequences = slices.Compact(sequences)
	points := make([]Point, len(sequences))
	for i, s := range sequences {
		points[i] = Point{s, times[s].Time}
	}
	return points, m.know(ctx, points)
}

// alone are the manifests behind the last horizon that no minute or hour covers.
func (m *mark) alone() (list []int64) {
	covered := m.ledger.Horizon()
	rest := m.singles
	for _, n := range append(slices.Clone(m.merged), backup.MergedName{First: math.MaxInt64, Last: math.MaxInt64}) {
		if n.Level == backup.Image || n.Last <= covered {
			continue
		}
		for len(rest) > 0 && rest[0] <= n.Last {
			if rest[0] > covered && rest[0] < n.First {
				list = append(list, rest[0])
			}
			rest = rest[1:]
		}
		covered = max(covered, n.Last)
	}
	return list
}

// know reads the times that no name tells.
func (m *mark) know(ctx context.Context, points []Point) error {
	var unknown []int
	for i := range points {
		if points[i].Time.IsZero() {
			unknown = append(unknown, i)
		}
	}
	s := read.Ahead(ctx, len(unknown), func(ctx context.Context, i int) (*read.Link, error) {
		return m.k.reader.At(ctx, points[unknown[i]].Sequence)
	})
	defer s.Close()
	for _, i := range unknown {
		l, err := s.Next()
		if err != nil {
			return err
		}
		points[i].Time = l.Time
	}
	return nil
}

// bases are the first snapshots of all epochs up to a sequence.
func (m *mark) bases(ctx context.Context, until int64) ([]int64, error) {
	list := []int64{}
	at := m.newest
	for at > m.ledger.Horizon() && at > 0 {
		l, err := m.k.reader.At(ctx, at)
		if errors.Is(err, data.ErrNotFound) {
			break // the chain begins here
		}
		if err != nil {
			return nil, err
		}
		if l.Base <= until {
			list = append(list, l.Base)
		}
		at = l.Base - 1
	}
	if m.ledger.Prune != nil {
		list = append(list, m.ledger.Bases...)
	}
	slices.Sort(list)
	return slices.Compact(list), nil
}

// unneeded names the objects that are to go: nothing that is kept needs them.
func (m *mark) unneeded(ctx context.Context, next *backup.Prune) ([]string, error) {
	kept, err := m.ways(ctx, next)
	if err != nil {
		return nil, err
	}
	live, err := m.live(ctx, next.Until, kept)
	if err != nil {
		return nil, err
	}
	for _, b := range next.Bases {
		live[backup.ManifestName(m.k.cfg.Store, b)] = true
	}
	for name := range kept {
		live[name] = true
	}
	return m.dead(ctx, next.Until, live)
}

// ways reads the links that lead to the kept points, and to the first point that
// no policy touches.
func (m *mark) ways(ctx context.Context, next *backup.Prune) (map[string]bool, error) {
	kept := map[string]bool{}
	i, _ := slices.BinarySearch(m.singles, next.Until+1)
	for _, s := range append(slices.Clone(next.Points), m.singles[i]) {
		last, err := m.at(ctx, s)
		if err != nil {
			return nil, err
		}
		steps := read.Plan(last.Base, s, m.merged, func(s int64) bool { _, ok := slices.BinarySearch(m.singles, s); return ok })
		if steps == nil {
			return nil, read.Named(last.Name, fmt.Errorf("%w: no way leads to it", backup.ErrNoSnapshot))
		}
		for _, n := range steps {
			l, err := m.link(ctx, n)
			if err != nil {
				return nil, err
			}
			kept[l.Name] = true
		}
	}
	return kept, nil
}

func (m *mark) at(ctx context.Context, sequence int64) (*read.Link, error) {
	if _, ok := slices.BinarySearch(m.singles, sequence); ok {
		return m.link(ctx, backup.MergedName{First: sequence, Last: sequence})
	}
	for _, n := range m.merged {
		if n.Last == sequence {
			return m.link(ctx, n)
		}
	}
	return nil, read.Named(backup.ManifestName(m.k.cfg.Store, sequence), data.ErrNotFound)
}

func (m *mark) link(ctx context.Context, n backup.MergedName) (*read.Link, error) {
	name := n.In(m.k.cfg.Store)
	if n.Level == 0 {
		name = backup.ManifestName(m.k.cfg.Store, n.Last)
	}
	if l := m.links[name]; l != nil {
		return l, nil
	}
	l, err := m.k.reader.Step(ctx, n)
	if err == nil {
		m.links[name] = l
	}
	return l, err
}

// live names the objects that are needed: everything behind the horizon, what the
// links that are kept list, what merged links behind the horizon list, and the
// content that any of those trees refers to.
func (m *mark) live(ctx context.Context, until int64, kept map[string]bool) (map[string]bool, error) {
	for _, n := range m.merged {
		if n.Last > until {
			l, err := m.link(ctx, n)
			if err != nil {
				return nil, err
			}
			kept[l.Name] = true
		}
	}
	live := map[string]bool{}
	for name := range kept {
		for _, ref := range m.links[name].Objects {
			live[ref.Name] = true
		}
	}
	return live, m.contents(ctx, until, live)
}

// contents adds what the trees refer to: of more of them than any point needs,
// rather than of fewer.
func (m *mark) contents(ctx context.Context, until int64, live map[string]bool) error {
	var trees []string
	err := m.each(ctx, "tree/", func(name string) {
		if live[name] || m.recent(name, until) && !m.ledger.Condemned(name) {
			trees = append(trees, name)
		}
	})
	if err != nil {
		return err
	}
	s := read.Ahead(ctx, len(trees), func(ctx context.Context, i int) ([]backup.Change, error) { return m.k.reader.Tree(ctx, trees[i]) })
	defer s.Close()
	for range trees {
		changes, err := s.Next()
		if err != nil {
			return err
		}
		for _, c := range changes {
			for _, chunk := range c.Chunks() {
				live[backup.ContentName(m.k.cfg.Store, chunk)] = true
			}
		}
	}
	return nil
}

// recent reports whether an object belongs behind the horizon. What no name
// tells is nobody's of ours and left alone, too.
func (m *mark) recent(name string, until int64) bool {
	if h, err := backup.ParsePartName(m.k.cfg.Store, name); err == nil {
		return h.Sequence > until
	}
	if n, err := backup.ParseMergedName(m.k.cfg.Store, name); err == nil {
		return n.Last > until
	}
	if s, err := backup.ParseManifestName(m.k.cfg.Store, name); err == nil {
		return s > until
	}
	return !strings.HasPrefix(name, backup.Prefix(m.k.cfg.Store)+"files/")
}

// dead lists what is neither live nor recent, relative to the store's prefix.
func (m *mark) dead(ctx context.Context, until int64, live map[string]bool) ([]string, error) {
	list := []string{}
	prefix := backup.Prefix(m.k.cfg.Store)
	for _, kind := range []string{"files/", "manifest/", "merged/", "pages/", "tree/"} {
		err := m.each(ctx, kind, func(name string) {
			if !live[name] && !m.recent(name, until) && len(list) < backup.MaxCondemned {
				list = append(list, strings.TrimPrefix(name, prefix))
			}
		})
		if err != nil {
			return nil, err
		}
	}
	return list, nil
}

// each lists a kind of object.
func (m *mark) each(ctx context.Context, kind string, fn func(name string)) error {
	const page = 1000
	prefix := backup.Prefix(m.k.cfg.Store) + kind
	for after := ""; ; {
		list, err := m.k.cfg.Target.List(ctx, prefix, after, page)
		if err != nil {
			return err
		}
		for _, info := range list {
			after = info.Name
			fn(info.Name)
		}
		if len(list) < page {
			return nil
		}
	}
}
