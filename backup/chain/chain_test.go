package chain_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
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

func TestShipAndRestore(t *testing.T) {
	targets(t, func(t *testing.T, target backup.ObjectStore) {
		r := newRig(t, target)
		for i := range uint32(5000) { // two parts
			r.write(i+1, fmt.Sprint("page ", i))
		}
		r.files.Set("c/r/small.txt", "small")
		r.files.Set("c/r/empty.txt", "")
		r.files.Set("c/r/large.bin", strings.Repeat("0123456789abcdef", 20<<16)) // 20 MiB, two chunks
		res := r.ship()
		if !res.Base || res.Pages != 5000 || res.Files != 3 || res.Sequence != 1 {
			t.Fatalf("base: %+v", res)
		}
		r.same()
		r.write(7, "changed")
		if res = r.ship(); res.Base || res.Pages != 1 || res.Sequence != 2 || res.Changed != 0 {
			t.Fatalf("one page: %+v", res)
		}
		r.files.Set("c/r/new.txt", "small") // content that is there already
		if err := r.files.Delete(t.Context(), "c/r/small.txt"); err != nil {
			t.Fatal(err)
		}
		if res = r.ship(); res.Pages != 0 || res.Changed != 2 || res.Objects != 2 {
			t.Fatalf("files: %+v", res)
		}
		if res = r.ship(); !res.Unchanged || res.Sequence != 3 {
			t.Fatalf("nothing: %+v", res)
		}
		if got := r.same(); got.Sequence != 3 || got.Position != (data.Position{Incarnation: "i", Sequence: 3}) {
			t.Fatalf("restored %+v", got)
		}
		if rep := r.verified(); rep.Snapshots != 3 || rep.Epochs != 1 || len(rep.Leftover) != 0 {
			t.Fatalf("report %+v", rep)
		}
	})
}

// After a restart the source hands out everything; only what changed is shipped.
func TestRestartShipsOnlyChanges(t *testing.T) {
	r := newRig(t, objects.NewMemory())
	for i := range uint32(600) {
		r.write(i+1, fmt.Sprint("page ", i))
	}
	r.files.Set("a/b/c", "content")
	r.ship()
	r.open()
	r.pages.MarkAll()
	opens := r.files.Opens
	if res := r.ship(); !res.Unchanged {
		t.Fatalf("nothing had changed: %+v", res)
	}
	if r.files.Opens != opens {
		t.Error("unchanged files were read again")
	}
	r.write(599, "x")
	r.open()
	r.pages.MarkAll()
	if res := r.ship(); res.Base || res.Pages != 1 || res.Sequence != 2 {
		t.Fatalf("one page had changed: %+v", res)
	}
	r.same()
}

// A model test: random writes, growth, shrinking, files, restarts and key
// rotations; every snapshot must come back as it was.
func TestRandomised(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { randomised(t, rand.New(rand.NewPCG(seed, 1))) })
	}
}

type moment struct {
	pages [][]byte
	files map[string]string
	at    time.Time
}

func randomised(t *testing.T, rnd *rand.Rand) {
	r := newRig(t, objects.NewMemory())
	seen := map[int64]moment{}
	for range 50 {
		r.change(rnd)
		res := r.ship()
		seen[res.Sequence] = moment{r.pages.Copy(), r.files.Copy(), r.now}
	}
	for sequence, m := range seen {
		c, sink := r.source(), backuptest.NewCopied()
		if c.Sequence = sequence; sequence%2 == 0 {
			c.Sequence, c.At = 0, m.at
		}
		res, err := restore.Run(t.Context(), c, sink)
		if err != nil || res.Sequence != sequence {
			t.Fatalf("restore %d: %d, %v", sequence, res.Sequence, err)
		}
		compare(t, sink, m.pages, m.files)
	}
	r.verified()
}

func (r *rig) change(rnd *rand.Rand) {
	total := uint32(len(r.pages.Copy()))
	switch rnd.IntN(12) {
	case 0:
		r.pages.Truncate(rnd.Uint32N(total + 1))
	case 1:
		r.write(total+1+rnd.Uint32N(600), "far") // leaves zero pages behind
	case 2:
		r.open()
	case 3:
		r.keys.Rotate()
	case 4:
		r.files.Set(fmt.Sprint("f/", rnd.IntN(9)), fmt.Sprint(rnd.IntN(4)))
	case 5:
		_ = r.files.Delete(r.t.Context(), fmt.Sprint("f/", rnd.IntN(9)))
	default:
		for range rnd.IntN(30) {
			r.write(1+rnd.Uint32N(total+3), fmt.Sprint(rnd.IntN(50)))
		}
	}
}

// flaky fails at the n-th request from now, before or after doing it.
type flaky struct {
	backup.ObjectStore
	left  atomic.Int64
	after bool
}

var errFlaky = errors.New("the line is cut")

func (f *flaky) Put(ctx context.Context, name string, body io.Reader, size int64, o backup.PutOptions) error {
	n := f.left.Add(-1)
	if n == 0 && !f.after {
		return errFlaky
	}
	err := f.ObjectStore.Put(ctx, name, body, size, o)
	if n == 0 {
		return errFlaky
	}
	return err
}

// Whatever request fails, and whether its answer or itself is lost, with and
// without a restart: the next Ship resumes, and nothing is lost.
func TestResume(t *testing.T) {
	for _, after := range []bool{false, true} {
		for _, restart := range []bool{false, true} {
			for n := 1; n <= 5; n++ {
				t.Run(fmt.Sprintf("after=%v,restart=%v,%d", after, restart, n), func(t *testing.T) { resume(t, n, after, restart) })
			}
		}
	}
}

func resume(t *testing.T, n int, after, restart bool) {
	target := &flaky{ObjectStore: objects.NewMemory(), after: after}
	r := newRig(t, target)
	r.write(1, "one")
	r.files.Set("x/y", "zero")
	r.ship()
	for i := range uint32(40) {
		r.write(i+1, fmt.Sprint("page ", i))
	}
	r.files.Set("x/z", "one") // content, pages, tree, manifest: four requests
	target.left.Store(int64(n))
	_, err := r.chain.Ship(t.Context(), r.pages, r.files, data.Position{})
	if errors.Is(err, errFlaky) != (n <= 4) {
		t.Fatalf("ship: %v", err)
	}
	target.left.Store(0)
	if restart {
		r.open()
		r.pages.MarkAll()
	}
	r.write(3, "later")
	r.ship()
	r.same()
	if rep := r.verified(); rep.Epochs != 1 {
		t.Fatalf("%d epochs", rep.Epochs)
	}
}

// An error while pages are read or staged loses none of them.
func TestReadErrorLosesNothing(t *testing.T) {
	r := newRig(t, objects.NewMemory())
	for i := range uint32(20) {
		r.write(i+1, "first")
	}
	r.ship()
	for i := range uint32(20) {
		r.write(i+1, "second")
	}
	r.pages.Fail = func(pgno uint32) error {
		if pgno == 11 {
			return errFlaky
		}
		return nil
	}
	if _, err := r.chain.Ship(t.Context(), r.pages, r.files, data.Position{}); !errors.Is(err, errFlaky) {
		t.Fatalf("ship: %v", err)
	}
	r.pages.Fail = nil
	if res := r.ship(); res.Pages != 20 || res.Sequence != 2 {
		t.Fatalf("%+v", res)
	}
	r.same()
}

func TestTwoWriters(t *testing.T) {
	a := newRig(t, objects.NewMemory())
	a.write(1, "a")
	a.ship()
	b := newRig(t, a.target) // another host, same store: its own epoch
	b.write(1, "b")
	if res := b.ship(); !res.Base || res.Sequence != 2 {
		t.Fatalf("second writer: %+v", res)
	}
	a.write(1, "a2")
	if _, err := a.chain.Ship(t.Context(), a.pages, a.files, data.Position{}); !errors.Is(err, backup.ErrFenced) {
		t.Fatalf("first writer went on: %v", err)
	}
	if st := a.chain.Status(); !st.Fenced {
		t.Error("status does not say so")
	}
	a.verified()
	a.fencedAfterRestart()
	a.takeOver()
}

func (r *rig) fencedAfterRestart() {
	r.t.Helper()
	r.open()
	if _, err := r.chain.Ship(r.t.Context(), r.pages, r.files, data.Position{}); !errors.Is(err, backup.ErrFenced) {
		r.t.Fatalf("after a restart: %v", err)
	}
}

func (r *rig) takeOver() {
	r.t.Helper()
	_ = r.chain.Close()
	c := r.config()
	c.TakeOver = true
	var err error
	if r.chain, err = chain.New(c); err != nil {
		r.t.Fatal(err)
	}
	if res := r.ship(); !res.Base || res.Sequence != 3 {
		r.t.Fatalf("take over: %+v", res)
	}
	r.same()
	r.verified()
}

// Lost or damaged staging costs a new epoch, nothing else; content that the
// target has is not put again.
func TestLostStaging(t *testing.T) {
	for name, hurt := range map[string]func(t *testing.T, dir string){
		"gone":    func(t *testing.T, dir string) { remove(t, filepath.Join(dir, "journal")) },
		"flipped": func(t *testing.T, dir string) { flip(t, filepath.Join(dir, "journal"), 100) },
		"garbage": func(t *testing.T, dir string) { overwrite(t, filepath.Join(dir, "pending"), "garbage") },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, objects.NewMemory())
			r.write(1, "one")
			r.files.Set("a", "body")
			r.ship()
			hurt(t, r.dir)
			r.open()
			if r.chain.Status().Restart == nil {
				t.Error("status does not say why")
			}
			r.write(2, "two")
			if res := r.ship(); !res.Base || res.Sequence != 2 || res.Objects != 3 {
				t.Fatalf("%+v", res)
			}
			r.same()
			if rep := r.verified(); rep.Epochs != 2 {
				t.Fatalf("%+v", rep)
			}
		})
	}
}

// A torn last record of the journal was never confirmed, or its snapshot is
// still staged.
func TestTornJournal(t *testing.T) {
	r := newRig(t, objects.NewMemory())
	r.write(1, "one")
	r.ship()
	truncate(t, filepath.Join(r.dir, "journal"), -1) // the only record: no state is left
	r.open()
	if res := r.ship(); !res.Base {
		t.Fatalf("%+v", res)
	}
	appendTo(t, filepath.Join(r.dir, "journal"), "\x00\x00\x01\x00torn")
	r.open()
	r.write(1, "two")
	if res := r.ship(); res.Base || res.Pages != 1 {
		t.Fatalf("%+v", res)
	}
	r.open()
	if res := r.ship(); !res.Unchanged {
		t.Fatalf("%+v", res)
	}
}

// A target that lost the chain gets a base.
func TestEmptiedTarget(t *testing.T) {
	r := newRig(t, objects.NewMemory())
	r.write(1, "one")
	r.ship()
	r.target = objects.NewMemory()
	r.open()
	if res := r.ship(); !res.Base {
		t.Fatalf("%+v", res)
	}
	r.same()
}

// Rotated keys: old objects stay readable, new ones are under the new key, and
// unchanged content is not shipped again.
func TestRotation(t *testing.T) {
	r := newRig(t, objects.NewMemory())
	r.write(1, "one")
	r.files.Set("a", "body")
	r.ship()
	r.keys.Rotate()
	r.write(1, "two")
	if res := r.ship(); res.Base || res.Objects != 2 {
		t.Fatalf("%+v", res)
	}
	r.same()
	r.verified()
}

// restless keys are rotated whenever anybody looks.
type restless struct{ *backuptest.Keys }

func (r restless) Current() (uint32, [32]byte, error) {
	r.Rotate()
	return r.Keys.Current()
}

// A rotation may fall between any two uses of the keys.
func TestRotationAnyTime(t *testing.T) {
	r := newRig(t, objects.NewMemory())
	c := r.config()
	c.Keys = restless{r.keys}
	var err error
	if r.chain, err = chain.New(c); err != nil {
		t.Fatal(err)
	}
	for i := range uint32(3) {
		r.write(i+1, fmt.Sprint("page ", i))
		r.files.Set(fmt.Sprint("f/", i), fmt.Sprint("file ", i))
		r.ship()
	}
	r.same()
	r.verified()
}

func TestKeysGone(t *testing.T) {
	for _, gone := range []error{data.ErrDestroyed, data.ErrParked, data.ErrSealed} {
		r := newRig(t, objects.NewMemory())
		r.write(1, "one")
		r.ship()
		r.keys.Fail(gone)
		if _, err := restore.Run(t.Context(), r.source(), backuptest.NewCopied()); !errors.Is(err, gone) {
			t.Errorf("restore: %v", err)
		}
		if _, err := restore.Verify(t.Context(), r.source()); !errors.Is(err, gone) {
			t.Errorf("verify: %v", err)
		}
		r.write(1, "two")
		if _, err := r.chain.Ship(t.Context(), r.pages, r.files, data.Position{}); !errors.Is(err, gone) {
			t.Errorf("ship: %v", err)
		}
		if _, err := chain.New(r.config()); !errors.Is(err, gone) {
			t.Errorf("open: %v", err)
		}
	}
}

// Files that come and go while the pages are read: whatever a record of these
// pages may refer to is in the snapshot.
func TestFilesWhilePagesAreRead(t *testing.T) {
	r := newRig(t, objects.NewMemory())
	r.write(1, "one")
	r.files.Set("stays", "s")
	r.files.Set("goes", "g")
	r.pages.During = func() {
		_ = r.files.Delete(t.Context(), "goes")
		r.files.Set("comes", "c")
	}
	r.ship()
	r.pages.During = nil
	sink := backuptest.NewCopied()
	if _, err := restore.Run(t.Context(), r.source(), sink); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"stays": "s", "goes": "g", "comes": "c"}
	if got := sink.Files.Copy(); !maps.Equal(got, want) {
		t.Errorf("files %v", got)
	}
	if res := r.ship(); res.Changed != 1 {
		t.Errorf("the deleted file was not dropped: %+v", res)
	}
	r.same()
}

// Nothing on the target or in staging tells what it holds.
func TestNothingInClear(t *testing.T) {
	target := t.TempDir()
	r := newRig(t, openTarget(t, "file://"+target, objects.Credentials{}))
	const canary = "CANARY-7f3a"
	r.write(1, strings.Repeat(canary, 50))
	r.files.Set(canary+"/name.txt", strings.Repeat(canary, 50))
	r.ship()
	for _, dir := range []string{target, r.dir} {
		walkFiles(t, dir, func(path string, body []byte) {
			if strings.Contains(path, "CANARY") || bytes.Contains(body, []byte("CANARY")) || bytes.Contains(body, []byte("name.txt")) {
				t.Errorf("%s tells", path)
			}
		})
	}
}

func TestAt(t *testing.T) {
	r := newRig(t, objects.NewMemory())
	start := r.now
	for i := range 10 {
		r.write(1, fmt.Sprint(i))
		r.ship() // at start+1s ... start+10s
	}
	for _, c := range []struct {
		offset time.Duration
		want   int64
	}{{time.Second, 1}, {1500 * time.Millisecond, 1}, {9 * time.Second, 9}, {time.Hour, 10}} {
		cfg := r.source()
		cfg.At = start.Add(c.offset)
		res, err := restore.Run(t.Context(), cfg, backuptest.NewCopied())
		if err != nil || res.Sequence != c.want {
			t.Errorf("at %v: %d, %v", c.offset, res.Sequence, err)
		}
	}
	cfg := r.source()
	cfg.At = start
	_, err := restore.Run(t.Context(), cfg, backuptest.NewCopied())
	if !errors.Is(err, backup.ErrNoSnapshot) || !strings.Contains(err.Error(), start.Add(time.Second).Format(time.RFC3339)) {
		t.Errorf("before the first: %v", err)
	}
	list, err := restore.List(t.Context(), r.source(), 7, 2)
	if err != nil || len(list) != 2 || list[0].Sequence != 8 {
		t.Errorf("list: %v, %v", list, err)
	}
}

// The clock may be set back; the chain's times are not.
func TestClockSetBack(t *testing.T) {
	r := newRig(t, objects.NewMemory())
	r.write(1, "one")
	first := r.ship()
	r.now = r.now.Add(-time.Hour)
	r.write(1, "two")
	if res := r.ship(); res.Time.Before(first.Time) {
		t.Errorf("time went back to %v", res.Time)
	}
	r.verified()
}

func TestNewestOfMany(t *testing.T) {
	for _, n := range []int64{0, 1, 999, 1000, 1001, 2500, 40000} {
		m := objects.NewMemory()
		if n > 0 {
			for _, s := range slices.Compact([]int64{1, n}) {
				putEmpty(t, m, backup.ManifestName(store, s))
			}
			for s := max(1, n-1200); s < n; s++ {
				putEmpty(t, m, backup.ManifestName(store, s))
			}
		}
		got, err := backup.Newest(t.Context(), m, store)
		if err != nil || got != n {
			t.Errorf("newest of %d: %d, %v", n, got, err)
		}
	}
}
