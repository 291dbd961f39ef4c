package vault

import (
	"bytes"
	"cmp"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"holdfast/data"
)

// Between a close and the next open nobody writes the folder, so a sum of each
// file, sealed, tells of any changed bit: also of those that badger's own
// checksums leave out. A process that was killed leaves no sums.
const (
	sumsFile  = "SUMS"
	sumsChunk = 1 << 20
	// sumsLimit bounds what is read at a start; the largest files beyond it
	// (tables and logs, which have checksums) are left out.
	sumsLimit = 256 << 20
)

// sumsName is what the sums are sealed as: no value has this key.
var sumsName = []byte("\x00sums")

// errSums says that the sums themselves cannot be read, by damage or by another key.
var errSums = fmt.Errorf("%s cannot be read: %w", sumsFile, data.ErrTampered)

// sums is the content of SUMS. Tags are AES-256-GCM's of each chunk as associated data
// under Key; the nonce is the file's place in the list and the chunk's number.
type sums struct {
	Key   []byte    `json:"key"`
	Files []fileSum `json:"files"`
}

type fileSum struct {
	Name string `json:"name"`
	Size int64  `json:"size"`
	Tags []byte `json:"tags"`
}

// writeSums is the last thing of a close that went well.
func (s *sealer) writeSums(dir string) error {
	files, err := listSummed(dir)
	if err != nil {
		return err
	}
	out := sums{Key: make([]byte, 32), Files: files}
	_, _ = rand.Read(out.Key)
	aead := newAEAD(out.Key)
	for i := range out.Files {
		if out.Files[i].Tags, err = tags(dir, out.Files[i].Name, aead, i); err != nil {
			return err
		}
	}
	plain, err := json.Marshal(out)
	if err != nil {
		return err
	}
	sealed, err := s.seal(sumsName, plain, 0)
	if errors.Is(err, data.ErrSealed) {
		return nil // as after a kill
	}
	if err != nil {
		return err
	}
	return writeDurably(filepath.Join(dir, sumsFile), sealed)
}

// listSummed gives the folder's files, small ones first, up to the limit.
func listSummed(dir string) (files []fileSum, err error) {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		info, ierr := e.Info()
		if ierr != nil {
			return nil, ierr
		}
		if info.Mode().IsRegular() && !strings.HasPrefix(e.Name(), sumsFile) && e.Name() != "LOCK" {
			files = append(files, fileSum{Name: e.Name(), Size: info.Size()})
		}
	}
	slices.SortFunc(files, func(a, b fileSum) int { return cmp.Compare(a.Size, b.Size) })
	total := int64(0)
	for i, f := range files {
		if total += f.Size; total > sumsLimit {
			return files[:i], err
		}
	}
	return files, err
}

// checkSums compares the folder with its sums, if there are any. Sums under a
// generation of the key that is gone say nothing.
func (s *sealer) checkSums(dir string) error {
	sealed, err := os.ReadFile(filepath.Join(dir, sumsFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	want, err := s.parseSums(sealed)
	if errors.Is(err, data.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	aead := newAEAD(want.Key)
	for i, f := range want.Files {
		got, err := tags(dir, f.Name, aead, i)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if !bytes.Equal(got, f.Tags) {
			return fmt.Errorf("%s is not as it was left: %w", f.Name, data.ErrTampered)
		}
	}
	return nil
}

func (s *sealer) parseSums(sealed []byte) (sums, error) {
	var out sums
	plain, err := s.open(sumsName, sealed, 0)
	if errors.Is(err, data.ErrTampered) {
		return out, errSums
	}
	if err == nil {
		err = json.Unmarshal(plain, &out)
	}
	if err == nil && len(out.Key) != 32 {
		err = errSums
	}
	return out, err
}

// dropSums must be durable before badger writes: sums of an earlier state would
// be taken for damage.
func dropSums(dir string) error {
	err := os.Remove(filepath.Join(dir, sumsFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return syncDir(dir)
}

// tags reads one file; a file has at least one chunk, and its length is in the last.
func tags(dir, name string, aead cipher.AEAD, file int) (out []byte, err error) {
	f, err := os.Open(filepath.Join(dir, filepath.Base(name)))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	chunk, nonce := make([]byte, sumsChunk), make([]byte, aead.NonceSize())
	binary.BigEndian.PutUint32(nonce, uint32(file)) //nolint:gosec // few
	for n := uint64(0); ; n++ {
		got, err := io.ReadFull(f, chunk)
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			return nil, err
		}
		binary.BigEndian.PutUint64(nonce[4:], n)
		out = aead.Seal(out, nonce, nil, chunk[:got])
		if err != nil {
			return out, nil
		}
	}
}

func writeDurably(path string, b []byte) error {
	f, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(path+".new", path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
