package cryptfs

import (
	"maps"
	"os"
	"slices"
	"sync"
)

// owed are the images of pages that a re-key could not write whole. Reads take them
// from here until they are in their place: by the next checkpoint, re-key, snapshot or
// scrub that the disk lets through, or, when the process ends first, out of the journal.
type owed struct {
	mu     sync.Mutex
	images map[uint32][]byte
}

// owe keeps a page's sealed image. inPlace is held.
func (o *owed) owe(number uint32, image []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.images == nil {
		o.images = map[uint32][]byte{}
	}
	o.images[number] = slices.Clone(image)
}

// image is nil where nothing is owed.
func (o *owed) image(number uint32) []byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.images[number]
}

// paid forgets pages that were written, or cut off.
func (o *owed) paid(gone func(number uint32) bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	maps.DeleteFunc(o.images, func(number uint32, _ []byte) bool { return gone(number) })
}

func (o *owed) numbers() []uint32 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Sorted(maps.Keys(o.images))
}

// repay writes what is owed, where it is not cut off by now. inPlace is held.
func (db *database) repay() error {
	numbers := db.owed.numbers()
	if len(numbers) == 0 {
		return nil
	}
	main, err := db.fs.Disk.Open(db.path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer main.Close()
	for _, number := range numbers {
		if _, err := main.WriteAt(db.owed.image(number), pagePosition(number)); err != nil {
			return err
		}
	}
	if err := main.Sync(); err != nil {
		return err
	}
	db.owed.paid(func(uint32) bool { return true })
	return nil
}

// square is repay for who is about to read the file past SQLite.
func (db *database) square() error {
	if len(db.owed.numbers()) == 0 {
		return nil
	}
	db.inPlace.Lock()
	defer db.inPlace.Unlock()
	return db.repay()
}
