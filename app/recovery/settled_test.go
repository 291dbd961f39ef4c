package recovery

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"holdfast/data"
)

// TestPutBackIsNotShipped: a page that was put back while the store was closed is no
// change. The first snapshot after it is opened refuses it, on every target, and goes
// on when the page is as it was.
func TestPutBackIsNotShipped(t *testing.T) {
	w := newWorld(t)
	w.tenant("acme", 50)
	path := w.database("acme")
	old := w.slurp(path)
	w.folder("one")
	w.folder("two")
	w.add("acme", "second", 300)
	w.ship("acme")
	shipped := w.slurp(w.database("acme"))
	w.add("acme", "third", 10)
	good := w.slurp(w.database("acme"))
	page := stalePage(t, good, shipped, old)
	bad := bytes.Clone(good)
	copy(bad[page*data.PageSize:(page+1)*data.PageSize], old[page*data.PageSize:])
	w.must(os.WriteFile(path, bad, 0o600))
	for _, target := range []string{"one", "two"} {
		p := w.failed("/stores/acme/prod/snapshots", `{"target":"`+target+`"}`, "put-back")
		if !strings.Contains(p.Detail, "older") {
			t.Errorf("%+v", p)
		}
	}
	w.must(os.WriteFile(w.database("acme"), good, 0o600))
	if s := w.ship("acme"); len(s.Targets) != 2 || s.Pages == 0 || s.Pages > 60 {
		t.Fatalf("%+v", s)
	}
}
