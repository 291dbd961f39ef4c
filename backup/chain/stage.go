package chain

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"holdfast/backup"
)

const (
	pendingName = "pending"
	footerMagic = "hf-stage"
	footerSize  = 16
)

// item is one staged object.
type item struct {
	Name   string      `json:"name"`
	Offset int64       `json:"offset"`
	Size   int64       `json:"size"`
	SHA256 backup.Hash `json:"sha256"`
	Sent   bool        `json:"sent,omitempty"` // it is on the target, not in the file
}

// index lists a staged snapshot's objects, the manifest last, and keeps what its
// caller is to hear of it.
type index struct {
	Items  []item    `json:"items"`
	Result Result    `json:"result"`
	Since  time.Time `json:"since"` // when its first content was put or found
}

func (x index) done() []bool {
	done := make([]bool, len(x.Items))
	for i, it := range x.Items {
		done[i] = it.Sent
	}
	return done
}

// stage is a snapshot in the making: objects one after another in one file,
// which becomes the pending one by a rename once it is whole and synced.
type stage struct {
	dir   string
	codec *backup.Codec
	f     *os.File
	size  int64
	total int64 // of what was sent, too
	items []item
}

func newStage(dir string, codec *backup.Codec) (*stage, error) {
	f, err := os.OpenFile(filepath.Join(dir, pendingName+".new"), os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("stage: %w", err)
	}
	return &stage{dir: dir, codec: codec, f: f}, nil
}

// add stages an object and returns its hash.
func (s *stage) add(name string, object []byte) (backup.Hash, error) {
	hash := backup.Hash(sha256.Sum256(object))
	if _, err := s.f.WriteAt(object, s.size); err != nil {
		return hash, fmt.Errorf("stage: %w", err)
	}
	s.items = append(s.items, item{Name: name, Offset: s.size, Size: int64(len(object)), SHA256: hash})
	s.size, s.total = s.size+int64(len(object)), s.total+int64(len(object))
	return hash, nil
}

// sent empties the file: all that it has is on the target.
func (s *stage) sent() error {
	for i := range s.items {
		s.items[i].Sent, s.items[i].Offset = true, 0
	}
	s.size = 0
	return s.f.Truncate(0)
}

// discard drops a stage that was not finished.
func (s *stage) discard() {
	if s.f != nil {
		_ = s.f.Close()
		_ = os.Remove(filepath.Join(s.dir, pendingName+".new"))
	}
}

// finish writes record, index and footer, syncs, and gives the file its name.
func (s *stage) finish(rec *record, result Result, since time.Time) (*pending, error) {
	x := index{s.items, result, since}
	tail, err := s.tail(rec, x)
	if err != nil {
		return nil, err
	}
	if _, err := s.f.WriteAt(tail, s.size); err != nil {
		return nil, fmt.Errorf("stage: %w", err)
	}
	if err := s.f.Sync(); err != nil {
		return nil, fmt.Errorf("stage: %w", err)
	}
	path := filepath.Join(s.dir, pendingName)
	if err := errors.Join(os.Rename(path+".new", path), syncDir(s.dir)); err != nil {
		return nil, fmt.Errorf("stage: %w", err)
	}
	p := &pending{path: path, f: s.f, record: rec, index: x, done: x.done()}
	s.f = nil
	return p, nil
}

// tail is record and index, then where they begin.
func (s *stage) tail(rec *record, x index) ([]byte, error) {
	b, err := sealRecord(rec, s.codec)
	if err != nil {
		return nil, err
	}
	plain, err := json.Marshal(x)
	if err != nil {
		return nil, err
	}
	if b, err = appendFrame(b, s.codec, rec.Epoch, rec.Sequence, 0, plain); err != nil {
		return nil, err
	}
	b = binary.BigEndian.AppendUint64(b, uint64(s.size)) //nolint:gosec // a file's size
	return append(b, footerMagic...), nil
}

// pending is a whole staged snapshot that the target has not confirmed.
type pending struct {
	path   string
	f      *os.File
	record *record
	index  index
	done   []bool // uploaded by this process
}

// openPending reads the staged snapshot of a folder, nil if there is none. It
// removes what a crash left half staged.
func openPending(dir string, codec *backup.Codec) (*pending, error) {
	path := filepath.Join(dir, pendingName)
	if err := os.Remove(path + ".new"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	p, err := parsePending(f, codec)
	if err != nil {
		err = errors.Join(fmt.Errorf("read staged snapshot: %w", err), f.Close())
		if unusable(err) {
			err = errors.Join(err, os.Remove(path))
		}
		return nil, err
	}
	p.path, p.f = path, f
	return p, nil
}

func parsePending(f *os.File, codec *backup.Codec) (*pending, error) {
	tail, start, err := readTail(f)
	if err != nil {
		return nil, err
	}
	r := bytes.NewReader(tail)
	rec, _, err := readRecord(r, codec)
	if err != nil {
		return nil, whole(err)
	}
	h, plain, _, err := readFrame(r, codec)
	if err != nil {
		return nil, whole(err)
	}
	p := &pending{record: rec}
	if json.Unmarshal(plain, &p.index) != nil || h.Sequence != rec.Sequence || h.Epoch != rec.Epoch || len(p.index.Items) == 0 {
		return nil, fmt.Errorf("%w: stage: index", backup.ErrFormat)
	}
	for _, it := range p.index.Items {
		if it.Offset < 0 || it.Size < 0 || it.Size > backup.MaxObject || !it.Sent && it.Offset+it.Size > start {
			return nil, fmt.Errorf("%w: stage: index", backup.ErrFormat)
		}
	}
	p.done = p.index.done()
	return p, nil
}

// readTail returns what lies between the objects and the footer, and where the
// objects end.
func readTail(f *os.File) ([]byte, int64, error) {
	st, err := f.Stat()
	if err != nil {
		return nil, 0, err
	}
	footer := make([]byte, footerSize)
	end := st.Size() - footerSize
	if _, err := f.ReadAt(footer, max(end, 0)); err != nil || end < 0 || string(footer[8:]) != footerMagic {
		return nil, 0, fmt.Errorf("%w: stage: footer", backup.ErrFormat)
	}
	start := int64(binary.BigEndian.Uint64(footer)) //nolint:gosec // checked on the next line
	if start < 0 || start > end {
		return nil, 0, fmt.Errorf("%w: stage: footer", backup.ErrFormat)
	}
	tail := make([]byte, end-start)
	_, err = f.ReadAt(tail, start)
	return tail, start, err
}

// whole turns a short read into damage: a staged file is there whole or not.
func whole(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: stage: cut short", backup.ErrFormat)
	}
	return err
}

func (p *pending) reader(i int) *io.SectionReader {
	return io.NewSectionReader(p.f, p.index.Items[i].Offset, p.index.Items[i].Size)
}

// remove drops the staged file. If a crash brings it back, its sequence tells
// that it was confirmed.
func (p *pending) remove() {
	_ = p.f.Close()
	_ = os.Remove(p.path)
}

// left is the size of what is not known to be on the target.
func (p *pending) left() (n int64) {
	for i, it := range p.index.Items {
		if !p.done[i] {
			n += it.Size
		}
	}
	return n
}
