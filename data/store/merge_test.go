package store

import (
	"context"
	"database/sql/driver"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"holdfast/data/cryptfs/disk"
	"holdfast/data/cryptfs/faultfs"
)

// waiting returns when so many wait for the turn.
func waiting(on *turn, want int) {
	for have := -1; have < want; runtime.Gosched() {
		on.mu.Lock()
		have = len(on.queue)
		on.mu.Unlock()
	}
}

// inOneTurn holds the writer's turn until all of calls wait for it, in their order.
// It gives their answers in the same order.
func inOneTurn[T any](t *testing.T, s *Store, calls ...func() T) []T {
	t.Helper()
	if err := s.writer.turn.take(t.Context()); err != nil {
		t.Fatal(err)
	}
	answers := make([]T, len(calls))
	var all sync.WaitGroup
	for i, call := range calls {
		all.Go(func() { answers[i] = call() })
		waiting(&s.writer.turn, i+1)
	}
	s.writer.give()
	all.Wait()
	return answers
}

func creates(s *Store, collection string, bodies ...map[string]any) (calls []func() reply) {
	for i, body := range bodies {
		k := keyCaller(s, fmt.Sprint("k", i), Reach{Scope: Write})
		calls = append(calls, func() reply { return k.do("POST", "/api/collections/"+collection+"/records", body) })
	}
	return calls
}

// commits is how many there were.
func (s *Store) commits() uint64 { return s.answers.epoch.Load() / 2 }

// Who waits at the same time shares a commit: each has its own actor, and the feed
// their order.
func TestWritesShareACommit(t *testing.T) {
	s := newStore(t)
	before := s.commits()
	var bodies []map[string]any
	var want []string
	for i := range 9 {
		bodies = append(bodies, map[string]any{"title": fmt.Sprint(i)})
		want = append(want, fmt.Sprintf("create items by key:k%d", i))
	}
	got := after(t, s, func() {
		for i, r := range inOneTurn(t, s, creates(s, "items", bodies...)...) {
			if r.code != 200 || r.object(t)["title"] != fmt.Sprint(i) {
				t.Errorf("%d: %d %s", i, r.code, r.body)
			}
		}
	})
	wantFeed(t, got, want...)
	if n := s.commits() - before; n != 1 {
		t.Errorf("%d commits", n)
	}
	before = s.commits()
	guest(s).create(t, "items", map[string]any{"title": "alone"})
	if n := s.commits() - before; n != 1 {
		t.Errorf("%d commits for one", n)
	}
}

// One that fails fails alone, and leaves nothing of itself.
func TestOneOfManyFails(t *testing.T) {
	notUnderRace(t)
	s := newStore(t)
	got := after(t, s, func() {
		answers := inOneTurn(t, s, creates(s, "notes", map[string]any{"code": "a"}, map[string]any{"code": "b"},
			map[string]any{"code": "a"}, map[string]any{"code": "c"})...)
		for i, want := range []int{200, 200, 400, 200} {
			if answers[i].code != want {
				t.Errorf("%d: %d %s", i, answers[i].code, answers[i].body)
			}
		}
	})
	wantFeed(t, got, "create notes by key:k0", "create notes by key:k1", "create notes by key:k3")
}

// A commit that finds the disk full is nobody's.
func TestSharedCommitMeetsAFullDisk(t *testing.T) {
	notUnderRace(t)
	d := faultfs.New()
	s := storeOn(t, d)
	got := after(t, s, func() {
		d.Follow(func(c faultfs.Call) error {
			if c.Op == faultfs.Write && c.Name == logFile {
				return syscall.ENOSPC
			}
			return nil
		})
		for i, r := range inOneTurn(t, s, creates(s, "items", map[string]any{"title": "a"}, map[string]any{"title": "b"}, map[string]any{"title": "c"})...) {
			if r.code != 507 {
				t.Errorf("%d: %d %s", i, r.code, r.body)
			}
		}
		d.Follow(nil)
	})
	wantFeed(t, got)
	wantFeed(t, after(t, s, func() { guest(s).create(t, "items", map[string]any{"title": "on it goes"}) }), "create items by guest")
}

// What SQLite takes back as a whole fails for all, also for those that had succeeded.
func TestSharedTransactionIsTakenBack(t *testing.T) {
	notUnderRace(t)
	s := newStore(t)
	guest(s).create(t, "notes", map[string]any{"code": "taken"})
	insert := func(how, code string) func() error {
		return func() error {
			_, err := s.writer.together(context.Background(), "INSERT OR "+how+" INTO notes(id, code) VALUES (?, ?)",
				[]driver.NamedValue{{Ordinal: 1, Value: "id" + code}, {Ordinal: 2, Value: code}})
			return err
		}
	}
	got := after(t, s, func() {
		for i, err := range inOneTurn(t, s, insert("ABORT", "x"), insert("ROLLBACK", "taken"), insert("ABORT", "y")) {
			if err == nil || !strings.Contains(err.Error(), "UNIQUE") {
				t.Errorf("%d: %v", i, err)
			}
		}
	})
	wantFeed(t, got)
}

// TestPowerCutInASharedCommit cuts the power at each of a shared commit's writes:
// afterwards all of it is there, or nothing.
func TestPowerCutInASharedCommit(t *testing.T) {
	notUnderRace(t)
	cuts := 4
	if testing.Short() {
		cuts = 2
	}
	for n := range cuts {
		t.Run(fmt.Sprint(n), func(t *testing.T) { cutSharedCommit(t, n*2) })
	}
}

func cutSharedCommit(t *testing.T, at int) {
	d := faultfs.NewVolatile()
	s := storeOn(t, d)
	kept := guest(s).create(t, "items", map[string]any{"title": "kept"})
	written := 0
	var mu sync.Mutex
	d.Follow(func(c faultfs.Call) error {
		mu.Lock()
		defer mu.Unlock()
		if c.Op == faultfs.Write && c.Name == logFile {
			if written++; written > at {
				d.Off()
			}
		}
		return nil
	})
	acknowledged := 0
	for _, r := range inOneTurn(t, s, creates(s, "items", map[string]any{"title": "a"}, map[string]any{"title": "b"}, map[string]any{"title": "c"})...) {
		if r.code == 200 {
			acknowledged++
		}
	}
	left := titlesAfterCut(t, s, d, uint64(at), kept)
	if len(left) != 0 && !slices.Equal(left, []string{"a", "b", "c"}) || len(left) < acknowledged {
		t.Errorf("%v are left, %d were acknowledged", left, acknowledged)
	}
}

// titlesAfterCut gives the items that another start finds, but for the one to be kept.
func titlesAfterCut(t *testing.T, s *Store, d *faultfs.Disk, seed uint64, kept string) (titles []string) {
	t.Helper()
	other := newPool(t, func(c *Config) { c.Disk = restarted{disk.OS()} })
	dir := other.path(acme)
	from, err := filepath.EvalSymlinks(s.dir)
	if err == nil {
		err = os.MkdirAll(dir, 0o700)
	}
	if err == nil {
		err = d.Cut(rand.New(rand.NewPCG(seed, 2)), from, dir)
	}
	if err != nil {
		t.Fatal(err)
	}
	again := acquire(t, other, acme)
	guest(again).must(t, 200, "GET", recordsPath+"/"+kept, nil)
	if err := again.app.ConcurrentDB().NewQuery("SELECT title FROM items WHERE title != 'kept' ORDER BY rowid").WithContext(t.Context()).Column(&titles); err != nil {
		t.Fatal(err)
	}
	return titles
}

// Who gives up waiting does not take the turn with it.
func TestTurnOutlivesWhoGivesUp(t *testing.T) {
	var turn turn
	if err := turn.take(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	gone, served := make(chan error), make(chan error)
	go func() { gone <- turn.take(ctx) }()
	waiting(&turn, 1)
	go func() { served <- turn.take(context.Background()) }()
	cancel()
	if err := <-gone; err == nil {
		t.Error("served without a turn")
	}
	turn.give()
	if err := <-served; err != nil {
		t.Error(err)
	}
	turn.give()
	if turn.taken {
		t.Error("nobody has it, and it is taken")
	}
}

// A crowd that comes and goes, with transactions and readers among it, loses nothing
// and waits for nobody for ever.
func TestCrowd(t *testing.T) {
	notUnderRace(t)
	s := newStore(t)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() { comeAndGo(t, guest(s)) })
	}
	all.Wait()
	var left int
	if err := s.app.ConcurrentDB().Select("count(*)").From("items").WithContext(t.Context()).Row(&left); err != nil || left != 8*8 {
		t.Error(left, err)
	}
}

// comeAndGo creates ten, changes each, deletes two.
func comeAndGo(t *testing.T, g caller) {
	for i := range 10 {
		made := g.do("POST", recordsPath, map[string]any{"title": "x"})
		id, _ := made.object(t)["id"].(string)
		if r := g.do("PATCH", recordsPath+"/"+id, map[string]any{"score": i}); r.code != 200 {
			t.Errorf("%d %s", r.code, r.body)
		}
		if i%5 != 4 {
			continue
		}
		if r := g.do("DELETE", recordsPath+"/"+id, nil); r.code != 204 {
			t.Errorf("%d %s", r.code, r.body)
		}
	}
}
