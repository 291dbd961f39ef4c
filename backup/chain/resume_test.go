package chain_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"testing"

	"holdfast/backup"
	"holdfast/backup/backuptest"
	"holdfast/backup/chain"
	"holdfast/backup/objects"
	"holdfast/backup/restore"
	"holdfast/data"
)

// Whatever request fails, and whether its answer or itself is lost, with and
// without a restart: the next Ship resumes, and nothing is lost.
func TestResume(t *testing.T) {
	for _, after := range []bool{false, true} {
		for _, restart := range []bool{false, true} {
			for n := 1; n <= 5; n++ {
				t.Run(fmt.Sprintf("after=%v,restart=%v,%d", after, restart, n), func(t *testing.T) { resume(t, n, after, restart) })
			}
		}
	}
}

func resume(t *testing.T, n int, after, restart bool) {
	target := &flaky{ObjectStore: objects.NewMemory(), after: after}
	r := newRig(t, target)
	r.write(1, "one")
	r.files.Set("x/y", "zero")
	r.ship()
	for i := range uint32(40) {
		r.write(i+1, fmt.Sprint("page ", i))
	}
	r.files.Set("x/z", "one") // content, pages, tree, manifest: four requests
	target.left.Store(int64(n))
	_, err := r.chain.Ship(t.Context(), r.pages, r.files, data.Position{})
	if errors.Is(err, errFlaky) != (n <= 4) {
		t.Fatalf("ship: %v", err)
	}
	target.left.Store(0)
	if restart {
		r.open()
		r.pages.MarkAll()
	}
	r.write(3, "later")
	r.ship()
	r.same()
	if rep := r.verified(); rep.Epochs != 1 {
		t.Fatalf("%d epochs", rep.Epochs)
	}
}

// An error while pages are read or staged loses none of them.
func TestReadErrorLosesNothing(t *testing.T) {
	r := newRig(t, objects.NewMemory())
	for i := range uint32(20) {
		r.write(i+1, "first")
	}
	r.ship()
	for i := range uint32(20) {
		r.write(i+1, "second")
	}
	r.pages.Fail = func(pgno uint32) error {
		if pgno == 11 {
			return errFlaky
		}
		return nil
	}
	if _, err := r.chain.Ship(t.Context(), r.pages, r.files, data.Position{}); !errors.Is(err, errFlaky) {
		t.Fatalf("ship: %v", err)
	}
	r.pages.Fail = nil
	if res := r.ship(); res.Pages != 20 || res.Sequence != 2 {
		t.Fatalf("%+v", res)
	}
	r.same()
}

func TestTwoWriters(t *testing.T) {
	a := newRig(t, objects.NewMemory())
	a.write(1, "a")
	a.ship()
	b := newRig(t, a.target) // another host, same store: its own epoch
	b.write(1, "b")
	if res := b.ship(); !res.Base || res.Sequence != 2 {
		t.Fatalf("second writer: %+v", res)
	}
	a.write(1, "a2")
	if _, err := a.chain.Ship(t.Context(), a.pages, a.files, data.Position{}); !errors.Is(err, backup.ErrFenced) {
		t.Fatalf("first writer went on: %v", err)
	}
	if st := a.chain.Status(); !st.Fenced {
		t.Error("status does not say so")
	}
	a.verified()
	a.fencedAfterRestart()
	a.takeOver()
}

func (r *rig) fencedAfterRestart() {
	r.t.Helper()
	r.open()
	if _, err := r.chain.Ship(r.t.Context(), r.pages, r.files, data.Position{}); !errors.Is(err, backup.ErrFenced) {
		r.t.Fatalf("after a restart: %v", err)
	}
}

func (r *rig) takeOver() {
	r.t.Helper()
	_ = r.chain.Close()
	c := r.config()
	c.TakeOver = true
	var err error
	if r.chain, err = chain.New(c); err != nil {
		r.t.Fatal(err)
	}
	if res := r.ship(); !res.Base || res.Sequence != 3 {
		r.t.Fatalf("take over: %+v", res)
	}
	r.same()
	r.verified()
}

// Lost or damaged staging costs a new epoch, nothing else; content that the
// target has is not put again.
func TestLostStaging(t *testing.T) {
	for name, hurt := range map[string]func(t *testing.T, dir string){
		"gone":    func(t *testing.T, dir string) { remove(t, filepath.Join(dir, "journal")) },
		"flipped": func(t *testing.T, dir string) { flip(t, filepath.Join(dir, "journal"), 100) },
		"garbage": func(t *testing.T, dir string) { overwrite(t, filepath.Join(dir, "pending"), "garbage") },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, objects.NewMemory())
			r.write(1, "one")
			r.files.Set("a", "body")
			r.ship()
			hurt(t, r.dir)
			r.open()
			if r.chain.Status().Restart == nil {
				t.Error("status does not say why")
			}
			r.write(2, "two")
			if res := r.ship(); !res.Base || res.Sequence != 2 || res.Objects != 3 {
				t.Fatalf("%+v", res)
			}
			r.same()
			if rep := r.verified(); rep.Epochs != 2 {
				t.Fatalf("%+v", rep)
			}
		})
	}
}

// A torn last record of the journal was never confirmed, or its snapshot is
// still staged.
func TestTornJournal(t *testing.T) {
	r := newRig(t, objects.NewMemory())
	r.write(1, "one")
	r.ship()
	truncate(t, filepath.Join(r.dir, "journal"), -1) // the only record: no state is left
	r.open()
	if res := r.ship(); !res.Base {
		t.Fatalf("%+v", res)
	}
	appendTo(t, filepath.Join(r.dir, "journal"), "\x00\x00\x01\x00torn")
	r.open()
	r.write(1, "two")
	if res := r.ship(); res.Base || res.Pages != 1 {
		t.Fatalf("%+v", res)
	}
	r.open()
	if res := r.ship(); !res.Unchanged {
		t.Fatalf("%+v", res)
	}
}

// A target that lost the chain gets a base.
func TestEmptiedTarget(t *testing.T) {
	r := newRig(t, objects.NewMemory())
	r.write(1, "one")
	r.ship()
	r.target = objects.NewMemory()
	r.open()
	if res := r.ship(); !res.Base {
		t.Fatalf("%+v", res)
	}
	r.same()
}

// Rotated keys: old objects stay readable, new ones are under the new key, and
// unchanged content is not shipped again.
func TestRotation(t *testing.T) {
	r := newRig(t, objects.NewMemory())
	r.write(1, "one")
	r.files.Set("a", "body")
	r.ship()
	r.keys.Rotate()
	r.write(1, "two")
	if res := r.ship(); res.Base || res.Objects != 2 {
		t.Fatalf("%+v", res)
	}
	r.same()
	r.verified()
}

// restless keys are rotated whenever anybody looks.
type restless struct{ *backuptest.Keys }

func (r restless) Current() (uint32, [32]byte, error) {
	r.Rotate()
	return r.Keys.Current()
}

// A rotation may fall between any two uses of the keys.
func TestRotationAnyTime(t *testing.T) {
	r := newRig(t, objects.NewMemory())
	c := r.config()
	c.Keys = restless{r.keys}
	var err error
	if r.chain, err = chain.New(c); err != nil {
		t.Fatal(err)
	}
	for i := range uint32(3) {
		r.write(i+1, fmt.Sprint("page ", i))
		r.files.Set(fmt.Sprint("f/", i), fmt.Sprint("file ", i))
		r.ship()
	}
	r.same()
	r.verified()
}

func TestKeysGone(t *testing.T) {
	for _, gone := range []error{data.ErrDestroyed, data.ErrParked, data.ErrSealed} {
		r := newRig(t, objects.NewMemory())
		r.write(1, "one")
		r.ship()
		r.keys.Fail(gone)
		if _, err := restore.Run(t.Context(), r.source(), backuptest.NewCopied()); !errors.Is(err, gone) {
			t.Errorf("restore: %v", err)
		}
		if _, err := restore.Verify(t.Context(), r.source()); !errors.Is(err, gone) {
			t.Errorf("verify: %v", err)
		}
		r.write(1, "two")
		if _, err := r.chain.Ship(t.Context(), r.pages, r.files, data.Position{}); !errors.Is(err, gone) {
			t.Errorf("ship: %v", err)
		}
		if _, err := chain.New(r.config()); !errors.Is(err, gone) {
			t.Errorf("open: %v", err)
		}
	}
}

// A store may lose its newest changes (a power cut, an older copy put back). A
// chain that went back would not be restored: a new epoch begins.
func TestStoreWentBack(t *testing.T) {
	r := newRig(t, objects.NewMemory())
	r.write(1, "one")
	r.ship()
	r.write(1, "two")
	r.ship()
	r.writes -= 2
	r.write(1, "other")
	if res := r.ship(); !res.Base {
		t.Errorf("no base after the store went back: %+v", res)
	}
	r.same()
	if rep := r.verified(); rep.Epochs != 2 {
		t.Errorf("%d epochs", rep.Epochs)
	}
}
