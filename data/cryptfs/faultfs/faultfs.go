// Package faultfs is a disk for tests: every call is counted and can be delayed
// or failed, and the power can be cut. It stands between cryptfs and the
// operating system, in cryptfs.Config.Disk.
package faultfs

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/ncruces/go-sqlite3/vfs"

	"holdfast/data/cryptfs/disk"
)

// Op is a kind of call.
type Op int

// The kinds of calls. Of a file's locks and shared memory, nothing is counted.
const (
	Open Op = iota
	Read
	Write
	Sync
	Truncate
	Size
	Remove
	SyncDir
	ops
)

func (o Op) String() string {
	return [ops]string{"open", "read", "write", "sync", "truncate", "size", "remove", "sync of the folder"}[o]
}

// Call is a call that is about to be made.
type Call struct {
	Number int64 // from 1, in the order of the calls
	Op     Op
	Name   string // of the file, without its folder
	Off    int64  // of a Read or Write; the new size for Truncate
	Len    int    // of a Read or Write
}

func (c Call) String() string {
	return fmt.Sprintf("%d: %s %s, %d bytes at %d", c.Number, c.Op, c.Name, c.Len, c.Off)
}

// Plan says what becomes of a call: nil lets it happen, an error is answered
// instead, and a *Torn also writes a part. It may block, and it must not use the
// disk. It is called from many goroutines at a time.
type Plan func(Call) error

// Torn is for a Write that fails after some bytes.
type Torn struct {
	Bytes int
	Err   error // syscall.ENOSPC, for instance
}

func (t *Torn) Error() string { return fmt.Sprintf("after %d bytes: %v", t.Bytes, t.Err) }

// Unwrap gives Err.
func (t *Torn) Unwrap() error { return t.Err }

// Disk passes calls on to another disk, by plan.
type Disk struct {
	base  disk.System
	power *power

	mu    sync.Mutex
	calls int64
	by    [ops]int64
	plan  Plan
}

var _ disk.System = (*Disk)(nil)

// New makes a disk above the operating system's.
func New() *Disk { return &Disk{base: disk.OS()} }

// NewVolatile also remembers what was not synced, so that the power can be cut.
// The operating system is not asked to sync.
func NewVolatile() *Disk {
	d := New()
	d.power = newPower()
	return d
}

// Follow begins with a plan, nil for none. Calls under way keep the old one.
func (d *Disk) Follow(p Plan) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.plan = p
}

// Calls is how many calls were made.
func (d *Disk) Calls() int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.calls
}

// CallsOf is how many calls of a kind were made.
func (d *Disk) CallsOf(o Op) int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.by[o]
}

// call counts a call and asks the plan.
func (d *Disk) call(op Op, path string, off int64, n int) error {
	d.mu.Lock()
	d.calls++
	d.by[op]++
	c, plan := Call{Number: d.calls, Op: op, Name: filepath.Base(path), Off: off, Len: n}, d.plan
	d.mu.Unlock()
	if err := d.power.on(); err != nil || plan == nil {
		return err
	}
	return plan(c)
}

// VFS is what lies beneath SQLite's files.
func (d *Disk) VFS() vfs.VFS { return faultVFS{d.base.VFS(), d} }

// Open is os.OpenFile, counted and planned.
func (d *Disk) Open(name string, flag int, perm os.FileMode) (disk.File, error) {
	if err := d.call(Open, name, 0, 0); err != nil {
		return nil, err
	}
	f, err := d.base.Open(name, flag, perm)
	if err != nil {
		return nil, err
	}
	n, err := d.power.opened(name)
	if err != nil {
		f.Close()
		return nil, err
	}
	if flag&os.O_TRUNC != 0 {
		n.write(change{off: 0})
	}
	return planFile{f, d, name, n}, nil
}

// Remove is os.Remove, counted and planned.
func (d *Disk) Remove(name string) error {
	if err := d.call(Remove, name, 0, 0); err != nil {
		return err
	}
	d.power.removed(name)
	return d.base.Remove(name)
}

// SyncDir is counted and planned.
func (d *Disk) SyncDir(dir string) error {
	if err := d.call(SyncDir, dir, 0, 0); err != nil {
		return err
	}
	if d.power == nil {
		return d.base.SyncDir(dir)
	}
	d.power.syncedDir(dir)
	return nil
}
