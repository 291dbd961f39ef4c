package cryptfs

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/ncruces/go-sqlite3"
	"github.com/ncruces/go-sqlite3/util/vfsutil"
	"github.com/ncruces/go-sqlite3/vfs"
)

// sqliteVFS is what SQLite sees of an FS.
type sqliteVFS struct {
	vfs.VFS // the operating system's
	fs      *FS
}

var _ vfs.VFSFilename = sqliteVFS{}

// database is what all connections to one database share.
type database struct {
	fs    *FS
	name  string // base name, bound into its keys
	path  string
	pages *sealer
	log   *sealer
	track tracker
	mark  *mark
	sync  logSync
	open  atomic.Int64 // files that SQLite holds open

	tally    *tally
	rekeying sync.Mutex   // held by the one Rekey
	sealing  sync.RWMutex // held for reading from a unit's sealing until it is written
	inPlace  sync.RWMutex // held to write pages of the database file; see rekeyer
	owed     owed

	naming  sync.Mutex
	unnamed bool // a file was made, and the folder not yet synced since

	extent   atomic.Uint32 // pages that the database file holds for certain
	checking sync.Mutex
	checked  bool  // see check
	failures int64 // see doubt
	admitted bool  // see admit
}

func (fs *FS) database(path string) *database {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	db := fs.dbs[path]
	if db == nil {
		name := filepath.Base(path)
		db = &database{fs: fs, name: name, path: path,
			pages: newSealer(fs.Keys, "db", fs.Identity, name),
			log:   newSealer(fs.Keys, "wal", fs.Identity, name),
			mark:  newMark(fs, path, name)}
		db.tally = newTally(fs, path, name, db.floor)
		db.pages.counted(db.tally, partPages)
		db.log.counted(db.tally, partLog)
		db.track.init()
		fs.dbs[path] = db
	}
	return db
}

// Open is never how SQLite asks where OpenFilename exists.
func (v sqliteVFS) Open(_ string, flags vfs.OpenFlag) (vfs.File, vfs.OpenFlag, error) {
	return nil, flags, sqlite3.CANTOPEN
}

// OpenFilename opens databases and their logs sealed, and everything else
// (journals, temporary files) in memory.
func (v sqliteVFS) OpenFilename(name *vfs.Filename, flags vfs.OpenFlag) (vfs.File, vfs.OpenFlag, error) {
	f, out, err := v.open(name, flags)
	return f, out, full(err)
}

func (v sqliteVFS) open(name *vfs.Filename, flags vfs.OpenFlag) (vfs.File, vfs.OpenFlag, error) {
	if flags&(vfs.OPEN_MAIN_DB|vfs.OPEN_WAL) == 0 {
		return new(vfsutil.SliceFile), flags | vfs.OPEN_MEMORY, nil
	}
	if filepath.Dir(name.Database()) != v.fs.Dir {
		return nil, flags, sqlite3.CANTOPEN
	}
	db := v.fs.database(name.Database())
	if err := db.conceive(flags); err != nil {
		return nil, flags, err
	}
	if err := db.create(name.String(), flags); err != nil {
		return nil, flags, err
	}
	if db.open.Load() == 0 {
		if err := db.heal(); err != nil {
			return nil, flags, err
		}
	}
	if err := db.check(); err != nil {
		return nil, flags, err
	}
	base, out, err := vfsutil.WrapOpenFilename(v.VFS, name, flags)
	if err != nil {
		return nil, out, err
	}
	v.fs.open.Add(1)
	db.open.Add(1)
	f := file{File: base, db: db}
	if flags&vfs.OPEN_WAL != 0 {
		main, _ := vfsutil.UnwrapFile[*mainFile](name.DatabaseFile())
		return &walFile{file: f, main: main}, out, nil
	}
	return &mainFile{file: f}, out, nil
}

// create makes the file for its owner alone, where SQLite would leave that to
// the process's mask.
func (fs *FS) create(path string, flags vfs.OpenFlag) (bool, error) {
	if flags&vfs.OPEN_CREATE == 0 {
		return false, nil
	}
	f, err := fs.Disk.Open(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, os.ErrExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, f.Close()
}

// Access says that no journal exists: ours never reach the disk, and one that
// lies there is not ours.
func (v sqliteVFS) Access(name string, flags vfs.AccessFlag) (bool, error) {
	if strings.HasSuffix(name, journalSuffix) {
		return false, nil
	}
	return v.VFS.Access(name, flags)
}

// Delete has nothing to do for a journal, which was in memory.
func (v sqliteVFS) Delete(name string, syncDir bool) error {
	if strings.HasSuffix(name, journalSuffix) {
		return nil
	}
	if path, ok := strings.CutSuffix(name, walSuffix); ok {
		db := v.fs.database(path)
		err := db.mark.begin([8]byte{})
		if err == nil {
			err = db.track.reset([8]byte{}, func() error { return v.VFS.Delete(name, syncDir) })
		}
		db.dropLog()
		return err
	}
	return v.VFS.Delete(name, syncDir)
}
