package cryptfs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"holdfast/data"
)

// errEnough ends a walk early.
var errEnough = errors.New("enough")

// List gives files in the order of their names on disk, which is stable but not
// alphabetical.
func (f *Files) List(ctx context.Context, prefix, after string, limit int) ([]data.FileInfo, error) {
	var list []data.FileInfo
	err := f.walk(ctx, prefix, after, func(_ string, info data.FileInfo) error {
		if len(list) == limit {
			return errEnough
		}
		list = append(list, info)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list files: %w", err)
	}
	return list, nil
}

// DeletePrefix deletes all files whose names begin with prefix.
func (f *Files) DeletePrefix(ctx context.Context, prefix string) error {
	folders := map[string]bool{}
	err := f.walk(ctx, prefix, "", func(path string, info data.FileInfo) error {
		defer f.touched.add(info.Name)
		folders[filepath.Dir(path)], folders[filepath.Dir(filepath.Dir(path))] = true, true
		err := f.remove(path)
		if errors.Is(err, data.ErrNotFound) {
			return nil
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("delete files: %w", err)
	}
	for folder := range folders {
		if err := syncDirs([]string{folder}); err != nil {
			return fmt.Errorf("delete files: %w", err)
		}
	}
	return nil
}

// walk calls fn for each file, in order.
func (f *Files) walk(ctx context.Context, prefix, after string, fn func(path string, info data.FileInfo) error) error {
	w := walker{f: f, ctx: ctx, prefix: prefix, fn: fn}
	if after != "" {
		w.after = f.path(after)
	}
	root, known := f.folder(prefix)
	if known && !exists(root) {
		return nil
	}
	if err := w.dir(root); !errors.Is(err, errEnough) {
		return err
	}
	return nil
}

// folder is the deepest folder that holds all files of a prefix, and whether it
// is another than the root.
func (f *Files) folder(prefix string) (string, bool) {
	parts := strings.Split(prefix, "/")
	path := f.dir
	for i := 1; i < len(parts) && i <= 2; i++ {
		path = filepath.Join(path, f.mac("folder", strings.Join(parts[:i], "/")))
	}
	return path, path != f.dir
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

type walker struct {
	f      *Files
	ctx    context.Context
	prefix string
	after  string // a path; "" from the start
	fn     func(path string, info data.FileInfo) error
}

// dir walks a folder; os.ReadDir sorts it.
func (w walker) dir(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) { // removed meanwhile
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := w.entry(filepath.Join(dir, e.Name()), e); err != nil {
			return err
		}
	}
	return nil
}

func (w walker) entry(path string, e fs.DirEntry) error {
	if err := w.ctx.Err(); err != nil {
		return err
	}
	switch {
	case len(e.Name()) != macLength: // ours, not a stored file
		return nil
	case e.IsDir() && (path >= w.after || strings.HasPrefix(w.after, path)):
		return w.dir(path)
	case e.IsDir() || path <= w.after:
		return nil
	}
	return w.file(path)
}

func (w walker) file(path string) error {
	info, err := w.f.infoAt(path)
	if errors.Is(err, data.ErrNotFound) {
		return nil
	}
	if err != nil || !strings.HasPrefix(info.Name, w.prefix) {
		return err
	}
	return w.fn(path, info)
}

// infoAt reads the info of the file at a path, and sees that it lies where its
// name belongs.
func (f *Files) infoAt(path string) (data.FileInfo, error) {
	file, err := os.Open(path)
	if err != nil {
		return data.FileInfo{}, found(err)
	}
	defer file.Close()
	_, info, _, err := f.readInfo(file)
	if err == nil && f.path(info.Name) != path {
		err = errMoved
	}
	return info, fileError(err, path, -1)
}
