package cryptfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"holdfast/data"
)

// Scrub authenticates every file from its first byte to its last, while others
// use them. Files but for our own and the parts of uploads are also passed to
// check; what that says against one is a finding. It goes on after a finding and
// takes a quarter of the time that passes. check may be nil.
func (f *Files) Scrub(ctx context.Context, check func(data.FileInfo) error, report func(Progress)) error {
	var p Progress
	err := f.eachSealed(ctx, func(sealedFile) error { p.Total++; return nil })
	if err != nil {
		return fmt.Errorf("scrub files: %w", err)
	}
	err = f.eachSealed(ctx, func(s sealedFile) error {
		began := time.Now()
		compared, err := f.scrubFile(ctx, s, check)
		if err := ctx.Err(); err != nil {
			return err
		}
		if err != nil {
			found := p
			found.Finding = &Finding{File: s.path, Reason: err.Error()}
			report(found)
		}
		if p.Done++; compared {
			p.Compared++
		}
		p.Total = max(p.Total, p.Done)
		report(p)
		return pause(ctx, rest*time.Since(began))
	})
	if err != nil {
		return fmt.Errorf("scrub files: %w", err)
	}
	return nil
}

// scrubFile tells what is wrong with a file.
func (f *Files) scrubFile(ctx context.Context, s sealedFile, check func(data.FileInfo) error) (compared bool, err error) {
	if s.err != nil {
		return false, s.err
	}
	file, err := os.Open(s.path)
	if err != nil {
		return false, ignoreMissing(err)
	}
	defer file.Close()
	p, info, aead, err := f.readInfo(file)
	if err != nil {
		return false, fileError(err, s.path, -1)
	}
	r := &fileReader{f: file, path: s.path, info: info, aead: aead, body: p.body()}
	defer r.Close()
	if _, err := io.Copy(io.Discard, contextReader{ctx, r}); err != nil {
		return false, err
	}
	if !f.isStored(s.path) {
		return false, nil
	}
	if f.path(info.Name) != s.path {
		return false, &FileError{Path: s.path, Chunk: -1, Reason: errMoved.Error()}
	}
	if check == nil {
		return false, nil
	}
	if err := check(info); err != nil && f.isStill(s.path, p) {
		return true, fmt.Errorf("%w: %w", errDiffers, err)
	}
	return true, nil
}

// isStored says whether a path is of a stored file, not of the name key or of a
// part of an upload.
func (f *Files) isStored(path string) bool {
	rel, err := filepath.Rel(f.dir, path)
	return err == nil && rel != nameKeyFile && !strings.HasPrefix(rel, uploadDir+string(filepath.Separator))
}

// isStill says that a file was not replaced or deleted since it was read.
func (f *Files) isStill(path string, was prefix) bool {
	now, err := readPrefix(path)
	return err == nil && now == was || err != nil && !errors.Is(err, os.ErrNotExist)
}
