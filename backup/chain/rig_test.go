package chain_test

import (
	"bytes"
	"context"
	"maps"
	"testing"
	"time"

	"holdfast/backup"
	"holdfast/backup/backuptest"
	"holdfast/backup/chain"
	"holdfast/backup/objects"
	"holdfast/backup/objects/gateway"
	"holdfast/backup/restore"
	"holdfast/data"
)

const store = "abcdefghijklmno/prod"

// rig is a store, a target and a chain between them.
type rig struct {
	t      *testing.T
	target backup.ObjectStore
	keys   *backuptest.Keys
	pages  *backuptest.Pages
	files  *backuptest.Files
	dir    string
	now    time.Time
	writes int64
	chain  *chain.Chain
}

func newRig(t *testing.T, target backup.ObjectStore) *rig {
	t.Helper()
	r := &rig{
		t: t, target: target, keys: backuptest.NewKeys("seed"), pages: backuptest.NewPages(), files: backuptest.NewFiles(),
		dir: t.TempDir(), now: time.Unix(1800000000, 0).UTC(),
	}
	r.open()
	return r
}

func (r *rig) config() chain.Config {
	return chain.Config{Target: r.target, Store: store, Keys: r.keys, Staging: r.dir, Clock: func() time.Time { return r.now }}
}

// open opens the chain anew, as after a restart.
func (r *rig) open() {
	r.t.Helper()
	if r.chain != nil {
		_ = r.chain.Close()
	}
	c, err := chain.New(r.config())
	if err != nil {
		r.t.Fatal(err)
	}
	r.chain = c
	r.t.Cleanup(func() { _ = c.Close() })
}

func (r *rig) reopen(c chain.Config) {
	r.t.Helper()
	opened, err := chain.New(c)
	if err != nil {
		r.t.Fatal(err)
	}
	r.chain = opened
	r.t.Cleanup(func() { _ = opened.Close() })
}

func contextFor(t *testing.T, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(t.Context(), d)
}

func (r *rig) ship() chain.Result {
	r.t.Helper()
	r.now = r.now.Add(time.Second)
	r.writes++
	res, err := r.chain.Ship(r.t.Context(), r.pages, r.files, data.Position{Incarnation: "i", Sequence: r.writes})
	if err != nil {
		r.t.Fatal(err)
	}
	return res
}

func (r *rig) write(pgno uint32, text string) { r.pages.Write(pgno, []byte(text)) }

func (r *rig) source() restore.Config {
	return restore.Config{Source: r.target, Store: store, Keys: r.keys, Scratch: r.t.TempDir()}
}

// same restores and compares with what the store holds now.
func (r *rig) same() restore.Result {
	r.t.Helper()
	sink := backuptest.NewCopied()
	res, err := restore.Run(r.t.Context(), r.source(), sink)
	if err != nil {
		r.t.Fatal(err)
	}
	compare(r.t, sink, r.pages.Copy(), r.files.Copy())
	return res
}

func compare(t *testing.T, sink *backuptest.Copied, pages [][]byte, files map[string]string) {
	t.Helper()
	if len(sink.Image) != len(pages) {
		t.Fatalf("%d pages instead of %d", len(sink.Image), len(pages))
	}
	for i := range pages {
		if !bytes.Equal(sink.Image[i], pages[i]) {
			t.Fatalf("page %d differs", i+1)
		}
	}
	if got := sink.Files.Copy(); !maps.Equal(got, files) {
		t.Fatalf("%d files came back, or others than the %d that were shipped", len(got), len(files))
	}
}

func (r *rig) verified() restore.Report {
	r.t.Helper()
	rep, err := restore.Verify(r.t.Context(), r.source())
	if err != nil {
		r.t.Fatal(err)
	}
	if !rep.OK {
		r.t.Fatalf("verify: %v", rep.Problems)
	}
	return rep
}

// targets runs a test against each kind of target.
func targets(t *testing.T, fn func(t *testing.T, target backup.ObjectStore)) {
	t.Run("mem", func(t *testing.T) { fn(t, objects.NewMemory()) })
	t.Run("dir", func(t *testing.T) { fn(t, openTarget(t, "file://"+t.TempDir(), objects.Credentials{})) })
	t.Run("s3", func(t *testing.T) {
		s := gateway.Start(t)
		fn(t, openTarget(t, s.URL("chain"), s.Credentials))
	})
}

func openTarget(t *testing.T, url string, c objects.Credentials) backup.ObjectStore {
	t.Helper()
	s, err := objects.Open(url, c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}
