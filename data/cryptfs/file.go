package cryptfs

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"

	"github.com/ncruces/go-sqlite3"
	"github.com/ncruces/go-sqlite3/util/vfsutil"
	"github.com/ncruces/go-sqlite3/vfs"

	"holdfast/data"
)

// file is what databases and logs have in common: the operating system's file,
// of which SQLite may see only the abilities that sealing leaves intact (not
// memory maps, not reads of parts of a page, not atomic batches).
type file struct {
	vfs.File
	db *database
}

func (f *file) Close() error {
	f.db.fs.open.Add(-1)
	err := f.File.Close()
	if f.db.open.Add(-1) == 0 {
		f.db.dropLog()
		f.db.mark.rest()
		f.db.doubt()
	}
	return err
}

// doubt has the next open look at the file as a new process would, if anything
// failed since the last time: the first page may have been written in part.
func (db *database) doubt() {
	failures, _ := db.fs.Failures()
	db.checking.Lock()
	defer db.checking.Unlock()
	if failures != db.failures {
		db.checked, db.failures = false, failures
	}
}

// Sync also syncs the folder the first time.
func (f *file) Sync(flags vfs.SyncFlag) error { return f.refuse(f.sync(flags), "", 0) }

func (f *file) sync(flags vfs.SyncFlag) error {
	if err := f.File.Sync(flags); err != nil {
		return err
	}
	return f.db.syncName()
}

// create makes a file where SQLite wants one made.
func (db *database) create(name string, flags vfs.OpenFlag) error {
	db.naming.Lock()
	defer db.naming.Unlock()
	created, err := db.fs.create(name, flags)
	db.unnamed = db.unnamed || created
	return err
}

// syncName syncs the folder if a file was made there since: a log whose name is
// lost in a power cut loses the commits in it, and the connection that syncs it
// need not be the one that made it.
func (db *database) syncName() error {
	db.naming.Lock()
	defer db.naming.Unlock()
	if !db.unnamed {
		return nil
	}
	err := db.fs.Disk.SyncDir(filepath.Dir(db.path))
	db.unnamed = err != nil
	return err
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func (f *file) SectorSize() int { return data.PageSize }

func (f *file) DeviceCharacteristics() vfs.DeviceCharacteristic {
	return f.File.DeviceCharacteristics() &
		(vfs.IOCAP_POWERSAFE_OVERWRITE | vfs.IOCAP_UNDELETABLE_WHEN_OPEN | vfs.IOCAP_SEQUENTIAL)
}

func (f *file) Unwrap() vfs.File               { return f.File }
func (f *file) SharedMemory() vfs.SharedMemory { return vfsutil.WrapSharedMemory(f.File) }
func (f *file) LockState() vfs.LockLevel       { return vfsutil.WrapLockState(f.File) }
func (f *file) PersistWAL() bool               { return vfsutil.WrapPersistWAL(f.File) }
func (f *file) SetPersistWAL(keep bool)        { vfsutil.WrapSetPersistWAL(f.File, keep) }
func (f *file) HasMoved() (bool, error)        { return vfsutil.WrapHasMoved(f.File) }

// readFull reads len(p) bytes, or answers io.EOF with how many there were.
func readFull(r io.ReaderAt, p []byte, off int64) (int, error) {
	n, err := r.ReadAt(p, off)
	if n == len(p) {
		return n, nil
	}
	if err == nil {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// missing names the end of a file as what it is where a page should be.
func missing(err error) error {
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("is missing: %w", errUnsealed)
	}
	return err
}

// refuse is the last step of what SQLite asks of a file: it keeps a failure for
// Failures, and makes a PageError of bytes that did not authenticate. io.EOF is
// no failure.
func (f *file) refuse(err error, suffix string, number uint32) error {
	if err == nil || err == io.EOF {
		return err
	}
	e := new(PageError)
	switch {
	case errors.As(err, &e):
	case errors.Is(err, errUnsealed):
		e = &PageError{File: f.db.path + suffix, Page: number, Reason: err.Error()}
	default:
		f.db.fs.failed(err)
		return full(err)
	}
	f.db.fs.fault.Store(e)
	f.db.fs.failed(e)
	return vfs.SystemError(e, sqlite3.IOERR_DATA)
}

// full tells SQLite of a full disk, which it must not take for a broken one.
func full(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return vfs.SystemError(err, sqlite3.FULL)
	}
	return err
}
