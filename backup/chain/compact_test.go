package chain_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/backup"
	"holdfast/backup/backuptest"
	"holdfast/backup/chain"
	"holdfast/backup/objects"
	"holdfast/backup/read"
	"holdfast/backup/restore"
)

func (r *rig) keeper() *chain.Keeper {
	r.t.Helper()
	k, err := chain.NewKeeper(chain.KeeperConfig{
		Target: r.target, Store: store, Keys: r.keys, Scratch: r.t.TempDir(), Clock: func() time.Time { return r.now },
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return k
}

func (r *rig) compact(k *chain.Keeper) chain.Compacted {
	r.t.Helper()
	done, err := k.Compact(r.t.Context(), 0)
	if err != nil {
		r.t.Fatal(err)
	}
	return done
}

func (r *rig) links(sequence int64) []*read.Link {
	r.t.Helper()
	rd, err := read.New(r.target, store, r.keys)
	if err != nil {
		r.t.Fatal(err)
	}
	links, err := rd.Path(r.t.Context(), sequence, nil)
	if err != nil {
		r.t.Fatalf("way to %d: %v", sequence, err)
	}
	return links
}

// Two days of a chain that ships every twenty seconds for a while each hour: any
// point comes back, and the way to it is short.
func TestCompact(t *testing.T) {
	r := newRig(t, objects.NewMemory())
	k := r.keeper()
	for i := range uint32(300) {
		r.write(i+1, fmt.Sprint("first ", i))
	}
	for hour := range 40 {
		r.now = r.now.Truncate(time.Hour).Add(time.Hour)
		for i := range 12 {
			r.write(1+uint32(hour+i)%50, fmt.Sprint(hour, i))
			r.now = r.now.Add(19 * time.Second)
			r.ship()
		}
		if hour%7 == 3 {
			r.compact(k)
		}
	}
	done := r.compact(r.keeper()) // one that remembers nothing
	if done.Merged == 0 {
		t.Error("the last hours were not merged")
	}
	newest := r.chain.Status().Sequence
	links := r.links(newest)
	if len(links) > 50 || links[0].Level != backup.Image {
		t.Errorf("%d links lead to the newest point, the first of level %d", len(links), links[0].Level)
	}
	r.same()
	r.verified()
	if done := r.compact(r.keeper()); done.Merged != 0 {
		t.Errorf("merged again: %+v", done)
	}
}

func TestImageTakesUnchangedPartsOver(t *testing.T) {
	r := newRig(t, objects.NewMemory())
	for i := range uint32(9500) {
		r.write(i+1, fmt.Sprint("first ", i))
	}
	r.ship()
	for i := range 12 {
		r.now = r.now.Add(time.Hour)
		r.write(5000, fmt.Sprint(i))
		r.ship()
	}
	r.now = r.now.Add(24 * time.Hour)
	r.write(5000, "next day")
	r.ship()
	done := r.compact(r.keeper())
	if done.Images != 1 || done.Taken != 2 {
		t.Errorf("%+v: two of three parts had not changed", done)
	}
	r.same()
}

// A model test: every point comes back whatever was merged, also when nothing
// but the merged links and the manifests that they lack is left.
func TestCompactRandomised(t *testing.T) {
	for seed := range seeds(2 * *longer) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { compactRandomised(t, rand.New(rand.NewPCG(seed, 2))) })
	}
}

func compactRandomised(t *testing.T, rnd *rand.Rand) {
	r := newRig(t, objects.NewMemory())
	k := r.keeper()
	seen := map[int64]moment{}
	for range 80 {
		r.now = r.now.Add([]time.Duration{0, 0, 5 * time.Second, time.Minute, time.Hour, 13 * time.Hour}[rnd.IntN(6)])
		r.change(rnd)
		res := r.ship()
		seen[res.Sequence] = moment{r.pages.Copy(), r.files.Copy(), r.now}
		if rnd.IntN(20) == 0 {
			r.dir = t.TempDir() // staging lost: a new epoch
			r.open()
			r.pages.MarkAll()
		}
		if rnd.IntN(8) == 0 {
			r.compact(k)
		}
		if rnd.IntN(20) == 0 {
			k = r.keeper()
		}
	}
	r.compact(k)
	r.verified()
	for sequence, m := range seen {
		r.back(sequence, m)
	}
	ends := r.dropMerged()
	for _, n := range ends {
		r.back(n.Last, seen[n.Last])
	}
	r.same()
}

func (r *rig) back(sequence int64, m moment) {
	r.t.Helper()
	c, sink := r.source(), backuptest.NewCopied()
	c.Sequence = sequence
	if _, err := restore.Run(r.t.Context(), c, sink); err != nil {
		r.t.Fatalf("restore %d: %v", sequence, err)
	}
	compare(r.t, sink, m.pages, m.files)
}

// dropMerged removes every manifest that a minute stands for.
func (r *rig) dropMerged() []backup.MergedName {
	r.t.Helper()
	rd, err := read.New(r.target, store, r.keys)
	if err != nil {
		r.t.Fatal(err)
	}
	names, err := rd.MergedNames(r.t.Context(), 0, r.chain.Status().Sequence)
	if err != nil {
		r.t.Fatal(err)
	}
	for _, n := range names {
		for s := n.First; s <= n.Last && n.Level == backup.Minute; s++ {
			if err := r.target.Delete(r.t.Context(), backup.ManifestName(store, s)); err != nil {
				r.t.Fatal(err)
			}
		}
	}
	return names
}

// Whatever request fails, the next keeper goes on.
func TestCompactResumes(t *testing.T) {
	for _, after := range []bool{false, true} {
		for n := int64(1); n <= 11; n += 2 {
			target := &flaky{ObjectStore: objects.NewMemory(), after: after}
			r := newRig(t, target)
			r.hours(3)
			target.left.Store(n)
			k := r.keeper()
			if _, err := k.Compact(t.Context(), 0); err != nil && !errors.Is(err, errFlaky) {
				t.Fatal(err)
			}
			r.same()
			target.left.Store(0)
			r.compact(k)
			r.verified()
			if got := len(r.links(r.chain.Status().Sequence)); got > 6 {
				t.Errorf("after request %d failed: %d links", n, got)
			}
		}
	}
}

// hours ships three times a minute for two minutes of each hour.
func (r *rig) hours(n int) {
	for hour := range n {
		r.now = r.now.Truncate(time.Hour).Add(time.Hour)
		for i := range 6 {
			r.write(1+uint32(i)%4, fmt.Sprint(hour, i))
			r.files.Set(fmt.Sprint("f/", i%3), fmt.Sprint(hour, i))
			r.now = r.now.Add(19 * time.Second)
			r.ship()
		}
	}
}

func TestCompactBesideShip(t *testing.T) {
	r := newRig(t, objects.NewMemory())
	r.hours(2)
	r2 := *r // its own clock: the keeper looks at it meanwhile
	k := r2.keeper()
	var wg sync.WaitGroup
	wg.Go(func() {
		for range 10 {
			if _, err := k.Compact(t.Context(), 0); err != nil {
				t.Error(err)
			}
		}
	})
	r.hours(4)
	wg.Wait()
	r.compact(k)
	r.same()
	r.verified()
}

// counted counts all requests.
type counted struct {
	backup.ObjectStore
	n atomic.Int64
}

func (c *counted) Put(ctx context.Context, name string, body io.Reader, size int64, o backup.PutOptions) error {
	c.n.Add(1)
	return c.ObjectStore.Put(ctx, name, body, size, o)
}

func (c *counted) Get(ctx context.Context, name string) (io.ReadCloser, error) {
	c.n.Add(1)
	return c.ObjectStore.Get(ctx, name)
}

func (c *counted) Stat(ctx context.Context, name string) (backup.Info, error) {
	c.n.Add(1)
	return c.ObjectStore.Stat(ctx, name)
}

func (c *counted) List(ctx context.Context, prefix, after string, limit int) ([]backup.Info, error) {
	c.n.Add(1)
	return c.ObjectStore.List(ctx, prefix, after, limit)
}

// A store that lies idle costs no request, and one page two.
func TestIdleCostsNoRequest(t *testing.T) {
	target := &counted{ObjectStore: objects.NewMemory()}
	r := newRig(t, target)
	r.hours(3)
	k := r.keeper()
	r.compact(k)
	target.n.Store(0)
	for range 10 {
		if res := r.ship(); !res.Unchanged {
			t.Fatalf("%+v", res)
		}
		if done, err := k.Compact(t.Context(), r.chain.Status().Sequence); err != nil || done.Merged != 0 {
			t.Errorf("%+v, %v", done, err)
		}
	}
	if n := target.n.Load(); n != 0 {
		t.Errorf("%d requests", n)
	}
	r.write(1, "x")
	r.ship()
	if n := target.n.Load(); n != 2 {
		t.Errorf("%d requests for one page", n)
	}
}

// A damaged merged link is named by verify and by a restore that needs it.
func TestMergedTampered(t *testing.T) {
	r := newRig(t, objects.NewMemory())
	r.hours(3)
	before, _ := r.target.List(t.Context(), "", "", 1000)
	known := map[string]bool{}
	for _, o := range before {
		known[o.Name] = true
	}
	r.compact(r.keeper())
	after, _ := r.target.List(t.Context(), "", "", 1000)
	for _, o := range after {
		if !known[o.Name] && !strings.HasPrefix(o.Name, backup.Prefix(store)+"prune/") {
			r.tamper(o.Name)
		}
	}
}

func (r *rig) tamper(name string) {
	r.t.Helper()
	body, err := backup.Fetch(r.t.Context(), r.target, name, backup.MaxObject)
	if err != nil {
		r.t.Fatal(err)
	}
	for _, at := range []int{0, 9, 31, 80, len(body) / 2, len(body) - 1} {
		bad := append([]byte{}, body...)
		bad[at] ^= 1
		r.put(name, bad)
		rep, err := restore.Verify(r.t.Context(), r.source())
		if err != nil || rep.OK || rep.Problems[0].Object != name {
			r.t.Errorf("byte %d of %s: %+v, %v", at, name, rep.Problems, err)
		}
	}
	r.put(name, body)
}

func (r *rig) put(name string, body []byte) {
	r.t.Helper()
	if err := r.target.Put(r.t.Context(), name, strings.NewReader(string(body)), int64(len(body)), backup.PutOptions{}); err != nil {
		r.t.Fatal(err)
	}
}
