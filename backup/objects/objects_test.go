package objects_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"holdfast/backup"
	"holdfast/backup/objects"
	"holdfast/backup/objects/gateway"
	"holdfast/backup/objects/suite"
)

func TestMemory(t *testing.T) {
	suite.Run(t, func(*testing.T) backup.ObjectStore { return objects.NewMemory() })
}

func TestDir(t *testing.T) {
	suite.Run(t, func(t *testing.T) backup.ObjectStore { return open(t, "file://"+t.TempDir(), objects.Credentials{}) })
}

func TestS3(t *testing.T) {
	server := gateway.Start(t)
	n := 0
	suite.Run(t, func(t *testing.T) backup.ObjectStore {
		n++
		return open(t, server.URL(fmt.Sprintf("deep/prefix%d", n)), server.Credentials)
	})
}

func open(t *testing.T, rawURL string, c objects.Credentials) backup.ObjectStore {
	t.Helper()
	s, err := objects.Open(rawURL, c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestOpenRefuses(t *testing.T) {
	for _, u := range []string{
		"", "bucket", "ftp://x/y", "file://relative", "file:relative", "file:///a?x=1", "s3://", "s3:///prefix",
		"s3://b/p?endpoint=host:1", "s3://b/p?endpoint=http://h/path", "s3://key:secret@b/p", "s3://b/../x", "%zz",
	} {
		if _, err := objects.Open(u, objects.Credentials{}); !errors.Is(err, objects.ErrURL) {
			t.Errorf("open %q: %v", u, err)
		}
	}
}

func TestS3SaysWhatIsWrong(t *testing.T) {
	server := gateway.Start(t)
	wrong := open(t, server.URL("p"), objects.Credentials{AccessKey: server.Credentials.AccessKey, SecretKey: "wrong"})
	if err := objects.Probe(t.Context(), wrong); !errors.Is(err, objects.ErrRefused) {
		t.Errorf("wrong secret: %v", err)
	}
	nobucket := open(t, "s3://no-such-bucket/p?endpoint=http://"+server.Addr, server.Credentials)
	if err := objects.Probe(t.Context(), nobucket); !errors.Is(err, objects.ErrNoBucket) {
		t.Errorf("no bucket: %v", err)
	}
}

// A folder that is gone may be a disk that is not mounted: nothing fills its place.
func TestDirGone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "disk", "snapshots")
	url := "file://" + dir
	s := open(t, url, objects.Credentials{})
	if err := objects.Probe(t.Context(), s); !errors.Is(err, objects.ErrNoBucket) {
		t.Errorf("probe: %v", err)
	}
	_, listErr := s.List(t.Context(), "", "", 1)
	_, getErr := s.Get(t.Context(), "a/b")
	if !errors.Is(listErr, objects.ErrNoBucket) || !errors.Is(getErr, objects.ErrNoBucket) {
		t.Errorf("list: %v, get: %v", listErr, getErr)
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("the folder was made")
	}
	if err := objects.Prepare(url); err != nil {
		t.Fatal(err)
	}
	if err := objects.Probe(t.Context(), s); err != nil {
		t.Error(err)
	}
}

// A crash while writing leaves a temporary file, which must not be listed.
func TestDirHidesTorn(t *testing.T) {
	dir := t.TempDir()
	s := open(t, "file://"+dir, objects.Credentials{})
	if err := os.WriteFile(filepath.Join(dir, ".put-123"), []byte("torn"), 0o600); err != nil {
		t.Fatal(err)
	}
	if list, err := s.List(t.Context(), "", "", 10); err != nil || len(list) != 0 {
		t.Errorf("list = %v, %v", list, err)
	}
}
