package cryptfs

import (
	"encoding/binary"
	"fmt"
	"io"
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
		return f.readPage(p, number)
	}
	b := borrow()
	defer b.giveBack()
	if n, err := f.readPage(b.plain[:], number); err != nil {
		return n, err
	}
	return copy(p, b.plain[in:]), nil
}

func (f *mainFile) readPage(p []byte, number uint32) (int, error) {
	n, err := readFull(f.File, p, int64(number-1)*data.PageSize)
	switch {
	case err == nil:
		err = openPage(f.db.pages, p, p, number)
	case err == io.EOF && n > 0:
		err = fmt.Errorf("is cut short: %w", errUnsealed)
	}
	if err != nil { // io.EOF: SQLite asks for a page that was never written
		return 0, f.refuse(err, "", number)
	}
	return data.PageSize, nil
}

func openPage(s *sealer, dst, src []byte, number uint32) error {
	if err := s.open(dst, src, pageContent, place{kind: kindPage, number: number}); err != nil {
		return err
	}
	clear(dst[pageContent:data.PageSize])
	return nil
}

// WriteAt seals one whole page.
func (f *mainFile) WriteAt(p []byte, off int64) (int, error) {
	if len(p) != data.PageSize || off%data.PageSize != 0 || !wellFormed(p, off) {
		return 0, sqlite3.IOERR_WRITE
	}
	if err := f.fill(off); err != nil {
		return 0, err
	}
	b := borrow()
	defer b.giveBack()
	return f.writePage(b.frame[:data.PageSize], p, uint32(off/data.PageSize)+1)
}

// wellFormed refuses a database that SQLite laid out without our reserved bytes
// or with another page size: the one would lose data, the other its pages.
func wellFormed(p []byte, off int64) bool {
	return off != 0 || (binary.BigEndian.Uint16(p[16:]) == data.PageSize && p[20] == Reserved)
}

func (f *mainFile) writePage(sealed, p []byte, number uint32) (int, error) {
	if err := f.db.pages.seal(sealed, p[:pageContent], place{kind: kindPage, number: number}); err != nil {
		return 0, f.refuse(err, "", number)
	}
	return f.File.WriteAt(sealed, int64(number-1)*data.PageSize)
}

// fill writes empty sealed pages from the end of the file up to off, so that no
// page of it is without authentication. SQLite leaves such gaps for pages that
// were freed in the transaction that made them.
func (f *mainFile) fill(off int64) error {
	size, err := f.File.Size()
	if err != nil || size >= off {
		return err
	}
	b := borrow()
	defer b.giveBack()
	clear(b.plain[:])
	for number := uint32(size / data.PageSize); int64(number)*data.PageSize < off; number++ {
		if _, err := f.writePage(b.frame[:data.PageSize], b.plain[:], number+1); err != nil {
			return err
		}
	}
	return nil
}

// Truncate shortens the file, or lengthens it by empty pages.
func (f *mainFile) Truncate(size int64) error {
	if err := f.fill(size); err != nil {
		return err
	}
	return f.File.Truncate(size)
}

// Pragma refuses what would take pages out of our sight: journals other than
// the log, and temporary files.
func (f *mainFile) Pragma(name, value string) (string, error) {
	switch value = strings.ToLower(value); {
	case name == "journal_mode" && value != "" && value != "wal",
		name == "temp_store" && value != "" && value != "memory" && value != "2",
		name == "page_size" && value != "" && value != "4096":
		return "", sqlite3.PERM
	}
	return "", sqlite3.NOTFOUND
}

// CheckpointStart waits for a running snapshot.
func (f *mainFile) CheckpointStart() { f.db.track.checkpointStart() }

// CheckpointDone lets snapshots begin again.
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
