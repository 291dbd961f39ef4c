package store

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pocketbase/pocketbase/core"
	"github.com/pocketbase/pocketbase/tools/filesystem"

	"holdfast/data"
)

func withFile(t *testing.T, s *Store, c *core.Collection, text string) *core.Record {
	t.Helper()
	f, err := filesystem.NewFileFromBytes([]byte(text), "note.txt")
	if err != nil {
		t.Fatal(err)
	}
	r := core.NewRecord(c)
	r.Set("paper", f)
	save(t, s, r)
	return r
}

func scrubbed(t *testing.T, s *Store) []Finding {
	t.Helper()
	seen, err := s.Scrub(t.Context(), nil, Expected{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return seen.Findings
}

// A file that vanished from the disk is found by the record that names it; one that
// went with its record is not missed, nor is one that was deleted through the store
// a finding that tells its name.
func TestScrubFindsVanishedFile(t *testing.T) {
	s := newStore(t)
	c := core.NewBaseCollection("papers")
	open(c)
	c.Fields.Add(&core.FileField{Name: "paper", MaxSelect: 1, MaxSize: 1 << 20})
	if err := s.app.Save(c); err != nil {
		t.Fatal(err)
	}
	kept := withFile(t, s, c, "kept")
	lost := withFile(t, s, c, "lost")
	before := sealedFiles(t, s)
	late := withFile(t, s, c, "late")
	if found := scrubbed(t, s); len(found) != 0 {
		t.Fatalf("findings of a whole store: %+v", found)
	}
	if err := s.Files().Delete(t.Context(), c.Id+"/"+lost.Id+"/"+lost.GetString("paper")); err != nil {
		t.Fatal(err)
	}
	for path := range sealedFiles(t, s) { // the last one, behind the store's back
		if !before[path] {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		}
	}
	found := scrubbed(t, s)
	if len(found) != 2 {
		t.Fatalf("findings %+v", found)
	}
	text := found[0].Reason + found[1].Reason
	if !strings.Contains(text, lost.Id) || !strings.Contains(text, late.Id) || strings.Contains(text, kept.Id) || strings.Contains(text, "note_") {
		t.Errorf("findings %q", text)
	}
	for _, r := range []*core.Record{lost, late} {
		if err := s.app.Delete(r); err != nil && !errors.Is(err, data.ErrNotFound) {
			t.Fatal(err)
		}
	}
	if found := scrubbed(t, s); len(found) != 0 {
		t.Errorf("findings after the records went: %+v", found)
	}
}

// sealedFiles are the paths of what the store's files are sealed in.
func sealedFiles(t *testing.T, s *Store) map[string]bool {
	t.Helper()
	paths := map[string]bool{}
	err := filepath.WalkDir(filepath.Join(s.dir, filesDir), func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			paths[path] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return paths
}
