package audit

import (
	"context"
	"crypto/sha256"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"holdfast/app/api"
	"holdfast/data"
	"holdfast/data/store"
	"holdfast/data/vault"
)

// fixedKeys are keys that a test can rotate and destroy.
type fixedKeys struct {
	mu      sync.Mutex
	seed    string
	current uint32
	err     error
}

func newKeys(seed string) *fixedKeys { return &fixedKeys{seed: seed, current: 1} }

func (k *fixedKeys) Current() (uint32, [32]byte, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.current, k.key(k.current), k.err
}

func (k *fixedKeys) Generation(g uint32) ([32]byte, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.err == nil && (g == 0 || g > k.current) {
		return [32]byte{}, data.ErrNotFound
	}
	return k.key(g), k.err
}

func (k *fixedKeys) key(g uint32) [32]byte {
	return sha256.Sum256(fmt.Appendf(nil, "%s %d", k.seed, g))
}

func (k *fixedKeys) rotate() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.current++
}

func (k *fixedKeys) fail(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.err = err
}

// world is an audit room over a real vault.
type world struct {
	*Service
	t        testing.TB
	dir      string
	vault    *vault.Vault
	signing  *fixedKeys
	personal map[string]*fixedKeys
	feeds    feeds
}

var acme = data.StoreID{Tenant: "acme0000000000a", Environment: data.Prod}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{
		t: t, dir: filepath.Join(t.TempDir(), "vault"), signing: newKeys("signing"), feeds: feeds{},
		personal: map[string]*fixedKeys{"system": newKeys("system"), acme.String(): newKeys("acme")},
	}
	w.open()
	t.Cleanup(w.shut)
	return w
}

func (w *world) open() {
	w.t.Helper()
	v, err := vault.Open(w.dir, newKeys("vault"))
	if err != nil {
		w.t.Fatal(err)
	}
	w.vault = v
	w.Service, err = New(w.t.Context(), Config{
		Vault: v.Sub("audit"), Signing: w.signing, Personal: w.personalKeys, Stores: w.feeds,
		Resolve: func(_ context.Context, slug, env string) (data.StoreID, error) {
			if slug != "acme" || env != data.Prod {
				return data.StoreID{}, data.ErrNotFound
			}
			return acme, nil
		},
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) personalKeys(owner string) data.KeySource {
	if k, ok := w.personal[owner]; ok {
		return k
	}
	missing := newKeys(owner)
	missing.fail(data.ErrNotFound)
	return missing
}

func (w *world) shut() {
	if err := w.Close(); err != nil {
		w.t.Error(err)
	}
	if err := w.vault.Close(); err != nil {
		w.t.Error(err)
	}
}

func (w *world) record(e api.Event) {
	w.t.Helper()
	if e.Outcome == "" {
		e.Outcome = api.OK
	}
	if err := w.Record(w.t.Context(), e); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) verify(log string) Report {
	w.t.Helper()
	r, err := w.Verify(w.t.Context(), log)
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

// change writes to the room's part of the vault behind its back.
func (w *world) change(fn func(t *vault.Tx) error) {
	w.t.Helper()
	if err := w.vault.Sub("audit").Update(w.t.Context(), fn); err != nil {
		w.t.Fatal(err)
	}
}

// feeds are stores whose feed a test writes by hand, to make faults.
type feeds map[data.StoreID]*handFeed

func (f feeds) Acquire(_ context.Context, id data.StoreID) (Feed, error) {
	if feed, ok := f[id]; ok {
		return feed, nil
	}
	return nil, data.ErrNotFound
}

type handFeed struct {
	mu    sync.Mutex
	lives []store.Incarnation
	rows  []data.Change
	fail  error
	floor int64 // changes up to it were pruned

	restores int
}

func newFeed() *handFeed {
	return &handFeed{lives: []store.Incarnation{{ID: "life1", Reason: "created"}}}
}

// write commits n changes.
func (f *handFeed) write(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for range n {
		f.rows = append(f.rows, data.Change{
			Position: data.Position{Incarnation: f.lives[len(f.lives)-1].ID, Sequence: f.end() + 1},
			At:       time.Unix(1_700_000_000+f.end(), 0).UTC(),
			Actor:    data.Actor{Kind: data.Key, ID: "k1"}, Op: data.Create,
			Collection: "pbc_1", Record: fmt.Sprintf("record%09d", f.end()+1), Fields: []string{"a", "b"},
		})
	}
}

// prune forgets the changes up to a sequence.
func (f *handFeed) prune(to int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.floor = to
	for len(f.rows) > 0 && f.rows[0].Sequence <= to {
		f.rows = f.rows[1:]
	}
}

// restore brings the feed back to what it was at a sequence, the lives too, and
// begins a new one.
func (f *handFeed) restore(seq int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for f.end() > seq {
		f.rows = f.rows[:len(f.rows)-1]
	}
	for len(f.lives) > 1 && f.lives[len(f.lives)-1].From > seq {
		f.lives = f.lives[:len(f.lives)-1]
	}
	f.restores++
	f.lives = append(f.lives, store.Incarnation{ID: fmt.Sprintf("life%d", f.restores+1), Reason: "restored", From: seq})
}

func (f *handFeed) end() int64 {
	if len(f.rows) == 0 {
		return f.lives[len(f.lives)-1].From
	}
	return f.rows[len(f.rows)-1].Sequence
}

func (f *handFeed) Position(context.Context) (data.Position, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return data.Position{Incarnation: f.lives[len(f.lives)-1].ID, Sequence: f.end()}, f.fail
}

func (f *handFeed) Changes(_ context.Context, after data.Position, limit int) (out []data.Change, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.check(after); err != nil {
		return nil, err
	}
	if after.Sequence < f.floor {
		return nil, &store.PrunedError{To: data.Position{Incarnation: f.lives[len(f.lives)-1].ID, Sequence: f.floor}}
	}
	for _, c := range f.rows {
		if c.Sequence > after.Sequence && len(out) < limit {
			out = append(out, c)
		}
	}
	return out, f.fail
}

func (f *handFeed) check(p data.Position) error {
	for i, life := range f.lives {
		if life.ID == p.Incarnation && (i+1 == len(f.lives) || p.Sequence <= f.lives[i+1].From) {
			return nil
		}
	}
	return store.ErrLostPosition
}

func (f *handFeed) Incarnations(context.Context) ([]store.Incarnation, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]store.Incarnation(nil), f.lives...), f.fail
}

func (f *handFeed) Release() {}
