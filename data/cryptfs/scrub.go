package cryptfs

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"holdfast/data"
)

// Finding is something on the disk that is not what it ought to be.
type Finding struct {
	File   string // path
	Page   uint32 // of a database, or frame of its log, from 1; 0 for a file
	Reason string
}

// Progress tells how far a scrub is.
type Progress struct {
	Done, Total int64    // pages and frames; files
	Compared    int64    // of them, held against what was shipped
	Finding     *Finding // nil: nothing new was found
}

// errDiffers is what a page is that authenticates and is not what was shipped.
var errDiffers = errors.New("authenticates, but is not what was shipped: an older copy was put in its place")

// Scrub authenticates every page of a database and every frame of its log, while
// both are in use. Pages that did not change since base are also passed to check,
// in clear and with zeros in their reserved tail; what check says against one is a
// finding. Base may be nil: then nothing is compared. Scrub goes on after a
// finding; its error is of what kept it from looking. It takes a quarter of the
// time that passes. report is called now and then, and for each finding.
func (fs *FS) Scrub(ctx context.Context, database string, base *Base, check func(pgno uint32, page []byte) error, report func(Progress)) error {
	db := fs.database(filepath.Join(fs.Dir, database))
	main, err := os.Open(db.path)
	if err != nil {
		return fmt.Errorf("scrub %s: %w", database, err)
	}
	defer main.Close()
	if report == nil {
		report = func(Progress) {}
	}
	s := &scrub{db: db, main: main, base: base, check: check, report: report}
	if base == nil || check == nil {
		s.base = nil
	}
	if err := s.run(ctx); err != nil {
		return fmt.Errorf("scrub %s: %w", database, err)
	}
	return nil
}

// scrub is one that is under way.
type scrub struct {
	db       *database
	main     *os.File
	base     *Base
	check    func(pgno uint32, page []byte) error
	report   func(Progress)
	progress Progress
}

func (s *scrub) run(ctx context.Context) error {
	if _, on := s.db.track.followed(); !on { // the first connection sees that log and database belong together
		if _, err := s.db.committedFrames(ctx); err != nil {
			return err
		}
	}
	if err := s.db.square(); err != nil {
		return err
	}
	s.progress.Total = length(s.db.path, data.PageSize)
	if err := s.pages(ctx); err != nil {
		return err
	}
	if err := s.log(ctx); err != nil {
		return err
	}
	_, err := s.db.tally.read() // the count of seals
	var pe *PageError
	if errors.As(err, &pe) {
		s.found(pe.File, pe.Page, pe.Reason)
	}
	s.report(s.progress)
	return nil
}

// followed is how far the log reaches; not on while no tap is open.
func (t *tracker) followed() (p commitPoint, on bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return commitPoint{t.commits, t.salt, t.last}, t.on
}

// committedFrames is how many frames the log has, as SQLite knows it. Most are
// moved to the database file by asking.
func (db *database) committedFrames(ctx context.Context) (uint32, error) {
	c, err := db.fs.connect(ctx, db.name)
	if err != nil {
		return 0, errors.Join(err, db.fs.Fault())
	}
	defer c.Close()
	s, _, err := c.Prepare("PRAGMA wal_checkpoint(PASSIVE)")
	if err != nil {
		return 0, err
	}
	defer s.Close()
	s.Step()
	return uint32(max(0, s.ColumnInt64(1))), s.Err() //nolint:gosec // a frame's number
}

// found reports something.
func (s *scrub) found(file string, page uint32, reason string) {
	p := s.progress
	p.Finding = &Finding{File: file, Page: page, Reason: reason}
	s.report(p)
}

// rest is how many times longer than its work a scrub rests.
const rest = 3

func (s *scrub) pages(ctx context.Context) error {
	last, began := uint32(0), time.Now()
	err := eachPage(ctx, s.main, func(number uint32, sealed []byte) error {
		last = number
		if err := s.page(number, sealed); err != nil {
			return err
		}
		s.progress.Done++
		if number%pagesAtOnce != 0 {
			return nil
		}
		s.report(s.progress)
		err := pause(ctx, rest*time.Since(began))
		began = time.Now()
		return err
	})
	if err != nil {
		return err
	}
	s.db.inPlace.RLock()
	defer s.db.inPlace.RUnlock()
	if pages, want := length(s.db.path, data.PageSize), int64(s.db.extent.Load()); pages < want {
		s.found(s.db.path, last+1, "is missing")
	}
	return nil
}

// page authenticates a page of the database file, and compares it, or the frame
// that stands for it, with what was shipped.
func (s *scrub) page(number uint32, sealed []byte) error {
	_, err := s.db.authenticate(s.main, sealed, number)
	var pe *PageError
	switch {
	case errors.As(err, &pe):
		s.found(pe.File, pe.Page, pe.Reason)
		return nil
	case err != nil && err != io.EOF:
		return err
	case s.base == nil:
		return nil
	}
	return s.compare(number)
}

// compare looks where the page lies, reads it there, and asks at last whether it
// changed: so what is compared is what was shipped.
func (s *scrub) compare(number uint32) error {
	b := borrow()
	defer b.giveBack()
	for range 10 {
		if s.base.Changed(number) {
			return nil
		}
		at := s.db.track.where(number)
		err := s.read(b, at)
		if s.base.Changed(number) || s.db.track.where(number) != at {
			continue // written, or moved into the database file, meanwhile
		}
		if errors.Is(err, errUnsealed) { // the log's frames have a pass of their own
			return nil
		}
		if err != nil {
			return err
		}
		s.progress.Compared++
		if err := s.check(number, b.plain[:]); err != nil {
			file, unit := s.placeOf(at)
			s.found(file, unit, fmt.Sprintf("%v: %v", errDiffers, err))
		}
		return nil
	}
	return nil
}

func (s *scrub) placeOf(at pageAt) (file string, unit uint32) {
	if at.inLog() {
		return s.db.path + walSuffix, at.frame
	}
	return s.db.path, at.page
}

// read reads a page in clear.
func (s *scrub) read(b *buffer, at pageAt) error {
	switch {
	case at.frame == unwritten:
		clear(b.plain[:])
		return nil
	case !at.inLog():
		s.db.inPlace.RLock()
		defer s.db.inPlace.RUnlock()
		if _, err := readFull(s.main, b.frame[:data.PageSize], pagePosition(at.page)); err != nil {
			return missing(err)
		}
		return openPage(s.db.pages, b.plain[:], b.frame[:data.PageSize], at.page)
	}
	log, err := os.Open(s.db.path + walSuffix)
	if errors.Is(err, os.ErrNotExist) {
		return errUnsealed
	}
	if err != nil {
		return err
	}
	defer log.Close()
	if _, err := readFull(log, b.frame[:], framePosition(at.frame)); err != nil {
		return missing(err)
	}
	view := snapshot{view: view{salt: at.salt}}
	return view.openFrame(s.db.log, b.plain[:], b.frame[:], at.pageFrame)
}

// pageAt is where the newest committed image of a page lies.
type pageAt struct {
	pageFrame
	salt [8]byte
}

func (t *tracker) where(page uint32) pageAt {
	t.mu.Lock()
	defer t.mu.Unlock()
	at := pageAt{pageFrame: pageFrame{page, t.frames[page]}}
	if at.inLog() {
		at.salt = t.salt
	}
	return at
}

// log authenticates the frames that are committed when it begins, unless the log
// begins anew meanwhile.
func (s *scrub) log(ctx context.Context) error {
	log, err := os.Open(s.db.path + walSuffix)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer log.Close()
	salt, frames, err := s.reach(ctx, log)
	if errors.Is(err, errUnsealed) {
		s.found(s.db.path+walSuffix, 0, err.Error())
		return nil
	}
	if err != nil {
		return ignoreEOF(err)
	}
	s.progress.Total += int64(frames)
	return s.frames(ctx, log, salt, frames)
}

// reach tells how many frames the log has, and of which generation it is.
func (s *scrub) reach(ctx context.Context, log io.ReaderAt) (salt [8]byte, frames uint32, err error) {
	at, on := s.db.track.followed()
	if on && at.frame == 0 { // there may be no header yet
		return salt, 0, io.EOF
	}
	if salt, err = s.db.logSalt(log); err != nil {
		if now, _ := s.db.track.followed(); on && now != at {
			err = io.EOF // it begins anew
		}
		return salt, 0, err
	}
	if on {
		if salt != at.salt {
			return salt, 0, io.EOF
		}
		return salt, at.frame, nil
	}
	frames, err = s.db.committedFrames(ctx)
	if now, _ := s.db.logSalt(log); err == nil && now != salt {
		err = io.EOF
	}
	return salt, frames, err
}

func (s *scrub) frames(ctx context.Context, log io.ReaderAt, salt [8]byte, frames uint32) error {
	began := time.Now()
	for frame := uint32(1); frame <= frames; frame++ {
		err := s.db.checkFrame(log, salt, frame)
		if now, serr := s.db.logSalt(log); serr != nil || now != salt { // it began anew
			return nil
		}
		if ignoreEOF(ignoreUnsealed(err)) != nil {
			return err
		}
		if err != nil {
			s.found(s.db.path+walSuffix, frame, err.Error())
		}
		s.progress.Done++
		if frame%pagesAtOnce == 0 {
			s.report(s.progress)
			if err := pause(ctx, rest*time.Since(began)); err != nil {
				return err
			}
			began = time.Now()
		}
	}
	return nil
}

// logSalt authenticates the log's header and gives its salt; io.EOF without one.
func (db *database) logSalt(log io.ReaderAt) (salt [8]byte, err error) {
	var slot [slotSize]byte
	if _, err := readFull(log, slot[:], 0); err != nil {
		return salt, err
	}
	if slot == ([slotSize]byte{}) {
		return salt, io.EOF
	}
	err = db.log.open(slot[:], slot[:], logHeader, place{kind: kindLogHeader})
	return [8]byte(slot[16:24]), err
}

func (db *database) checkFrame(log io.ReaderAt, salt [8]byte, frame uint32) error {
	b := borrow()
	defer b.giveBack()
	if _, err := readFull(log, b.frame[:], framePosition(frame)); err != nil {
		return missing(err)
	}
	if err := openFrameHeader(db.log, b.frame[:slotSize], salt, frame); err != nil {
		return err
	}
	if binary.BigEndian.Uint32(b.frame[:]) == 0 {
		return fmt.Errorf("is of page 0: %w", errUnsealed)
	}
	return openFramePage(db.log, b.plain[:], b.frame[slotSize:], salt, frame)
}
