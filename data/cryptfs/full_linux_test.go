package cryptfs

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"

	"holdfast/data"
)

// ownMounts runs a test once more, in a process with mounts of its own, and is true
// there: what it mounts is gone with it, even when it is interrupted.
func ownMounts(t *testing.T) bool {
	t.Helper()
	if os.Getenv("HOLDFAST_TEST_OWN_MOUNTS") != "" {
		return true
	}
	runtime.LockOSThread() // whose end would end the child
	defer runtime.UnlockOSThread()
	child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v") //nolint:gosec // this very program
	child.Env = append(os.Environ(), "HOLDFAST_TEST_OWN_MOUNTS=1")
	child.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	out, err := child.CombinedOutput()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		t.Errorf("%v\n%s", err, out)
	case err != nil && mountsPromised():
		t.Error("no mounts of its own here:", err)
	case err != nil:
		t.Skip("no mounts of its own here:", err)
	case bytes.Contains(out, []byte("--- SKIP")):
		t.Skipf("%s", out)
	}
	return false
}

// mountsPromised says whether whoever runs the tests promises that they may mount: then
// it is no reason to skip one.
func mountsPromised() bool { return os.Getenv("HOLDFAST_TEST_MOUNTS") != "" }

// TestFullDisk fills a real disk of a few MiB under files, parts and spools: each
// says so, and nothing half written stays.
func TestFullDisk(t *testing.T) {
	if !ownMounts(t) {
		return
	}
	dir := filepath.Join(t.TempDir())
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=3m"); err != nil {
		if mountsPromised() {
			t.Fatal("no disk of a bounded size here:", err)
		}
		t.Skip("no disk of a bounded size here:", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	ctx := context.Background()
	f := openFiles(t, filepath.Join(dir, "files"), newRing("a"))
	kept := noise(1<<20, 1)
	put(t, f, "c/r/kept", kept)
	big := noise(4<<20, 2)
	full := func(what string, err error) {
		t.Helper()
		if !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for range 3 { // what the first left would fill the disk for the next
		_, err := f.Put(ctx, data.FileInfo{Name: "c/r/big"}, bytes.NewReader(big))
		full("put", err)
		_, err = f.Put(ctx, data.FileInfo{Name: "c/r/kept"}, bytes.NewReader(big))
		full("replace", err)
		id, err := f.CreateUpload(ctx, data.FileInfo{Name: "c/r/parts"})
		if err != nil {
			t.Fatal(err)
		}
		_, err = f.PutPart(ctx, id, 1, bytes.NewReader(big))
		full("part", err)
		if err := f.Abort(ctx, id); err != nil {
			t.Fatal(err)
		}
		s, err := f.NewSpool()
		if err != nil {
			t.Fatal(err)
		}
		_, err = s.Write(big)
		full("spool", err)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := f.SweepUploads(ctx, time.Now().Add(time.Hour)); n != 0 || err != nil {
		t.Error(n, err)
	}
	if paths := onDisk(t, f.dir); len(paths) != 1 {
		t.Error("left:", paths)
	}
	if got, err := read(f, "c/r/kept"); err != nil || !bytes.Equal(got, kept) {
		t.Error(len(got), err)
	}
	put(t, f, "c/r/after", noise(1<<20, 3))
}
