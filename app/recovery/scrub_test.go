package recovery

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/app/api"
	"holdfast/data"
	"holdfast/data/store"
)

func (w *world) scrub(slug string) (s Scrubbed) {
	w.t.Helper()
	w.done("/stores/"+slug+"/prod/scrub", "", &s)
	return s
}

// database evicts a store, so that its log is in the database, and gives the path.
func (w *world) database(slug string) string {
	w.t.Helper()
	id := w.tenants[slug].id
	w.must(w.pool.Evict(w.t.Context(), id))
	return filepath.Join(w.dir, "stores", id.Tenant, id.Environment, "data.db")
}

func (w *world) slurp(path string) []byte {
	w.t.Helper()
	b, err := os.ReadFile(path)
	w.must(err)
	return b
}

// TestScrub: a healthy store, a page and a file that were put back to an older
// state while the store was closed, and changed bytes.
func TestScrub(t *testing.T) {
	w := newWorld(t)
	w.tenant("acme", 50)
	if s := w.scrub("acme"); !s.OK || s.Compared != 0 || s.Against != "" || s.Pages < 50 || s.Files != 2 {
		t.Fatalf("before the first snapshot: %+v", s)
	}
	w.folder("local")
	path := w.database("acme")
	old, oldFiles := w.slurp(path), filepath.Join(t.TempDir(), "files")
	w.must(os.CopyFS(oldFiles, os.DirFS(filepath.Join(filepath.Dir(path), "files"))))
	w.add("acme", "second", 300)
	w.with("acme", func(s *store.Store) { w.must(w.put(s, "a/b/hello.txt", "hello again")) })
	w.ship("acme")
	shipped := w.slurp(w.database("acme"))
	w.add("acme", "third", 10)
	s := w.scrub("acme")
	if !s.OK || s.Compared == 0 || s.Compared >= s.Pages || s.Against != "local 1" {
		t.Fatalf("%+v", s)
	}
	if e := w.log.last(); e.Action != "store.scrub" || e.Outcome != api.OK {
		t.Fatalf("%+v", e)
	}

	good := w.slurp(w.database("acme"))
	page := stalePage(t, good, shipped, old)
	bad := bytes.Clone(good)
	copy(bad[page*data.PageSize:(page+1)*data.PageSize], old[page*data.PageSize:])
	w.must(os.WriteFile(path, bad, 0o600))
	s = w.scrub("acme")
	if s.OK || len(s.Findings) != 1 || s.Findings[0].File != "data.db" || int(s.Findings[0].Page) != page+1 || !strings.Contains(s.Findings[0].Reason, "older copy") {
		t.Fatalf("page %d: %+v", page+1, s)
	}
	if e := w.log.last(); e.Outcome != api.Failed || e.Detail["findings"] != "1" {
		t.Fatalf("%+v", e)
	}

	w.must(os.WriteFile(w.database("acme"), good, 0o600))
	bad = bytes.Clone(good)
	bad[page*data.PageSize+99] ^= 4
	w.with("acme", func(*store.Store) { // while it is open
		w.must(os.WriteFile(path, bad, 0o600))
		if s := w.scrub("acme"); s.OK || len(s.Findings) != 1 || int(s.Findings[0].Page) != page+1 {
			t.Fatalf("page %d: %+v", page+1, s)
		}
		w.must(os.WriteFile(path, good, 0o600))
	})
	w.putBack(oldFiles, filepath.Join(filepath.Dir(path), "files"))
	if s := w.scrub("acme"); s.OK || len(s.Findings) != 1 || !strings.HasPrefix(s.Findings[0].File, "files/") || !strings.Contains(s.Findings[0].Reason, "older") {
		t.Fatalf("%+v", s)
	}
	last, err := w.LastScrubs(t.Context())
	if err != nil || last[w.tenants["acme"].id].IsZero() {
		t.Fatal(last, err)
	}
}

// stalePage gives the index of a page that did not change since it was shipped,
// and that an older copy has otherwise: the last, which PocketBase does not need at
// its start.
func stalePage(t *testing.T, now, shipped, old []byte) int {
	for i := len(old)/data.PageSize - 1; i > 0; i-- {
		page := func(b []byte) []byte { return b[i*data.PageSize : (i+1)*data.PageSize] }
		if bytes.Equal(page(now), page(shipped)) && !bytes.Equal(page(shipped), page(old)) {
			return i
		}
	}
	t.Fatal("no such page")
	return 0
}

// putBack overwrites the files of a folder that an older copy has.
func (w *world) putBack(from, to string) {
	w.t.Helper()
	w.must(filepath.WalkDir(from, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, rel), b, 0o600)
	}))
}

func TestScrubRefusals(t *testing.T) {
	w := newWorld(t)
	w.tenant("acme", 1)
	w.call("POST", "/stores/nobody/prod/scrub", "", 404, nil)
	w.tenants["acme"].closed = data.ErrParked
	w.call("POST", "/stores/acme/prod/scrub", "", 410, nil)
	w.tenants["acme"].closed = nil
	w.deny = api.SnapshotRead
	w.call("POST", "/stores/acme/prod/scrub", "", 403, nil)
}
