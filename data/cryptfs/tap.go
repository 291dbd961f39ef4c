package cryptfs

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"

	"github.com/ncruces/go-sqlite3"

	"holdfast/data"
)

// Tap hands out the committed pages of one database: all at first, then those
// that changed. It reads database and log by itself and holds neither connection
// nor file between snapshots.
type Tap struct {
	db     *database
	one    sync.Mutex // one snapshot at a time
	closed bool
}

var _ data.PageSource = (*Tap)(nil)

// OpenTap begins to follow a database, which is made when missing, and marks
// every page as changed. No connection may be in a transaction (data.ErrBusy), and
// there is one tap a database (data.ErrExists). Close ends it.
func (fs *FS) OpenTap(ctx context.Context, database string) (*Tap, error) {
	c, err := fs.connect(ctx, database)
	if err != nil {
		return nil, fmt.Errorf("open tap on %s: %w", database, err)
	}
	defer c.Close()
	pages, err := emptyLog(c)
	if err != nil {
		return nil, fmt.Errorf("open tap on %s: %w", database, err)
	}
	db := fs.database(filepath.Join(fs.Dir, database))
	bases, err := db.takeBase(pages)
	if err != nil {
		return nil, fmt.Errorf("open tap on %s: %w", database, err)
	}
	if !db.track.start(pages, bases) {
		return nil, fmt.Errorf("open tap on %s: %w", database, data.ErrExists)
	}
	return &Tap{db: db}, nil
}

// emptyLog moves the log into the database and gives its size in pages.
func emptyLog(c *sqlite3.Conn) (pages uint32, err error) {
	if err := c.Exec("PRAGMA busy_timeout=1000"); err != nil { // nobody ought to be there
		return 0, err
	}
	busy, err := number(c, "PRAGMA wal_checkpoint(TRUNCATE)")
	if err == nil && busy != 0 {
		err = data.ErrBusy
	}
	if err != nil {
		return 0, err
	}
	n, err := number(c, "PRAGMA page_count")
	return uint32(n), err
}

// Close ends the tap, after a running snapshot. Pages not yet handed out are
// handed out by the next tap, which begins with all.
func (t *Tap) Close() error {
	t.one.Lock()
	defer t.one.Unlock()
	if !t.closed {
		_ = t.db.saveBase() // without it a scrub has nothing to compare with until the next snapshot
		t.db.track.stop()
	}
	t.closed = true
	return nil
}

// MarkAll makes the next Snapshot a full one.
func (t *Tap) MarkAll() { t.db.track.markAll("") }

// Dirty is how many pages the next Snapshot would hand out.
func (t *Tap) Dirty() int { return t.db.track.changed("") }

// Snapshot hands out the pages that changed; see data.PageSource. Writers and
// checkpoints go on meanwhile, keeping in memory (up to 64 MiB, then they wait)
// what they overwrite; so fn must not write to this database.
func (t *Tap) Snapshot(ctx context.Context, fn func(pgno uint32, page []byte) error) (data.Commit, error) {
	return t.snapshot(ctx, "", fn)
}

func (t *Tap) snapshot(ctx context.Context, name string, fn func(pgno uint32, page []byte) error) (data.Commit, error) {
	t.one.Lock()
	defer t.one.Unlock()
	if t.closed {
		return data.Commit{}, fmt.Errorf("snapshot %s: %w", t.db.name, errClosed)
	}
	s, err := t.db.begin(name)
	if err != nil {
		return data.Commit{}, fmt.Errorf("snapshot %s: %w", t.db.name, err)
	}
	err = s.handOut(ctx, t.db, fn)
	t.db.track.end(s, err == nil)
	if err != nil {
		return data.Commit{}, fmt.Errorf("snapshot %s: %w", t.db.name, err)
	}
	return data.Commit{DatabasePages: s.size, Pages: len(s.pages)}, nil
}

// number gives the first column of a statement's only row.
func number(c *sqlite3.Conn, sql string) (int64, error) {
	s, _, err := c.Prepare(sql)
	if err != nil {
		return 0, err
	}
	defer s.Close()
	s.Step()
	return s.ColumnInt64(0), s.Err()
}
