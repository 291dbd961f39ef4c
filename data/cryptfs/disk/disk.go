// Package disk is the operating system as cryptfs uses it: SQLite's files by way
// of a VFS, and the few calls beside it. Whoever stands in for it sees, and may
// delay or fail, every call that reaches a database's files.
package disk

import (
	"errors"
	"io"
	"os"

	"github.com/ncruces/go-sqlite3/vfs"
)

// System is where files lie. It is safe for concurrent use.
type System interface {
	// VFS is what lies beneath SQLite's files.
	VFS() vfs.VFS
	// Open is os.OpenFile.
	Open(name string, flag int, perm os.FileMode) (File, error)
	// Remove is os.Remove.
	Remove(name string) error
	// SyncDir makes the names in a folder durable.
	SyncDir(dir string) error
}

// File is an open file. Its methods are as os.File has them.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	// Sync makes what was written, and the size, durable.
	Sync() error
	Truncate(size int64) error
	// Size is in bytes.
	Size() (int64, error)
}

// OS is the operating system itself.
func OS() System { return system{} }

type system struct{}

func (system) VFS() vfs.VFS { return vfs.Find("os") }

func (system) Open(name string, flag int, perm os.FileMode) (File, error) {
	f, err := os.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return file{f}, nil
}

func (system) Remove(name string) error { return os.Remove(name) }

func (system) SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

type file struct{ *os.File }

func (f file) Sync() error { return syncData(f.File) }

func (f file) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}
