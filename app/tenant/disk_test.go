//go:build linux

package tenant

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"holdfast/data"
	"holdfast/data/cryptfs"
	"holdfast/data/keys"
)

// small mounts a disk of a few megabytes, or skips the test where it may not.
func small(t *testing.T, at, size string) {
	t.Helper()
	if err := unix.Mount("tmpfs", at, "tmpfs", 0, "size="+size+",mode=700"); err != nil {
		t.Skipf("cannot mount a small disk here: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(at, unix.MNT_DETACH) }) // the test's folder goes anyway
}

// TestUploadOnAFullDisk: an upload that does not fit is refused in words, leaves
// nothing behind, and a smaller one goes through.
func TestUploadOnAFullDisk(t *testing.T) {
	w := newWorld(t)
	w.create("acme")
	disk := t.TempDir()
	small(t, disk, "2m")
	staging, err := cryptfs.OpenFiles(filepath.Join(disk, "staging"), "staging", w.ring.Source(keys.System, keys.Files))
	w.must(err)
	w.config.Staging = staging
	answer := w.call("owner", "POST", "/api/v1/stores/acme/prod/collections/things/import?format=jsonl&create=1", strings.Repeat("{\"a\":1}\n", 1<<19))
	if answer.Code != 507 || !strings.Contains(answer.Body.String(), `"code":"disk-full"`) {
		t.Fatalf("got %d %s", answer.Code, answer.Body)
	}
	if left, err := staging.List(t.Context(), "", "", 9); err != nil || len(left) != 0 {
		t.Errorf("staging holds %v, %v", left, err)
	}
	_, got := w.imported("things", "format=jsonl&create=1", "{\"a\":1}\n")
	w.wantCounts(got, 1, 1, 0, 0)
}

// TestCreateOnAFullDisk: a tenant that does not fit is no tenant.
func TestCreateOnAFullDisk(t *testing.T) {
	w := newWorld(t)
	w.must(w.pool.Close())
	small(t, w.stores(), "8m")
	w.must(w.ops.Close())
	w.must(w.db.Close())
	w.open()
	ballast := filepath.Join(w.stores(), "ballast")
	w.must(os.WriteFile(ballast, make([]byte, 7900<<10), 0o600))
	if _, err := w.Create(t.Context(), "acme", ""); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("the disk is full, and it says %v", err)
	}
	_, err := w.Get(t.Context(), "acme")
	wantErr(t, err, data.ErrNotFound)
	if left, _ := filepath.Glob(filepath.Join(w.stores(), "*", "*")); len(left) != 0 {
		t.Errorf("left %v", left)
	}
	w.must(os.Remove(ballast))
	w.create("acme")
}
