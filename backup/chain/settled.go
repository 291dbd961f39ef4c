package chain

import (
	"fmt"

	"holdfast/data"
)

// Settled is what a data.PageSource may be, too: one that knows which pages are as
// they were in a snapshot of this chain.
type Settled interface {
	// Unchanged says of pages that a Snapshot hands out whether they did not change
	// since; nil where that is not known.
	Unchanged(epoch string, sequence int64) func(pgno uint32) bool
}

// ErrPutBack refuses to ship a page that did not change since the last snapshot, and
// is not what was shipped: somebody put an older copy in its place. It wraps
// data.ErrTampered.
var ErrPutBack = fmt.Errorf("an older copy was put in its place: %w", data.ErrTampered)

// settled asks the source about the newest snapshot.
func (c *Chain) settled(pages data.PageSource) func(pgno uint32) bool {
	p, ok := pages.(Settled)
	if !ok || c.state == nil {
		return nil
	}
	return p.Unchanged(c.state.Epoch.String(), c.state.Sequence)
}
