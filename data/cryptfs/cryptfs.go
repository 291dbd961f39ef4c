// Package cryptfs keeps SQLite databases and loose files encrypted and
// authenticated on disk. Beneath SQLite it is a VFS: each page and each frame of
// the write-ahead log is sealed with AES-256-GCM and bound to its place. Above
// that sealing it follows committed pages, so that snapshots read the plaintext
// of one committed state while writers go on.
//
// One process owns a folder, through one mount at a time.
package cryptfs

import (
	"errors"
	"fmt"
	"strings"

	"holdfast/data"
	"holdfast/data/cryptfs/disk"
)

// Config says what to mount.
type Config struct {
	Dir      string            // folder of the databases; made when missing
	Identity string            // bound into every page: "<tenant id>/<environment>" or "system"
	Keys     data.KeySource    // purpose "pages"
	OnCommit func(name string) // after each commit that other connections can see; must not block; may be nil

	Durability Durability  // when a commit counts
	Disk       disk.System // where files lie; nil: the operating system

	// AcceptCutLog opens a database whose log was cut, changed or removed
	// (ErrCutLog), with the commits that are left, and so gives up those that are
	// not. For an operator who has no snapshot, on a copy of the folder.
	AcceptCutLog bool
}

// Durability says when a commit of a connection counts as made.
type Durability int

const (
	// Full is once it returned: SQLite syncs the log with each commit.
	Full Durability = iota
	// Shared is once a SyncLog that began after it has returned; before that, a
	// power cut may take it back. SQLite syncs the log with checkpoints only.
	Shared
	// Relaxed is once it returned, but a power cut may take the newest back. What
	// the process has written outlives the process.
	Relaxed
)

func (c Config) withDisk() Config {
	if c.Disk == nil {
		c.Disk = disk.OS()
	}
	return c
}

func (c Config) validate() error {
	switch {
	case c.Dir == "":
		return fmt.Errorf("cryptfs: no folder")
	case c.Identity == "" || strings.Contains(c.Identity, "|"):
		return fmt.Errorf("cryptfs: identity %q is empty or holds a bar", c.Identity)
	case c.Keys == nil:
		return fmt.Errorf("cryptfs: no key source")
	case c.Durability < Full || c.Durability > Relaxed:
		return fmt.Errorf("cryptfs: durability %d is not known", c.Durability)
	}
	return nil
}

// PageError tells which page or frame did not authenticate. It wraps
// data.ErrTampered and reaches the caller of the SQL statement, too.
type PageError struct {
	File   string // path of the database or of its write-ahead log
	Page   uint32 // page number, from 1; for a log the frame number, 0 its header; for a mark the slot, 0 or 1
	Reason string
	cut    bool // it is an ErrCutLog
}

// ErrCutLog is of a log that ends before commits which were acknowledged, or of a
// mark that could tell. Restore from a snapshot, or give up what is missing with
// Config.AcceptCutLog.
var ErrCutLog = errors.New("acknowledged commits are missing from the log")

// Is says whether the error is an ErrCutLog.
func (e *PageError) Is(target error) bool { return e.cut && target == ErrCutLog }

// Error names file, page and reason.
func (e *PageError) Error() string {
	unit := "page"
	switch {
	case strings.HasSuffix(e.File, walSuffix):
		unit = "frame"
	case strings.HasSuffix(e.File, markSuffix):
		unit = "slot"
	}
	return fmt.Sprintf("%s: %s %d: %s: %v", e.File, unit, e.Page, e.Reason, data.ErrTampered)
}

// Unwrap gives data.ErrTampered.
func (e *PageError) Unwrap() error { return data.ErrTampered }

const (
	walSuffix     = "-wal"
	journalSuffix = "-journal"
)
