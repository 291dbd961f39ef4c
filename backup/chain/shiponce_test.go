package chain_test

import (
	"slices"
	"strings"
	"testing"

	"holdfast/backup/objects"
)

// contents are the names of the objects that hold content of files.
func (r *rig) contents(target *objects.Memory) (names []string) {
	r.t.Helper()
	all, err := target.List(r.t.Context(), "", "", 10_000)
	if err != nil {
		r.t.Fatal(err)
	}
	for _, o := range all {
		if strings.Contains(o.Name, "/files/") {
			names = append(names, o.Name)
		}
	}
	return names
}

// Content ships once, by its keyed hash: an unchanged file not again with the next
// snapshot, a copy under another name not at all, nor what is there again after it
// was gone.
func TestContentShipsOnce(t *testing.T) {
	target := objects.NewMemory()
	r := newRig(t, target)
	r.write(1, "one")
	large := strings.Repeat("0123456789abcdef", 20<<16) // 20 MiB, two chunks
	r.files.Set("c/r/large.bin", large)
	r.files.Set("c/r/small.txt", "small")
	r.ship()
	first := r.contents(target)
	if len(first) != 3 {
		t.Fatal(first)
	}
	r.write(1, "two")
	r.ship()
	if got := r.contents(target); !slices.Equal(got, first) {
		t.Error("an unchanged file was shipped again:", got)
	}
	r.files.Set("c/s/copy.bin", large)
	if res := r.ship(); res.Changed != 1 || res.Bytes > 1<<20 {
		t.Errorf("the copy: %+v", res)
	}
	_ = r.files.Delete(t.Context(), "c/r/large.bin")
	r.ship()
	r.files.Set("c/r/large.bin", large)
	if res := r.ship(); res.Bytes > 1<<20 {
		t.Errorf("the file that came back: %+v", res)
	}
	if got := r.contents(target); !slices.Equal(got, first) {
		t.Error("content was shipped twice:", got)
	}
	r.files.Set("c/r/large.bin", large[:16<<20]+"changed")
	r.ship()
	if got := r.contents(target); len(got) != 4 {
		t.Error("a file that changed at its end ships that part alone:", got)
	}
	r.same()
}
