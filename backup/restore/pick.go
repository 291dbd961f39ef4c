package restore

import (
	"context"
	"fmt"
	"slices"
	"sort"
	"time"

	"holdfast/backup"
	"holdfast/backup/read"
)

// RangeError says that a moment lies outside of what can be restored. It is a
// backup.ErrNoSnapshot.
type RangeError struct{ At, First, Last time.Time }

func (e *RangeError) Error() string {
	return fmt.Sprintf("%v at %s: there are points from %s to %s", backup.ErrNoSnapshot,
		e.At.Format(time.RFC3339), e.First.Format(time.RFC3339), e.Last.Format(time.RFC3339))
}

func (e *RangeError) Unwrap() error { return backup.ErrNoSnapshot }

// pick finds the snapshot that is asked for and returns the walked links from
// an image to it.
func (r *reader) pick(ctx context.Context) ([]*read.Link, error) {
	sequence, err := r.sequence(ctx)
	if err != nil {
		return nil, err
	}
	return r.Path(ctx, sequence, r.ledger)
}

// Find tells which snapshot Run would restore, without restoring it. It answers
// backup.ErrNoSnapshot.
func Find(ctx context.Context, c Config) (int64, error) {
	r, err := newReader(c)
	if err != nil {
		return 0, err
	}
	return r.sequence(ctx)
}

func (r *reader) sequence(ctx context.Context) (int64, error) {
	newest, err := backup.Newest(ctx, r.cfg.Source, r.cfg.Store)
	if err != nil {
		return 0, err
	}
	if newest < r.cfg.AtLeast {
		name := backup.ManifestName(r.cfg.Store, r.cfg.AtLeast)
		return 0, &backup.ObjectError{Name: name, Err: fmt.Errorf("%w: it was shipped, but the chain ends at %d", backup.ErrNoSnapshot, newest)}
	}
	if newest == 0 {
		return 0, fmt.Errorf("%w: the target holds none of this store", backup.ErrNoSnapshot)
	}
	if r.ledger, err = r.Ledger(ctx); err != nil {
		return 0, err
	}
	switch {
	case r.cfg.Sequence > newest:
		return 0, fmt.Errorf("%w: the last one is %d", backup.ErrNoSnapshot, newest)
	case r.cfg.Sequence > 0 && !r.ledger.Kept(r.cfg.Sequence):
		return 0, fmt.Errorf("%w: %d was pruned", backup.ErrNoSnapshot, r.cfg.Sequence)
	case r.cfg.Sequence > 0:
		return r.cfg.Sequence, nil
	case !r.cfg.At.IsZero():
		return r.until(ctx, r.cfg.At, newest)
	}
	return newest, nil
}

// point is a snapshot that can be restored; Time is zero where it is not known.
type point struct {
	sequence int64
	time     time.Time
}

// until finds the last point not after t. Times never go back within a chain, so
// it halves: first among the points that are few, then between two of them.
func (r *reader) until(ctx context.Context, t time.Time, newest int64) (int64, error) {
	points, err := r.landmarks(ctx, newest)
	if err != nil {
		return 0, err
	}
	i, err := r.search(ctx, points, t)
	if err != nil {
		return 0, err
	}
	last := points[len(points)-1]
	if i == len(points) && t.After(later(last.time, r.cfg.Until)) || i == 0 && points[0].sequence <= r.ledger.Horizon() {
		return 0, r.outside(ctx, t, points)
	}
	after, before := r.ledger.Horizon(), newest+1
	if i > 0 {
		after = max(after, points[i-1].sequence)
	}
	if i < len(points) {
		before = points[i].sequence
	}
	return r.between(ctx, t, points, i, after, before)
}

// between looks at the manifests between two landmarks, of which the second is
// after t. (Of pruned stretches the landmarks are all there is.)
func (r *reader) between(ctx context.Context, t time.Time, points []point, i int, after, before int64) (int64, error) {
	sequences, err := r.Sequences(ctx, after, before-1)
	if err != nil {
		return 0, err
	}
	fine := make([]point, 0, len(sequences)+len(points))
	for _, s := range sequences {
		fine = append(fine, point{sequence: s})
	}
	j, err := r.search(ctx, fine, t)
	switch {
	case err != nil:
		return 0, err
	case j > 0:
		return fine[j-1].sequence, nil
	case i > 0:
		return points[i-1].sequence, nil
	}
	return 0, r.outside(ctx, t, append(fine, points...))
}

// landmarks are the points of which there are few: those that prunes kept, the
// ends of merged links, and the newest.
func (r *reader) landmarks(ctx context.Context, newest int64) ([]point, error) {
	names, err := r.MergedNames(ctx, 0, newest)
	if err != nil {
		return nil, err
	}
	times := map[int64]time.Time{newest: {}}
	if r.ledger.Horizon() > 0 {
		for _, s := range r.ledger.Points {
			times[s] = time.Time{}
		}
	}
	for _, n := range names {
		if r.ledger.Kept(n.Last) {
			times[n.Last] = n.Time
		}
	}
	points := make([]point, 0, len(times))
	for s, t := range times {
		points = append(points, point{s, t})
	}
	slices.SortFunc(points, func(a, b point) int { return int(a.sequence - b.sequence) })
	return points, r.know(ctx, &points[len(points)-1])
}

// search finds the first point after t.
func (r *reader) search(ctx context.Context, points []point, t time.Time) (i int, err error) {
	i = sort.Search(len(points), func(i int) bool {
		if err == nil {
			err = r.know(ctx, &points[i])
		}
		return err != nil || points[i].time.After(t)
	})
	return i, err
}

func (r *reader) know(ctx context.Context, p *point) error {
	if !p.time.IsZero() {
		return nil
	}
	l, err := r.Reader.At(ctx, p.sequence)
	if err == nil {
		p.time = l.Time
	}
	return err
}

// outside says the range, which begins with the first manifest that counts.
func (r *reader) outside(ctx context.Context, t time.Time, points []point) error {
	first, last := points[0], points[len(points)-1]
	if first.sequence > r.ledger.Horizon() {
		early, err := backup.Sequences(ctx, r.cfg.Source, r.cfg.Store, r.ledger.Horizon(), 1)
		if err != nil {
			return err
		}
		if len(early) > 0 && early[0] < first.sequence {
			first = point{sequence: early[0]}
		}
	}
	if err := r.know(ctx, &first); err != nil {
		return err
	}
	if err := r.know(ctx, &last); err != nil {
		return err
	}
	return &RangeError{At: t.UTC(), First: first.time, Last: later(last.time, r.cfg.Until)}
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// List reads up to limit manifests after a sequence, oldest first. Their
// signatures hold; the walk is Verify's. Points that only a merged link ends at
// are Points'.
func List(ctx context.Context, c Config, after int64, limit int) ([]*backup.Snapshot, error) {
	r, err := newReader(c)
	if err != nil {
		return nil, err
	}
	sequences, err := backup.Sequences(ctx, c.Source, c.Store, after, limit)
	if err != nil {
		return nil, err
	}
	s := read.Ahead(ctx, len(sequences), func(ctx context.Context, i int) (*read.Link, error) { return r.Manifest(ctx, sequences[i]) })
	defer s.Close()
	var list []*backup.Snapshot
	for range sequences {
		l, err := s.Next()
		if err != nil {
			return nil, err
		}
		list = append(list, l.Snapshot)
	}
	return list, nil
}
