package cryptfs

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"holdfast/data"
)

// Files is a folder of sealed files. Neither names nor contents can be read
// without the keys; sizes (to within the padding) and times can. It is safe for
// concurrent use; one Files owns a folder at a time.
type Files struct {
	dir      string
	identity string
	keys     data.KeySource // purpose "files"
	nameKey  []byte

	tree    sync.Mutex // held while a file enters or leaves its folder
	touched touched
}

var _ data.FileTree = (*Files)(nil)

// Format hides the name key from every verb of package fmt.
func (f *Files) Format(s fmt.State, _ rune) { _, _ = fmt.Fprint(s, "sealed files of ", f.identity) }

// FileError tells which file did not authenticate, and where. It wraps
// data.ErrTampered.
type FileError struct {
	Path   string // on disk
	Chunk  int64  // of 64 KiB, from 0; -1 for what stands before the first
	Reason string
}

// Error names file, chunk and reason.
func (e *FileError) Error() string {
	if e.Chunk < 0 {
		return fmt.Sprintf("%s: header: %s: %v", e.Path, e.Reason, data.ErrTampered)
	}
	return fmt.Sprintf("%s: chunk %d: %s: %v", e.Path, e.Chunk, e.Reason, data.ErrTampered)
}

// Unwrap gives data.ErrTampered.
func (e *FileError) Unwrap() error { return data.ErrTampered }

const (
	tempDir   = "tmp"
	uploadDir = "uploads"
)

var emptyETag = strings.Repeat("0", 32)

// OpenFiles opens the folder, made when missing, and removes what was left of
// writes that a crash cut short; uploads in parts stay. Identity is bound into
// every file.
func OpenFiles(dir, identity string, keys data.KeySource) (*Files, error) {
	if identity == "" || keys == nil {
		return nil, fmt.Errorf("open files %s: no identity or no keys", dir)
	}
	f := &Files{dir: dir, identity: identity, keys: keys}
	if err := os.RemoveAll(filepath.Join(dir, tempDir)); err != nil {
		return nil, fmt.Errorf("open files: %w", err)
	}
	for _, d := range []string{tempDir, uploadDir} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o700); err != nil {
			return nil, fmt.Errorf("open files: %w", err)
		}
	}
	if err := f.loadNameKey(); err != nil {
		return nil, fmt.Errorf("open files: %w", err)
	}
	return f, nil
}

// Open answers data.ErrNotFound where there is no such file, and a *FileError
// from here or from Read where it was changed.
func (f *Files) Open(_ context.Context, name string) (io.ReadSeekCloser, data.FileInfo, error) {
	if err := checkName(name); err != nil {
		return nil, data.FileInfo{}, err
	}
	r, err := f.openSealed(f.path(name), name)
	if err != nil {
		return nil, data.FileInfo{}, fmt.Errorf("open file: %w", err)
	}
	return r, r.info, nil
}

// Stat is the info of a file.
func (f *Files) Stat(ctx context.Context, name string) (data.FileInfo, error) {
	r, info, err := f.Open(ctx, name)
	if err != nil {
		return info, err
	}
	return info, r.Close()
}

// Put stores r under info.Name, in place of what was there, and is on disk when
// it returns. A size that is given must be that of r; an etag and a time that
// are missing are filled in.
func (f *Files) Put(ctx context.Context, info data.FileInfo, r io.Reader) (data.FileInfo, error) {
	if err := checkName(info.Name); err != nil {
		return info, err
	}
	defer f.touched.add(info.Name)
	info, err := f.store(ctx, f.path(info.Name), info, r)
	if err != nil {
		return info, fmt.Errorf("put file: %w", err)
	}
	return info, nil
}

// write stores a few bytes.
func (f *Files) write(path string, info data.FileInfo, content []byte) (data.FileInfo, error) {
	return f.store(context.Background(), path, info, bytes.NewReader(content))
}

// store writes a temporary file, syncs it and moves it to its place.
func (f *Files) store(ctx context.Context, path string, info data.FileInfo, r io.Reader) (data.FileInfo, error) {
	temp, err := f.newTemp()
	if err != nil {
		return info, err
	}
	defer os.Remove(temp.Name()) // fails once it has moved
	info, err = f.fill(ctx, temp, info, r)
	if err == nil {
		err = temp.Sync()
	}
	if err = errors.Join(err, temp.Close()); err != nil {
		return info, err
	}
	return info, f.settle(ctx, temp.Name(), path)
}

func (f *Files) newTemp() (*os.File, error) {
	return os.OpenFile(filepath.Join(f.dir, tempDir, rand.Text()), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
}

// fill writes the content, then what could be known only then.
func (f *Files) fill(ctx context.Context, w *os.File, info data.FileInfo, r io.Reader) (data.FileInfo, error) {
	if info.Modified.IsZero() {
		info.Modified = time.Now()
	}
	info.Modified = info.Modified.UTC().Round(0) // as it will be read
	p, aead, err := f.newPrefix(info)
	if err != nil {
		return info, err
	}
	sum, cw := sha256.New(), newChunkWriter(io.NewOffsetWriter(w, p.body()), aead)
	n, err := io.Copy(io.MultiWriter(cw, sum), contextReader{ctx, r})
	if err = errors.Join(err, cw.Close()); err != nil {
		return info, err
	}
	if info.Size != 0 && info.Size != n {
		return info, fmt.Errorf("%d bytes of %d: %w", n, info.Size, io.ErrUnexpectedEOF)
	}
	if info.Size = n; info.ETag == "" {
		info.ETag = hex.EncodeToString(sum.Sum(nil)[:16])
	}
	sealed, err := sealInfo(aead, p, info)
	if err != nil {
		return info, err
	}
	_, err = w.WriteAt(append(p.format(), sealed...), 0)
	return info, err
}

// enter moves a file to its place and syncs the folders that changed.
func (f *Files) enter(temp, path string) error {
	f.tree.Lock()
	err := f.isCurrent(temp)
	var made []string
	if err == nil {
		made, err = f.makeDir(filepath.Dir(path))
	}
	if err == nil {
		err = os.Rename(temp, path)
	}
	f.tree.Unlock()
	if err != nil {
		return err
	}
	return syncDirs(append(made, filepath.Dir(path)))
}

// makeDir gives the folders that have a new folder in them.
func (f *Files) makeDir(dir string) (changed []string, err error) {
	if dir == f.dir {
		return nil, nil
	}
	if _, err := os.Stat(dir); err == nil {
		return nil, nil
	}
	above := filepath.Dir(dir)
	if changed, err = f.makeDir(above); err != nil {
		return nil, err
	}
	return append(changed, above), os.Mkdir(dir, 0o700)
}

func syncDirs(dirs []string) error {
	for _, dir := range dirs {
		if err := syncDir(dir); err != nil && !errors.Is(err, fs.ErrNotExist) { // removed again meanwhile
			return err
		}
	}
	return nil
}

// Delete answers data.ErrNotFound where there is no such file.
func (f *Files) Delete(_ context.Context, name string) error {
	if err := checkName(name); err != nil {
		return err
	}
	path := f.path(name)
	defer f.touched.add(name)
	if err := f.remove(path); err != nil {
		return fmt.Errorf("delete file: %w", err)
	}
	return syncDirs([]string{filepath.Dir(path), filepath.Dir(filepath.Dir(path))})
}

// remove takes a file away, and the folders that are empty then.
func (f *Files) remove(path string) error {
	f.tree.Lock()
	defer f.tree.Unlock()
	if err := os.Remove(path); err != nil {
		return found(err)
	}
	for dir := filepath.Dir(path); dir != f.dir; dir = filepath.Dir(dir) {
		if os.Remove(dir) != nil { // not empty
			break
		}
	}
	return nil
}

// found gives data.ErrNotFound for a file that is not there.
func found(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return data.ErrNotFound
	}
	return err
}

// contextReader ends with its context.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (r contextReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}
