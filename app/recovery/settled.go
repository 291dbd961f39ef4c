package recovery

import (
	"holdfast/data"
	"holdfast/data/store"
)

// settled is a store's pages as a target's chain is handed them. It knows which are as
// they were when that chain was last shipped, also when the store was closed since, so
// that a page that was put back meanwhile is not taken for a change.
type settled struct {
	data.PageSource
	store  *store.Store
	target string
}

func settledPages(st *store.Store, target string) settled {
	return settled{st.PagesFor(target), st, target}
}

// Unchanged is chain.Settled's.
func (p settled) Unchanged(epoch string, sequence int64) func(pgno uint32) bool {
	return p.store.Unchanged(p.target, label(p.target, epoch, sequence))
}
