package cryptfs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/ncruces/go-sqlite3"
	"github.com/ncruces/go-sqlite3/vfs"

	"holdfast/data"
)

// The log as SQLite sees it: a header of 32 bytes, then frames of 24 bytes and a
// page. On disk both headers fill slots of 64, for they reserve no bytes of
// their own:
//
//	log header  ciphertext 32 | tag 16 |                  trailer 16
//	frame       ciphertext 24 | tag 16 | salt 8 in clear | trailer 16, then a sealed page
const (
	logHeader   = 32
	frameHeader = 24
	logFrame    = frameHeader + data.PageSize
	slotSize    = 64
	frameSize   = slotSize + data.PageSize
	saltAt      = frameHeader + tagSize
)

// walFile is a connection's view of the log.
type walFile struct {
	file
	main       *mainFile
	salt       [8]byte // of the log's generation as this connection last saw it
	salted     bool
	recovering bool   // SQLite reads frames one by one to find where the log ends
	reread     uint32 // frame that was read whole just now, not in recovery
	tail       tail   // frames that are not written yet
	flushed    uint32 // the newest frame that the transaction has written
	tx         transaction
}

func framePosition(frame uint32) int64 { return slotSize + int64(frame-1)*frameSize }

// locate splits an offset of SQLite's into frame (from 1) and offset in it.
func locate(off int64) (frame uint32, in int) {
	off -= logHeader
	return uint32(off/logFrame) + 1, int(off % logFrame)
}

// ReadAt reads inside the log header or inside one frame.
func (w *walFile) ReadAt(p []byte, off int64) (int, error) {
	if off < logHeader {
		n, err := w.readLogHeader(p, off)
		return n, w.refuse(err, walSuffix, 0)
	}
	frame, in := locate(off)
	if in+len(p) > logFrame {
		return 0, sqlite3.IOERR_READ
	}
	whole := in == 0 && len(p) == logFrame
	w.recovering, w.reread = w.recovering && whole, 0
	if whole && !w.recovering {
		w.reread = frame
	}
	if w.readTail(p, frame, in) {
		return len(p), nil
	}
	n, err := w.readFrame(p, frame, in)
	if errors.Is(err, errUnsealed) && w.loadSalt() {
		n, err = w.readFrame(p, frame, in) // another connection had begun a new generation
	}
	switch must := !w.recovering || w.db.mark.counts(w.salt, frame); {
	case !must && errors.Is(err, errUnsealed): // torn, or left of an older generation: the log ends here
		clear(p)
		return len(p), nil
	case must && err == io.EOF:
		err = missing(err)
	}
	if err != nil { // SQLite takes a full count for success, whatever the error
		return 0, w.refuse(err, walSuffix, frame)
	}
	return n, nil
}

// readFrame answers errUnsealed where bytes do not authenticate, io.EOF where
// the file ends before.
func (w *walFile) readFrame(p []byte, frame uint32, in int) (int, error) {
	if in == frameHeader && len(p) == data.PageSize { // the common case needs no copy
		return w.readFramePage(p, frame)
	}
	b := borrow()
	defer b.giveBack()
	n := 0
	if in < frameHeader {
		head, err := w.readFrameHeader(b.frame[:slotSize], frame)
		if err != nil {
			return 0, err
		}
		n, in = copy(p, head[in:]), frameHeader
	}
	if n == len(p) {
		return n, nil
	}
	if _, err := w.readFramePage(b.plain[:], frame); err != nil {
		return 0, err
	}
	return n + copy(p[n:], b.plain[in-frameHeader:]), nil
}

func (w *walFile) readFramePage(p []byte, frame uint32) (int, error) {
	if _, err := readFull(w.File, p, framePosition(frame)+slotSize); err != nil {
		return 0, err
	}
	if err := openFramePage(w.db.log, p, p, w.salt, frame); err != nil {
		return 0, err
	}
	return data.PageSize, nil
}

func (w *walFile) readFrameHeader(slot []byte, frame uint32) ([]byte, error) {
	if _, err := readFull(w.File, slot, framePosition(frame)); err != nil {
		return nil, err
	}
	return slot[:frameHeader], openFrameHeader(w.db.log, slot, w.salt, frame)
}

func openFramePage(s *sealer, dst, src []byte, salt [8]byte, frame uint32) error {
	if err := s.open(dst, src, pageContent, place{kindFramePage, salt, frame}); err != nil {
		return err
	}
	clear(dst[pageContent:data.PageSize])
	return nil
}

func openFrameHeader(s *sealer, slot []byte, salt [8]byte, frame uint32) error {
	if [8]byte(slot[saltAt:]) != salt {
		return fmt.Errorf("is of another generation of the log: %w", errUnsealed)
	}
	return s.open(slot, slot, frameHeader, place{kindFrame, salt, frame})
}

// readLogHeader reads from the header. SQLite reads all of it when it is about
// to recover the log.
func (w *walFile) readLogHeader(p []byte, off int64) (int, error) {
	if int(off)+len(p) > logHeader {
		return 0, sqlite3.IOERR_READ
	}
	b := borrow()
	defer b.giveBack()
	head, err := w.header(b.frame[:slotSize])
	if err != nil {
		return 0, err
	}
	w.recovering = len(p) == logHeader
	return copy(p, head[off:]), nil
}

// header reads the log header and takes its salt. A header of zeros is a file
// that a power cut left before its first sync: an empty log.
func (w *walFile) header(slot []byte) ([]byte, error) {
	if n, err := readFull(w.File, slot, 0); err == io.EOF && n < slotSize {
		return nil, io.EOF
	} else if err != nil {
		return nil, err
	}
	if [slotSize]byte(slot) == ([slotSize]byte{}) {
		return slot[:logHeader], nil
	}
	if err := w.db.log.open(slot, slot, logHeader, place{kind: kindLogHeader}); err != nil {
		return nil, err
	}
	w.salt, w.salted = [8]byte(slot[16:24]), true
	return slot[:logHeader], nil
}

// loadSalt reads the log's salt and says whether it is another than before.
func (w *walFile) loadSalt() bool {
	b := borrow()
	defer b.giveBack()
	old, had := w.salt, w.salted
	_, err := w.header(b.frame[:slotSize])
	return err == nil && (!had || w.salt != old)
}

// WriteAt takes the log header, a frame's header or a frame's page: SQLite
// writes each by itself. Frames reach the file together: see tail.
func (w *walFile) WriteAt(p []byte, off int64) (int, error) {
	w.recovering = false
	w.db.sealing.RLock()
	defer w.db.sealing.RUnlock()
	frame, in := locate(off)
	err := w.db.trusted()
	switch {
	case err != nil:
	case off == 0 && len(p) == logHeader:
		err, frame = w.writeLogHeader(p), 0
	case off >= logHeader && in == 0 && len(p) == frameHeader:
		err = w.writeFrameHeader(p, frame)
	case off >= logHeader && in == frameHeader && len(p) == data.PageSize:
		err = w.writeFramePage(p, frame)
	default:
		err = sqlite3.IOERR_WRITE
	}
	if err != nil {
		return 0, w.refuse(err, walSuffix, frame)
	}
	return len(p), nil
}

// writeLogHeader begins a new generation of the log.
func (w *walFile) writeLogHeader(p []byte) error {
	if size := binary.BigEndian.Uint32(p[8:]); size != data.PageSize {
		return fmt.Errorf("a log of pages of %d bytes, not of %d", size, data.PageSize)
	}
	b := borrow()
	defer b.giveBack()
	slot := b.frame[:slotSize]
	if err := w.db.log.seal(slot, p, place{kind: kindLogHeader}); err != nil {
		return err
	}
	w.salt, w.salted, w.tx = [8]byte(p[16:24]), true, transaction{}
	w.tail.drop()
	if err := w.db.mark.begin(w.salt); err != nil {
		return err
	}
	return w.db.track.reset(w.salt, func() error { _, err := w.File.WriteAt(slot, 0); return err })
}

// writeFrameHeader takes the generation from the frame, for a connection that
// joins a log has not read its header. While a transaction overwrites its own
// frames, SQLite leaves salt and checksum zero, and fills them in at the commit.
// Only then does a header come by itself: else its page comes next.
func (w *walFile) writeFrameHeader(p []byte, frame uint32) error {
	if salt := [8]byte(p[8:16]); salt != ([8]byte{}) {
		w.salt, w.salted = salt, true
	}
	if err := w.db.mark.lower(frame - 1); err != nil {
		return err
	}
	filledIn := w.reread == frame // SQLite read the frame just before
	w.reread = 0
	if filledIn {
		if err := w.putHeader(p, frame); err != nil {
			return err
		}
		return w.noteHeader(p, frame, true)
	}
	if err := w.noteHeader(p, frame, false); err != nil { // which may take back a commit that SQLite gave up
		return err
	}
	return w.holdHeader(p, frame)
}

// putHeader writes a header whose page was written before.
func (w *walFile) putHeader(p []byte, frame uint32) error {
	if w.inTail(frame) {
		copy(w.tail.header(frame), p)
		return w.flushCommit(frame)
	}
	b := borrow()
	defer b.giveBack()
	slot := b.frame[:slotSize]
	copy(slot[saltAt:], w.salt[:])
	if err := w.db.log.seal(slot, p, place{kindFrame, w.salt, frame}); err != nil {
		return err
	}
	_, err := w.File.WriteAt(slot, framePosition(frame))
	return err
}

// writeFramePage keeps the page beside its header, or writes it over that of a frame
// which the transaction wrote before.
func (w *walFile) writeFramePage(p []byte, frame uint32) error {
	write := w.putPage
	if w.holdPage(p, frame) {
		write = func([]byte, uint32) error { return w.flushCommit(frame) }
	}
	if err := write(p, frame); err != nil {
		return err
	}
	return w.notePage(frame)
}

func (w *walFile) putPage(p []byte, frame uint32) error {
	b := borrow()
	defer b.giveBack()
	page := b.frame[:data.PageSize]
	if err := w.db.log.seal(page, p[:pageContent], place{kindFramePage, w.salt, frame}); err != nil {
		return err
	}
	_, err := w.File.WriteAt(page, framePosition(frame)+slotSize)
	return err
}

// Size is the log's size as SQLite counts it.
func (w *walFile) Size() (int64, error) {
	n, err := w.File.Size()
	if err != nil || n < slotSize {
		return 0, err
	}
	frames, rest := (n-slotSize)/frameSize, (n-slotSize)%frameSize
	size := logHeader + frames*logFrame
	if rest >= slotSize {
		size += frameHeader + rest - slotSize
	}
	return size, nil
}

// Truncate keeps the whole frames below size.
func (w *walFile) Truncate(size int64) error {
	if size <= 0 {
		err := w.db.mark.begin([8]byte{})
		if err == nil {
			err = w.db.track.reset([8]byte{}, func() error { return w.File.Truncate(0) })
		}
		return w.refuse(err, walSuffix, 0)
	}
	frames := max(0, size-logHeader) / logFrame
	return w.refuse(w.File.Truncate(slotSize+frames*frameSize), walSuffix, 0)
}

// Sync that fails undoes the commit it was for, whose frames are all in the file.
// It is also asked for by a checkpoint, when somebody else may be writing where this
// connection gave up: no frame is written here.
func (w *walFile) Sync(flags vfs.SyncFlag) error {
	if err := w.db.trusted(); err != nil {
		return w.refuse(err, walSuffix, 0)
	}
	upTo := w.db.point()
	err := w.file.sync(flags)
	if err != nil {
		w.abandon()
		return w.refuse(w.db.syncFailed(err), walSuffix, 0)
	}
	if err = w.db.synced(upTo); err != nil {
		w.abandon()
	}
	return w.refuse(err, markSuffix, 0)
}
