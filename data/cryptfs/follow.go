package cryptfs

import (
	"context"

	"holdfast/data"
)

// follower is one that asks for what changed since its own last snapshot. All
// but the name is guarded by the tracker's lock.
type follower struct {
	name      string
	dirty     pageSet // changed since its last snapshot that succeeded
	candidate *Base   // as of that snapshot, until Rebase names it
	base      *Base   // that was named last, and shipped
}

// View is the tap as one of several followers sees it, each with changes of its
// own: what one was handed is not lost for the others. One snapshot runs at a
// time over all of them.
type View struct {
	tap  *Tap
	name string
}

var _ data.PageSource = (*View)(nil)

// View gives the follower of that name ("" is the tap itself). A new one begins
// with all pages.
func (t *Tap) View(name string) *View { return &View{t, name} }

// Snapshot hands out the pages that changed since this follower's last one; see
// data.PageSource.
func (v *View) Snapshot(ctx context.Context, fn func(pgno uint32, page []byte) error) (data.Commit, error) {
	return v.tap.snapshot(ctx, v.name, fn)
}

// MarkAll makes the follower's next Snapshot a full one.
func (v *View) MarkAll() { v.tap.db.track.markAll(v.name) }

// Dirty is how many pages the follower's next Snapshot would hand out.
func (v *View) Dirty() int { return v.tap.db.track.changed(v.name) }

// Rebase names the follower's last snapshot, as Tap.Rebase does.
func (v *View) Rebase(label string) { v.tap.db.track.rebase(v.name, label) }

// follower finds one, or adds it with all pages; mu is held and the tap is open.
func (t *tracker) follower(name string) *follower {
	for _, f := range t.followers {
		if f.name == name {
			return f
		}
	}
	f := &follower{name: name}
	f.dirty.addRange(1, t.pages)
	t.followers = append(t.followers, f)
	return f
}

func (t *tracker) markAll(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.on {
		t.follower(name).dirty.addRange(1, t.pages)
	}
}

func (t *tracker) changed(name string) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.on {
		return 0
	}
	return t.follower(name).dirty.n
}

// touch tells every follower of a page that changed; mu is held.
func (t *tracker) touch(page uint32) {
	for _, f := range t.followers {
		f.dirty.add(page)
	}
}

// cut takes the pages that are no more from every follower; mu is held.
func (t *tracker) cut(size uint32) {
	for _, f := range t.followers {
		f.dirty.cut(size)
	}
}
