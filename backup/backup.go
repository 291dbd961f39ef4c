// Package backup is the contract of encrypted snapshots: the object store that
// holds them and the chain format itself, whose specification is this folder's
// README. Below it, objects holds the object stores, chain ships, restore
// verifies and restores.
package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// Errors of the chain. Wrap them with what was being done.
var (
	// ErrFenced means that somebody else wrote the next manifest of this chain:
	// two appliances ship the same store to the same place.
	ErrFenced = errors.New("another writer continued this chain")
	// ErrNoSnapshot means that the target holds no snapshot of the store (or
	// none at the time asked for).
	ErrNoSnapshot = errors.New("no snapshot to be had")
	// ErrLocked means that the target holds an object under a lock that has not
	// run out.
	ErrLocked = errors.New("the target holds the object under a lock")
	// ErrNoLock means that a target cannot lock objects.
	ErrNoLock = errors.New("the target cannot lock objects")
	// ErrFormat means that bytes do not follow the format of the chain.
	ErrFormat = errors.New("not an object of this chain")
)

// ObjectStore keeps named objects. Implementations are safe for concurrent use;
// an object is there whole or not at all, and durable when Put returns.
type ObjectStore interface {
	// Put stores size bytes of body under name. With IfNoneMatch it answers
	// data.ErrExists, and changes nothing, when the name is taken.
	Put(ctx context.Context, name string, body io.Reader, size int64, o PutOptions) error
	// Get opens an object; data.ErrNotFound when there is none.
	Get(ctx context.Context, name string) (io.ReadCloser, error)
	// Stat describes an object; data.ErrNotFound when there is none.
	Stat(ctx context.Context, name string) (Info, error)
	// List returns up to limit objects whose names begin with prefix and sort
	// after `after`, in byte order of their names.
	List(ctx context.Context, prefix, after string, limit int) ([]Info, error)
	// Delete removes an object; none there is no error. It answers ErrLocked, and
	// removes nothing, for one that is locked.
	Delete(ctx context.Context, name string) error
}

// PutOptions say under what condition an object is stored.
type PutOptions struct {
	IfNoneMatch bool // only if the name is free
	Lock        Lock // ErrNoLock where the target has no such thing
}

// Lock keeps an object from being deleted until a time. The zero one does not.
type Lock struct {
	Mode  LockMode
	Until time.Time
}

// LockMode says who can lift a lock: nobody, or who has a special permission.
type LockMode string

// The modes of a lock, as S3 names them.
const (
	Compliance LockMode = "COMPLIANCE"
	Governance LockMode = "GOVERNANCE"
)

// LockFor is how long what is put is locked. The zero one does not lock.
type LockFor struct {
	Mode LockMode
	For  time.Duration
}

// From is the lock of an object that is put now.
func (l LockFor) From(now time.Time) Lock {
	if l.For <= 0 {
		return Lock{}
	}
	return Lock{Mode: l.Mode, Until: now.Add(l.For).UTC().Truncate(time.Second)}
}

// Info describes a stored object. Size is in bytes. Only Stat tells of a lock.
type Info struct {
	Name     string
	Size     int64
	Modified time.Time
	Lock     Lock
}

// ObjectError names the object of a chain that cannot be used, and why.
type ObjectError struct {
	Name string
	Err  error
}

func (e *ObjectError) Error() string { return fmt.Sprintf("object %s: %v", e.Name, e.Err) }

func (e *ObjectError) Unwrap() error { return e.Err }
