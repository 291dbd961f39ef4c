package cryptfs

import (
	"errors"
	"slices"
)

// view is what one snapshot hands out: the changed pages in ascending order, and
// where each lies.
type view struct {
	size  uint32 // of the database, in pages
	salt  [8]byte
	pages []pageFrame
	dirty pageSet
}

func (v view) inLog() bool {
	return slices.ContainsFunc(v.pages, func(p pageFrame) bool { return p.frame != 0 && p.frame != unwritten })
}

var errClosed = errors.New("the tap is closed")

// pin gives the changed pages as of now and holds checkpoints and resets of the
// log back until unpin.
func (t *tracker) pin() (view, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for t.checkpointing {
		t.cond.Wait()
	}
	if !t.on {
		return view{}, errClosed
	}
	v := view{size: t.pages, salt: t.salt, dirty: t.dirty, pages: make([]pageFrame, 0, t.dirty.n)}
	for page := range t.dirty.all() {
		v.pages = append(v.pages, pageFrame{page, t.frames[page]})
	}
	t.dirty, t.pinned = pageSet{}, true
	return v, nil
}

// unpin ends a snapshot. Where it failed, its pages are changed still.
func (t *tracker) unpin(v view, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !ok {
		t.dirty.addAll(v.dirty)
		t.dirty.cut(t.pages)
	}
	t.pinned = false
	t.cond.Broadcast()
}

func (t *tracker) markAll() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.dirty.addRange(1, t.pages)
}

func (t *tracker) changed() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.dirty.n
}
