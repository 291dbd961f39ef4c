package cryptfs

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"holdfast/data"
)

// Generations tells under which generations of the key anything of the folder's
// databases is sealed, in ascending order; a generation that is missing can go.
// Every page is authenticated on the way, and one that fails is an error
// (*PageError): what it is sealed under cannot be known.
func (fs *FS) Generations(ctx context.Context) ([]uint32, error) {
	names, err := fs.databases()
	if err != nil {
		return nil, fmt.Errorf("generations: %w", err)
	}
	found := map[uint32]bool{}
	for _, name := range names {
		db := fs.database(filepath.Join(fs.Dir, name))
		if err := db.generations(ctx, found); err != nil {
			return nil, fmt.Errorf("generations of %s: %w", name, err)
		}
	}
	return slices.Sorted(maps.Keys(found)), nil
}

func (db *database) generations(ctx context.Context, found map[uint32]bool) error {
	if err := errors.Join(db.check(), db.square()); err != nil {
		return err
	}
	main, err := os.Open(db.path)
	if err != nil {
		return err
	}
	defer main.Close()
	err = eachPage(ctx, main, func(number uint32, sealed []byte) error {
		generation, err := db.authenticate(main, sealed, number)
		found[generation] = true
		return ignoreEOF(err)
	})
	if err != nil {
		return err
	}
	in, err := db.logGenerations(ctx)
	for _, generation := range append(in, db.sideGenerations()...) {
		found[generation] = true
	}
	delete(found, 0)
	return err
}

// authenticate opens a page that was read without a lock, and once more with it
// where that fails. io.EOF is for one that was cut off meanwhile, or that is in
// the log still and about to be written.
func (db *database) authenticate(main io.ReaderAt, sealed []byte, number uint32) (uint32, error) {
	b := borrow()
	defer b.giveBack()
	err := openPage(db.pages, b.plain[:], sealed, number)
	if err == nil {
		return generationOf(sealed), nil
	}
	if db.track.where(number).inLog() { // asked first: what is not in the log is in its place
		return 0, io.EOF
	}
	db.inPlace.RLock()
	defer db.inPlace.RUnlock()
	if _, err := readFull(main, b.frame[:data.PageSize], pagePosition(number)); err != nil {
		return 0, io.EOF
	}
	if err = openPage(db.pages, b.plain[:], b.frame[:data.PageSize], number); errors.Is(err, errUnsealed) {
		return 0, &PageError{File: db.path, Page: number, Reason: err.Error()}
	}
	return generationOf(b.frame[:data.PageSize]), err
}

// pagesAtOnce is how many pages a scan reads at a time.
const pagesAtOnce = 64

// eachPage calls fn with the sealed image of each page, which may have been read
// while it was written.
func eachPage(ctx context.Context, main io.ReaderAt, fn func(number uint32, sealed []byte) error) error {
	buf := make([]byte, pagesAtOnce*data.PageSize)
	for first := uint32(1); ; first += pagesAtOnce {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := readFull(main, buf, pagePosition(first))
		if ignoreEOF(err) != nil {
			return err
		}
		for i := range uint32(n / data.PageSize) { //nolint:gosec // at most pagesAtOnce
			if err := fn(first+i, buf[i*data.PageSize:(i+1)*data.PageSize]); err != nil {
				return err
			}
		}
		if n < len(buf) {
			return nil
		}
	}
}

// logGenerations tells what the log's header and the frames of its generation are
// sealed under. What does not authenticate was being written, or no key opens it.
func (db *database) logGenerations(ctx context.Context) (in []uint32, err error) {
	log, err := os.Open(db.path + walSuffix)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer log.Close()
	var slot [slotSize]byte
	if _, err := readFull(log, slot[:], 0); err != nil || slot == ([slotSize]byte{}) {
		return nil, ignoreEOF(err)
	}
	generation := generationOf(slot[:])
	if err := db.log.open(slot[:], slot[:], logHeader, place{kind: kindLogHeader}); err != nil {
		return nil, ignoreUnsealed(err)
	}
	in = append(in, generation)
	return in, db.eachFrame(ctx, log, [8]byte(slot[16:24]), func(_, _ uint32, sealed []byte) error {
		for _, g := range []uint32{generationOf(sealed[:slotSize]), generationOf(sealed)} {
			if !slices.Contains(in, g) {
				in = append(in, g)
			}
		}
		return nil
	})
}

// eachFrame calls fn with each frame of a generation of the log whose header and
// page authenticate.
func (db *database) eachFrame(ctx context.Context, log io.ReaderAt, salt [8]byte, fn func(frame, page uint32, sealed []byte) error) error {
	b := borrow()
	defer b.giveBack()
	var slot [slotSize]byte
	for frame := uint32(1); ctx.Err() == nil; frame++ {
		if _, err := readFull(log, b.frame[:], framePosition(frame)); err != nil {
			return ignoreEOF(err)
		}
		if [8]byte(b.frame[saltAt:saltAt+8]) != salt { // of an older generation
			return nil
		}
		copy(slot[:], b.frame[:slotSize])
		err := openFrameHeader(db.log, slot[:], salt, frame)
		if err == nil {
			err = openFramePage(db.log, b.plain[:], b.frame[slotSize:], salt, frame)
		}
		if errors.Is(err, errUnsealed) {
			continue
		}
		if err == nil {
			err = fn(frame, binary.BigEndian.Uint32(slot[:]), b.frame[:])
		}
		if err != nil {
			return err
		}
	}
	return ctx.Err()
}

// sideGenerations is what the small files beside the database are sealed under.
func (db *database) sideGenerations() (in []uint32) {
	for _, f := range []struct {
		suffix string
		unit   int64
	}{{sealsSuffix, data.PageSize}, {rekeySuffix, 0}, {BaseSuffix, 0}} {
		in = append(in, trailingGenerations(db.path+f.suffix, f.unit)...)
	}
	return append(in, db.mark.generations()...)
}

// trailingGenerations reads the trailers of a file's units, or of the file as one
// unit (0).
func trailingGenerations(path string, unit int64) (in []uint32) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	if unit == 0 {
		unit = max(int64(len(b)), 1)
	}
	for part := range slices.Chunk(b, int(unit)) {
		if len(part) == int(unit) && unit >= trailerSize {
			in = append(in, generationOf(part))
		}
	}
	return in
}
