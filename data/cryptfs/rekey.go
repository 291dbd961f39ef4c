package cryptfs

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ncruces/go-sqlite3"

	"holdfast/data"
	"holdfast/data/cryptfs/disk"
)

// rekeyPages is how many pages are sealed anew at a time (half a MiB).
const rekeyPages = 128

// Rekey seals under the current generation whatever of the folder's databases is
// sealed under an older one, while they are in use: plaintext does not change, so
// no writer waits, the log does not grow and no snapshot ships anything for it.
// It takes at most half the disk's time. After a crash, or when ctx ends, the
// next Rekey goes on where this one stopped. It waits for readers that keep an
// old log from being emptied. Pages that do not authenticate are left, and told
// at the end as *PageError. progress counts pages; it may be nil.
func (fs *FS) Rekey(ctx context.Context, progress func(done, total int64)) error {
	target, _, err := fs.Keys.Current()
	if err != nil {
		return fmt.Errorf("re-key: current page key: %w", err)
	}
	names, err := fs.databases()
	if err != nil {
		return fmt.Errorf("re-key: %w", err)
	}
	if progress == nil {
		progress = func(int64, int64) {}
	}
	total, done := int64(0), int64(0)
	for _, name := range names {
		err := fs.rekeyDatabase(ctx, name, target, func(d, t int64) { progress(done+d, total+t) }, func(d, t int64) { done, total = done+d, total+t })
		if err != nil {
			return fmt.Errorf("re-key %s: %w", name, err)
		}
	}
	return nil
}

// databases are the names of those in the folder.
func (fs *FS) databases() ([]string, error) {
	entries, err := os.ReadDir(fs.Dir)
	var names []string
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".db") && e.Type().IsRegular() {
			names = append(names, e.Name())
		}
	}
	return names, err
}

func (fs *FS) rekeyDatabase(ctx context.Context, name string, target uint32, progress, ended func(done, total int64)) error {
	c, err := fs.connect(ctx, name) // also what a crash left is made good by this
	if err != nil {
		return errors.Join(err, fs.Fault())
	}
	defer c.Close()
	db := fs.database(filepath.Join(fs.Dir, name))
	db.rekeying.Lock() // one at a time
	defer db.rekeying.Unlock()
	main, err := fs.Disk.Open(db.path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer main.Close()
	r := &rekeyer{db: db, conn: c, main: main, target: target, progress: progress}
	if err = r.begin(); err == nil {
		err = r.run(ctx)
	}
	ended(r.done, r.total)
	return errors.Join(err, r.close())
}

// rekeyer seals one database anew.
type rekeyer struct {
	db          *database
	conn        *sqlite3.Conn
	main        disk.File
	journal     disk.File
	target      uint32
	done, total int64
	progress    func(done, total int64)
	suspects    []uint32 // pages that did not authenticate in this pass
	damaged     error    // the first page that does not authenticate for good
	batch       rekeyBatch
	unsynced    bool // pages of the journal may not be on disk in their place
}

// begin waits for what may still be written under an older key, and follows a
// journal that a failure left.
func (r *rekeyer) begin() error {
	passed(&r.db.sealing)
	r.db.inPlace.Lock()
	defer r.db.inPlace.Unlock()
	return errors.Join(r.db.repay(), r.db.finishRekey())
}

// passed waits until whoever holds a lock has given it back: that it could be taken
// is all there is to know.
func passed(l sync.Locker) {
	l.Lock()
	defer l.Unlock()
}

// run goes over the pages until none is left: a checkpoint may still bring some
// from the log that was begun under an older key.
func (r *rekeyer) run(ctx context.Context) error {
	if err := r.conn.Exec("PRAGMA busy_timeout=50"); err != nil { // writers wait while we do
		return err
	}
	for {
		old, err := r.older(ctx)
		if err != nil {
			return err
		}
		r.total = r.done + int64(len(old))
		r.progress(r.done, r.total)
		if err := r.pages(ctx, old); err != nil {
			return err
		}
		if err := r.settle(ctx); err != nil {
			return err
		}
		if err := r.renewLog(ctx); err != nil {
			return err
		}
		if len(old) == 0 || r.damaged != nil {
			break
		}
	}
	if r.damaged != nil {
		return r.damaged
	}
	if err := r.snapshotEnds(ctx); err != nil {
		return err
	}
	r.db.pages.forget(r.target)
	r.db.log.forget(r.target)
	return errors.Join(r.db.tally.renew(r.target), r.db.mark.renew(r.target))
}

// snapshotEnds waits for the snapshot under way, which may hold sealed images of
// before.
func (r *rekeyer) snapshotEnds(ctx context.Context) error {
	for s := r.db.track.running(); s != nil && r.db.track.running() == s; {
		if err := pause(ctx, 10*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

// older lists the pages of the database file under an older generation.
func (r *rekeyer) older(ctx context.Context) (old []uint32, err error) {
	err = eachPage(ctx, r.main, func(number uint32, sealed []byte) error {
		if generationOf(sealed) < r.target {
			old = append(old, number)
		}
		return nil
	})
	return old, err
}

// generationOf is the generation that a unit says it is sealed under.
func generationOf(unit []byte) uint32 {
	return binary.BigEndian.Uint32(unit[len(unit)-4:]) >> 8
}

func (r *rekeyer) pages(ctx context.Context, old []uint32) error {
	for numbers := range slices.Chunk(old, rekeyPages) {
		if err := ctx.Err(); err != nil {
			return err
		}
		began := time.Now()
		if err := r.sealAnew(numbers); err != nil {
			return err
		}
		r.done += int64(len(numbers))
		r.progress(r.done, r.total)
		if err := pause(ctx, time.Since(began)); err != nil {
			return err
		}
	}
	return nil
}

// pause waits, so that background work takes half of the time at most.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// sealAnew replaces the sealed images of some pages in place. Their new images
// are in the journal by then, so that a power cut in the middle of a page does not
// lose it; and a page that a checkpoint overwrote meanwhile is left alone.
func (r *rekeyer) sealAnew(numbers []uint32) error {
	r.batch.reset()
	for _, number := range numbers {
		if err := r.add(number); err != nil {
			return err
		}
	}
	if len(r.batch.numbers) == 0 {
		return nil
	}
	if err := r.writeJournal(); err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	r.unsynced = true
	if err := r.putBatch(); err != nil {
		return err
	}
	err := r.main.Sync()
	r.unsynced = err != nil
	return err
}

// add takes a page into the batch, unless it is gone or under the new key by now.
func (r *rekeyer) add(number uint32) error {
	var old, page [data.PageSize]byte
	n, err := r.stable(old[:], number)
	if n < len(old) || err != nil || generationOf(old[:]) >= r.target {
		return ignoreEOF(err)
	}
	if err := openPage(r.db.pages, page[:], old[:], number); errors.Is(err, errUnsealed) {
		r.suspects = append(r.suspects, number)
		return nil
	} else if err != nil {
		return err
	}
	sealed := r.batch.add(number, old[:])
	return r.db.pages.seal(sealed, page[:pageContent], place{kind: kindPage, number: number})
}

// settle looks again at the pages that did not authenticate. In the middle of a
// checkpoint that lengthens the file there are some whose content is in the log
// still; what fails for good is damaged.
func (r *rekeyer) settle(ctx context.Context) error {
	for try := 0; len(r.suspects) > 0; try++ {
		if err := r.conn.Exec("PRAGMA wal_checkpoint(PASSIVE)"); err != nil && !errors.Is(err, sqlite3.BUSY) {
			return err
		}
		var reason error
		r.suspects = slices.DeleteFunc(r.suspects, func(number uint32) bool {
			err := r.opens(number)
			if err != nil {
				reason = err
			}
			return err == nil
		})
		if reason != nil && !errors.Is(reason, errUnsealed) {
			return reason
		}
		if len(r.suspects) > 0 && try == 20 {
			r.damaged = &PageError{File: r.db.path, Page: r.suspects[0], Reason: reason.Error()}
			return nil
		}
		if err := pause(ctx, 10*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

// opens says why a page does not; one that was cut off has nothing to open.
func (r *rekeyer) opens(number uint32) error {
	b := borrow()
	defer b.giveBack()
	if _, err := r.stable(b.frame[:data.PageSize], number); err != nil {
		return ignoreEOF(err)
	}
	return openPage(r.db.pages, b.plain[:], b.frame[:data.PageSize], number)
}

// stable reads a page that nobody is writing.
func (r *rekeyer) stable(p []byte, number uint32) (int, error) {
	r.db.inPlace.RLock()
	defer r.db.inPlace.RUnlock()
	return readFull(r.main, p, pagePosition(number))
}

func (r *rekeyer) putBatch() error {
	r.db.inPlace.Lock()
	defer r.db.inPlace.Unlock()
	var trailer [trailerSize]byte
	for i, number := range r.batch.numbers {
		at := pagePosition(number)
		if _, err := readFull(r.main, trailer[:], at+data.PageSize-trailerSize); ignoreEOF(err) != nil {
			return err
		} else if err != nil || trailer != r.batch.trailers[i] {
			continue // cut off, or overwritten, meanwhile
		}
		if err := r.put(number, r.batch.image(i)); err != nil {
			return err
		}
	}
	return nil
}

// put writes a page, and what failed in the middle once more: half of it opens nothing.
func (r *rekeyer) put(number uint32, image []byte) error {
	_, err := r.main.WriteAt(image, pagePosition(number))
	if err == nil {
		return nil
	}
	if _, again := r.main.WriteAt(image, pagePosition(number)); again != nil {
		r.db.owed.owe(number, image)
	}
	return err
}

// renewLog has the log begin anew where it was begun under an older key. The
// readers of its frames are waited for.
func (r *rekeyer) renewLog(ctx context.Context) error {
	for wait := 10 * time.Millisecond; ; wait = min(2*wait, 100*time.Millisecond) {
		in, err := r.db.logGenerations(ctx)
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(in, func(g uint32) bool { return g < r.target }) {
			return nil
		}
		if err := r.conn.Exec("PRAGMA wal_checkpoint(TRUNCATE)"); err != nil && !errors.Is(err, sqlite3.BUSY) {
			return err
		}
		if err := pause(ctx, wait); err != nil {
			return err
		}
	}
}

// close gives up the journal, unless it is needed still.
func (r *rekeyer) close() error {
	switch {
	case r.journal == nil:
		return nil
	case r.unsynced:
		return r.journal.Close()
	}
	return errors.Join(r.journal.Close(), r.db.dropRekeyJournal())
}
