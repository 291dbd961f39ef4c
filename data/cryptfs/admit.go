package cryptfs

import (
	"errors"
	"fmt"
	"os"

	"github.com/ncruces/go-sqlite3/vfs"

	"holdfast/data"
)

// advice ends the errors that an operator has to decide about.
const advice = "restore from a snapshot, or accept the loss of what is missing"

// cutError is a PageError that is an ErrCutLog.
func (db *database) cutError(suffix string, number uint32, format string, args ...any) error {
	return &PageError{File: db.path + suffix, Page: number, Reason: fmt.Sprintf(format, args...) + "; " + advice, cut: true}
}

// refuse is file.refuse for what is found before a file is open.
func (db *database) refuse(err error) error { return (&file{db: db}).refuse(err, "", 0) }

// conceive makes the mark of a database that is about to be made.
func (db *database) conceive(flags vfs.OpenFlag) error {
	if flags&vfs.OPEN_MAIN_DB == 0 || flags&vfs.OPEN_CREATE == 0 || exists(db.path) {
		return nil
	}
	db.checking.Lock()
	defer db.checking.Unlock()
	r, err := db.mark.load()
	switch {
	case err == nil && r.born:
		return db.refuse(&PageError{File: db.path, Page: 1, Reason: "is missing where there is a mark; restore from a snapshot, or remove the mark, too, to begin with an empty database"})
	case err == nil || db.hasLog(): // the latter is found and named later
		return nil
	case errors.Is(err, os.ErrNotExist) || db.mark.unfinished():
		db.admitted = true
		return db.mark.create(markRecord{})
	}
	return db.refuse(err)
}

// unborn says whether the file holds no more than a first page which a power cut
// tore: the mark knows of no log yet, and before the log nothing is acknowledged.
func (db *database) unborn() bool {
	info, err := os.Stat(db.path)
	if err != nil || info.Size() > data.PageSize || db.hasLog() {
		return false
	}
	r, err := db.mark.load()
	return err == nil && !r.born
}

// admit sees, before SQLite recovers the log, that it reaches as far as the mark
// says. SQLite itself takes the first frame that is not whole for the end of the
// log, and forgets the commits behind it.
func (db *database) admit() error {
	end, err := db.scanLog()
	if end.unread {
		if end, err = db.emptyBegun(end, err); err != nil && !db.fs.AcceptCutLog {
			return err
		}
	}
	if err == nil {
		err = db.compare(end)
	}
	if err == nil {
		db.track.inherit(end.salt, end.frames)
		return db.mark.adopt(end.salt)
	}
	if !errors.Is(err, ErrCutLog) || !db.fs.AcceptCutLog {
		return err
	}
	_ = db.refuse(err) // said, and accepted
	return db.accept(end)
}

// emptyBegun empties a log whose header is torn because it was just being begun:
// the mark counts nothing in it, so all is in the database.
func (db *database) emptyBegun(end logEnd, why error) (logEnd, error) {
	if r, err := db.mark.load(); err != nil || r.written > 0 {
		return end, why
	}
	return logEnd{}, db.emptyFile(db.path + walSuffix)
}

// compare holds the log against the mark.
func (db *database) compare(end logEnd) error {
	r, err := db.mark.load()
	if errors.Is(err, os.ErrNotExist) {
		return db.compareUnmarked(end)
	}
	if err != nil {
		return err
	}
	switch {
	case end.salt == r.log && end.frames >= r.written:
		return nil
	case r.written == 0 && (end.salt == r.before || end.frames == 0):
		return nil
	case end.salt == r.log:
		return db.cutError(walSuffix, end.failed, "%v, in a log of %d frames at least", end.why, r.written)
	case end.salt == [8]byte{}:
		return db.cutError(walSuffix, 1, "the log is missing, with %d frames at least", r.written)
	}
	return db.cutError(walSuffix, 1, "the log is of another time")
}

// compareUnmarked allows only a database that is still empty to have no mark.
func (db *database) compareUnmarked(end logEnd) error {
	info, err := os.Stat(db.path)
	if err != nil {
		return err
	}
	if info.Size() == 0 && end.salt == ([8]byte{}) {
		return db.mark.create(markRecord{})
	}
	return db.cutError(markSuffix, 0, "the mark is missing, which tells how far the log must reach")
}

// accept begins with what is left. A log that does not belong here is emptied.
func (db *database) accept(end logEnd) error {
	if r, err := db.mark.load(); err == nil && end.salt != r.log || end.unread {
		if err := db.emptyFile(db.path + walSuffix); err != nil {
			return err
		}
		end = logEnd{}
	}
	db.track.inherit(end.salt, end.frames)
	return db.mark.create(markRecord{log: end.salt, synced: end.frames, written: end.frames, born: true})
}

func (db *database) emptyFile(path string) error {
	f, err := db.fs.Disk.Open(path, os.O_RDWR, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return errors.Join(f.Truncate(0), f.Sync(), f.Close())
}
