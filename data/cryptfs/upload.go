package cryptfs

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"holdfast/data"
)

// MaxPart is the highest number of a part, as in S3.
const MaxPart = 10000

// CreateUpload begins a file that comes in parts and gives the upload's id. An
// upload lasts until Complete, Abort or SweepUploads.
func (f *Files) CreateUpload(_ context.Context, info data.FileInfo) (string, error) {
	if err := checkName(info.Name); err != nil {
		return "", err
	}
	b, err := json.Marshal(info)
	if err != nil {
		return "", fmt.Errorf("create upload: %w", err)
	}
	id := rand.Text()
	if err := os.Mkdir(f.uploadPath(id), 0o700); err != nil {
		return "", fmt.Errorf("create upload: %w", err)
	}
	if _, err := f.write(f.partPath(id, 0), partInfoOf(id, 0), b); err != nil {
		return "", fmt.Errorf("create upload: %w", errors.Join(err, os.RemoveAll(f.uploadPath(id))))
	}
	return id, syncDir(filepath.Join(f.dir, uploadDir))
}

// UploadsLast is how long an upload that nobody adds to is worth keeping.
const UploadsLast = 24 * time.Hour

// SweepUploads removes the uploads to which no part came since a time, and tells
// how many.
func (f *Files) SweepUploads(ctx context.Context, since time.Time) (removed int, err error) {
	entries, err := os.ReadDir(filepath.Join(f.dir, uploadDir))
	if err != nil {
		return 0, fmt.Errorf("sweep uploads: %w", err)
	}
	for _, e := range entries {
		st, err := e.Info() // a folder's time is that of its last new part
		if errors.Is(err, fs.ErrNotExist) || err == nil && !st.ModTime().Before(since) {
			continue
		}
		if err == nil {
			err = f.Abort(ctx, e.Name())
		}
		if err != nil && !errors.Is(err, data.ErrNotFound) {
			return removed, fmt.Errorf("sweep uploads: %w", err)
		}
		removed++
	}
	return removed, ctx.Err()
}

// PutPart stores a part, numbered from 1 to MaxPart, in place of what had that
// number, and gives its etag. It answers data.ErrNotFound for an unknown upload.
func (f *Files) PutPart(ctx context.Context, id string, number int, r io.Reader) (string, error) {
	if number < 1 || number > MaxPart {
		return "", fmt.Errorf("put part: number %d is not from 1 to %d", number, MaxPart)
	}
	if err := f.checkUpload(id); err != nil {
		return "", fmt.Errorf("put part: %w", err)
	}
	info, err := f.store(ctx, f.partPath(id, number), partInfoOf(id, number), r)
	if err != nil {
		return "", fmt.Errorf("put part: %w", err)
	}
	return info.ETag, nil
}

// Complete makes the file of the parts named, in that order, and ends the
// upload. It answers data.ErrNotFound for an unknown upload or part.
func (f *Files) Complete(ctx context.Context, id string, parts []int) (data.FileInfo, error) {
	var info data.FileInfo
	if err := f.checkUpload(id); err != nil {
		return info, fmt.Errorf("complete upload: %w", err)
	}
	first, err := f.openSealed(f.partPath(id, 0), partInfoOf(id, 0).Name)
	if err != nil {
		return info, fmt.Errorf("complete upload: %w", err)
	}
	defer first.Close()
	if err := json.NewDecoder(first).Decode(&info); err != nil {
		return info, fmt.Errorf("complete upload: %w", err)
	}
	r := &partsReader{f: f, id: id, parts: parts}
	defer r.close()
	info, err = f.Put(ctx, info, r)
	if err != nil {
		return info, fmt.Errorf("complete upload: %w", err)
	}
	return info, f.Abort(ctx, id)
}

// Abort ends an upload and removes its parts.
func (f *Files) Abort(_ context.Context, id string) error {
	if err := f.checkUpload(id); err != nil {
		return fmt.Errorf("abort upload: %w", err)
	}
	if err := os.RemoveAll(f.uploadPath(id)); err != nil {
		return fmt.Errorf("abort upload: %w", err)
	}
	return nil
}

// checkUpload keeps an id from being anything else than one that CreateUpload gave.
func (f *Files) checkUpload(id string) error {
	if id == "" || id != filepath.Base(id) || id == "." || id == ".." || !exists(f.uploadPath(id)) {
		return data.ErrNotFound
	}
	return nil
}

func (f *Files) uploadPath(id string) string { return filepath.Join(f.dir, uploadDir, id) }

func (f *Files) partPath(id string, number int) string {
	return filepath.Join(f.uploadPath(id), strconv.Itoa(number))
}

// partInfoOf names a part within its upload, which its sealing binds.
func partInfoOf(id string, number int) data.FileInfo {
	return data.FileInfo{Name: uploadDir + "/" + id + "/" + strconv.Itoa(number)}
}

// partsReader reads parts one after the other, with one open at a time.
type partsReader struct {
	f     *Files
	id    string
	parts []int
	open  *fileReader
}

func (r *partsReader) Read(p []byte) (int, error) {
	for {
		if r.open == nil {
			if err := r.next(); err != nil {
				return 0, err
			}
		}
		n, err := r.open.Read(p)
		if err != io.EOF {
			return n, err
		}
		if err := r.open.Close(); err != nil {
			return 0, err
		}
		r.open = nil
	}
}

func (r *partsReader) next() error {
	if len(r.parts) == 0 {
		return io.EOF
	}
	number := r.parts[0]
	if number < 1 {
		return data.ErrNotFound
	}
	open, err := r.f.openSealed(r.f.partPath(r.id, number), partInfoOf(r.id, number).Name)
	if err != nil {
		return err
	}
	r.open, r.parts = open, r.parts[1:]
	return nil
}

func (r *partsReader) close() {
	if r.open != nil {
		r.open.Close()
	}
}
