package cryptfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"holdfast/data/cryptfs/disk"
)

// SyncLog makes every commit to a database durable that was complete before the
// call. Callers that come while a sync runs share the next one, and its error.
// Once a sync has failed, what the disk holds of the log is unknown (a later sync
// says nothing about the pages of an earlier one): this and all further calls
// fail, and so do writes, until the last connection is closed and the database
// is opened again. Where ctx ends first, the commits may be durable or not.
func (fs *FS) SyncLog(ctx context.Context, database string) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("sync log of %s: %w", database, err)
	}
	if err := fs.database(filepath.Join(fs.Dir, database)).syncLog(ctx); err != nil {
		return fmt.Errorf("sync log of %s: %w", database, err)
	}
	return nil
}

// ErrLogBroken is what a log answers after one of its syncs failed while commits
// depended on it.
var ErrLogBroken = errors.New("a sync of the log failed; it is not trusted until the database is opened again")

// logSync lets callers share syncs of one log.
type logSync struct {
	mu      sync.Mutex
	running bool
	next    *round      // of who came while one runs
	broken  error       // a sync failed that commits depended on
	doubted atomic.Bool // it is not nil
	log     disk.File   // held, so that the system reports to it what it could not write
}

// round is one sync and who waits for it.
type round struct {
	done chan struct{}
	err  error
}

func (db *database) syncLog(ctx context.Context) error {
	r, mine, err := db.joinRound()
	if r == nil {
		return err
	}
	if mine {
		db.runRound(r)
		return r.err
	}
	select {
	case <-r.done:
		return r.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// joinRound gives the round to wait for, and whether the caller is to run it;
// none where nothing is left to be synced.
func (db *database) joinRound() (r *round, mine bool, err error) {
	s := &db.sync
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.broken != nil:
		return nil, false, s.broken
	case db.track.durable():
		return nil, false, nil
	case !s.running:
		s.running = true
		return &round{done: make(chan struct{})}, true, nil
	case s.next == nil:
		s.next = &round{done: make(chan struct{})}
	}
	return s.next, false, nil
}

// runRound syncs for all who wait, and hands on to those who came meanwhile.
func (db *database) runRound(r *round) {
	r.err = db.syncOnce()
	close(r.done)
	s := &db.sync
	s.mu.Lock()
	defer s.mu.Unlock()
	next := s.next
	s.next, s.running = nil, next != nil
	if next != nil {
		go db.runRound(next)
	}
}

func (db *database) syncOnce() error {
	log, err := db.openLog()
	upTo := db.point()
	if err == nil {
		err = errors.Join(log.Sync(), db.syncName())
	} else if !errors.Is(err, os.ErrNotExist) {
		return err
	}
	switch gone := errors.Is(err, os.ErrNotExist) || errors.Is(err, os.ErrClosed); {
	case err == nil:
		return db.synced(upTo)
	case gone && db.track.durable(): // SQLite deleted it meanwhile, after a checkpoint
		return nil
	}
	db.fs.failed(err)
	return db.syncFailed(err)
}

// openLog gives the file to sync. While it is open, the system owes it every
// error of writing back.
func (db *database) openLog() (disk.File, error) {
	s := &db.sync
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken != nil || s.log != nil {
		return s.log, s.broken
	}
	log, err := db.fs.Disk.Open(db.path+walSuffix, os.O_RDWR, 0)
	if err == nil {
		s.log = log
	}
	return log, err
}

// synced notes that the log is durable up to a commit.
func (db *database) synced(upTo markPoint) error {
	if err := db.mark.raise(upTo, true); err != nil {
		return err
	}
	db.track.nowDurable(upTo.commitPoint)
	return nil
}

func (db *database) point() markPoint { return db.mark.point(&db.track) }

// syncFailed gives the log up, if commits depend on the sync that failed.
func (db *database) syncFailed(err error) error {
	if db.track.durable() {
		return err
	}
	s := &db.sync
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken == nil {
		s.broken = fmt.Errorf("%w: %w", ErrLogBroken, err)
		s.doubted.Store(true)
	}
	return s.broken
}

// trusted says whether the log may be written and synced.
func (db *database) trusted() error {
	if !db.sync.doubted.Load() {
		return nil
	}
	db.sync.mu.Lock()
	defer db.sync.mu.Unlock()
	return db.sync.broken
}

// dropLog lets go of a log that is deleted, or that nobody has open.
func (db *database) dropLog() {
	s := &db.sync
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.log != nil {
		s.log.Close() // nothing was written through it
		s.log = nil
	}
}

// heal makes a log trusted that a failed sync had left in doubt: what the system
// has in memory is written once more, so that the next sync covers all of it.
func (db *database) heal() error {
	s := &db.sync
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken == nil {
		return nil
	}
	log, err := db.fs.Disk.Open(db.path+walSuffix, os.O_RDWR, 0)
	if err == nil {
		err = errors.Join(rewrite(log), log.Close())
	}
	if err == nil || errors.Is(err, os.ErrNotExist) {
		s.broken = nil
		s.doubted.Store(false)
		db.track.nowDurable(db.track.written())
	}
	return s.broken
}

// rewrite writes a file over itself and syncs it.
func rewrite(f disk.File) error {
	buf := make([]byte, 1<<20)
	for off := int64(0); ; off += int64(len(buf)) {
		n, err := f.ReadAt(buf, off)
		if err != nil && err != io.EOF {
			return err
		}
		if _, err := f.WriteAt(buf[:n], off); err != nil {
			return err
		}
		if n < len(buf) {
			return f.Sync()
		}
	}
}
