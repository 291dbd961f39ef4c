package app_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestReadOnlyFolder serves a data folder that the user of the process cannot
// write, as another user where the test is run by root.
func TestReadOnlyFolder(t *testing.T) {
	t.Parallel()
	sequential(t)
	const nobody = 65534
	work, err := os.MkdirTemp("", "holdfast-readonly-") // a test's own folder is closed to others
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(work) })
	data, bin := filepath.Join(work, "data"), filepath.Join(work, "holdfast")
	program, err := os.ReadFile(holdfast(t))
	err = errors.Join(err, os.WriteFile(bin, program, 0o755), os.Chmod(work, 0o755), os.Mkdir(data, 0o500))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, bin, "serve", "--addr", "127.0.0.1:0", "--data", data, "--key-file", filepath.Join(work, "key"))
	cmd.Env = []string{"HOME=" + work}
	if os.Geteuid() == 0 {
		if err := os.Chown(data, nobody, nobody); err != nil {
			t.Fatal(err)
		}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}, Pdeathsig: syscall.SIGKILL}
	}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); exitCodeOf(err) != 1 || !strings.Contains(out.String(), "cannot be written") {
		t.Errorf("%v: %s", err, out.String())
	}
	if left, err := os.ReadDir(data); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
