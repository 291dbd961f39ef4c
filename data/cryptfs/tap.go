package cryptfs

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/ncruces/go-sqlite3"

	"holdfast/data"
)

// Tap hands out the committed pages of one database: all at first, then those
// that changed. It reads database and log by itself and holds neither connection
// nor file between snapshots.
type Tap struct {
	db   *database
	one  sync.Mutex // one snapshot at a time
	once sync.Once
}

var _ data.PageSource = (*Tap)(nil)

// OpenTap begins to follow a database, which is made when missing, and marks
// every page as changed. No connection may be open to it yet; there is one tap a
// database (else data.ErrExists). Close ends it.
func (fs *FS) OpenTap(ctx context.Context, database string) (*Tap, error) {
	c, err := fs.connect(ctx, database)
	if err != nil {
		return nil, fmt.Errorf("open tap on %s: %w", database, err)
	}
	defer c.Close()
	if err := c.Exec("PRAGMA wal_checkpoint(TRUNCATE)"); err != nil {
		return nil, fmt.Errorf("open tap on %s: %w", database, err)
	}
	pages, err := pageCount(c)
	if err != nil {
		return nil, fmt.Errorf("open tap on %s: %w", database, err)
	}
	db := fs.database(filepath.Join(fs.Dir, database))
	if !db.track.start(pages) {
		return nil, fmt.Errorf("open tap on %s: %w", database, data.ErrExists)
	}
	return &Tap{db: db}, nil
}

// Close ends the tap, after a running snapshot. Pages not yet handed out are
// handed out by the next tap, which begins with all.
func (t *Tap) Close() error {
	t.once.Do(t.db.track.stop)
	return nil
}

// MarkAll makes the next Snapshot a full one.
func (t *Tap) MarkAll() { t.db.track.markAll() }

// Dirty is how many pages the next Snapshot would hand out.
func (t *Tap) Dirty() int { return t.db.track.changed() }

// Snapshot hands out the pages that changed; see data.PageSource. Commits go on
// meanwhile; a checkpoint waits, so fn must not use this database.
func (t *Tap) Snapshot(ctx context.Context, fn func(pgno uint32, page []byte) error) (data.Commit, error) {
	t.one.Lock()
	defer t.one.Unlock()
	v, err := t.db.track.pin()
	if err != nil {
		return data.Commit{}, fmt.Errorf("snapshot %s: %w", t.db.name, err)
	}
	err = t.read(ctx, v, fn)
	t.db.track.unpin(v, err == nil)
	if err != nil {
		return data.Commit{}, fmt.Errorf("snapshot %s: %w", t.db.name, err)
	}
	return data.Commit{DatabasePages: v.size, Pages: len(v.pages)}, nil
}

// read hands out the pages of a view.
func (t *Tap) read(ctx context.Context, v view, fn func(uint32, []byte) error) error {
	r, err := t.db.reader(v)
	if err != nil {
		return err
	}
	defer r.close()
	b := borrow()
	defer b.giveBack()
	for _, p := range v.pages {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := r.page(b.plain[:], b.frame[:], p); err != nil {
			return err
		}
		if err := fn(p.page, b.plain[:]); err != nil {
			return err
		}
	}
	return nil
}

// reader reads the pages of a view from the files of a database.
type reader struct {
	db        *database
	salt      [8]byte
	main, log *os.File
}

// reader opens what the view needs, and syncs the log: no page is handed out
// that a power cut could still take back.
func (db *database) reader(v view) (r *reader, err error) {
	r = &reader{db: db, salt: v.salt}
	if r.main, err = os.Open(db.path); err != nil {
		return nil, err
	}
	if !v.inLog() {
		return r, nil
	}
	if r.log, err = os.Open(db.path + walSuffix); err == nil {
		err = r.log.Sync()
	}
	if err != nil {
		r.close()
		return nil, err
	}
	return r, nil
}

func (r *reader) close() {
	r.main.Close()
	if r.log != nil {
		r.log.Close()
	}
}

// page reads one page into p, by way of buf.
func (r *reader) page(p, buf []byte, at pageFrame) error {
	f := file{db: r.db}
	switch at.frame {
	case unwritten:
		clear(p)
		return nil
	case 0:
		return f.refuse(r.mainPage(p, buf, at.page), "", at.page)
	default:
		return f.refuse(r.logPage(p, buf, at), walSuffix, at.frame)
	}
}

func (r *reader) mainPage(p, buf []byte, number uint32) error {
	buf = buf[:data.PageSize]
	if _, err := readFull(r.main, buf, int64(number-1)*data.PageSize); err != nil {
		return missing(err)
	}
	return openPage(r.db.pages, p, buf, number)
}

// logPage also sees that the frame is of the page that is wanted.
func (r *reader) logPage(p, buf []byte, at pageFrame) error {
	if _, err := readFull(r.log, buf, framePosition(at.frame)); err != nil {
		return missing(err)
	}
	if err := openFrameHeader(r.db.log, buf[:slotSize], r.salt, at.frame); err != nil {
		return err
	}
	if number := binary.BigEndian.Uint32(buf); number != at.page {
		return fmt.Errorf("is of page %d, not %d: %w", number, at.page, errUnsealed)
	}
	return openFramePage(r.db.log, p, buf[slotSize:], r.salt, at.frame)
}

func pageCount(c *sqlite3.Conn) (uint32, error) {
	s, _, err := c.Prepare("PRAGMA page_count")
	if err != nil {
		return 0, err
	}
	defer s.Close()
	s.Step()
	return uint32(s.ColumnInt64(0)), s.Err()
}
