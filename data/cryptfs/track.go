package cryptfs

import (
	"slices"
	"sync"
)

// tracker knows the committed pages of one database from what its connections
// write into the log. While no tap is open it only guards the log's resets.
type tracker struct {
	mu   sync.Mutex
	room int // for images that writers keep for a snapshot, in memory

	on              bool              // a tap is open
	pages           uint32            // size of the database, in pages
	followers       []*follower       // the first is the tap itself
	frames          map[uint32]uint32 // page -> its newest committed frame; absent: in the main file
	last            uint32            // newest committed frame
	salt            [8]byte           // generation of the log that frames refers to
	newest          undo              // what the newest commit replaced
	commits, onDisk uint64            // how many were written, and how many of them are durable

	checkpointing bool
	synced        uint32    // newest committed frame when the checkpoint began
	current       *snapshot // that is being handed out

	base, next *Base   // see Rebase; base is a follower's, the newest
	held       []*Base // asked for and not yet released
}

// undo is what a commit replaced in the tracker.
type undo struct {
	pages, last uint32
	frames      []pageFrame
}

type pageFrame struct{ page, frame uint32 }

// unwritten stands for the frame of a page that belongs to the database but was
// never written, like the one at 1 GiB, where SQLite's lock bytes are.
const unwritten = ^uint32(0)

func (t *tracker) init() {
	t.room = maxKept
	t.frames = map[uint32]uint32{}
}

// start follows a database of so many pages, all of them in the main file.
func (t *tracker) start(pages uint32, bases []baseEntry) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.on {
		return false
	}
	t.on, t.pages = true, pages
	clear(t.frames)
	t.followers = []*follower{{}}
	t.followers[0].dirty.addRange(1, pages)
	t.restore(bases)
	return true
}

func (t *tracker) stop() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.on = false
	clear(t.frames)
	t.followers = nil
	t.base, t.held = nil, nil
}

// reset runs the write that begins another generation of the log, or ends the
// log. SQLite does so only when all frames are copied to the main file, so that
// is where all pages are found afterwards.
func (t *tracker) reset(salt [8]byte, write func() error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.keepLog()
	if err := write(); err != nil {
		return err
	}
	t.forgetFrames()
	t.salt, t.last, t.newest = salt, 0, undo{}
	t.onDisk = t.commits // SQLite had synced what it copied
	return nil
}

// forgetFrames does not keep the room that one large import needed.
func (t *tracker) forgetFrames() {
	if len(t.frames) > 1<<14 { // a map keeps its room when it is cleared
		t.frames = map[uint32]uint32{}
	}
	clear(t.frames)
}

func (t *tracker) checkpointStart() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.checkpointing, t.synced = true, t.last
}

func (t *tracker) checkpointDone() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.checkpointing = false
}

// running is the snapshot under way, or nil.
func (t *tracker) running() *snapshot {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.current
}

// logged gives the pages that the log is known to hold for good: SQLite synced
// it when the checkpoint began.
func (t *tracker) logged() func(page uint32) bool {
	return func(page uint32) bool {
		t.mu.Lock()
		defer t.mu.Unlock()
		frame := t.frames[page]
		return t.checkpointing && frame != 0 && frame <= t.synced
	}
}

// commit notes a transaction whose frames run from first, one for each page
// given, and after which the database has size pages.
func (t *tracker) commit(salt [8]byte, first uint32, pages []uint32, size uint32) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.newest = undo{pages: t.pages, last: t.last, frames: t.newest.frames[:0]}
	t.salt, t.last = salt, first+uint32(len(pages))-1
	t.commits++
	if !t.on {
		return
	}
	for page := t.pages + 1; page <= size; page++ {
		t.put(page, unwritten)
	}
	for i, page := range pages {
		if page <= size {
			t.put(page, first+uint32(i))
		}
	}
	t.shrink(size)
}

func (t *tracker) put(page, frame uint32) {
	t.newest.frames = append(t.newest.frames, pageFrame{page, t.frames[page]})
	t.frames[page] = frame
	t.touch(page)
	t.note(page)
}

// shrink forgets the pages that a VACUUM gave back.
func (t *tracker) shrink(size uint32) {
	for page := size + 1; page <= t.pages; page++ {
		if frame, ok := t.frames[page]; ok {
			t.newest.frames = append(t.newest.frames, pageFrame{page, frame})
			delete(t.frames, page)
		}
	}
	t.cut(size)
	t.pages = size
}

// follows says whether a frame begins a transaction, being the next after the
// newest commit. Where it lies before that commit's end, SQLite gave that commit
// up (it could not make it visible), and so does the tracker.
func (t *tracker) follows(frame uint32) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if frame <= t.last {
		t.revert()
	}
	return frame == t.last+1
}

// takeBack undoes the newest commit.
func (t *tracker) takeBack() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.revert()
}

func (t *tracker) revert() {
	for _, old := range slices.Backward(t.newest.frames) {
		if old.frame == 0 {
			delete(t.frames, old.page)
		} else {
			t.frames[old.page] = old.frame
		}
		t.touch(old.page)
	}
	for page := t.pages + 1; page <= t.newest.pages; page++ { // that it had cut off, and nobody may have been handed
		t.touch(page)
	}
	t.pages, t.last = t.newest.pages, t.newest.last
	t.cut(t.pages)
	t.newest = undo{pages: t.pages, last: t.last}
	if t.onDisk+1 == t.commits { // the commit that is no more
		t.onDisk = t.commits
	}
}

// commitPoint is how far the log is written.
type commitPoint struct {
	n     uint64 // commits
	salt  [8]byte
	frame uint32 // the last commit's last
}

func (t *tracker) written() commitPoint {
	t.mu.Lock()
	defer t.mu.Unlock()
	return commitPoint{t.commits, t.salt, t.last}
}

// nowDurable notes a sync that began after a point was reached.
func (t *tracker) nowDurable(p commitPoint) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.onDisk = max(t.onDisk, p.n)
}

// durable says whether a power cut would take nothing back.
func (t *tracker) durable() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.onDisk == t.commits
}

// inherit takes a log over that lay there before: nobody knows what of it is
// durable.
func (t *tracker) inherit(salt [8]byte, last uint32) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.commits++
	t.salt, t.last, t.newest = salt, last, undo{pages: t.pages, last: last}
}
