package chain_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
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
// Hosts are replaced, and the replaced ones do not know of it.
type world struct {
	backup.ObjectStore
	t     *testing.T
	keys  *backuptest.Keys
	lock  backup.LockFor
	keep  *chain.Keeper
	other *chain.Keeper // compacts: as if on another host
	seen  map[int64]moment
	runs  map[string]int
	hosts []*host // the last one is to go on with the chain

	one  sync.Mutex // who has it may let others act
	mu   sync.Mutex
	rnd  *rand.Rand
	now  time.Time
	ends map[int]time.Time // of what is under way and may not take longer
	last int               // of ends
	busy map[string]bool
}

// host is one that ships.
type host struct {
	name  string
	pages *backuptest.Pages
	files *backuptest.Files
	dir   string // of its staging
	chain *chain.Chain
	fresh bool  // the next snapshot is behind whatever is there
	turn  int64 // with which snapshot it last took the chain; 0: not yet
}

// newWorld locks what is put where the seed is odd.
func newWorld(t *testing.T, seed uint64) *world {
	target := objects.NewMemory()
	w := &world{
		ObjectStore: target, t: t, keys: backuptest.NewKeys("seed"),
		seen: map[int64]moment{}, runs: map[string]int{}, rnd: rand.New(rand.NewPCG(seed, 9)), now: time.Unix(1800000000, 0).UTC(), busy: map[string]bool{},
		ends: map[int]time.Time{},
	}
	if target.Clock = w.clock; seed%2 == 1 {
		w.lock = backup.LockFor{Mode: backup.Governance, For: 12 * time.Hour}
	}
	w.takeOver()
	w.keep, w.other = w.keeper(), w.keeper()
	return w
}

// takeOver has a new host go on, with what the one before it has.
func (w *world) takeOver() {
	h := &host{pages: backuptest.NewPages(), files: backuptest.NewFiles()}
	if old := w.host(0); old != nil {
		for i, image := range old.pages.Copy() {
			h.pages.Write(uint32(i)+1, image)
		}
		for name, content := range old.files.Copy() {
			h.files.Set(name, content)
		}
	}
	w.open(h, true)
	w.mu.Lock()
	defer w.mu.Unlock()
	h.name = fmt.Sprint("host ", len(w.hosts))
	w.hosts = append(w.hosts, h)
}

// host is the one that goes on, or one that was replaced, so many hosts ago; nil where
// there is none.
func (w *world) host(ago int) *host {
	w.mu.Lock()
	defer w.mu.Unlock()
	if n := len(w.hosts); ago < n {
		return w.hosts[n-1-ago]
	}
	return nil
}

// replaced says whether another host took the chain since this one did.
func (w *world) replaced(h *host) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return !h.fresh && slices.ContainsFunc(w.hosts, func(other *host) bool { return other.turn > h.turn })
}

// took notes a success; who took the chain does not take it again.
func (w *world) took(h *host, sequence int64) {
	w.mu.Lock()
	fresh := h.fresh
	if fresh {
		h.turn, h.fresh = sequence, false
	}
	w.mu.Unlock()
	if fresh {
		_ = h.chain.Close()
		w.load(h, false)
	}
}

func (w *world) keeper() *chain.Keeper {
	k, err := chain.NewKeeper(chain.KeeperConfig{Target: w, Store: store, Keys: w.keys, Scratch: w.t.TempDir(), Clock: w.clock, Lock: w.lock})
	if err != nil {
		w.t.Fatal(err)
	}
	return k
}

// open opens a host's chain without anything staged.
func (w *world) open(h *host, takeOver bool) {
	h.dir, h.fresh = w.t.TempDir(), true
	w.load(h, takeOver)
}

func (w *world) load(h *host, takeOver bool) {
	c, err := chain.New(chain.Config{Target: w, Store: store, Keys: w.keys, Staging: h.dir, Clock: w.clock, Lock: w.lock, TakeOver: takeOver})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = c.Close() })
	h.chain = c
	h.pages.MarkAll()
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
	w.last++
	me := w.last
	w.ends[me] = w.now.Add(most)
	w.mu.Unlock()
	fn()
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.ends, me)
}

// meanwhile lets somebody act.
func (w *world) meanwhile(rarely int) {
	if !w.one.TryLock() {
		return // in the middle of several requests at once
	}
	who := w.draw(rarely)
	actors := []func(){
		w.ship, func() { w.act("prune", w.prune) }, func() { w.act("prune", w.prune) },
		func() { w.act("compact", w.compact) }, func() { w.act("restore", w.restore) },
		func() { w.pass(10 * time.Minute) }, func() { w.pass(6 * time.Hour) },
	}
	if *longer > 1 {
		actors = append(actors, w.shipReplaced, func() { w.act("take over", w.takeOver) })
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

// ship has the host that goes on ship.
func (w *world) ship() {
	h := w.host(0)
	w.act(h.name, func() { w.shipAs(h) })
}

// shipReplaced has a host ship that was replaced.
func (w *world) shipReplaced() {
	if h := w.host(1 + w.draw(2)); h != nil {
		w.act(h.name, func() { w.shipAs(h) })
	}
}

// shipAs changes little and ships it: contents come, go and come again.
func (w *world) shipAs(h *host) {
	h.pages.Write(1+uint32(w.draw(5)), fmt.Append(nil, w.draw(1000)))
	for range 2 {
		h.files.Set(fmt.Sprint("f/", w.draw(2)), fmt.Sprint("content ", w.draw(8)))
	}
	if h == w.host(0) && w.draw(12) == 0 {
		w.open(h, false) // staging was lost
	}
	now := moment{pages: h.pages.Copy(), files: h.files.Copy()}
	w.mu.Lock()
	w.now = w.now.Add(time.Second)
	w.mu.Unlock()
	over := w.replaced(h)
	r, err := h.chain.Ship(w.t.Context(), h.pages, h.files, data.Position{})
	if err != nil {
		w.notShipped(h, err)
		return
	}
	if over && !r.Unchanged {
		w.t.Errorf("%s was replaced and shipped %d", h.name, r.Sequence)
	}
	now.at = r.Time
	w.took(h, r.Sequence)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seen[r.Sequence] = now
	w.runs["ship"]++
}

// notShipped takes what may keep a host from shipping: another went on, or it took so long
// that its content was condemned.
func (w *world) notShipped(h *host, err error) {
	fenced := errors.Is(err, backup.ErrFenced)
	if !fenced && !strings.Contains(err.Error(), "may have been pruned") {
		w.t.Errorf("ship: %v", err)
	}
	if h == w.host(0) {
		w.open(h, fenced)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if fenced {
		w.runs["fenced"]++
	}
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
	w.runs["locked"] += done.Locked
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
	for seed := range seeds(3 * *longer) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { model(t, seed, total) })
	}
	t.Logf("%v", total)
	if total["swept"] == 0 || total["restore"] == 0 || total["compact"] == 0 {
		t.Errorf("the model did not do much: %v", total)
	}
}

func model(t *testing.T, seed uint64, total map[string]int) {
	w := newWorld(t, seed)
	for i := range 30 {
		w.ship()
		if *longer > 1 && i%10 == 5 {
			w.takenOver()
		}
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

// takenOver replaces the host; of the two, the new one goes on.
func (w *world) takenOver() {
	old := w.host(0)
	w.act("take over", w.takeOver)
	w.ship()
	w.act(old.name, func() { w.shipAs(old) })
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
