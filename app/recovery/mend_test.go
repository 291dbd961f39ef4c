package recovery

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/app/api"
)

// manifestAt is where a folder keeps a manifest of a tenant's chain.
func (w *world) manifestAt(dir, slug string, sequence int64) string {
	return filepath.Join(dir, "t", w.tenants[slug].id.String(), "manifest", fmt.Sprintf("%016x", sequence))
}

// recorded finds the last event of an action.
func (r *recorder) recorded(action string) (found api.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.events {
		if e.Action == action {
			found = e
		}
	}
	return found
}

// TestDamageIsNoticedWhileShipping: a manifest that somebody took away, or put an older
// one in the place of, is found within a minute. It is named, and the chain goes on
// without it.
func TestDamageIsNoticedWhileShipping(t *testing.T) {
	for what, hurt := range map[string]func(w *world, dir, manifest string) error{
		"gone": func(_ *world, _, manifest string) error { return os.Remove(manifest) },
		"older": func(w *world, dir, manifest string) error {
			old, err := os.ReadFile(w.manifestAt(dir, "acme", 1))
			w.must(err)
			w.must(os.Remove(manifest))
			return os.WriteFile(manifest, old, 0o600)
		},
	} {
		t.Run(what, func(t *testing.T) { damageIsNoticed(t, hurt) })
	}
}

func damageIsNoticed(t *testing.T, hurt func(w *world, dir, manifest string) error) {
	w := newWorld(t)
	w.tenant("acme", 5)
	dir := w.folder("one")
	for i := range 2 {
		w.add("acme", fmt.Sprint("more ", i), 1)
		w.ship("acme")
	}
	w.begin()
	w.add("acme", "last", 1)
	newest := w.arrived("acme", "one", 2)
	manifest := w.manifestAt(dir, "acme", 2)
	w.must(hurt(w, dir, manifest))
	w.must(w.Sweep(t.Context(), w.now()))
	w.arrived("acme", "one", newest)
	w.until("the log tells", func() bool { return w.log.recorded("snapshot.damaged").Action != "" })
	if e := w.log.recorded("snapshot.damaged"); !strings.HasSuffix(manifest, e.Detail["object"]) || e.Outcome != api.Failed || e.Detail["target"] != "one" {
		t.Errorf("recorded: %+v", e)
	}
	found, err := w.Findings(t.Context())
	w.must(err)
	if !strings.Contains(fmt.Sprint(found), filepath.Base(manifest)) {
		t.Errorf("findings: %+v", found)
	}
	var v Verified
	if w.done("/stores/acme/prod/snapshots/verify", "", &v); v.OK || !strings.Contains(fmt.Sprint(v.Problems), filepath.Base(manifest)) {
		t.Errorf("verified: %+v", v)
	}
	w.done("/stores/acme/prod/restores", `{"as":"copy"}`, new(Restored))
	if w.content("copy") != w.content("acme") {
		t.Error("the newest point is not what is there")
	}
}

// TestVerifyMends: damage that only reading everything finds does not stay under the
// points that are yet to come.
func TestVerifyMends(t *testing.T) {
	w := newWorld(t)
	w.tenant("acme", 5)
	dir := w.folder("one")
	w.begin()
	newest := w.arrived("acme", "one", 0)
	name := flipLargest(t, filepath.Join(dir, "t", w.tenants["acme"].id.String()))
	var v Verified
	if w.done("/stores/acme/prod/snapshots/verify", "", &v); v.OK {
		t.Fatalf("verified with a changed %s", name)
	}
	again := w.arrived("acme", "one", newest)
	w.done("/stores/acme/prod/restores", `{"as":"copy"}`, new(Restored))
	if w.content("copy") != w.content("acme") {
		t.Error("the newest point is not what is there")
	}
	w.done("/stores/acme/prod/snapshots/verify", "", &v) // names the old damage, and begins nothing anew for it
	if v.OK || w.ship("acme").Seq != again {
		t.Errorf("after another verification: %+v", v)
	}
}

func TestSequenceOf(t *testing.T) {
	for name, want := range map[string]int64{
		"t/a/prod/manifest/000000000000001f": 31, "t/a/prod/pages/0000000000000002-00112233aabbccdd-00000001": 2,
		"t/a/prod/merged/0000000000000009-0000000000000001-3-0123456789ab": 9,
		"t/a/prod/files/00000000000000010000":                              1<<63 - 1, "t/a/prod/other": 1<<63 - 1,
	} {
		if got := sequenceOf(name); got != want {
			t.Errorf("%s: %d", name, got)
		}
	}
}
