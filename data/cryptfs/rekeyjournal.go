package cryptfs

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"holdfast/data"
	"holdfast/data/cryptfs/disk"
)

// The journal of a re-key, "<database>-rekey", holds the sealed images that are
// about to be written over pages. A power cut in the middle of a page leaves some
// of its sectors old, some new: such a page, and no other, gets its image from
// here when the database is next opened. It is one unit, sealed like a page under
// a key of its own, its number being the number of its pages:
//
//	number of pages 4 | for each: page 4, SHA-256 (8 of 32 bytes) of each of the 8 old sectors, new image 4096
const (
	rekeySuffix = "-rekey"
	kindRekey   = 'R'
	sectorSize  = 512
	sectors     = data.PageSize / sectorSize
	rekeyEntry  = 4 + 8*sectors + data.PageSize
)

// rekeyBatch are the pages that are sealed anew at once.
type rekeyBatch struct {
	numbers  []uint32
	trailers [][trailerSize]byte // of the old images, nonces among them
	plain    []byte              // as in the journal
	sealed   []byte
}

func (b *rekeyBatch) reset() {
	b.numbers, b.trailers = b.numbers[:0], b.trailers[:0]
	b.plain = append(b.plain[:0], 0, 0, 0, 0)
}

// add appends a page and gives the room for its new image.
func (b *rekeyBatch) add(number uint32, old []byte) []byte {
	b.numbers = append(b.numbers, number)
	b.trailers = append(b.trailers, [trailerSize]byte(old[data.PageSize-trailerSize:]))
	binary.BigEndian.PutUint32(b.plain, uint32(len(b.numbers))) //nolint:gosec // at most rekeyPages
	b.plain = binary.BigEndian.AppendUint32(b.plain, number)
	for i := range sectors {
		sum := sectorSum(old, i)
		b.plain = append(b.plain, sum[:]...)
	}
	b.plain = append(b.plain, make([]byte, data.PageSize)...)
	return b.image(len(b.numbers) - 1)
}

// image is the new image of the i-th page.
func (b *rekeyBatch) image(i int) []byte {
	end := 4 + (i+1)*rekeyEntry
	return b.plain[end-data.PageSize : end]
}

// seal gives the bytes of the journal.
func (b *rekeyBatch) seal(s *sealer) ([]byte, error) {
	if n := len(b.plain) + Reserved; cap(b.sealed) < n {
		b.sealed = make([]byte, n)
	} else {
		b.sealed = b.sealed[:n]
	}
	at := place{kind: kindRekey, number: uint32(len(b.numbers))} //nolint:gosec // at most rekeyPages
	return b.sealed, s.seal(b.sealed, b.plain, at)
}

func sectorSum(page []byte, i int) [8]byte {
	sum := sha256.Sum256(page[i*sectorSize : (i+1)*sectorSize])
	return [8]byte(sum[:8])
}

func (r *rekeyer) writeJournal() error {
	b, err := r.batch.seal(r.db.rekeySealer())
	if err != nil {
		return err
	}
	fresh := r.journal == nil
	if fresh {
		if r.journal, err = r.db.fs.Disk.Open(r.db.path+rekeySuffix, os.O_RDWR|os.O_CREATE, 0o600); err != nil {
			return err
		}
	}
	if _, err := r.journal.WriteAt(b, 0); err != nil {
		return err
	}
	if err := errors.Join(r.journal.Truncate(int64(len(b))), r.journal.Sync()); err != nil || !fresh {
		return err
	}
	return r.db.fs.Disk.SyncDir(filepath.Dir(r.db.path))
}

func (db *database) rekeySealer() *sealer {
	return newSealer(db.fs.Keys, "rekey", db.fs.Identity, db.name)
}

func (db *database) dropRekeyJournal() error {
	if err := db.fs.Disk.Remove(db.path + rekeySuffix); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return db.fs.Disk.SyncDir(filepath.Dir(db.path))
}

// rekeyed is a page of a journal that was read.
type rekeyed struct {
	number uint32
	sums   [sectors][8]byte
	image  []byte
}

// finishRekey puts right the pages that a power cut tore in the middle of a
// re-key. A journal that is torn itself was never followed.
func (db *database) finishRekey() error {
	path := db.path + rekeySuffix
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	pages, err := parseRekeyJournal(db.rekeySealer(), b)
	if errors.Is(err, errUnsealed) {
		return db.dropRekeyJournal()
	}
	if err == nil {
		err = db.replayRekey(pages)
	}
	if err != nil {
		return fmt.Errorf("finish re-key: %w", err)
	}
	return db.dropRekeyJournal()
}

// parseRekeyJournal answers errUnsealed for anything that is no whole journal.
func parseRekeyJournal(s *sealer, b []byte) ([]rekeyed, error) {
	n := (len(b) - Reserved - 4) / rekeyEntry
	if n < 1 || n > rekeyPages || len(b) != 4+n*rekeyEntry+Reserved {
		return nil, fmt.Errorf("journal of %d bytes: %w", len(b), errUnsealed)
	}
	if err := s.open(b, b, 4+n*rekeyEntry, place{kind: kindRekey, number: uint32(n)}); err != nil { //nolint:gosec // checked
		return nil, err
	}
	if binary.BigEndian.Uint32(b) != uint32(n) { //nolint:gosec // checked
		return nil, fmt.Errorf("journal of another number of pages: %w", errUnsealed)
	}
	pages := make([]rekeyed, n)
	for i := range pages {
		entry := b[4+i*rekeyEntry:]
		pages[i] = rekeyed{number: binary.BigEndian.Uint32(entry), image: entry[4+8*sectors : rekeyEntry]}
		for s := range sectors {
			pages[i].sums[s] = [8]byte(entry[4+8*s:])
		}
		if pages[i].number == 0 {
			return nil, fmt.Errorf("journal with a page 0: %w", errUnsealed)
		}
	}
	return pages, nil
}

func (db *database) replayRekey(pages []rekeyed) error {
	main, err := db.fs.Disk.Open(db.path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	for _, p := range pages {
		if err == nil {
			err = db.mend(main, p)
		}
	}
	if err == nil {
		err = main.Sync()
	}
	return errors.Join(err, main.Close())
}

// mend writes the image over a page that is a mixture of the old image and the
// new one.
func (db *database) mend(main disk.File, p rekeyed) error {
	var now, plain [data.PageSize]byte
	if _, err := readFull(main, now[:], pagePosition(p.number)); err != nil {
		return ignoreEOF(err)
	}
	err := openPage(db.pages, plain[:], now[:], p.number)
	if !errors.Is(err, errUnsealed) || !p.tore(now[:]) {
		return ignoreUnsealed(err)
	}
	_, err = main.WriteAt(p.image, pagePosition(p.number))
	return err
}

// tore says whether each sector is the old one or the new one.
func (p rekeyed) tore(now []byte) bool {
	for i := range sectors {
		if sum := sectorSum(now, i); sum != p.sums[i] && sum != sectorSum(p.image, i) {
			return false
		}
	}
	return true
}

func ignoreEOF(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil
	}
	return err
}

func ignoreUnsealed(err error) error {
	if errors.Is(err, errUnsealed) {
		return nil
	}
	return err
}
