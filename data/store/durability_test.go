package store

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"

	"holdfast/data"
	"holdfast/data/cryptfs/disk"
	"holdfast/data/cryptfs/faultfs"
)

const logFile = dataFile + "-wal"

// storeOn is newStore on a disk of the test's.
func storeOn(t *testing.T, d *faultfs.Disk) *Store {
	t.Helper()
	s := newStore(t, func(c *Config) { c.Disk = d })
	if err := s.sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

// gate is a plan that holds each sync of the log until it is told what becomes of it.
type gate struct {
	entered chan struct{}
	leave   chan error
}

func newGate(d *faultfs.Disk) *gate {
	g := &gate{make(chan struct{}, 100), make(chan error)}
	d.Follow(func(c faultfs.Call) error {
		if c.Op != faultfs.Sync || c.Name != logFile {
			return nil
		}
		g.entered <- struct{}{}
		return <-g.leave
	})
	return g
}

// visible waits until so many items can be read, acknowledged or not.
func visible(t *testing.T, s *Store, want int) {
	t.Helper()
	for have := 0; have != want; {
		if err := s.app.ConcurrentDB().Select("count(*)").From("items").WithContext(t.Context()).Row(&have); err != nil {
			t.Fatal(err)
		}
	}
}

// writes starts creates, and gives their answers as they come.
func writes(s *Store, n int) <-chan reply {
	answers := make(chan reply, n)
	for i := range n {
		go func() {
			answers <- guest(s).do("POST", "/api/collections/items/records", map[string]any{"title": fmt.Sprint(i)})
		}()
	}
	return answers
}

// Writes go on while the first waits for the disk; one sync then serves them all.
func TestWritesShareASync(t *testing.T) {
	d := faultfs.New()
	s := storeOn(t, d)
	g := newGate(d)
	first := writes(s, 1)
	<-g.entered
	const more = 9
	others := writes(s, more)
	visible(t, s, 1+more)
	if len(first)+len(others) != 0 {
		t.Error("acknowledged before the disk had it")
	}
	close(g.leave)
	for range more {
		if r := <-others; r.code != 200 {
			t.Errorf("%d %s", r.code, r.body)
		}
	}
	if r := <-first; r.code != 200 {
		t.Errorf("%d %s", r.code, r.body)
	}
	if n := 1 + len(g.entered); n != 2 {
		t.Errorf("%d writes took %d syncs", 1+more, n)
	}
}

// A sync that fails fails for everybody who relies on it; then the store is opened anew.
func TestFailedSyncFailsAllWhoShareIt(t *testing.T) {
	d := faultfs.New()
	p := newPool(t, func(c *Config) { c.Disk = d })
	if err := p.Create(t.Context(), acme); err != nil {
		t.Fatal(err)
	}
	s := held(t, p)
	addItems(t, s)
	kept := guest(s).create(t, "items", map[string]any{"title": "kept"})
	g := newGate(d)
	first := writes(s, 1)
	<-g.entered
	others := writes(s, 5)
	visible(t, s, 1+1+5)
	d.Follow(nil)
	g.leave <- syscall.EIO
	for r := range 6 {
		var answer reply
		select {
		case answer = <-first:
		case answer = <-others:
		}
		if answer.code != 500 {
			t.Errorf("answer %d: %d %s", r, answer.code, answer.body)
		}
	}
	if _, err := s.Changes(t.Context(), data.Position{}, 1); err == nil {
		t.Error("a follower was given what may not be on the disk")
	}
	s.Release()
	s = held(t, p) // waits until the store is closed
	defer s.Release()
	guest(s).must(t, 200, "GET", "/api/collections/items/records/"+kept, nil)
	guest(s).create(t, "items", map[string]any{"title": "on it goes"})
}

// Relaxed writes are acknowledged without the disk; followers wait for it.
func TestRelaxedWritesDoNotWait(t *testing.T) {
	d := faultfs.New()
	s := storeOn(t, d)
	if s.Durability() != Full {
		t.Fatal("not full by default")
	}
	if err := s.SetDurability(t.Context(), "often"); !errors.Is(err, ErrInvalid) {
		t.Error(err)
	}
	if err := s.SetDurability(t.Context(), Relaxed); err != nil {
		t.Fatal(err)
	}
	_, at := feed(t, s, data.Position{})
	g := newGate(d)
	guest(s).create(t, "items", map[string]any{"title": "not waited for"})
	followed := make(chan int, 1)
	go func() {
		changes, err := s.Changes(context.Background(), at, 10)
		if err != nil {
			t.Error(err)
		}
		followed <- len(changes)
	}()
	<-g.entered
	if len(followed) != 0 {
		t.Error("the follower ran ahead of the disk")
	}
	close(g.leave)
	if n := <-followed; n != 1 {
		t.Errorf("followed %d changes", n)
	}
}

func TestDurabilityStays(t *testing.T) {
	p := newPool(t)
	if err := p.Create(t.Context(), acme); err != nil {
		t.Fatal(err)
	}
	s := held(t, p)
	defer func() { s.Release() }()
	if err := s.SetDurability(t.Context(), Relaxed); err != nil {
		t.Fatal(err)
	}
	if s = reopened(t, p, s); s.Durability() != Relaxed {
		t.Error("forgotten")
	}
	if err := s.SetDurability(t.Context(), Full); err != nil {
		t.Fatal(err)
	}
	if s = reopened(t, p, s); s.Durability() != Full {
		t.Error("relaxed for good")
	}
}

// TestPowerCut cuts the power under several writers and a follower: whatever the
// disk then holds opens, has each acknowledged record and all that was followed.
func TestPowerCut(t *testing.T) {
	rounds := 4
	if testing.Short() {
		rounds = 2
	}
	for seed := range rounds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { powerCut(t, rand.New(rand.NewPCG(uint64(seed), 1))) })
	}
}

func powerCut(t *testing.T, r *rand.Rand) {
	d := faultfs.NewVolatile()
	s := storeOn(t, d)
	var mu sync.Mutex
	acknowledged, cutAfter := []string{}, 20+r.IntN(200)
	note := func(id string) {
		mu.Lock()
		defer mu.Unlock()
		if acknowledged = append(acknowledged, id); len(acknowledged) == cutAfter {
			d.Off()
		}
	}
	var writers sync.WaitGroup
	for range 6 {
		writers.Go(func() { writeUntilCut(t, s, note) })
	}
	written, following := make(chan struct{}), make(chan []data.Change, 1)
	go func() { following <- followUntilCut(s, written) }()
	writers.Wait()
	close(written)
	followed := <-following

	other := newPool(t, func(c *Config) { c.Disk = restarted{disk.OS()} })
	dir := other.path(acme)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	from, err := filepath.EvalSymlinks(s.dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Cut(r, from, dir); err != nil {
		t.Fatal(err)
	}
	wantAfterCut(t, acquire(t, other, acme), acknowledged, followed)
}

// restarted is the disk of a system that was started anew.
type restarted struct{ disk.System }

func (restarted) Boot() [16]byte { return [16]byte{1} }

// writeUntilCut creates records, some of them in batches, and notes those that
// were acknowledged.
func writeUntilCut(t *testing.T, s *Store, note func(id string)) {
	one := map[string]any{"method": "POST", "url": recordsPath, "body": map[string]any{"title": "of a batch"}}
	for i := 0; ; i++ {
		if i%3 == 2 {
			answer := guest(s).do("POST", "/api/batch", map[string]any{"requests": []any{one, one}})
			if answer.code != 200 {
				return
			}
			continue
		}
		answer := guest(s).do("POST", recordsPath, map[string]any{"title": "t"})
		if answer.code != 200 {
			return
		}
		id, _ := answer.object(t)["id"].(string)
		note(id)
	}
}

// followUntilCut follows until that fails, or until nothing is left to follow: where
// the cut hit a commit before any of it was written, all that is there is on disk.
func followUntilCut(s *Store, written <-chan struct{}) (all []data.Change) {
	at := data.Position{}
	for {
		changes, err := s.Changes(context.Background(), at, 50)
		if err != nil {
			return all
		}
		if len(changes) > 0 {
			all = append(all, changes...)
			at = changes[len(changes)-1].Position
			continue
		}
		select {
		case <-written:
			return all
		default:
		}
	}
}

func wantAfterCut(t *testing.T, s *Store, acknowledged []string, followed []data.Change) {
	t.Helper()
	for _, id := range acknowledged {
		guest(s).must(t, 200, "GET", recordsPath+"/"+id, nil)
	}
	changes, err := s.Changes(t.Context(), data.Position{}, 100_000)
	if err != nil {
		t.Fatal(err)
	}
	if len(changes) < len(followed) {
		t.Fatalf("%d changes are left of %d that were followed", len(changes), len(followed))
	}
	for i, c := range followed {
		if fmt.Sprint(changes[i]) != fmt.Sprint(c) {
			t.Fatalf("followed %v, and now it is %v", c, changes[i])
		}
	}
	created := map[string]bool{}
	for _, c := range changes {
		created[c.Record] = true
	}
	if i := slices.IndexFunc(acknowledged, func(id string) bool { return !created[id] }); i >= 0 {
		t.Errorf("%s has no change", acknowledged[i])
	}
}
