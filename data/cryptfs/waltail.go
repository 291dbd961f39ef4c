package cryptfs

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"sync"
)

// maxTail is how many frames a connection gathers before it writes them.
const maxTail = 16

// tail is the frames at the end of a connection's transaction that are not in the
// file yet, in clear. Nobody else reads a frame before its commit, so they are sealed
// and written together, in one call, when the commit is complete or when they are
// maxTail. What is left of a transaction that came to nothing is never written:
// somebody else may have committed there since.
//
// A write that fails loses them, and SQLite then ends the transaction. So only what
// the transaction itself writes may cause one: no read, and no sync, which a
// checkpoint asks for, too, while somebody else may be writing there.
type tail struct {
	first  uint32      // number of the first frame
	whole  uint32      // how many have their page
	headed bool        // behind them is a header that waits for its page
	salt   [8]byte     // of the log's generation
	since  commitPoint // newest commit when the first came
	room   *tailRoom   // nil: there are none
}

// tailRoom is the frames' bytes, in the places of their sealed form, and what
// sealing them needs; pooled.
type tailRoom struct {
	frames [maxTail * frameSize]byte
	nonces [2 * maxTail * nonceSize]byte
	ad     label
}

var errLostTail = errors.New("frames of this transaction were let go before they were written")

var tailRooms = sync.Pool{New: func() any { return new(tailRoom) }}

func (x *tail) drop() {
	if x.room != nil {
		tailRooms.Put(x.room)
	}
	*x = tail{}
}

// next is the number of the frame behind those that are whole.
func (x *tail) next() uint32 { return x.first + x.whole }

// header and page are where a frame's plaintext lies.
func (x *tail) header(frame uint32) []byte {
	return x.room.frames[(frame-x.first)*frameSize:][:frameHeader]
}

func (x *tail) page(frame uint32) []byte {
	return x.room.frames[(frame-x.first)*frameSize+slotSize:][:pageContent]
}

// inTail says whether a frame is held. First it forgets what is left of a
// transaction that has ended: another commit, or generation of the log, came since.
func (w *walFile) inTail(frame uint32) bool {
	x := &w.tail
	if x.room == nil {
		return false
	}
	if x.salt != w.salt || x.since != w.db.track.written() {
		x.drop()
		return false
	}
	return frame >= x.first && frame < x.next()
}

// holdHeader takes a frame's header. Where SQLite writes a frame anew, because it
// went back to a savepoint, that frame and those behind it are void.
func (w *walFile) holdHeader(p []byte, frame uint32) error {
	x := &w.tail
	switch again := w.inTail(frame); {
	case x.room == nil:
	case frame <= x.first:
		x.drop()
	case again:
		x.whole = frame - x.first
	case x.whole == maxTail || frame > x.next():
		if err := w.flushTail(); err != nil {
			return err
		}
	}
	if x.room == nil {
		if frame == w.tx.first {
			w.flushed = frame - 1
		}
		if frame > w.flushed+1 { // never: the transaction would have a hole
			return errLostTail
		}
		*x = tail{first: frame, salt: w.salt, since: w.db.track.written(), room: tailRooms.Get().(*tailRoom)}
	}
	x.headed = true
	copy(x.header(frame), p)
	return nil
}

// holdPage takes a page, if it belongs to the header that waits or to a frame that
// is held.
func (w *walFile) holdPage(p []byte, frame uint32) bool {
	held, x := w.inTail(frame), &w.tail
	switch {
	case held:
	case x.headed && frame == x.next():
		x.whole, x.headed = x.whole+1, false
	default:
		return false
	}
	copy(x.page(frame), p)
	return true
}

// readTail reads from a frame that is held.
func (w *walFile) readTail(p []byte, frame uint32, in int) bool {
	if !w.inTail(frame) {
		return false
	}
	n := 0
	if in < frameHeader {
		n = copy(p, w.tail.header(frame)[in:])
		in = frameHeader
	}
	n += copy(p[n:], w.tail.page(frame)[min(in-frameHeader, pageContent):])
	clear(p[n:]) // the reserved bytes
	return true
}

// flushCommit writes what is held once a frame that bears a commit is complete: with
// its page, and salt and checksum in its header.
func (w *walFile) flushCommit(frame uint32) error {
	head := w.tail.header(frame)
	if binary.BigEndian.Uint32(head[4:]) == 0 || [8]byte(head[8:]) == [8]byte{} {
		return nil
	}
	return w.flushTail()
}

// flushTail seals and writes the frames. Whatever comes of it, they are held no
// longer.
func (w *walFile) flushTail() error {
	x := &w.tail
	if w.inTail(0); x.whole == 0 {
		return nil
	}
	defer x.drop()
	if err := x.seal(w.db.log); err != nil {
		return err
	}
	_, err := w.File.WriteAt(x.room.frames[:x.whole*frameSize], framePosition(x.first))
	if err == nil {
		w.flushed = x.next() - 1
	}
	return err
}

// seal seals each frame in its place, under a key that is asked for and counted
// once, with nonces that are drawn at once.
func (x *tail) seal(s *sealer) error {
	generation, aead, err := s.currentFor(2 * int64(x.whole))
	if err != nil {
		return err
	}
	nonces := x.room.nonces[:2*x.whole*nonceSize]
	rand.Read(nonces)
	for n := range x.whole {
		frame := x.room.frames[n*frameSize:][:frameSize]
		head, page := frame[:slotSize], frame[slotSize:]
		copy(head[saltAt:], x.salt[:])
		at := place{kindFrame, x.salt, x.first + n}
		sealUnit(aead, generation, head, head[:frameHeader], nonces[:nonceSize], at, &x.room.ad)
		at.kind = kindFramePage
		sealUnit(aead, generation, page, page[:pageContent], nonces[nonceSize:2*nonceSize], at, &x.room.ad)
		nonces = nonces[2*nonceSize:]
	}
	return nil
}
