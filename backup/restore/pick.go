package restore

import (
	"context"
	"fmt"
	"sort"
	"time"

	"holdfast/backup"
)

// pick finds the snapshot that is asked for and returns the walked manifests
// from its base to it.
func (r *reader) pick(ctx context.Context) ([]*link, error) {
	sequence, err := r.sequence(ctx)
	if err != nil {
		return nil, err
	}
	last, err := r.manifest(ctx, sequence)
	if err != nil {
		return nil, err
	}
	return r.manifests(ctx, last.Base, sequence)
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
	switch {
	case newest == 0:
		return 0, fmt.Errorf("%w: the target holds none of this store", backup.ErrNoSnapshot)
	case r.cfg.Sequence > newest:
		return 0, fmt.Errorf("%w: the last one is %d", backup.ErrNoSnapshot, newest)
	case r.cfg.Sequence > 0:
		return r.cfg.Sequence, nil
	case !r.cfg.At.IsZero():
		return r.until(ctx, r.cfg.At)
	}
	return newest, nil
}

// until finds the last snapshot not after t. Times never go back, so it halves.
func (r *reader) until(ctx context.Context, t time.Time) (int64, error) {
	all, err := allSequences(ctx, r.cfg.Source, r.cfg.Store)
	if err != nil {
		return 0, err
	}
	var first time.Time
	i := sort.Search(len(all), func(i int) bool {
		if err != nil {
			return true
		}
		var l *link
		if l, err = r.manifest(ctx, all[i]); err != nil {
			return true
		}
		first = l.Time
		return l.Time.After(t)
	})
	if err != nil {
		return 0, err
	}
	if i == 0 {
		return 0, fmt.Errorf("%w: the first one is of %s", backup.ErrNoSnapshot, first.Format(time.RFC3339))
	}
	return all[i-1], nil
}

func allSequences(ctx context.Context, s backup.ObjectStore, store string) (all []int64, err error) {
	const limit = 1000
	for after := int64(0); ; after = all[len(all)-1] {
		page, err := backup.Sequences(ctx, s, store, after, limit)
		if err != nil {
			return nil, err
		}
		all = append(all, page...)
		if len(page) < limit {
			return all, nil
		}
	}
}

// List reads up to limit manifests after a sequence, oldest first. Their
// signatures hold; the walk is Verify's.
func List(ctx context.Context, c Config, after int64, limit int) ([]*backup.Snapshot, error) {
	r, err := newReader(c)
	if err != nil {
		return nil, err
	}
	sequences, err := backup.Sequences(ctx, c.Source, c.Store, after, limit)
	if err != nil {
		return nil, err
	}
	s := ahead(ctx, len(sequences), func(ctx context.Context, i int) (*link, error) { return r.manifest(ctx, sequences[i]) })
	defer s.close()
	var list []*backup.Snapshot
	for range sequences {
		l, err := s.next()
		if err != nil {
			return nil, err
		}
		list = append(list, l.Snapshot)
	}
	return list, nil
}
