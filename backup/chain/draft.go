package chain

import (
	"context"
	"crypto/rand"
	"fmt"
	"time"

	"holdfast/backup"
	"holdfast/data"
)

// draft is the snapshot that is being made on top of a state.
type draft struct {
	codec    *backup.Codec
	stage    *stage
	from     *state      // what it continues; an empty state for a base
	previous backup.Hash // manifest before it
	header   backup.Header
	since    time.Time
	mark     string // of the file tree
	bound    int64  // of the stage, in bytes
	spill    func() error
	settled  func(pgno uint32) bool // see Settled; nil: nobody knows
	base     int64
	full     bool

	list    backup.PageList
	queue   []squeezed // parts in order, sealed one by one
	refs    []backup.Ref
	link    backup.Hash // last object of the chain
	sums    []pageSum
	total   uint32
	changes []backup.Change // sorted by name
	missing int
	content int64 // bytes of chunks that were put
	chunks  int
}

// squeezed is a part that is being compressed.
type squeezed struct {
	ref  backup.Ref
	body chan []byte
}

// compressing is how many parts are compressed at the same time.
const compressing = 2

// begin starts a draft: the next of the epoch, or the base of a new one.
func (c *Chain) begin(ctx context.Context) (*draft, error) {
	s, err := newStage(c.cfg.Staging, c.codec)
	if err != nil {
		return nil, err
	}
	d := &draft{codec: c.codec, stage: s, since: c.cfg.Clock(), bound: c.cfg.MaxStaging}
	d.spill = func() error { return c.spill(ctx, s) }
	if c.state != nil {
		st := c.state
		d.continues(st, st.Manifest, backup.Header{Epoch: st.Epoch, Sequence: st.Sequence + 1}, st.Base)
		return d, nil
	}
	last, hash, err := c.newest(ctx)
	if err == nil {
		err = c.ours(last, hash)
	}
	if err != nil {
		s.discard()
		return nil, err
	}
	fresh, err := emptyState()
	if err != nil {
		s.discard()
		return nil, err
	}
	d.full = true
	d.continues(fresh, hash, backup.Header{Epoch: fresh.Epoch, Sequence: last + 1}, last+1)
	return d, nil
}

func (d *draft) continues(from *state, previous backup.Hash, h backup.Header, base int64) {
	d.from, d.previous, d.link, d.base = from, previous, previous, base
	d.header = h
}

// emptyState is what a new epoch begins with: a random name and a random key
// for its page checksums.
func emptyState() (*state, error) {
	key := make([]byte, 32)
	rand.Read(key) //nolint:errcheck // never fails
	s, err := newState(key)
	if err == nil {
		rand.Read(s.Epoch[:]) //nolint:errcheck // never fails
	}
	return s, err
}

func (d *draft) discard() {
	for _, q := range d.queue {
		<-q.body // the compressor ends
	}
	d.queue = nil
	d.stage.discard()
}

// page takes a page if it is not what the last snapshot has.
func (d *draft) page(pgno uint32, page []byte) error {
	if pgno == backup.LockPage {
		return nil
	}
	sum := d.from.sums.Of(pgno, page)
	old, ok := d.from.sums.Get(pgno)
	if ok && old == sum {
		return nil
	}
	if ok && d.settled != nil && d.settled(pgno) {
		return fmt.Errorf("page %d: %w", pgno, ErrPutBack)
	}
	d.sums = append(d.sums, pageSum{pgno, sum})
	d.list.Add(pgno, page)
	if len(d.list.Numbers) < backup.PagesPerPart {
		return nil
	}
	return d.flush()
}

// flush hands a part to a compressor; parts are sealed in order, since each
// carries the hash of the one before.
func (d *draft) flush() error {
	plain := d.list.Format()
	q := squeezed{body: make(chan []byte, 1)}
	q.ref.SetRange(d.list.Numbers)
	go func() { q.body <- d.codec.Compress(plain) }()
	d.queue = append(d.queue, q)
	d.list = backup.PageList{Numbers: d.list.Numbers[:0], Images: d.list.Images[:0]}
	if len(d.queue) > compressing {
		return d.sealPart()
	}
	return nil
}

func (d *draft) sealPart() error {
	q := d.queue[0]
	d.queue = d.queue[1:]
	q.ref.Kind, q.ref.Part = backup.Pages, uint32(len(d.refs)) //nolint:gosec // pages come first
	return d.addPart(q.ref, <-q.body)
}

// addPart seals and stages one object of pages or tree.
func (d *draft) addPart(ref backup.Ref, compressed []byte) error {
	h := d.header
	h.Kind, h.Part, h.Previous = ref.Kind, ref.Part, d.link
	ref.Name = backup.PartName(d.codec.Store(), h)
	object, err := d.codec.SealCompressed(h, ref.Name, compressed)
	if err != nil {
		return err
	}
	ref.Size = int64(len(object))
	if ref.SHA256, err = d.stage.add(ref.Name, object); err != nil {
		return err
	}
	d.refs = append(d.refs, ref)
	d.link = ref.SHA256
	if d.stage.size < d.bound {
		return nil
	}
	return d.spill()
}

// finishPages seals what is left and learns the size of the database.
func (d *draft) finishPages(total uint32) error {
	d.total = total
	if len(d.list.Numbers) > 0 {
		if err := d.flush(); err != nil {
			return err
		}
	}
	for len(d.queue) > 0 {
		if err := d.sealPart(); err != nil {
			return err
		}
	}
	return nil
}

// unchanged reports whether there is nothing to ship.
func (d *draft) unchanged() bool {
	return !d.full && len(d.sums) == 0 && len(d.changes) == 0 && d.total == d.from.sums.Total()
}

// seal stages the tree's parts and the manifest, and returns the record that
// brought the draft's state forward. After an error that state is of no use.
func (d *draft) seal(at data.Position, now time.Time) (*record, error) {
	rec := &record{sums: d.sums}
	rec.meta = meta{
		Epoch: d.header.Epoch, Base: d.base, Sequence: d.header.Sequence, Time: now, Position: at,
		SumKey: d.from.SumKey, Total: d.total, Full: d.full,
	}
	var err error
	if rec.changes, err = d.sealTree(); err != nil {
		return nil, err
	}
	snapshot, err := d.advance(rec)
	if err != nil {
		return nil, err
	}
	object, err := d.codec.SealManifest(snapshot, d.previous)
	if err != nil {
		return nil, err
	}
	rec.Manifest, err = d.stage.add(backup.ManifestName(d.codec.Store(), rec.Sequence), object)
	d.from.meta = rec.meta
	return rec, err
}

// sealTree stages the changes of the tree and returns them as a reader will see
// them: JSON may not give back every string that went in.
func (d *draft) sealTree() (seen []backup.Change, err error) {
	parts, err := backup.FormatChanges(d.changes)
	if err != nil {
		return nil, err
	}
	for i, plain := range parts {
		changes, err := backup.ParseChanges(plain)
		if err != nil {
			return nil, err
		}
		seen = append(seen, changes...)
		if err := d.addPart(backup.Ref{Kind: backup.Tree, Part: uint32(i)}, d.codec.Compress(plain)); err != nil { //nolint:gosec // few
			return nil, err
		}
	}
	return seen, nil
}

// advance applies the record to the draft's state and says what the store is
// before and after.
func (d *draft) advance(rec *record) (*backup.Snapshot, error) {
	s := &backup.Snapshot{
		Store: d.codec.Store(), Epoch: rec.Epoch.String(), Sequence: rec.Sequence, Base: rec.Base,
		Time: rec.Time, Position: rec.Position, SumKey: rec.SumKey, Objects: d.refs,
	}
	s.Pages = backup.PagesState{Total: d.total, Changed: len(d.sums), Before: d.from.sums.Root()}
	s.Files = backup.FilesState{Changed: len(rec.changes), Missing: d.missing, Before: d.from.tree.Root()}
	after, err := rec.apply(d.from)
	if err != nil {
		return nil, err
	}
	d.from = after
	s.Pages.After, s.Files.After = after.sums.Root(), after.tree.Root()
	s.Files.Count, s.Files.Bytes = after.tree.Count(), after.tree.Bytes()
	return s, nil
}

// result is what the caller hears of a snapshot.
func (d *draft) result(rec *record) Result {
	r := Result{
		Sequence: rec.Sequence, Epoch: rec.Epoch.String(), Base: rec.Full,
		Pages: len(rec.sums), Total: rec.Total, Files: d.from.tree.Count(), Changed: len(rec.changes),
		Missing: d.missing, Bytes: d.content + d.stage.total, Objects: d.chunks + len(d.stage.items),
		Time: rec.Time, Position: rec.Position, Manifest: rec.Manifest,
	}
	return r
}
