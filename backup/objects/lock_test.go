package objects_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"holdfast/backup"
	"holdfast/backup/objects"
	"holdfast/backup/objects/gateway"
)

func locked(t *testing.T, s backup.ObjectStore) {
	t.Helper()
	until := time.Now().Add(time.Hour).UTC().Truncate(time.Second)
	o := backup.PutOptions{IfNoneMatch: true, Lock: backup.Lock{Mode: backup.Governance, Until: until}}
	if err := s.Put(t.Context(), "a/locked", strings.NewReader("x"), 1, o); err != nil {
		t.Fatal(err)
	}
	if err := s.Put(t.Context(), "a/free", strings.NewReader("x"), 1, backup.PutOptions{IfNoneMatch: true}); err != nil {
		t.Fatal(err)
	}
	info, err := s.Stat(t.Context(), "a/locked")
	if err != nil || info.Lock.Mode != backup.Governance || !info.Lock.Until.Equal(until) {
		t.Errorf("stat: %+v, %v", info, err)
	}
	if err := s.Delete(t.Context(), "a/locked"); !errors.Is(err, backup.ErrLocked) {
		t.Errorf("delete a locked one: %v", err)
	}
	if err := s.Delete(t.Context(), "a/free"); err != nil {
		t.Errorf("delete a free one: %v", err)
	}
	list, err := s.List(t.Context(), "a/", "", 10)
	if err != nil || len(list) != 1 || list[0].Name != "a/locked" {
		t.Errorf("left: %v, %v", list, err)
	}
}

func TestLock(t *testing.T) {
	t.Run("mem", func(t *testing.T) { locked(t, objects.NewMemory()) })
	t.Run("s3", func(t *testing.T) {
		g := gateway.Start(t)
		s, err := objects.Open(g.LockBucket(t, "holdfast-lock"), g.Credentials)
		if err != nil {
			t.Fatal(err)
		}
		locked(t, s)
	})
}

func TestNoLock(t *testing.T) {
	err := objects.NewDir(t.TempDir()).Put(t.Context(), "a", strings.NewReader("x"), 1, backup.PutOptions{Lock: backup.Lock{Mode: backup.Compliance}})
	if !errors.Is(err, backup.ErrNoLock) {
		t.Errorf("a folder took a lock: %v", err)
	}
}
