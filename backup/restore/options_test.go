package restore_test

import (
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/backup"
	"holdfast/backup/backuptest"
	"holdfast/backup/restore"
	"holdfast/data"
)

// metered counts what is fetched, and cuts the line after some.
type metered struct {
	backup.ObjectStore
	gets atomic.Int64
	most int64 // 0: any number
}

var errCut = errors.New("the line is cut")

func (m *metered) Get(ctx context.Context, name string) (io.ReadCloser, error) {
	if n := m.gets.Add(1); m.most > 0 && n > m.most {
		return nil, errCut
	}
	return m.ObjectStore.Get(ctx, name)
}

// An interrupted restore fetches nothing twice, and a torn object again.
func TestResumed(t *testing.T) {
	keys := backuptest.NewKeys("seed")
	m := &metered{ObjectStore: shipped(t, store, keys), most: 9}
	c := config(m, keys, t)
	c.Resume = t.TempDir() + "/resume"
	if _, err := restore.Run(t.Context(), c, backuptest.NewCopied()); !errors.Is(err, errCut) {
		t.Fatalf("the line was not cut: %v", err)
	}
	m.most = 0
	entries, err := os.ReadDir(c.Resume)
	if err != nil || len(entries) == 0 {
		t.Fatalf("nothing was kept: %v", err)
	}
	if err := os.Truncate(c.Resume+"/"+entries[0].Name(), 40); err != nil {
		t.Fatal(err)
	}
	kept := int64(len(entries) - 1)
	m.gets.Store(0)
	if _, err := restore.Run(t.Context(), c, backuptest.NewCopied()); err != nil {
		t.Fatal(err)
	}
	again := m.gets.Load()
	m.gets.Store(0)
	if _, err := os.Stat(c.Resume); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the folder stayed: %v", err)
	}
	c.Resume = ""
	if _, err := restore.Run(t.Context(), c, backuptest.NewCopied()); err != nil {
		t.Fatal(err)
	}
	if whole := m.gets.Load(); again > whole-kept {
		t.Errorf("%d objects were fetched, of %d that %d were kept of", again, whole, kept)
	}
}

// Damage on the target is found also by who reads through the folder.
func TestResumedTampered(t *testing.T) {
	keys := backuptest.NewKeys("seed")
	target := shipped(t, store, keys)
	c := config(target, keys, t)
	c.Resume = t.TempDir() + "/resume"
	list, _ := target.List(t.Context(), backup.Prefix(store)+"pages/", "", 10)
	body := read(t, target, list[0].Name)
	put := func() {
		body[len(body)-1] ^= 1
		if err := target.Put(t.Context(), list[0].Name, strings.NewReader(string(body)), int64(len(body)), backup.PutOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	put()
	var object *backup.ObjectError
	if _, err := restore.Run(t.Context(), c, backuptest.NewCopied()); !errors.As(err, &object) || object.Name != list[0].Name {
		t.Errorf("%v", err)
	}
	put() // mended
	if _, err := restore.Run(t.Context(), c, backuptest.NewCopied()); err != nil {
		t.Errorf("after it was mended: %v", err)
	}
}

func TestPreviewAndRefusal(t *testing.T) {
	keys := backuptest.NewKeys("seed")
	c := config(shipped(t, store, keys), keys, t)
	want, err := restore.Look(t.Context(), c)
	if err != nil || want.Sequence != 4 || want.Database != 5*data.PageSize || want.Links != 4 || want.Fetch == 0 || want.Files == 0 || want.Scratch == 0 {
		t.Fatalf("%+v, %v", want, err)
	}
	full := errors.New("the disk is too small")
	c.Begin = func(p restore.Preview) error {
		if p != want {
			t.Errorf("%+v, %+v", p, want)
		}
		return full
	}
	sink := backuptest.NewCopied()
	if _, err := restore.Run(t.Context(), c, sink); !errors.Is(err, full) || sink.Image != nil {
		t.Errorf("%v, %d pages", err, len(sink.Image))
	}
}

// Only the files that are wanted are fetched.
func TestSomeFiles(t *testing.T) {
	keys := backuptest.NewKeys("seed")
	c := config(shipped(t, store, keys), keys, t)
	c.Files = func(f data.FileInfo) bool { return f.Name == "f/2" }
	sink := backuptest.NewCopied()
	res, err := restore.Run(t.Context(), c, sink)
	if got := sink.Files.Copy(); err != nil || res.Files != 1 || len(got) != 1 || got["f/2"] == "" || len(sink.Image) != 5 {
		t.Errorf("%+v, %v, %v", res, got, err)
	}
}

// A sample reads some of the parts, and all manifests.
func TestSample(t *testing.T) {
	keys := backuptest.NewKeys("seed")
	c := config(shipped(t, store, keys), keys, t)
	whole, err := restore.Verify(t.Context(), c)
	if err != nil || whole.Sampled {
		t.Fatalf("%+v, %v", whole, err)
	}
	c.Sample = 0.000001
	rep, err := restore.Verify(t.Context(), c)
	if err != nil || !rep.OK || !rep.Sampled || rep.Snapshots != 4 || rep.Bytes >= whole.Bytes {
		t.Errorf("%+v, %v", rep, err)
	}
}

func TestMeter(t *testing.T) {
	var m restore.Meter
	at := time.Unix(1800000000, 0)
	if rate, left := m.At(at, 0, 1000); rate != 0 || left != 0 {
		t.Errorf("nothing is known yet: %v, %v", rate, left)
	}
	var rate float64
	var left time.Duration
	for i := range 5 {
		rate, left = m.At(at.Add(time.Duration(i+1)*time.Second), int64(i+1)*100, 1000)
	}
	if rate != 100 || left != 5*time.Second {
		t.Errorf("%v bytes a second, %v left", rate, left)
	}
}
