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
// (the appliance's log, a destroyed tenant) it checks only that the leaves of
// each life are without gap and double.
type feedCheck struct {
	feed  Feed // nil: nothing to compare with
	lives []store.Incarnation
	until data.Position // committed when Verify began: has its leaf by now

	page []data.Change // read ahead
	read data.Position // end of page
	done bool

	floor   int64         // changes up to it are no longer in the feed
	at      data.Position // the newest leaf's
	unknown bool          // the newest begin is of a life that the store does not know
	begun   int64         // entry of the newest begin

	changes   int64
	withdrawn int64
	pruned    int64
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

// begin reads the feed from where the log's following began.
func (f *feedCheck) begin(ctx context.Context, st state) error {
	f.read = st.Began
	err := f.fill(ctx)
	if errors.Is(err, store.ErrLostPosition) && len(f.lives) > 0 {
		f.read = startOf(f.lives[len(f.lives)-1])
		err = f.fill(ctx)
	}
	return err
}

func (f *feedCheck) fill(ctx context.Context) error {
	if f.feed == nil || f.done || len(f.page) > 0 {
		return nil
	}
	page, err := f.feed.Changes(ctx, f.read, maxChanges)
	var pruned *store.PrunedError
	if errors.As(err, &pruned) {
		f.floor, f.read = pruned.To.Sequence, pruned.To
		page, err = f.feed.Changes(ctx, f.read, maxChanges)
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
	switch {
	case l.leaf.Position == data.Position{}:
		return nil
	case l.leaf.Action == actionBegin:
		f.life(r, l)
		return nil
	}
	f.changes++
	if !f.inOrder(r, l.n, l.leaf.Position) || f.feed == nil {
		return nil
	}
	if f.unknown || f.cutoff(l.leaf.Position) {
		f.withdrawn++
		return nil
	}
	if l.leaf.Position.Sequence <= f.floor {
		f.pruned++
		return nil
	}
	return f.match(ctx, r, l)
}

// life notes that the log follows another life from here. One that the store does
// not know was taken back by a restore to a time before it: then another
// must follow.
func (f *feedCheck) life(r *Report, l found) {
	f.at, f.begun = l.leaf.Position, l.n
	i := slices.IndexFunc(f.lives, func(life store.Incarnation) bool { return life.ID == f.at.Incarnation })
	f.unknown = f.feed != nil && i < 0
	if i >= 0 && f.lives[i].From != f.at.Sequence {
		r.problem("entry %d begins life %s after %d, the store after %d", l.n, f.at.Incarnation, f.at.Sequence, f.lives[i].From)
	}
}

// inOrder names doubles, gaps and leaves of another life, and says whether the
// leaf is the next one.
func (f *feedCheck) inOrder(r *Report, n int64, p data.Position) bool {
	before := f.at
	switch {
	case p.Incarnation != before.Incarnation:
		r.problem("entry %d is foreign: change %s %d is not of the life followed there", n, p.Incarnation, p.Sequence)
		return false
	case p.Sequence == before.Sequence:
		r.problem("entry %d doubles change %s %d", n, p.Incarnation, p.Sequence)
		return false
	case p.Sequence < before.Sequence:
		r.problem("entry %d goes back to change %s %d", n, p.Incarnation, p.Sequence)
		return false
	default:
		f.gap(r, before, p.Sequence)
	}
	f.at = p
	return true
}

// gap names changes without a leaf that the feed cannot show: there is none, or it was
// pruned. Others match finds.
func (f *feedCheck) gap(r *Report, before data.Position, next int64) {
	if f.feed != nil {
		next = min(next, f.floor+1)
	}
	if next > before.Sequence+1 {
		r.problem("no leaf for changes %s %d to %d", before.Incarnation, before.Sequence+1, next-1)
	}
}

// cutoff says that a restore took the change back.
func (f *feedCheck) cutoff(p data.Position) bool {
	after := false
	for _, life := range f.lives {
		if after && life.From < p.Sequence {
			return true
		}
		after = after || life.ID == p.Incarnation
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
	if f.unknown {
		r.problem("entry %d is foreign: the store has no life %s", f.begun, f.at.Incarnation)
	} else if f.feed != nil {
		f.gap(r, f.at, f.until.Sequence+1)
	}
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
	r.Changes, r.Withdrawn, r.Pruned, r.Compared = f.changes, f.withdrawn, f.pruned, f.feed != nil
}
