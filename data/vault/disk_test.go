//go:build linux

package vault

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// A disk that fills up: writes are refused in words, reads go on, nothing that
// was acknowledged is lost, and room makes it work again.
func TestFullDisk(t *testing.T) {
	disk := t.TempDir()
	if err := unix.Mount("tmpfs", disk, "tmpfs", 0, "size=96m,mode=700"); err != nil {
		if os.Getenv("HOLDFAST_TEST_MOUNTS") != "" { // promised
			t.Fatal(err)
		}
		t.Skipf("cannot mount a small disk here: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(disk, unix.MNT_DETACH) })
	dir, keys := filepath.Join(disk, "vault"), newTestKeys()
	v := openTest(t, dir, keys)
	set(t, v, "a", "before")
	ballast := filepath.Join(disk, "ballast")
	must(t, os.WriteFile(ballast, make([]byte, 60<<20), 0o600))
	err := v.Update(bg, func(tx *Tx) error { return tx.Set([]byte("b"), nil) })
	wantErr(t, err, syscall.ENOSPC)
	if !strings.Contains(err.Error(), "48 MB") {
		t.Errorf("does not tell how much is needed: %v", err)
	}
	wantValue(t, v, "a", "before")
	wantErr(t, v.Close(), syscall.ENOSPC)
	_, err = Open(dir, keys)
	wantErr(t, err, syscall.ENOSPC)
	must(t, os.Remove(ballast))
	set(t, v, "b", "after")
	must(t, v.Close())
	v = openTest(t, dir, keys)
	wantValue(t, v, "a", "before")
	wantValue(t, v, "b", "after")
}
