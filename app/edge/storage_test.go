package edge

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestStorageKeepsFilesAndFolders(t *testing.T) {
	s := newStorage(newVault(t))
	before := time.Now()
	for _, key := range []string{"certs/ca/a.example/a.crt", "certs/ca/a.example/a.key", "certs/ca/b.example/b.crt", "acme/x.json", "certsx"} {
		must(t, s.Store(bg, key, []byte("of "+key)))
	}
	got, err := s.Load(bg, "acme/x.json")
	must(t, err)
	equal(t, "value", string(got), "of acme/x.json")
	_, err = s.Load(bg, "acme")
	wantErr(t, err, fs.ErrNotExist)
	for path, want := range map[string]string{
		"certs/ca":           "certs/ca/a.example certs/ca/b.example",
		"certs/ca/a.example": "certs/ca/a.example/a.crt certs/ca/a.example/a.key",
		"":                   "acme certs certsx",
	} {
		keys, err := s.List(bg, path, false)
		must(t, err)
		equal(t, "list of "+path, strings.Join(keys, " "), want)
	}
	all, err := s.List(bg, "certs", true)
	must(t, err)
	equal(t, "all below certs", len(all), 3)
	_, err = s.List(bg, "none", true)
	wantErr(t, err, fs.ErrNotExist)
	info, err := s.Stat(bg, "acme/x.json")
	must(t, err)
	equal(t, "size", info.Size, int64(len("of acme/x.json")))
	equal(t, "terminal and fresh", info.IsTerminal && !info.Modified.Before(before), true)
	folder, err := s.Stat(bg, "certs/ca")
	must(t, err)
	equal(t, "folder", folder.IsTerminal, false)
	equal(t, "exists", s.Exists(bg, "certs/ca") && s.Exists(bg, "certsx") && !s.Exists(bg, "cert"), true)
}

func TestStorageDeletesBelow(t *testing.T) {
	s := newStorage(newVault(t))
	for _, key := range []string{"certs/a/1", "certs/a/2", "certs/ab/1"} {
		must(t, s.Store(bg, key, nil))
	}
	must(t, s.Delete(bg, "certs/a"))
	must(t, s.Delete(bg, "certs/none"))
	all, err := s.List(bg, "", true)
	must(t, err)
	equal(t, "left", slices.Equal(all, []string{"certs/ab/1"}), true)
}

func TestStorageLocks(t *testing.T) {
	s := newStorage(newVault(t))
	if err := s.Unlock(bg, "x"); err == nil {
		t.Fatal("unlocked what was not locked")
	}
	var held, wrong int
	var mu sync.Mutex
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			must(t, s.Lock(bg, "x"))
			mu.Lock()
			if held++; held != 1 {
				wrong++
			}
			mu.Unlock()
			mu.Lock()
			held--
			mu.Unlock()
			must(t, s.Unlock(bg, "x"))
		})
	}
	all.Wait()
	equal(t, "held twice", wrong, 0)
	must(t, s.Lock(bg, "x"))
	must(t, s.Lock(bg, "y"))
	ctx, cancel := context.WithCancel(bg)
	cancel()
	if err := s.Lock(ctx, "x"); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
}
