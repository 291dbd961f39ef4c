package custody

import (
	"testing"

	"holdfast/app/api"
	"holdfast/data/keys"
)

// TestSeals: a key that has sealed half as often as it may is a finding; entries tell
// the count where it is known.
func TestSeals(t *testing.T) {
	w := newWorld(t)
	sealed := []Sealed{{keys.System, keys.Pages, 1, 10, 1000}, {acme, keys.Pages, 1, 3, 1000}, {acme, keys.Pages, 1, 499, 1000}, {acme, keys.Pages, 1, 0, 1000}}
	w.config.Seals = func() []Sealed { return sealed }
	w.open()
	if w.has("key-spent") {
		t.Error("a finding below half of the bound")
	}
	page, err := w.Entries(w.ctx(), EntryFilter{Owner: "acme", Purpose: "pages"}, api.Paging{Page: 1, PerPage: 10})
	w.must(err)
	if e := page.Items[0]; e.Seals != 499 || e.Bound != 1000 {
		t.Errorf("%+v", e)
	}
	sealed[2].Count = 500
	if !w.has("key-spent") {
		t.Error("no finding at half of the bound")
	}
	w.must(w.ring.Rotate(acme, keys.Pages))
	if w.has("key-spent") {
		t.Error("a finding of a key that seals no more")
	}
}
