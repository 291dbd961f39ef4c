package chain_test

import (
	"errors"
	"fmt"
	"testing"

	"holdfast/backup"
	"holdfast/backup/backuptest"
	"holdfast/backup/objects"
	"holdfast/backup/restore"
	"holdfast/data"
)

// A tree that remembers what was touched is listed once.
func TestUnchangedTreeIsNotListed(t *testing.T) {
	r := newRig(t, objects.NewMemory())
	r.write(1, "one")
	for i := range 50 {
		r.files.Set(fmt.Sprint("f/", i), fmt.Sprint(i))
	}
	r.ship()
	lists, opens := r.files.Lists, r.files.Opens
	r.write(1, "two")
	r.ship()
	if res := r.ship(); !res.Unchanged || r.files.Lists != lists || r.files.Opens != opens {
		t.Errorf("%+v: listed %d times, opened %d files", res, r.files.Lists-lists, r.files.Opens-opens)
	}
	r.files.Set("f/7", "changed")
	r.files.Set("f/new", "new")
	if err := r.files.Delete(t.Context(), "f/8"); err != nil {
		t.Fatal(err)
	}
	if res := r.ship(); res.Changed != 3 || r.files.Lists != lists {
		t.Errorf("%+v, listed %d times", res, r.files.Lists-lists)
	}
	r.same()
	r.open() // a new process knows nothing: it lists
	r.pages.MarkAll()
	if res := r.ship(); !res.Unchanged || r.files.Lists == lists {
		t.Errorf("after a restart: %+v", res)
	}
}

// Trees that do not remember are listed, with the same result.
func TestListedTree(t *testing.T) {
	r := newRig(t, objects.NewMemory())
	tree := backuptest.Listed{FileTree: r.files}
	for i := range 4 {
		r.write(1, fmt.Sprint(i))
		r.files.Set(fmt.Sprint("f/", i), "x")
		_ = r.files.Delete(t.Context(), fmt.Sprint("f/", i-2))
		if _, err := r.chain.Ship(t.Context(), r.pages, tree, data.Position{}); err != nil {
			t.Fatal(err)
		}
	}
	r.same()
}

// A file that comes and goes while pages are read may be what they refer to:
// pages are taken again, and no longer refer to it.
func TestFileThatCameAndWent(t *testing.T) {
	r := newRig(t, objects.NewMemory())
	r.write(1, "one")
	r.ship()
	r.write(1, "refers to it")
	times := 0
	r.pages.During = func() {
		if times++; times == 1 {
			r.files.Set("brief", "x")
			_ = r.files.Delete(t.Context(), "brief")
			r.write(1, "refers no longer")
		}
	}
	if res := r.ship(); times < 2 || res.Missing != 0 {
		t.Errorf("pages were read %d times: %+v", times, res)
	}
	r.same()
}

// A failed ship forgets nothing of what was touched.
func TestTouchedAfterError(t *testing.T) {
	target := &flaky{ObjectStore: objects.NewMemory()}
	r := newRig(t, target)
	r.write(1, "one")
	r.files.Set("a", "1")
	r.ship()
	for n := int64(1); n <= 4; n++ {
		r.files.Set("a", fmt.Sprint("again ", n))
		r.files.Set(fmt.Sprint("b", n), "2")
		target.left.Store(n)
		if _, err := r.chain.Ship(t.Context(), r.pages, r.files, data.Position{}); err != nil && !errors.Is(err, errFlaky) {
			t.Fatal(err)
		}
		target.left.Store(0)
		r.write(1, fmt.Sprint(n))
		r.ship()
		r.same()
	}
	if _, err := restore.Verify(t.Context(), r.source()); errors.Is(err, backup.ErrNoSnapshot) {
		t.Error(err)
	}
}
