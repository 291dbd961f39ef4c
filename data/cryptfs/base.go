package cryptfs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

// Base is what a follower knows of a snapshot that was shipped: which pages changed
// since. The others are, byte for byte, what was shipped; whoever keeps the
// shipped pages' checksums can hold them against the disk. It is safe for
// concurrent use.
type Base struct {
	t     *tracker
	label string

	changed pageSet // guarded by the tracker's lock
	users   int
}

// Label is what Rebase was told.
func (b *Base) Label() string { return b.label }

// Changed says whether a page changed since, or is none of the database.
func (b *Base) Changed(page uint32) bool {
	b.t.mu.Lock()
	defer b.t.mu.Unlock()
	return page > b.t.pages || b.changed.has(page)
}

// Release gives back what Tap.Base gave.
func (b *Base) Release() {
	b.t.mu.Lock()
	defer b.t.mu.Unlock()
	b.users--
}

// Rebase names the last snapshot that this tap handed out and that was shipped:
// what Base tells of is relative to it from now on. The label survives a clean
// close. Without a snapshot since the last Rebase nothing happens.
func (t *Tap) Rebase(label string) {
	t.db.track.rebase("", label)
}

func (t *tracker) rebase(name, label string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.on {
		return
	}
	if f := t.follower(name); f.candidate != nil {
		f.base, f.candidate = f.candidate, nil
		f.base.label = label
		t.base = f.base
	}
}

// Unchanged says of pages that the follower was handed whether they are what the
// snapshot of that label has; nil where that is not the last one it shipped, or where
// nobody knows (after a crash). A page that did not change, and differs all the same,
// was put back by somebody who can write to the disk.
func (v *View) Unchanged(label string) func(page uint32) bool {
	t := &v.tap.db.track
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.on {
		return nil
	}
	b := t.follower(v.name).base
	if b == nil || b.label != label {
		return nil
	}
	return func(page uint32) bool { return !b.Changed(page) }
}

// Base is what was last shipped, nil where that is not known: nothing was, or the
// process ended without closing the tap. It goes on noting changes until Release.
func (t *Tap) Base() *Base {
	tr := &t.db.track
	tr.mu.Lock()
	defer tr.mu.Unlock()
	if tr.base != nil {
		tr.base.users++
		tr.held = append(slices.DeleteFunc(tr.held, (*Base).unused), tr.base)
	}
	return tr.base
}

func (b *Base) unused() bool { return b.users == 0 }

// snapped begins a base at a snapshot; mu is held. It becomes one when the
// snapshot was shipped.
func (t *tracker) snapped() { t.next = &Base{t: t} }

// landed is the end of that snapshot; mu is held.
func (t *tracker) landed(f *follower, ok bool) {
	f.candidate = nil
	if ok {
		f.candidate = t.next
	}
	t.next = nil
}

// note tells the bases of a page that changed; mu is held.
func (t *tracker) note(page uint32) {
	if t.next != nil {
		t.next.changed.add(page)
	}
	for _, f := range t.followers {
		for _, b := range [...]*Base{f.candidate, f.base} {
			if b != nil {
				b.changed.add(page)
			}
		}
	}
	for _, b := range t.held {
		if b.users > 0 {
			b.changed.add(page)
		}
	}
}

// BaseSuffix ends the name of the file of the followers' bases, "<database>-base". It
// is there while the database is closed: one unit, sealed like a page under a key of
// its own, number 2 (for the second form of its content):
//
//	pages of the database 4 | number of bases 2 | then for each, the newest last:
//	length of the follower's name 2 | name | length of the label 2 | label |
//	words 4 | changed pages, a bit each, in words of 8 bytes
const BaseSuffix = "-base"

const (
	kindBase = 'B'
	baseForm = 2
	maxLabel = 1 << 10 // of a label, and of a follower's name
	maxBases = 64
)

// baseFile is its content.
type baseFile struct {
	pages uint32
	bases []baseEntry
}

type baseEntry struct {
	follower, label string
	changed         []uint64
}

func (f baseFile) format() []byte {
	b := binary.BigEndian.AppendUint32(nil, f.pages)
	b = binary.BigEndian.AppendUint16(b, uint16(len(f.bases))) //nolint:gosec // at most maxBases
	for _, e := range f.bases {
		for _, text := range [...]string{e.follower, e.label} {
			b = binary.BigEndian.AppendUint16(b, uint16(len(text))) //nolint:gosec // at most maxLabel
			b = append(b, text...)
		}
		b = binary.BigEndian.AppendUint32(b, uint32(len(e.changed))) //nolint:gosec // a bit a page
		for _, word := range e.changed {
			b = binary.BigEndian.AppendUint64(b, word)
		}
	}
	return b
}

var errBase = errors.New("is no base")

// parseBase is the inverse of format. It answers errBase.
func parseBase(b []byte) (f baseFile, err error) {
	r := baseReader{rest: b}
	f.pages = uint32(r.number(4)) //nolint:gosec // four bytes
	n := r.number(2)
	if n == 0 || n > maxBases {
		return f, errBase
	}
	for range n {
		e := baseEntry{follower: r.text(), label: r.text()}
		words := r.number(4)
		if r.bad || e.label == "" || words > uint64(f.pages)/64+1 || uint64(len(r.rest)) < 8*words {
			return f, errBase
		}
		for range words {
			e.changed = append(e.changed, r.number(8))
		}
		f.bases = append(f.bases, e)
	}
	if r.bad || len(r.rest) > 0 {
		return f, errBase
	}
	return f, nil
}

// baseReader takes a base's content apart. It is bad once something was cut short.
type baseReader struct {
	rest []byte
	bad  bool
}

func (r *baseReader) take(n int) []byte {
	if n > len(r.rest) {
		r.bad, r.rest = true, nil
		return make([]byte, n)
	}
	b := r.rest[:n]
	r.rest = r.rest[n:]
	return b
}

func (r *baseReader) number(size int) (n uint64) {
	for _, b := range r.take(size) {
		n = n<<8 | uint64(b)
	}
	return n
}

func (r *baseReader) text() string {
	n := r.number(2)
	if n > maxLabel {
		r.bad = true
		return ""
	}
	return string(r.take(int(n))) //nolint:gosec // at most maxLabel
}

// saveBase writes the bases of a database that is about to be closed.
func (db *database) saveBase() error {
	plain := db.track.formatBase()
	if plain == nil {
		return nil
	}
	sealed := make([]byte, len(plain)+Reserved)
	if err := db.baseSealer().seal(sealed, plain, place{kind: kindBase, number: baseForm}); err != nil {
		return err
	}
	w, err := db.fs.Disk.Open(db.path+BaseSuffix, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = w.WriteAt(sealed, 0)
	return errors.Join(err, w.Close())
}

// formatBase gives the newest maxBases, nil where there are none.
func (t *tracker) formatBase() []byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	f := baseFile{pages: t.pages}
	for _, follower := range t.byBase() {
		b := follower.base
		if b == nil || b.label == "" || max(len(b.label), len(follower.name)) > maxLabel {
			continue
		}
		b.changed.cut(t.pages)
		f.bases = append(f.bases, baseEntry{follower.name, b.label, b.changed.words})
	}
	f.bases = f.bases[max(0, len(f.bases)-maxBases):]
	if len(f.bases) == 0 {
		return nil
	}
	return f.format()
}

// byBase gives the followers, that of the newest base last; mu is held.
func (t *tracker) byBase() []*follower {
	all := slices.DeleteFunc(slices.Clone(t.followers), func(f *follower) bool { return f.base != nil && f.base == t.base })
	for _, f := range t.followers {
		if f.base != nil && f.base == t.base {
			all = append(all, f)
		}
	}
	return all
}

func (db *database) baseSealer() *sealer {
	return newSealer(db.fs.Keys, "base", db.fs.Identity, db.name)
}

// takeBase reads the bases and takes their file away, for good before anything is
// written: after a crash there are none. A file that does not authenticate (torn, for
// it is not synced) has none.
func (db *database) takeBase(pages uint32) ([]baseEntry, error) {
	f, err := db.readBase()
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err := ignoreUnsealed(err); err != nil {
		return nil, err
	}
	if err := db.fs.Disk.Remove(db.path + BaseSuffix); err != nil {
		return nil, err
	}
	if err := db.fs.Disk.SyncDir(filepath.Dir(db.path)); err != nil {
		return nil, err
	}
	if err != nil || f.pages != pages {
		return nil, nil //nolint:nilerr // torn
	}
	return f.bases, nil
}

// restore gives the followers the bases that they had; mu is held.
func (t *tracker) restore(bases []baseEntry) {
	t.base = nil
	for _, e := range bases {
		b := &Base{t: t, label: e.label}
		for page := range (pageSet{words: e.changed}).all() {
			b.changed.add(page)
		}
		t.follower(e.follower).base, t.base = b, b
	}
}

func (db *database) readBase() (f baseFile, err error) {
	b, err := os.ReadFile(db.path + BaseSuffix)
	if err != nil {
		return f, err
	}
	if len(b) < Reserved {
		return f, errUnsealed
	}
	n := len(b) - Reserved
	if err := db.baseSealer().open(b, b, n, place{kind: kindBase, number: baseForm}); err != nil {
		return f, err
	}
	if f, err = parseBase(b[:n]); err != nil {
		return f, fmt.Errorf("%w: %w", err, errUnsealed)
	}
	return f, nil
}
