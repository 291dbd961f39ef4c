package cryptfs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/ncruces/go-sqlite3"
	"github.com/ncruces/go-sqlite3/vfs"

	"holdfast/data"
)

// mainFile is a connection's view of the database file: page n lies sealed at
// (n-1)*PageSize.
type mainFile struct {
	file
	committed bool // a transaction of this connection waits for its announcement
}

var (
	_ vfs.FilePragma         = (*mainFile)(nil)
	_ vfs.FileCheckpoint     = (*mainFile)(nil)
	_ vfs.FileCommitPhaseTwo = (*mainFile)(nil)
	_ vfs.FileSharedMemory   = (*mainFile)(nil)
)

// ReadAt reads inside one page, and authenticates all of it.
func (f *mainFile) ReadAt(p []byte, off int64) (int, error) {
	number, in := uint32(off/data.PageSize)+1, int(off%data.PageSize)
	if in+len(p) > data.PageSize {
		return 0, sqlite3.IOERR_READ
	}
	if len(p) == data.PageSize {
		return f.done(f.readPage(p, number), p, number)
	}
	b := borrow()
	defer b.giveBack()
	err := f.readPage(b.plain[:], number)
	if number == 1 && errors.Is(err, errUnsealed) && f.db.hasLog() {
		// When SQLite opens a database it looks at the header without a lock: a
		// checkpoint may be writing it, or a power cut tore it. It asks again, for
		// the whole page and by way of the log.
		return 0, io.EOF
	}
	copy(p, b.plain[in:])
	return f.done(err, p, number)
}

// done is what SQLite is told: it takes a full count for success, whatever the
// error. io.EOF is for a page that was never written.
func (f *mainFile) done(err error, p []byte, number uint32) (int, error) {
	if err != nil {
		return 0, f.refuse(err, "", number)
	}
	return len(p), nil
}

// readPage reads once more what does not authenticate, for it may be about to be
// sealed under another key.
func (f *mainFile) readPage(p []byte, number uint32) error {
	err := f.tryPage(p, number)
	if errors.Is(err, errUnsealed) {
		f.db.inPlace.RLock()
		defer f.db.inPlace.RUnlock()
		err = f.tryPage(p, number)
		if image := f.db.owed.image(number); image != nil && errors.Is(err, errUnsealed) {
			err = openPage(f.db.pages, p, image, number)
		}
	}
	return err
}

func (f *mainFile) tryPage(p []byte, number uint32) error {
	n, err := readFull(f.File, p, pagePosition(number))
	switch {
	case err == nil:
		return openPage(f.db.pages, p, p, number)
	case err == io.EOF && n > 0:
		return fmt.Errorf("is cut short: %w", errUnsealed)
	case err == io.EOF && number <= f.db.extent.Load():
		return missing(err)
	}
	return err
}

func pagePosition(number uint32) int64 { return int64(number-1) * data.PageSize }

func openPage(s *sealer, dst, src []byte, number uint32) error {
	if err := s.open(dst, src, pageContent, place{kind: kindPage, number: number}); err != nil {
		return err
	}
	clear(dst[pageContent:data.PageSize])
	return nil
}

// WriteAt seals one whole page.
func (f *mainFile) WriteAt(p []byte, off int64) (int, error) {
	if len(p) != data.PageSize || off%data.PageSize != 0 {
		return 0, sqlite3.IOERR_WRITE
	}
	number := uint32(off/data.PageSize) + 1
	err := f.makeRoom(p, number)
	if err == nil {
		err = f.writePage(p, number)
	}
	return f.done(err, p, number)
}

// makeRoom keeps the file free of gaps below a page that is written, and never
// shorter than its page 1 says: see grow.
func (f *mainFile) makeRoom(p []byte, number uint32) error {
	if number > 1 {
		return f.grow(number-1, nil)
	}
	size, err := firstPage(p)
	if err != nil {
		return err
	}
	return f.grow(size, f.db.track.logged())
}

// firstPage gives the database's size in pages from its page 1. It refuses a
// layout without our reserved bytes or with another page size: sealing the one
// would lose data, the other has no place here.
func firstPage(p []byte) (uint32, error) {
	if size := binary.BigEndian.Uint16(p[16:]); size != data.PageSize {
		return 0, fmt.Errorf("pages of %d bytes, not of %d", size, data.PageSize)
	}
	if p[20] != Reserved {
		return 0, fmt.Errorf("%d bytes reserved a page, not %d", p[20], Reserved)
	}
	return binary.BigEndian.Uint32(p[28:]), nil
}

func (f *mainFile) writePage(p []byte, number uint32) error {
	b := borrow()
	defer b.giveBack()
	sealed := b.frame[:data.PageSize]
	f.db.sealing.RLock()
	defer f.db.sealing.RUnlock()
	if err := f.db.pages.seal(sealed, p[:pageContent], place{kind: kindPage, number: number}); err != nil {
		return err
	}
	f.db.track.keepPage(number)
	if err := f.putPage(sealed, number); err != nil {
		return err
	}
	f.db.extent.Store(max(f.db.extent.Load(), number))
	return nil
}

// putPage writes a sealed page to its place.
func (f *mainFile) putPage(sealed []byte, number uint32) error {
	f.db.inPlace.Lock()
	defer f.db.inPlace.Unlock()
	_, err := f.File.WriteAt(sealed, pagePosition(number))
	if err == nil {
		f.db.owed.paid(func(n uint32) bool { return n == number })
	}
	return err
}

// Truncate shortens the file, or lengthens it by empty pages.
func (f *mainFile) Truncate(size int64) error {
	pages := uint32(size / data.PageSize)
	err := f.grow(pages, nil)
	if err == nil {
		f.db.extent.Store(pages)
		f.db.track.keepAbove(pages)
		err = f.cutTo(size)
	}
	return f.refuse(err, "", pages)
}

// cutTo syncs a file before it gets shorter: on disk, page 1 must not say that it
// is longer.
func (f *mainFile) cutTo(size int64) error {
	if now, err := f.File.Size(); err != nil {
		return err
	} else if now > size {
		if err := f.File.Sync(vfs.SYNC_NORMAL); err != nil {
			return err
		}
	}
	f.db.inPlace.Lock()
	defer f.db.inPlace.Unlock()
	f.db.owed.paid(func(n uint32) bool { return pagePosition(n) >= size })
	return f.File.Truncate(size)
}

// Pragma refuses what would take pages out of our sight (journals other than
// the log, and temporary files), and a log that is never synced.
func (f *mainFile) Pragma(name, value string) (string, error) {
	switch value = strings.ToLower(value); {
	case name == "journal_mode" && value != "" && value != "wal",
		name == "temp_store" && value != "" && value != "memory" && value != "2",
		name == "page_size" && value != "" && value != "4096",
		name == "synchronous" && !slices.Contains([]string{"", "1", "2", "3", "on", "yes", "true", "normal", "full", "extra"}, value):
		return "", sqlite3.PERM
	}
	return "", sqlite3.NOTFOUND
}

// CheckpointStart tells the tracker what the log holds for good.
func (f *mainFile) CheckpointStart() { f.db.track.checkpointStart() }

// CheckpointDone ends that.
func (f *mainFile) CheckpointDone() { f.db.track.checkpointDone() }

// CommitPhaseTwo announces a commit once other connections can see it and the
// write lock is free.
func (f *mainFile) CommitPhaseTwo() error {
	if f.committed && f.db.fs.OnCommit != nil {
		f.db.fs.OnCommit(f.db.name)
	}
	f.committed = false
	return nil
}
