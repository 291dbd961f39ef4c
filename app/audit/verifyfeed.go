package audit

import (
	"context"
	"errors"
	"slices"

	"holdfast/data"
	"holdfast/data/store"
)

// found is a leaf as Verify read it; blind when its body could not be opened.
type found struct {
	n     int64
	leaf  leaf
	body  body
	blind bool
}

// feedCheck walks a store's change feed beside the log's leaves. Without a store
// (the appliance's log, a destroyed tenant) it checks only that each life's
// sequences are without gap and double.
type feedCheck struct {
	feed  Feed // nil: nothing to compare with
	lives []store.Incarnation
	until data.Position // committed when Verify began: has its leaf by now

	page []data.Change // read ahead
	read data.Position // end of page
	done bool

	last      data.Position // of the newest leaf
	began     data.Position
	changes   int64
	withdrawn int64
}

// feedOf opens the feed and catches it up first, so that every change committed
// before the call must have its leaf.
func (s *Service) feedOf(ctx context.Context, log string) (*feedCheck, error) {
	if log == Appliance || s.config.Stores == nil {
		return &feedCheck{}, nil
	}
	id, err := data.ParseStoreID(log)
	if err != nil {
		return nil, err
	}
	feed, err := s.config.Stores.Acquire(ctx, id)
	if gone(err) {
		return &feedCheck{}, nil
	}
	if err != nil {
		return nil, err
	}
	f := &feedCheck{feed: feed}
	if err := f.prepare(ctx, s, log); err != nil {
		f.release()
		return nil, err
	}
	return f, nil
}

func (f *feedCheck) prepare(ctx context.Context, s *Service, log string) (err error) {
	if f.until, err = f.feed.Position(ctx); err != nil {
		return err
	}
	if _, err := s.drain(ctx, log, f.feed); err != nil {
		return err
	}
	f.lives, err = f.feed.Incarnations(ctx)
	return err
}

func (f *feedCheck) release() {
	if f.feed != nil {
		f.feed.Release()
	}
}

func (f *feedCheck) begin(ctx context.Context, st state) error {
	f.began = st.Began
	f.read = st.Began
	if f.feed == nil {
		return nil
	}
	if f.cutoff(st.Began) {
		f.done = true // restored in place to before the following began
		return nil
	}
	return f.fill(ctx)
}

func (f *feedCheck) fill(ctx context.Context) error {
	if f.feed == nil || f.done || len(f.page) > 0 {
		return nil
	}
	page, err := f.feed.Changes(ctx, f.read, maxChanges)
	if errors.Is(err, store.ErrLostPosition) {
		f.done = true
		return nil
	}
	if err != nil {
		return err
	}
	if len(page) == 0 {
		f.done = true
		return nil
	}
	f.page, f.read = page, page[len(page)-1].Position
	return nil
}

// leaf checks one leaf's position against the leaf before it and the feed.
func (f *feedCheck) leaf(ctx context.Context, r *Report, l found) error {
	p := l.leaf.Position
	if p == (data.Position{}) {
		return nil
	}
	f.changes++
	before := f.last
	f.last = p
	if !f.inOrder(r, l.n, before, p) || f.feed == nil {
		return nil
	}
	if f.cutoff(p) {
		f.withdrawn++
		return nil
	}
	return f.match(ctx, r, l)
}

// inOrder names doubles and gaps within one life.
func (f *feedCheck) inOrder(r *Report, n int64, before, p data.Position) bool {
	if before.Incarnation != p.Incarnation {
		return f.firstOfLife(r, n, p)
	}
	switch {
	case p.Sequence == before.Sequence:
		r.problem("entry %d doubles change %s %d", n, p.Incarnation, p.Sequence)
		return false
	case p.Sequence < before.Sequence:
		r.problem("entry %d goes back to change %s %d", n, p.Incarnation, p.Sequence)
		return false
	case p.Sequence > before.Sequence+1 && f.feed == nil:
		r.problem("no leaf for changes %s %d to %d", p.Incarnation, before.Sequence+1, p.Sequence-1)
	}
	return true
}

func (f *feedCheck) firstOfLife(r *Report, n int64, p data.Position) bool {
	if f.feed == nil || p.Incarnation == f.began.Incarnation {
		return true
	}
	if !slices.ContainsFunc(f.lives, func(l store.Incarnation) bool { return l.ID == p.Incarnation }) {
		r.problem("entry %d is foreign: the store has no incarnation %s", n, p.Incarnation)
		return false
	}
	return true
}

// cutoff says that a restore took the change back.
func (f *feedCheck) cutoff(p data.Position) bool {
	for i, life := range f.lives {
		if life.ID == p.Incarnation {
			return i+1 < len(f.lives) && p.Sequence > f.lives[i+1].From
		}
	}
	return false
}

// match takes the feed's rows up to the leaf's: those before it have no leaf.
func (f *feedCheck) match(ctx context.Context, r *Report, l found) error {
	for {
		if err := f.fill(ctx); err != nil {
			return err
		}
		if f.done || f.page[0].Sequence > l.leaf.Position.Sequence {
			r.problem("entry %d is foreign: the store's feed has no change %s %d", l.n, l.leaf.Position.Incarnation, l.leaf.Position.Sequence)
			return nil
		}
		c := f.page[0]
		f.page = f.page[1:]
		if c.Position == l.leaf.Position {
			f.same(r, l, c)
			return nil
		}
		r.problem("no leaf for change %s %d", c.Incarnation, c.Sequence)
	}
}

// same compares what the leaf tells with what the feed tells.
func (f *feedCheck) same(r *Report, l found, c data.Change) {
	if !l.leaf.Time.Equal(c.At) || l.leaf.Action != actionOf(c) {
		r.problem("entry %d tells another time or action than change %s %d", l.n, c.Incarnation, c.Sequence)
		return
	}
	want := bodyOfChange(c)
	if !l.blind && (l.body.Actor != want.Actor || l.body.Target != want.Target || l.body.Detail["fields"] != want.Detail["fields"]) {
		r.problem("entry %d tells another actor, record or fields than change %s %d", l.n, c.Incarnation, c.Sequence)
	}
}

// end names the changes after the last leaf that were committed before Verify
// began. Later ones are simply not followed yet.
func (f *feedCheck) end(ctx context.Context, r *Report) error {
	for f.feed != nil {
		if err := f.fill(ctx); err != nil {
			return err
		}
		if f.done || f.page[0].Sequence > f.until.Sequence {
			return nil
		}
		r.problem("no leaf for change %s %d", f.page[0].Incarnation, f.page[0].Sequence)
		f.page = f.page[1:]
	}
	return nil
}

func (f *feedCheck) copyTo(r *Report) {
	r.Changes, r.Withdrawn, r.Compared = f.changes, f.withdrawn, f.feed != nil
}
