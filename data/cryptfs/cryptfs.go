// Package cryptfs keeps SQLite databases and loose files encrypted and
// authenticated on disk. Beneath SQLite it is a VFS: each page and each frame of
// the write-ahead log is sealed with AES-256-GCM and bound to its place. Above
// that sealing it follows committed pages, so that snapshots read the plaintext
// of one committed state while writers go on.
//
// One process owns a folder, through one mount at a time.
package cryptfs

import (
	"fmt"
	"strings"

	"holdfast/data"
)

// Config says what to mount.
type Config struct {
	Dir      string            // folder of the databases; made when missing
	Identity string            // bound into every page: "<tenant id>/<environment>" or "system"
	Keys     data.KeySource    // purpose "pages"
	OnCommit func(name string) // after each commit that other connections can see; must not block; may be nil
}

func (c Config) validate() error {
	switch {
	case c.Dir == "":
		return fmt.Errorf("cryptfs: no folder")
	case c.Identity == "" || strings.Contains(c.Identity, "|"):
		return fmt.Errorf("cryptfs: identity %q is empty or holds a bar", c.Identity)
	case c.Keys == nil:
		return fmt.Errorf("cryptfs: no key source")
	}
	return nil
}

// PageError tells which page or frame did not authenticate. It wraps
// data.ErrTampered and reaches the caller of the SQL statement, too.
type PageError struct {
	File   string // path of the database or of its write-ahead log
	Page   uint32 // page number, from 1; for a log the frame number, 0 its header
	Reason string
}

// Error names file, page and reason.
func (e *PageError) Error() string {
	unit := "page"
	if strings.HasSuffix(e.File, walSuffix) {
		unit = "frame"
	}
	return fmt.Sprintf("%s: %s %d: %s: %v", e.File, unit, e.Page, e.Reason, data.ErrTampered)
}

// Unwrap gives data.ErrTampered.
func (e *PageError) Unwrap() error { return data.ErrTampered }

const (
	walSuffix     = "-wal"
	journalSuffix = "-journal"
)
