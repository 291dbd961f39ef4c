// Package chain ships a store: committed pages and files become encrypted,
// hash-linked objects on one target, the signed manifest last. The format is
// the README's of the folder above.
package chain

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"holdfast/backup"
	"holdfast/backup/read"
	"holdfast/data"
)

// Config says what to ship where.
type Config struct {
	Target  backup.ObjectStore
	Store   string           // store id, see backup.CheckStore
	Keys    data.KeySource   // purpose "segments"
	Staging string           // folder for this store and target alone; made if missing
	Clock   func() time.Time // nil: time.Now
	Lock    backup.LockFor   // of what is put; none by default
	// MaxStaging bounds the staging file, in bytes (1 GiB for 0): a larger snapshot
	// is put in pieces while it is made. While a snapshot waits for its target,
	// changes gather in the source, each page once.
	MaxStaging int64
	// TakeOver begins a new epoch behind whatever the target holds, even if
	// another writer put it there.
	TakeOver bool
	// Confirmed is called for each snapshot that the target has whole, at least
	// once and in order, before Ship returns; after an error it is called again
	// at the next Ship. It may be nil.
	Confirmed func(ctx context.Context, r Result) error
}

// Result is what a Ship did. Sizes are in bytes, as stored on the target.
type Result struct {
	Sequence  int64
	Epoch     string
	Base      bool // a whole image, not only changes
	Unchanged bool // nothing had changed; Sequence is the newest snapshot's
	Pages     int  // pages shipped
	Total     uint32
	Files     int // files of the snapshot
	Changed   int // files that are new, changed or gone
	Missing   int // files that vanished while they were read
	Bytes     int64
	Objects   int
	Time      time.Time
	Position  data.Position
	Manifest  backup.Hash
}

// Status is what the chain knows without asking its target.
type Status struct {
	Sequence    int64 // newest confirmed snapshot; 0 if none
	Base        int64 // first snapshot of its epoch
	Epoch       string
	Time        time.Time
	Position    data.Position
	Manifest    backup.Hash
	Staged      bool      // a snapshot is staged and not yet confirmed
	StagedAt    time.Time // when it was taken: how far the target lags behind is counted from Time
	StagedBytes int64     // of it that the target may still lack
	Fenced      bool      // another writer continued the chain
	Restart     error     // why the next snapshot begins a new epoch; nil if it does not
}

// Chain ships one store to one target. It is safe for concurrent use; one Ship
// runs at a time.
type Chain struct {
	cfg    Config
	codec  *backup.Codec
	reader *read.Reader

	mu        sync.Mutex
	state     *state // with the pending snapshot; nil: the next one begins an epoch
	confirmed meta   // newest snapshot that the target has; Sequence 0: none
	journal   *journal
	pending   *pending // staged, not yet confirmed; nil if none
	restart   error
	checked   bool // the target was compared with the state
	synced    bool // the source's dirty pages are relative to state and pending
	fenced    bool
	mark      string // of the file tree, as it is in state; "" if all must be listed

	staged []backup.Hash // manifests behind confirmed that may be on the target, and are ours
	unsure bool          // there may be more of them
	prunes *read.Ledger  // as of asked; a fileScan's
	asked  time.Time
}

var (
	errFirst  = errors.New("there is no snapshot yet")
	errBehind = errors.New("the store is behind its newest snapshot: it has lost changes, or an older copy of it was put back")
)

// New opens the chain from what Staging remembers. It makes no request. It fails
// if the staging folder cannot be used or the keys are not to be had.
func New(c Config) (*Chain, error) {
	if c.Clock == nil {
		c.Clock = time.Now
	}
	if c.MaxStaging <= 0 {
		c.MaxStaging = 1 << 30
	}
	r, err := read.New(c.Target, c.Store, c.Keys)
	if err != nil {
		return nil, fmt.Errorf("open chain: %w", err)
	}
	if err := os.MkdirAll(c.Staging, 0o700); err != nil {
		return nil, fmt.Errorf("open chain: %w", err)
	}
	ch := &Chain{cfg: c, codec: r.Codec(), reader: r, restart: errFirst}
	if err := ch.load(); err != nil {
		return nil, fmt.Errorf("open chain: %w", err)
	}
	return ch, nil
}

// load reads journal and pending snapshot. Damage costs a new epoch, a missing
// key is an error: it may come back.
func (c *Chain) load() error {
	var err error
	c.journal, c.state, err = openJournal(c.cfg.Staging, c.codec)
	if unusable(err) {
		c.restart, c.state, err = err, nil, nil
	}
	if err != nil {
		return errors.Join(err, c.journal.close())
	}
	if c.state != nil {
		c.confirmed, c.restart = c.state.meta, nil
	}
	if err := c.loadPending(); unusable(err) {
		c.unsure = true
		c.forget(err)
	} else if err != nil {
		return errors.Join(err, c.journal.close())
	}
	return nil
}

func (c *Chain) loadPending() error {
	p, err := openPending(c.cfg.Staging, c.codec)
	if p == nil || err != nil {
		return err
	}
	c.pending = p
	if p.record.Sequence <= c.confirmed.Sequence { // confirmed just before a crash
		c.dropPending()
		return nil
	}
	c.staged = append(c.staged, p.record.Manifest)
	if c.state, err = p.record.apply(c.state); err == nil {
		c.restart = nil
	}
	return err
}

// reload goes back to what is on disk after a draft came to nothing.
func (c *Chain) reload() error {
	err := c.journal.close()
	c.state, c.confirmed, c.synced, c.restart, c.mark = nil, meta{}, false, errFirst, ""
	return errors.Join(err, c.load())
}

// unusable reports whether staged bytes were damaged, as opposed to keys missing.
func unusable(err error) bool {
	return errors.Is(err, backup.ErrFormat) || errors.Is(err, data.ErrTampered) || errors.Is(err, data.ErrNotFound)
}

// Status is safe to call at any time; it waits for a running Ship.
func (c *Chain) Status() Status {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := Status{Staged: c.pending != nil, Fenced: c.fenced, Restart: c.restart}
	if c.pending != nil {
		s.StagedAt, s.StagedBytes = c.pending.record.Time, c.pending.left()
	}
	if m := c.confirmed; m.Sequence > 0 {
		s.Sequence, s.Base, s.Epoch, s.Time = m.Sequence, m.Base, m.Epoch.String(), m.Time
		s.Position, s.Manifest = m.Position, m.Manifest
	}
	return s
}

// Close releases the staging files.
func (c *Chain) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	err := c.journal.close()
	if c.pending != nil {
		err = errors.Join(err, c.pending.f.Close())
	}
	return err
}

// Ship brings the target up to the present. `at` must be read from the store
// before the call: the snapshot holds at least everything up to it. Without
// files (nil) the tree of the last snapshot is carried over. It answers
// backup.ErrFenced when another writer continued the chain; after any other
// error, calling again resumes.
func (c *Chain) Ship(ctx context.Context, pages data.PageSource, files data.FileTree, at data.Position) (Result, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r, err := c.ship(ctx, pages, files, at)
	if errors.Is(err, errConflict) || errors.Is(err, errSwept) || (c.cfg.TakeOver && errors.Is(err, backup.ErrFenced)) {
		// What stands under our names is not ours: a fresh epoch has names of its own.
		c.forget(err)
		r, err = c.ship(ctx, pages, files, at)
	}
	if errors.Is(err, backup.ErrFenced) {
		c.fenced = true
	}
	if err != nil {
		return Result{}, fmt.Errorf("ship %s: %w", c.cfg.Store, err)
	}
	return r, nil
}

func (c *Chain) ship(ctx context.Context, pages data.PageSource, files data.FileTree, at data.Position) (Result, error) {
	if c.fenced {
		return Result{}, backup.ErrFenced
	}
	if err := c.reconcile(ctx); err != nil {
		return Result{}, err
	}
	if err := c.confirm(ctx); err != nil {
		return Result{}, err
	}
	if c.behind(at) {
		c.forget(errBehind)
	}
	const tries = 3
	for try := 1; ; try++ {
		r, err := c.attempt(ctx, pages, files, at, try == tries)
		if !errors.Is(err, errUnsettled) {
			return r, err
		}
	}
}

// behind reports whether the store went back within its incarnation: readers
// refuse a chain that does, so it goes on with a base in an epoch of its own.
func (c *Chain) behind(at data.Position) bool {
	return c.state != nil && at.Incarnation == c.state.Position.Incarnation && at.Sequence < c.state.Position.Sequence
}

// attempt stages one snapshot and confirms it.
func (c *Chain) attempt(ctx context.Context, pages data.PageSource, files data.FileTree, at data.Position, last bool) (Result, error) {
	d, err := c.begin(ctx)
	if err != nil {
		return Result{}, err
	}
	defer d.discard()
	d.settled = c.settled(pages)
	if err := c.collect(ctx, d, pages, files, last); err != nil {
		return Result{}, err
	}
	if d.unchanged() {
		c.synced, c.mark = true, d.mark
		return c.same(), nil
	}
	result, err := c.stage(d, at)
	if err != nil {
		return Result{}, err
	}
	return result, c.confirm(ctx)
}

// collect takes files, pages, and files again: every file that a record of
// these pages refers to was there before or after them (see files.go).
func (c *Chain) collect(ctx context.Context, d *draft, pages data.PageSource, files data.FileTree, last bool) error {
	f := newFileScan(c, d, files)
	if err := f.before(ctx); err != nil {
		return err
	}
	if !c.synced {
		pages.MarkAll()
	}
	commit, err := pages.Snapshot(ctx, d.page)
	if err != nil {
		return fmt.Errorf("read pages: %w", err)
	}
	c.synced = false // until they are staged
	if err := d.finishPages(commit.DatabasePages); err != nil {
		return err
	}
	d.mark = f.mark
	return f.after(ctx, last)
}

// same is the result when nothing has changed.
func (c *Chain) same() Result {
	st := c.state
	return Result{
		Sequence: st.Sequence, Epoch: st.Epoch.String(), Unchanged: true, Total: st.sums.Total(),
		Files: st.tree.Count(), Time: st.Time, Position: st.Position, Manifest: st.Manifest,
	}
}

// stage makes the draft durable: from here on a crash resumes the upload.
func (c *Chain) stage(d *draft, at data.Position) (Result, error) {
	rec, err := d.seal(at, c.now())
	if err != nil {
		return Result{}, errors.Join(err, c.reload())
	}
	result := d.result(rec)
	p, err := d.stage.finish(rec, result, d.since)
	if err != nil {
		return Result{}, errors.Join(err, c.reload())
	}
	c.state, c.pending, c.synced, c.restart, c.mark = d.from, p, true, nil, d.mark
	c.staged = append(c.staged, rec.Manifest)
	return result, nil
}

// now never goes back behind the newest snapshot: times order the chain.
func (c *Chain) now() time.Time {
	now := c.cfg.Clock().UTC().Truncate(time.Millisecond)
	if c.state != nil && now.Before(c.state.Time) {
		return c.state.Time
	}
	return now
}

// Anew has the next Ship begin an epoch: the target does not hold what was shipped to it.
// It waits for a running Ship.
func (c *Chain) Anew(why error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.forget(why)
}

// forget drops what was staged and remembered: the next snapshot is a base.
func (c *Chain) forget(why error) {
	c.dropPending()
	c.state, c.restart, c.synced, c.mark, c.prunes = nil, why, false, "", nil
}

func (c *Chain) dropPending() {
	if c.pending != nil {
		c.pending.remove()
		c.pending = nil
	}
}
