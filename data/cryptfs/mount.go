package cryptfs

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/ncruces/go-sqlite3"
	"github.com/ncruces/go-sqlite3/vfs"
)

// FS is one folder of sealed databases, registered with SQLite under a random
// name. It is safe for concurrent use.
type FS struct {
	Config
	name  string
	fault atomic.Pointer[PageError]
	open  atomic.Int64 // files that SQLite holds open
	boot  [16]byte     // see bootID

	mu       sync.Mutex
	dbs      map[string]*database // by path
	failures int64
	failure  error // the last
}

// Mount makes the folder if it is missing and registers it with SQLite. Close
// unregisters it.
func Mount(c Config) (*FS, error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	dir, err := realDir(c.Dir)
	if err != nil {
		return nil, fmt.Errorf("mount: %w", err)
	}
	c = c.withDisk()
	c.Dir = dir
	fs := &FS{Config: c, name: "holdfast-" + rand.Text(), boot: bootOf(c.Disk), dbs: map[string]*database{}}
	vfs.Register(fs.name, sqliteVFS{c.Disk.VFS(), fs})
	return fs, nil
}

// realDir makes dir and resolves links, as SQLite does with the names it passes.
func realDir(dir string) (string, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return "", err
	}
	return filepath.Abs(dir)
}

// DSN is the name under which SQLite opens a database of the folder, with
// further URI parameters ("mode=ro") as given.
func (fs *FS) DSN(database string, params ...string) string {
	u := url.URL{Scheme: "file", OmitHost: true, Path: filepath.Join(fs.Dir, database)}
	u.RawQuery = strings.Join(append([]string{"vfs=" + fs.name}, params...), "&")
	return u.String()
}

// pragmas for each connection. Temporary tables stay in memory: nothing but the
// database and its log may reach the disk.
const pragmas = `PRAGMA busy_timeout=10000;
PRAGMA temp_store=MEMORY;
PRAGMA journal_mode=WAL;
PRAGMA journal_size_limit=200000000;
PRAGMA foreign_keys=ON;
PRAGMA trusted_schema=OFF;
PRAGMA recursive_triggers=ON;`

// Init readies a connection; it must run before the connection's first
// statement, for the reserved bytes of a new database are fixed by it.
func (fs *FS) Init(c *sqlite3.Conn) error {
	if _, err := c.FileControl("main", sqlite3.FCNTL_RESERVE_BYTES, Reserved); err != nil {
		return fmt.Errorf("reserve %d bytes a page: %w", Reserved, err)
	}
	// PocketBase's own statements quote strings with double quotes
	for _, o := range []sqlite3.DBConfig{sqlite3.DBCONFIG_DEFENSIVE, sqlite3.DBCONFIG_DQS_DML, sqlite3.DBCONFIG_DQS_DDL} {
		if _, err := c.Config(o, true); err != nil {
			return fmt.Errorf("configure connection: %w", err)
		}
	}
	if err := c.Exec(pragmas + fs.synchronous()); err != nil {
		return fmt.Errorf("configure connection: %w", err)
	}
	return nil
}

func (fs *FS) synchronous() string {
	if fs.Durability == Full {
		return "PRAGMA synchronous=FULL;"
	}
	return "PRAGMA synchronous=NORMAL;"
}

// connect opens a connection and readies it.
func (fs *FS) connect(ctx context.Context, database string) (*sqlite3.Conn, error) {
	c, err := sqlite3.OpenContext(ctx, fs.DSN(database))
	if err != nil {
		return nil, err
	}
	if err := fs.Init(c); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// Fault is the last failure of a page to authenticate, a *PageError, or nil if
// there was none since Mount.
func (fs *FS) Fault() error {
	if f := fs.fault.Load(); f != nil {
		return f
	}
	return nil
}

// Failures counts the reads, writes and syncs that failed since Mount, for
// whatever reason, and gives the last one's: a *PageError, syscall.ENOSPC, a
// missing key. What stands above SQLite often loses it. Compare the count before
// and after some work to know whether it met one.
func (fs *FS) Failures() (count int64, last error) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	return fs.failures, fs.failure
}

func (fs *FS) failed(err error) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	fs.failures++
	fs.failure = err
}

// Open counts the files that connections have open.
func (fs *FS) Open() int { return int(fs.open.Load()) }

// Close unregisters the folder. It refuses while connections are open.
func (fs *FS) Close() error {
	if n := fs.open.Load(); n > 0 {
		return fmt.Errorf("unmount %s: %d files are still open", fs.Dir, n)
	}
	vfs.Unregister(fs.name)
	for _, db := range fs.opened() {
		_ = db.tally.settle() // without it the count is higher by a block
		db.mark.rest()
	}
	return nil
}
