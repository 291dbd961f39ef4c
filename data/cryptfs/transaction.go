package cryptfs

import "encoding/binary"

// transaction is one connection's transaction in flight: its frames run without
// a gap from first, each for one page. After a savepoint is rolled back, or a
// write failed, SQLite writes frames again.
type transaction struct {
	first uint32
	pages []uint32

	frame  uint32 // that bears the commit; 0 before it
	size   uint32 // of the database, from that frame
	salted bool   // that frame's header has its salt and checksum
	paged  bool   // that frame's page is written
}

// begin starts anew at a frame. It does not keep the room that one large import
// needed.
func (x *transaction) begin(frame uint32) {
	if cap(x.pages) > 1<<14 {
		x.pages = nil
	}
	*x = transaction{first: frame, pages: x.pages[:0]}
}

// header takes a frame's header into the transaction. What had been written from
// that frame on is no more.
func (x *transaction) header(frame, page, size uint32, salted bool) {
	at := int(frame) - int(x.first)
	if at < 0 || at > len(x.pages) {
		x.begin(frame)
		at = 0
	}
	x.pages = append(x.pages[:at], page)
	x.frame, x.size, x.salted, x.paged = 0, size, salted, false
	if size != 0 {
		x.frame = frame
	}
}

// complete says whether all of the transaction is in the log. SQLite writes the
// last header twice where the transaction had overwritten its own frames: then
// the second, with its salt, completes it.
func (x *transaction) complete() bool { return x.frame != 0 && x.salted && x.paged }

// noteHeader follows a frame header that was written; filledIn is one in which
// SQLite only fills in salt and checksum.
func (w *walFile) noteHeader(p []byte, frame uint32, filledIn bool) error {
	page, size := binary.BigEndian.Uint32(p), binary.BigEndian.Uint32(p[4:])
	salted := [8]byte(p[8:16]) != [8]byte{}
	switch {
	case filledIn && frame == w.tx.frame:
		w.tx.salted = salted
	case !filledIn:
		if w.db.track.follows(frame) {
			w.tx.begin(frame)
		}
		w.tx.header(frame, page, size, salted)
	}
	return w.commitIfComplete()
}

// notePage follows a frame's page that was written.
func (w *walFile) notePage(frame uint32) error {
	if frame != w.tx.frame {
		return nil
	}
	w.tx.paged = true
	return w.commitIfComplete()
}

func (w *walFile) commitIfComplete() error {
	if !w.tx.complete() {
		return nil
	}
	n := w.tx.frame - w.tx.first + 1
	w.db.track.commit(w.salt, w.tx.first, w.tx.pages[:n], w.tx.size)
	w.tx.begin(w.tx.frame + 1)
	if w.main != nil {
		w.main.committed = true
	}
	if w.db.fs.Durability == Relaxed { // nobody waits for a sync
		return w.db.mark.raise(w.db.point(), false)
	}
	return nil
}

// abandon takes back the commit whose sync failed, and all that is in flight.
func (w *walFile) abandon() {
	if w.main != nil && w.main.committed {
		w.main.committed = false
		w.db.track.takeBack()
	}
	w.tx = transaction{}
}
