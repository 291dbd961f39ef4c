package store

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	"github.com/pocketbase/dbx"
)

// Difference is what would become of one collection if a store became another.
type Difference struct {
	Collection string `json:"collection"`
	Added      int64  `json:"added"`
	Changed    int64  `json:"changed"`
	Removed    int64  `json:"removed"`
	Same       int64  `json:"same"`
}

// Compare tells, collection by collection, what would change if this store became
// as then. Collections that only one of them has are counted whole; views are left
// out, and so are PocketBase's own.
func (s *Store) Compare(ctx context.Context, then *Store) (out []Difference, err error) {
	err = s.whole(func() error {
		pairs, err := s.pairs(then)
		for _, p := range pairs {
			if err == nil {
				err = p.compare(ctx)
			}
			out = append(out, p.Difference)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("compare %s: %w", s.id, err)
	}
	return out, nil
}

// pair is a collection now and then; either may be nil.
type pair struct {
	Difference
	now, then *rowReader
}

func (s *Store) pairs(then *Store) (out []*pair, err error) {
	byID := map[string]*pair{}
	for i, side := range []*Store{s, then} {
		all, err := side.app.FindAllCollections()
		if err != nil {
			return nil, err
		}
		for _, c := range all {
			if c.IsView() || c.System {
				continue
			}
			p := byID[c.Id]
			if p == nil {
				p = &pair{Difference: Difference{Collection: c.Name}}
				byID[c.Id], out = p, append(out, p)
			}
			reader := &rowReader{store: side, table: c.Name}
			if i == 0 {
				p.now = reader
			} else {
				p.then = reader
			}
		}
	}
	return out, nil
}

// compare walks both sides in the order of the ids.
func (p *pair) compare(ctx context.Context) error {
	now, err := p.now.next(ctx)
	if err != nil {
		return err
	}
	then, err := p.then.next(ctx)
	for err == nil && (now != nil || then != nil) {
		switch {
		case then == nil || now != nil && now.id < then.id:
			p.Removed++
			now, err = p.now.next(ctx)
			continue
		case now == nil || then.id < now.id:
			p.Added++
			then, err = p.then.next(ctx)
			continue
		case bytes.Equal(now.values, then.values):
			p.Same++
		default:
			p.Changed++
		}
		if now, err = p.now.next(ctx); err == nil {
			then, err = p.then.next(ctx)
		}
	}
	return err
}

// rowReader reads a table by pages, in the order of the ids.
type rowReader struct {
	store *Store
	table string
	last  string
	rows  []comparedRow
	done  bool
}

type comparedRow struct {
	id     string
	values []byte
}

const comparePage = 500

// next gives nil at the end, and for a table that is not there.
func (r *rowReader) next(ctx context.Context) (*comparedRow, error) {
	if r == nil {
		return nil, nil
	}
	if len(r.rows) == 0 && !r.done {
		if err := r.read(ctx); err != nil {
			return nil, err
		}
	}
	if len(r.rows) == 0 {
		return nil, nil
	}
	row := r.rows[0]
	r.rows = r.rows[1:]
	return &row, nil
}

func (r *rowReader) read(ctx context.Context) error {
	var list []dbx.NullStringMap
	err := r.store.app.ConcurrentDB().NewQuery("SELECT * FROM {{" + r.table + "}} WHERE [[id]] > {:after} ORDER BY [[id]] LIMIT {:limit}").
		Bind(dbx.Params{"after": r.last, "limit": comparePage}).WithContext(inner(ctx)).All(&list)
	if err != nil {
		return fmt.Errorf("read %s: %w", r.table, err)
	}
	r.done = len(list) < comparePage
	for _, row := range list {
		id := row["id"].String
		values, err := json.Marshal(row) // of a map: in the order of the names
		if err != nil {
			return err
		}
		r.rows, r.last = append(r.rows, comparedRow{id, values}), id
	}
	return nil
}
