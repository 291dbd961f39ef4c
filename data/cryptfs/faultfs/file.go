package faultfs

import (
	"errors"
	"os"
	"slices"

	"github.com/ncruces/go-sqlite3/util/vfsutil"
	"github.com/ncruces/go-sqlite3/vfs"

	"holdfast/data/cryptfs/disk"
)

// planFile is a file opened beside SQLite.
type planFile struct {
	disk.File
	d    *Disk
	path string
	node *node
}

func (f planFile) ReadAt(p []byte, off int64) (int, error) {
	if err := f.d.call(Read, f.path, off, len(p)); err != nil {
		return 0, err
	}
	return f.File.ReadAt(p, off)
}

func (f planFile) WriteAt(p []byte, off int64) (int, error) {
	return f.d.write(f.File, f.path, f.node, p, off)
}

func (f planFile) Sync() error {
	return f.d.sync(f.path, f.node, f.File.Sync)
}

func (f planFile) Truncate(size int64) error {
	return f.d.truncate(f.path, f.node, size, f.File.Truncate)
}

func (f planFile) Size() (int64, error) {
	if err := f.d.call(Size, f.path, 0, 0); err != nil {
		return 0, err
	}
	return f.File.Size()
}

// faultVFS is the disk as SQLite sees it.
type faultVFS struct {
	vfs.VFS
	d *Disk
}

func (v faultVFS) OpenFilename(name *vfs.Filename, flags vfs.OpenFlag) (vfs.File, vfs.OpenFlag, error) {
	if err := v.d.call(Open, name.String(), 0, 0); err != nil {
		return nil, flags, err
	}
	f, flags, err := vfsutil.WrapOpenFilename(v.VFS, name, flags)
	if err != nil {
		return f, flags, err
	}
	n, err := v.d.power.opened(name.String())
	if err != nil {
		f.Close()
		return nil, flags, err
	}
	return &vfsFile{f, v.d, name.String(), n}, flags, nil
}

func (v faultVFS) Delete(name string, syncDir bool) error {
	if err := v.d.call(Remove, name, 0, 0); err != nil {
		return err
	}
	v.d.power.removed(name)
	return v.VFS.Delete(name, syncDir)
}

// vfsFile is a file that SQLite opened.
type vfsFile struct {
	vfs.File
	d    *Disk
	path string
	node *node
}

func (f *vfsFile) SharedMemory() vfs.SharedMemory { return vfsutil.WrapSharedMemory(f.File) }
func (f *vfsFile) LockState() vfs.LockLevel       { return vfsutil.WrapLockState(f.File) }
func (f *vfsFile) PersistWAL() bool               { return vfsutil.WrapPersistWAL(f.File) }
func (f *vfsFile) SetPersistWAL(keep bool)        { vfsutil.WrapSetPersistWAL(f.File, keep) }
func (f *vfsFile) HasMoved() (bool, error)        { return vfsutil.WrapHasMoved(f.File) }

func (f *vfsFile) ReadAt(p []byte, off int64) (int, error) {
	if err := f.d.call(Read, f.path, off, len(p)); err != nil {
		return 0, err
	}
	return f.File.ReadAt(p, off)
}

func (f *vfsFile) WriteAt(p []byte, off int64) (int, error) {
	return f.d.write(f.File, f.path, f.node, p, off)
}

func (f *vfsFile) Sync(flags vfs.SyncFlag) error {
	return f.d.sync(f.path, f.node, func() error { return f.File.Sync(flags) })
}

func (f *vfsFile) Truncate(size int64) error {
	return f.d.truncate(f.path, f.node, size, f.File.Truncate)
}

func (f *vfsFile) Size() (int64, error) {
	if err := f.d.call(Size, f.path, 0, 0); err != nil {
		return 0, err
	}
	return f.File.Size()
}

type writerAt interface {
	WriteAt(p []byte, off int64) (int, error)
}

// write writes what the plan allows of p.
func (d *Disk) write(w writerAt, path string, n *node, p []byte, off int64) (int, error) {
	err := d.call(Write, path, off, len(p))
	if torn := (*Torn)(nil); errors.As(err, &torn) {
		p = p[:min(len(p), torn.Bytes)]
		n.write(change{off, slices.Clone(p)})
		written, _ := w.WriteAt(p, off)
		return written, &os.PathError{Op: "write", Path: path, Err: torn.Err}
	}
	if err != nil {
		return 0, err
	}
	n.write(change{off, append([]byte{}, p...)})
	return w.WriteAt(p, off)
}

// sync that fails leaves the disk as Linux does: what was to be written counts
// as written, and a later sync does not try again.
func (d *Disk) sync(path string, n *node, sync func() error) error {
	if err := d.call(Sync, path, 0, 0); err != nil {
		n.lose()
		return err
	}
	if n != nil { // nothing is cut but what Cut writes: the system need not be waited for
		return n.synced(n.pending())
	}
	return sync()
}

func (d *Disk) truncate(path string, n *node, size int64, truncate func(int64) error) error {
	if err := d.call(Truncate, path, size, 0); err != nil {
		return err
	}
	n.write(change{off: size})
	return truncate(size)
}
