package faultfs

import (
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestPlan(t *testing.T) {
	d, path := New(), filepath.Join(t.TempDir(), "f")
	f, err := d.Open(path, os.O_RDWR|os.O_CREATE, 0o600)
	must(t, err)
	defer f.Close()
	d.Follow(func(c Call) error {
		switch c.Number {
		case 2:
			return &Torn{Bytes: 3, Err: syscall.ENOSPC}
		case 4:
			return syscall.EIO
		}
		return nil
	})
	if n, err := f.WriteAt([]byte("hello"), 0); n != 3 || !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("%d, %v", n, err)
	}
	if size, err := f.Size(); size != 3 || err != nil {
		t.Fatal(size, err)
	}
	if err := f.Sync(); !errors.Is(err, syscall.EIO) {
		t.Fatal(err)
	}
	must(t, f.Sync())
	if d.Calls() != 5 || d.CallsOf(Sync) != 2 || d.CallsOf(Write) != 1 {
		t.Fatalf("%d calls, %d syncs, %d writes", d.Calls(), d.CallsOf(Sync), d.CallsOf(Write))
	}
}

// left cuts the power many times and says which contents a file had; "-" for none.
func left(t *testing.T, d *Disk, path string) map[string]bool {
	t.Helper()
	seen, r := map[string]bool{}, rand.New(rand.NewPCG(1, 2))
	for range 40 {
		to := t.TempDir()
		must(t, d.Cut(r, filepath.Dir(path), to))
		b, err := os.ReadFile(filepath.Join(to, filepath.Base(path)))
		if err != nil {
			b = []byte("-")
		}
		seen[string(b)] = true
	}
	return seen
}

func TestPowerCut(t *testing.T) {
	d, path := NewVolatile(), filepath.Join(t.TempDir(), "f")
	f, err := d.Open(path, os.O_RDWR|os.O_CREATE, 0o600)
	must(t, err)
	defer f.Close()
	write := func(text string) {
		_, err := f.WriteAt([]byte(text), 0)
		must(t, err)
	}
	write("old")
	must(t, f.Sync())
	if got := left(t, d, path); len(got) != 2 || !got["-"] || !got["old"] {
		t.Fatalf("before the folder is synced: %v", got)
	}
	must(t, d.SyncDir(filepath.Dir(path)))
	write("new")
	if got := left(t, d, path); len(got) != 2 || !got["old"] || !got["new"] {
		t.Fatalf("before the file is synced: %v", got)
	}
	d.Follow(func(c Call) error {
		if c.Op == Sync {
			return syscall.EIO
		}
		return nil
	})
	if f.Sync() == nil {
		t.Fatal("synced")
	}
	d.Follow(nil)
	must(t, f.Sync())
	if got := left(t, d, path); len(got) != 1 || !got["old"] {
		t.Fatalf("a failed sync loses what was written: %v", got)
	}
	must(t, d.Remove(path))
	if got := left(t, d, path); len(got) != 2 || !got["-"] || !got["old"] {
		t.Fatalf("removed, and the folder not synced: %v", got)
	}
}
