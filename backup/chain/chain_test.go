package chain_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/backup"
	"holdfast/backup/backuptest"
	"holdfast/backup/objects"
	"holdfast/backup/restore"
	"holdfast/data"
)

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

// seeds is how many runs a random test has; the race step of .ci/run (-short) has one, for
// the next does the same at the same time.
func seeds(n int) uint64 {
	if testing.Short() {
		return 1
	}
	return uint64(n)
}

// TestRandomised is a model test: random writes, growth, shrinking, files, restarts and key
// rotations; every snapshot must come back as it was.
func TestRandomised(t *testing.T) {
	for seed := range seeds(4) {
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
	}{{time.Second, 1}, {1500 * time.Millisecond, 1}, {9 * time.Second, 9}, {10 * time.Second, 10}, {time.Hour, 10}} {
		cfg := r.source()
		cfg.Until = start.Add(time.Hour)
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
	cfg.At = start.Add(11 * time.Second)
	_, err = restore.Run(t.Context(), cfg, backuptest.NewCopied())
	var outside *restore.RangeError
	if !errors.As(err, &outside) || !outside.First.Equal(start.Add(time.Second)) || !outside.Last.Equal(start.Add(10*time.Second)) {
		t.Errorf("after the last: %v", err)
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
