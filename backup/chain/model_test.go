package chain_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/backup"
	"holdfast/backup/backuptest"
	"holdfast/backup/chain"
	"holdfast/backup/objects"
	"holdfast/backup/read"
	"holdfast/backup/restore"
	"holdfast/data"
)

var longer = flag.Int("longer", 1, "how many times longer the model tests run")

// world is the model of pruning beside everything else: whenever one actor makes
// a request, another may run from beginning to end in its middle, and hours may
// pass. A request itself takes half an hour at most, a restore less than the grace.
type world struct {
	backup.ObjectStore
	t     *testing.T
	keys  *backuptest.Keys
	pages *backuptest.Pages
	files *backuptest.Files
	chain *chain.Chain
	keep  *chain.Keeper
	other *chain.Keeper // compacts: as if on another host
	seen  map[int64]moment
	runs  map[string]int

	one  sync.Mutex // who has it may let others act
	mu   sync.Mutex
	rnd  *rand.Rand
	now  time.Time
	ends []time.Time // of what is under way and may not take longer
	busy map[string]bool
}

func newWorld(t *testing.T, seed uint64) *world {
	w := &world{
		ObjectStore: objects.NewMemory(), t: t, keys: backuptest.NewKeys("seed"), pages: backuptest.NewPages(), files: backuptest.NewFiles(),
		seen: map[int64]moment{}, runs: map[string]int{}, rnd: rand.New(rand.NewPCG(seed, 9)), now: time.Unix(1800000000, 0).UTC(), busy: map[string]bool{},
	}
	w.open()
	w.keep, w.other = w.keeper(), w.keeper()
	return w
}

func (w *world) keeper() *chain.Keeper {
	k, err := chain.NewKeeper(chain.KeeperConfig{Target: w, Store: store, Keys: w.keys, Scratch: w.t.TempDir(), Clock: w.clock})
	if err != nil {
		w.t.Fatal(err)
	}
	return k
}

func (w *world) open() {
	c, err := chain.New(chain.Config{Target: w, Store: store, Keys: w.keys, Staging: w.t.TempDir(), Clock: w.clock})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = c.Close() })
	w.chain = c
	w.pages.MarkAll()
}

func (w *world) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

func (w *world) draw(n int) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.rnd.IntN(n)
}

// pass lets time go by, as much as what is under way allows.
func (w *world) pass(most time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	to := w.now.Add(time.Duration(w.rnd.Int64N(int64(most))))
	for _, end := range w.ends {
		if end.Before(to) {
			to = end
		}
	}
	if to.After(w.now) {
		w.now = to
	}
}

// within runs something that takes no longer than that.
func (w *world) within(most time.Duration, fn func()) {
	w.mu.Lock()
	w.ends = append(w.ends, w.now.Add(most))
	n := len(w.ends)
	w.mu.Unlock()
	fn()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ends = w.ends[:n-1]
}

// meanwhile lets somebody act.
func (w *world) meanwhile(rarely int) {
	if !w.one.TryLock() {
		return // in the middle of several requests at once
	}
	who := w.draw(rarely)
	actors := []func(){
		func() { w.act("ship", w.ship) }, func() { w.act("prune", w.prune) }, func() { w.act("prune", w.prune) },
		func() { w.act("compact", w.compact) }, func() { w.act("restore", w.restore) },
		func() { w.pass(10 * time.Minute) }, func() { w.pass(6 * time.Hour) },
	}
	w.one.Unlock()
	if who < len(actors) {
		actors[who]()
	}
}

// act runs an actor, unless he is under way.
func (w *world) act(name string, fn func()) {
	w.mu.Lock()
	busy := w.busy[name]
	w.busy[name] = true
	w.mu.Unlock()
	if busy {
		return
	}
	fn()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.busy[name] = false
	w.runs[name]++
}

func (w *world) Put(ctx context.Context, name string, body io.Reader, size int64, o backup.PutOptions) (err error) {
	w.within(30*time.Minute, func() { w.meanwhile(60) })
	return w.ObjectStore.Put(ctx, name, body, size, o)
}

func (w *world) Get(ctx context.Context, name string) (io.ReadCloser, error) {
	w.meanwhile(60)
	return w.ObjectStore.Get(ctx, name)
}

func (w *world) List(ctx context.Context, prefix, after string, limit int) ([]backup.Info, error) {
	w.meanwhile(60)
	return w.ObjectStore.List(ctx, prefix, after, limit)
}

func (w *world) Delete(ctx context.Context, name string) error {
	w.within(30*time.Minute, func() { w.meanwhile(15) }) // here it matters most
	return w.ObjectStore.Delete(ctx, name)
}

// ship changes little and ships it: contents come, go and come again.
func (w *world) ship() {
	w.pages.Write(1+uint32(w.draw(5)), fmt.Append(nil, w.draw(1000)))
	for range 2 {
		w.files.Set(fmt.Sprint("f/", w.draw(2)), fmt.Sprint("content ", w.draw(8)))
	}
	if w.draw(12) == 0 {
		w.open() // staging was lost
	}
	now := moment{pages: w.pages.Copy(), files: w.files.Copy()}
	w.mu.Lock()
	w.now = w.now.Add(time.Second)
	w.mu.Unlock()
	r, err := w.chain.Ship(w.t.Context(), w.pages, w.files, data.Position{})
	if err != nil {
		if !strings.Contains(err.Error(), "may have been pruned") {
			w.t.Errorf("ship: %v", err)
		}
		w.open()
		return
	}
	now.at = r.Time
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seen[r.Sequence] = now
}

func (w *world) prune() {
	p := chain.Policy{All: time.Duration(w.draw(5)) * time.Hour, Hourly: 1 + w.draw(3), Daily: w.draw(4)}
	o := chain.PruneOrder{Policy: p, Verified: w.newest(), Grace: chain.MinGrace}
	done, err := w.keep.Prune(w.t.Context(), o)
	if err != nil && !strings.Contains(err.Error(), "took too long") {
		w.t.Errorf("prune: %v", err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.runs["swept"] += done.Swept
	w.runs["rescued"] += done.Rescued
}

// newest is what a drill may have verified: the newest snapshot that was reported.
func (w *world) newest() (sequence int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for s := range w.seen {
		sequence = max(sequence, s)
	}
	return sequence
}

func (w *world) compact() {
	if _, err := w.other.Compact(w.t.Context(), 0); err != nil && !errors.Is(err, data.ErrNotFound) && !strings.Contains(err.Error(), "took too long") {
		w.t.Errorf("compact: %v", err)
	}
}

// restore brings back any point that is promised when it begins.
func (w *world) restore() {
	w.mu.Lock()
	var sequence int64
	for s := range w.seen {
		if sequence == 0 || w.rnd.IntN(len(w.seen)) == 0 {
			sequence = s
		}
	}
	w.mu.Unlock()
	w.within(chain.MinGrace-time.Minute, func() { w.back(sequence) })
}

func (w *world) back(sequence int64) {
	w.mu.Lock()
	m, ok := w.seen[sequence]
	w.mu.Unlock()
	if !ok {
		return
	}
	sink := backuptest.NewCopied()
	_, err := restore.Run(w.t.Context(), restore.Config{Source: w, Store: store, Keys: w.keys, Scratch: w.t.TempDir(), Sequence: sequence}, sink)
	if errors.Is(err, backup.ErrNoSnapshot) && !errors.Is(err, data.ErrTampered) {
		return // given up before the restore began
	}
	if err != nil {
		w.t.Errorf("restore %d: %v", sequence, err)
		return
	}
	compare(w.t, sink, m.pages, m.files)
}

// Whatever runs in the middle of what, nothing that is promised is lost.
func TestPruneModel(t *testing.T) {
	total := map[string]int{}
	for seed := range uint64(3 * *longer) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { model(t, seed, total) })
	}
	t.Logf("%v", total)
	if total["swept"] == 0 || total["restore"] == 0 || total["compact"] == 0 {
		t.Errorf("the model did not do much: %v", total)
	}
}

func model(t *testing.T, seed uint64, total map[string]int) {
	w := newWorld(t, seed)
	for range 30 {
		w.act("ship", w.ship)
		w.pass(3 * time.Hour)
		if w.draw(3) == 0 {
			w.act("prune", w.prune)
		}
		if w.draw(5) == 0 {
			w.act("compact", w.compact)
		}
	}
	quiet := restore.Config{Source: w.ObjectStore, Store: store, Keys: w.keys, Scratch: t.TempDir()}
	rep, err := restore.Verify(t.Context(), quiet)
	if err != nil || !rep.OK {
		t.Fatalf("verify: %v, %v", rep.Problems, err)
	}
	w.promises(quiet)
	for name, n := range w.runs {
		total[name] += n
	}
}

// promises restores every point that the chain still promises.
func (w *world) promises(quiet restore.Config) {
	w.t.Helper()
	rd, err := read.New(w.ObjectStore, store, w.keys)
	if err != nil {
		w.t.Fatal(err)
	}
	ledger, err := rd.Ledger(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	for sequence, m := range w.seen {
		if !ledger.Kept(sequence) {
			continue
		}
		sink := backuptest.NewCopied()
		quiet.Sequence = sequence
		if _, err := restore.Run(w.t.Context(), quiet, sink); err != nil {
			w.t.Fatalf("restore %d: %v", sequence, err)
		}
		compare(w.t, sink, m.pages, m.files)
	}
}
