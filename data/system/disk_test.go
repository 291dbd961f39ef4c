//go:build linux

package system

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// A full disk: the write is refused in words, nothing of it stays, what was
// acknowledged is there, and room makes it work again.
func TestFullDisk(t *testing.T) {
	disk := t.TempDir()
	if err := unix.Mount("tmpfs", disk, "tmpfs", 0, "size=8m,mode=700"); err != nil {
		if os.Getenv("HOLDFAST_TEST_MOUNTS") != "" { // promised
			t.Fatal(err)
		}
		t.Skipf("cannot mount a small disk here: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(disk, unix.MNT_DETACH) })
	c := Config{Dir: filepath.Join(disk, "data"), Keys: newTestKey()}
	d := openTest(t, c)
	must(t, d.Migrate(bg, "test", notes))
	must(t, insert(d, "kept", "x"))
	ballast := filepath.Join(disk, "ballast")
	fill(t, ballast)
	err := fmt.Errorf("room for 8 MB of rows on a full disk")
	for i := 0; i < 800; i++ {
		if e := insert(d, fmt.Sprint(i), strings.Repeat("y", 10<<10)); e != nil {
			err = e
			break
		}
	}
	wantErr(t, err, syscall.ENOSPC)
	before := count(t, d)
	must(t, os.Remove(ballast))
	must(t, insert(d, "after", "x"))
	must(t, d.Close())
	d = openTest(t, c)
	must(t, d.Check(bg))
	if n := count(t, d); n != before+1 {
		t.Errorf("%d rows, want %d", n, before+1)
	}
}

func fill(t *testing.T, name string) {
	t.Helper()
	f, err := os.Create(name)
	must(t, err)
	defer f.Close()
	for err == nil {
		_, err = f.Write(make([]byte, 64<<10))
	}
	wantErr(t, err, syscall.ENOSPC)
}
