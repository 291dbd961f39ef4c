package cryptfs

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"

	"holdfast/data"
	"holdfast/data/cryptfs/disk"
)

// snapshot is one that is being handed out: the changed pages in ascending
// order, and where each lay when it began. Writers go on meanwhile. Before they
// overwrite a page of it that was not read yet, they keep its sealed image here.
// All but view is guarded by the tracker's lock.
type snapshot struct {
	view
	main, log disk.File
	inPlace   *sync.RWMutex     // of the database
	next      int               // of pages, the first not read yet
	kept      map[uint32][]byte // by page
	over      overflow          // what there was no room for
	failed    error             // keeping a page failed
}

// view is what a snapshot shows.
type view struct {
	size  uint32  // of the database, in pages
	salt  [8]byte // of the log that the frames are in
	pages []pageFrame
	dirty pageSet
	of    *follower
}

// imageSize is that of the sealed image in the file that it lies in.
func (p pageFrame) imageSize() int {
	if p.inLog() {
		return frameSize
	}
	return data.PageSize
}

func (p pageFrame) inLog() bool { return p.frame != 0 && p.frame != unwritten }

var errClosed = errors.New("the tap is closed")

// begin starts a snapshot of what changed until now, for one follower.
func (db *database) begin(name string) (*snapshot, error) {
	if err := db.square(); err != nil {
		return nil, err
	}
	t := &db.track
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.on {
		return nil, errClosed
	}
	s := &snapshot{view: t.view(t.follower(name)), inPlace: &db.inPlace, kept: map[uint32][]byte{}}
	s.over = overflow{disk: db.fs.Disk, path: db.path}
	if err := s.open(db.fs.Disk, db.path); err != nil {
		return nil, err
	}
	s.of.dirty, t.current = pageSet{}, s
	t.snapped()
	return s, nil
}

func (t *tracker) view(f *follower) view {
	v := view{size: t.pages, salt: t.salt, dirty: f.dirty, of: f, pages: make([]pageFrame, 0, f.dirty.n)}
	for page := range f.dirty.all() {
		v.pages = append(v.pages, pageFrame{page, t.frames[page]})
	}
	return v
}

// open opens what the pages lie in.
func (s *snapshot) open(from disk.System, path string) (err error) {
	if s.main, err = from.Open(path, os.O_RDONLY, 0); err != nil {
		return err
	}
	if slices.ContainsFunc(s.pages, pageFrame.inLog) {
		if s.log, err = from.Open(path+walSuffix, os.O_RDONLY, 0); err != nil {
			s.main.Close()
		}
	}
	return err
}

// end ends a snapshot. Where it failed, its pages are changed still.
func (t *tracker) end(s *snapshot, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !ok {
		s.of.dirty.addAll(s.dirty)
		s.of.dirty.cut(t.pages)
	}
	t.current = nil
	t.landed(s.of, ok)
	s.over.close()
	s.main.Close()
	if s.log != nil {
		s.log.Close()
	}
}

// handOut reads each page and passes it on. First it syncs the log: no page is
// handed out that a power cut could still take back.
func (s *snapshot) handOut(ctx context.Context, db *database, fn func(uint32, []byte) error) error {
	if s.log != nil {
		if err := db.syncLog(ctx); err != nil {
			return err
		}
	}
	b := borrow()
	defer b.giveBack()
	for i, at := range s.pages {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := s.read(db, b, i); err != nil {
			return err
		}
		if err := fn(at.page, b.plain[:]); err != nil {
			return err
		}
	}
	return nil
}

// read reads the i-th page into b.plain.
func (s *snapshot) read(db *database, b *buffer, i int) error {
	at, f := s.pages[i], file{db: db}
	sealed, err := db.track.fetch(s, b.frame[:], i)
	switch {
	case at.frame == unwritten:
		clear(b.plain[:])
		return err
	case at.inLog():
		if err == nil {
			err = s.openFrame(db.log, b.plain[:], sealed, at)
		}
		return f.refuse(err, walSuffix, at.frame)
	default:
		if err == nil {
			err = openPage(db.pages, b.plain[:], sealed, at.page)
		}
		return f.refuse(err, "", at.page)
	}
}

// openFrame also sees that the frame is of the page that is wanted.
func (s *snapshot) openFrame(sealer *sealer, dst, sealed []byte, at pageFrame) error {
	slot := sealed[:slotSize]
	if err := openFrameHeader(sealer, slot, s.salt, at.frame); err != nil {
		return err
	}
	if page := binary.BigEndian.Uint32(slot); page != at.page {
		return fmt.Errorf("is of page %d, not %d: %w", page, at.page, errUnsealed)
	}
	return openFramePage(sealer, dst, sealed[slotSize:], s.salt, at.frame)
}

// fetch gives the sealed image of the i-th page, in buf where it was not kept,
// and counts it as read.
func (t *tracker) fetch(s *snapshot, buf []byte, i int) ([]byte, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s.next = i + 1
	page := s.pages[i].page
	if image, ok := s.kept[page]; ok {
		delete(s.kept, page)
		return image, nil
	}
	if s.over.has(page) {
		buf = buf[:s.pages[i].imageSize()]
		return buf, s.over.get(page, buf)
	}
	if s.failed != nil {
		return nil, s.failed
	}
	return s.image(buf, s.pages[i])
}

// image reads a page's sealed image from the files.
func (s *snapshot) image(buf []byte, at pageFrame) ([]byte, error) {
	r, off, n := s.main, pagePosition(at.page), at.imageSize()
	switch {
	case at.frame == unwritten:
		return nil, nil
	case at.inLog():
		r, off = s.log, framePosition(at.frame)
	default:
		s.inPlace.RLock()
		defer s.inPlace.RUnlock()
	}
	_, err := readFull(r, buf[:n], off)
	return buf[:n], missing(err)
}

// keepPage saves a page that is about to be overwritten or cut off in the main
// file, if a snapshot still needs it.
func (t *tracker) keepPage(page uint32) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.keep(func(s *snapshot) int {
		i, found := slices.BinarySearchFunc(s.pages, page, func(p pageFrame, page uint32) int { return int(p.page) - int(page) })
		if found && s.pages[i].frame == 0 && !s.has(i) {
			return i
		}
		return -1
	})
}

// keepAbove saves the pages after the last that the main file will have.
func (t *tracker) keepAbove(last uint32) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.keep(each(func(p pageFrame) bool { return p.frame == 0 && p.page > last }))
}

// keepLog saves the pages that lie in the log. mu is held.
func (t *tracker) keepLog() {
	t.keep(each(pageFrame.inLog))
}

// keep saves pages of the snapshot as long as next names one (not -1). mu is held. A
// writer never waits for a snapshot: where neither memory nor disk has room, the
// snapshot fails.
func (t *tracker) keep(next func(s *snapshot) int) {
	for t.current != nil && t.current.failed == nil {
		s := t.current
		i := next(s)
		if i < 0 {
			return
		}
		image, err := s.image(make([]byte, frameSize), s.pages[i])
		if err == nil && len(s.kept) < t.room {
			s.kept[s.pages[i].page] = image
			continue
		}
		if err == nil {
			err = s.over.put(s.pages[i].page, image)
		}
		if err != nil {
			s.failed = fmt.Errorf("keep page %d for the snapshot: %w", s.pages[i].page, err)
			return
		}
	}
}

// each names, one after the other, the pages that are wanted and neither read
// nor kept.
func each(wanted func(pageFrame) bool) func(s *snapshot) int {
	i := 0
	return func(s *snapshot) int {
		for i = max(i, s.next); i < len(s.pages); i++ {
			if wanted(s.pages[i]) && !s.has(i) {
				return i
			}
		}
		return -1
	}
}

// has says whether a page was read or kept.
func (s *snapshot) has(i int) bool {
	_, kept := s.kept[s.pages[i].page]
	return kept || s.over.has(s.pages[i].page) || i < s.next
}
