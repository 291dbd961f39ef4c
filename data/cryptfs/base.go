package cryptfs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

// Base is what a tap knows of a snapshot that was shipped: which pages changed
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
		t.base, f.candidate = f.candidate, nil
		t.base.label = label
	}
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
	for _, b := range [...]*Base{t.next, t.base} {
		if b != nil {
			b.changed.add(page)
		}
	}
	for _, f := range t.followers {
		if f.candidate != nil {
			f.candidate.changed.add(page)
		}
	}
	for _, b := range t.held {
		if b.users > 0 && b != t.base {
			b.changed.add(page)
		}
	}
}

// BaseSuffix ends the name of a base's file, "<database>-base". It is there while the
// database is closed: one unit, sealed like a page under a key of its own, number 1:
//
//	pages of the database 4 | length of the label 2 | label | changed pages, a bit each, in words of 8 bytes
const BaseSuffix = "-base"

const (
	kindBase = 'B'
	maxLabel = 1 << 10
)

// baseFile is its content.
type baseFile struct {
	label   string
	pages   uint32
	changed []uint64
}

func (f baseFile) format() []byte {
	b := binary.BigEndian.AppendUint32(nil, f.pages)
	b = binary.BigEndian.AppendUint16(b, uint16(len(f.label))) //nolint:gosec // at most maxLabel
	b = append(b, f.label...)
	for _, word := range f.changed {
		b = binary.BigEndian.AppendUint64(b, word)
	}
	return b
}

var errBase = errors.New("is no base")

// parseBase is the inverse of format. It answers errBase.
func parseBase(b []byte) (f baseFile, err error) {
	if len(b) < 6 {
		return f, errBase
	}
	f.pages = binary.BigEndian.Uint32(b)
	n := int(binary.BigEndian.Uint16(b[4:]))
	if b = b[6:]; n == 0 || n > maxLabel || len(b) < n || (len(b)-n)%8 != 0 || uint32((len(b)-n)/8) > f.pages/64+1 { //nolint:gosec // small
		return f, errBase
	}
	f.label = string(b[:n])
	for b = b[n:]; len(b) > 0; b = b[8:] {
		f.changed = append(f.changed, binary.BigEndian.Uint64(b))
	}
	return f, nil
}

// saveBase writes the base of a database that is about to be closed.
func (db *database) saveBase() error {
	plain := db.track.formatBase()
	if plain == nil {
		return nil
	}
	sealed := make([]byte, len(plain)+Reserved)
	if err := db.baseSealer().seal(sealed, plain, place{kind: kindBase, number: 1}); err != nil {
		return err
	}
	w, err := db.fs.Disk.Open(db.path+BaseSuffix, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = w.WriteAt(sealed, 0)
	return errors.Join(err, w.Close())
}

func (t *tracker) formatBase() []byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.base == nil || t.base.label == "" || len(t.base.label) > maxLabel {
		return nil
	}
	t.base.changed.cut(t.pages)
	return baseFile{t.base.label, t.pages, t.base.changed.words}.format()
}

func (db *database) baseSealer() *sealer {
	return newSealer(db.fs.Keys, "base", db.fs.Identity, db.name)
}

// takeBase reads the base and takes its file away, for good before anything is
// written: after a crash there is none. One that does not authenticate (torn, for
// it is not synced) is none.
func (db *database) takeBase(pages uint32) (*Base, error) {
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
	b := &Base{t: &db.track, label: f.label}
	for page := range (pageSet{words: f.changed}).all() {
		b.changed.add(page)
	}
	return b, nil
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
	if err := db.baseSealer().open(b, b, n, place{kind: kindBase, number: 1}); err != nil {
		return f, err
	}
	if f, err = parseBase(b[:n]); err != nil {
		return f, fmt.Errorf("%w: %w", err, errUnsealed)
	}
	return f, nil
}
