package app

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The shares themselves are not at hand here: that a folder of this machine is
// none, and what is said of one, are.
func TestNetworkShares(t *testing.T) {
	if err := checkShare(t.TempDir()); err != nil {
		t.Errorf("a temporary folder: %v", err)
	}
	if err := checkShare(filepath.Join(t.TempDir(), "missing")); err == nil {
		t.Error("a missing folder passes")
	}
	if err := refuseShare("/srv/data", "NFS"); err == nil || !strings.Contains(err.Error(), "network share (NFS)") {
		t.Errorf("a share: %v", err)
	}
	if err := refuseShare("/srv/data", ""); err != nil {
		t.Errorf("a disk: %v", err)
	}
}

func TestFolderThatCannotBeWritten(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root writes anywhere: the acceptance test does it as another user")
	}
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o500); err != nil { //nolint:gosec // it is a folder
		t.Fatal(err)
	}
	if _, err := openFolder(dir); err == nil || !strings.Contains(err.Error(), "cannot be written") {
		t.Errorf("a folder that cannot be written: %v", err)
	}
}
