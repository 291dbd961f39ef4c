package chain

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"holdfast/backup"
)

// frameName binds sealed frames to their file; header sequence and part bind
// them to their place.
const (
	journalName = "journal"
	rewriteOver = 4 << 20 // bytes of deltas, beside the full record, that the journal may have
)

// journal is the file that holds the state: a full record, then one for each
// confirmed snapshot. A torn tail is one that was never confirmed.
type journal struct {
	dir   string
	codec *backup.Codec
	f     *os.File
	size  int64
	full  int64 // size of the full record
}

// openJournal reads the journal of a staging folder; the state is nil if there
// is none. It answers backup.ErrFormat or data.ErrTampered for one that cannot
// be trusted, beside a journal that can be written anew.
func openJournal(dir string, codec *backup.Codec) (*journal, *state, error) {
	j := &journal{dir: dir, codec: codec}
	f, err := os.OpenFile(filepath.Join(dir, journalName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return j, nil, err
	}
	j.f = f
	s, err := j.replay()
	if err != nil {
		return j, nil, fmt.Errorf("read journal: %w", err)
	}
	return j, s, nil
}

func (j *journal) replay() (*state, error) {
	var s *state
	r := bufio.NewReaderSize(j.f, 1<<20)
	for {
		rec, n, err := readRecord(r, j.codec)
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return s, j.f.Truncate(j.size) // io.EOF: nothing to cut
		}
		if err != nil {
			return nil, err
		}
		if s, err = rec.apply(s); err != nil {
			return nil, err
		}
		j.grow(rec, n)
	}
}

func (j *journal) grow(rec *record, n int64) {
	j.size += n
	if rec.Full {
		j.full = n
	}
}

// append makes the record durable. A full one, or too many deltas, begin the
// file anew.
func (j *journal) append(rec *record, after *state) error {
	if rec.Full || j.size-j.full > j.full+rewriteOver {
		return j.rewrite(after.full())
	}
	b, err := sealRecord(rec, j.codec)
	if err != nil {
		return err
	}
	_, err = j.f.WriteAt(b, j.size)
	if err == nil {
		err = j.f.Sync()
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write journal: %w", err), j.f.Truncate(j.size))
	}
	j.grow(rec, int64(len(b)))
	return nil
}

func (j *journal) rewrite(rec *record) error {
	b, err := sealRecord(rec, j.codec)
	if err != nil {
		return err
	}
	path := filepath.Join(j.dir, journalName)
	f, err := writeFile(path+".new", b)
	if err != nil {
		return fmt.Errorf("write journal: %w", err)
	}
	if err := errors.Join(os.Rename(path+".new", path), syncDir(j.dir)); err != nil {
		return errors.Join(fmt.Errorf("write journal: %w", err), f.Close())
	}
	err = j.close()
	j.f, j.size, j.full = f, int64(len(b)), int64(len(b))
	return err
}

func (j *journal) close() error {
	if j.f == nil {
		return nil
	}
	return j.f.Close()
}

func writeFile(path string, b []byte) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	if _, err = f.Write(b); err == nil {
		err = f.Sync()
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// sealRecord gives the bytes of a record: each frame its length, then a sealed
// object.
func sealRecord(rec *record, codec *backup.Codec) ([]byte, error) {
	frames, err := rec.format()
	if err != nil {
		return nil, err
	}
	var out []byte
	for i, plain := range frames {
		if out, err = appendFrame(out, codec, rec.Epoch, rec.Sequence, i, plain); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func appendFrame(out []byte, codec *backup.Codec, epoch backup.Epoch, sequence int64, part int, plain []byte) ([]byte, error) {
	h := backup.Header{Kind: backup.Staging, Epoch: epoch, Sequence: sequence, Part: uint32(part)} //nolint:gosec // few
	object, err := codec.Seal(h, journalName, plain)
	if err != nil {
		return nil, err
	}
	out = binary.BigEndian.AppendUint32(out, uint32(len(object))) //nolint:gosec // at most MaxObject
	return append(out, object...), nil
}

// readRecord reads one record and its size. It answers io.EOF at the end and
// io.ErrUnexpectedEOF for a torn tail.
func readRecord(r io.Reader, codec *backup.Codec) (*record, int64, error) {
	h, plain, size, err := readFrame(r, codec)
	if err != nil {
		return nil, 0, err
	}
	rec := new(record)
	if rec.meta, err = parseMeta(plain); err != nil {
		return nil, 0, err
	}
	if h.Part != 0 || h.Sequence != rec.Sequence || h.Epoch != rec.Epoch {
		return nil, 0, fmt.Errorf("%w: journal: frame out of place", backup.ErrFormat)
	}
	for i := range rec.Sums + rec.Change {
		n, err := readInto(rec, i, r, codec)
		if err != nil {
			return nil, 0, err
		}
		size += n
	}
	return rec, size, nil
}

func readInto(rec *record, i int, r io.Reader, codec *backup.Codec) (int64, error) {
	h, plain, n, err := readFrame(r, codec)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return 0, err
	}
	if int(h.Part) != i+1 || h.Sequence != rec.Sequence || h.Epoch != rec.Epoch {
		return 0, fmt.Errorf("%w: journal: frame out of place", backup.ErrFormat)
	}
	return n, rec.addFrame(i, plain)
}

func readFrame(r io.Reader, codec *backup.Codec) (backup.Header, []byte, int64, error) {
	var n [4]byte
	if _, err := io.ReadFull(r, n[:]); err != nil {
		return backup.Header{}, nil, 0, err
	}
	size := binary.BigEndian.Uint32(n[:])
	if size > backup.MaxObject {
		return backup.Header{}, nil, 0, fmt.Errorf("%w: journal: frame of %d bytes", backup.ErrFormat, size)
	}
	object := make([]byte, size)
	if _, err := io.ReadFull(r, object); err != nil {
		return backup.Header{}, nil, 0, torn(err)
	}
	h, plain, err := codec.Open(journalName, object)
	return h, plain, int64(4 + size), err
}

// torn is a read that ends early within a frame.
func torn(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
