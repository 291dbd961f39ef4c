package cryptfs

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/ncruces/go-sqlite3/vfs"

	"holdfast/data"
)

// grow lengthens the file to so many pages, with empty sealed ones. SQLite
// leaves gaps (always the page at 1 GiB, where its lock bytes are), and lengthens
// the file in the middle of a checkpoint, after page 1 is written. Here the file
// is lengthened and synced first. So at any time
//
//   - no page of the file is without authentication, and
//   - the file is at least as long as its page 1 says: a shorter one was cut.
//
// Pages that the log holds need no filling, for the checkpoint that page 1
// belongs to writes them.
func (f *mainFile) grow(pages uint32, logged func(uint32) bool) error {
	if pages <= f.db.extent.Load() {
		return nil
	}
	size, err := f.File.Size()
	if err != nil || size >= int64(pages)*data.PageSize {
		return err
	}
	first := max(2, uint32(size/data.PageSize)+1) // page 1 comes from SQLite
	if first > pages {
		return nil
	}
	var empty [data.PageSize]byte
	for number := first; number <= pages; number++ {
		if logged != nil && logged(number) {
			continue
		}
		if err := f.writePage(empty[:], number); err != nil {
			return err
		}
	}
	return f.settle(pages)
}

// settle fixes the length of a file that has grown.
func (f *mainFile) settle(pages uint32) error {
	size, err := f.File.Size()
	if err == nil && size < int64(pages)*data.PageSize {
		err = f.File.Truncate(int64(pages) * data.PageSize)
	}
	if err != nil {
		return err
	}
	f.db.extent.Store(pages)
	return f.File.Sync(vfs.SYNC_NORMAL)
}

// check sees, before the first connection to a database, that its file holds all
// of it and that the key is right.
func (db *database) check() error {
	db.checking.Lock()
	defer db.checking.Unlock()
	if db.checked {
		return nil
	}
	if err := db.finishRekey(); err != nil {
		return (&file{db: db}).refuse(err, "", 0)
	}
	number, err := db.measure()
	if errors.Is(err, errUnsealed) && db.unborn() {
		err = db.emptyFile(db.path)
	}
	torn := errors.Is(err, errTorn) // SQLite finds page 1 in the log, or fails there
	if err != nil && !torn {
		return (&file{db: db}).refuse(err, "", number)
	}
	if !db.admitted {
		if err := db.admit(); err != nil {
			return db.refuse(err)
		}
		db.admitted = true
	}
	db.checked = !torn
	return nil
}

// errTorn is of a page 1 that a power cut tore in the middle of a checkpoint:
// the log still has it.
var errTorn = errors.New("page 1 is torn")

// measure compares the length of the file to its page 1; where something is
// wrong it names the page.
func (db *database) measure() (page uint32, err error) {
	r, err := db.fs.Disk.Open(db.path, os.O_RDONLY, 0)
	if err != nil {
		return 1, err
	}
	defer r.Close()
	size, err := r.Size()
	if err != nil {
		return 1, err
	}
	if size == 0 && db.hasLog() { // SQLite would take it for new, and throw the log away
		return 1, fmt.Errorf("is missing where there is a log: %w", errUnsealed)
	}
	if size == 0 {
		return 1, nil
	}
	have := uint32(size / data.PageSize)
	want, err := db.sizeIn(r)
	if err == nil && have < want {
		return have + 1, fmt.Errorf("is missing, of %d pages: %w", want, errUnsealed)
	}
	db.extent.Store(have)
	return 1, err
}

// sizeIn reads the database's size in pages from the page 1 of its file.
func (db *database) sizeIn(r io.ReaderAt) (uint32, error) {
	var p [data.PageSize]byte
	if _, err := readFull(r, p[:], 0); err != nil {
		return 0, missing(err)
	}
	if err := openPage(db.pages, p[:], p[:], 1); errors.Is(err, errUnsealed) && db.hasLog() {
		return 0, errTorn
	} else if err != nil {
		return 0, err
	}
	return firstPage(p[:])
}

func (db *database) hasLog() bool {
	info, err := os.Stat(db.path + walSuffix)
	return err == nil && info.Size() > 0
}
