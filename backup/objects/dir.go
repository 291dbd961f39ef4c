package objects

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"holdfast/backup"
	"holdfast/data"
)

// tempPrefix marks objects that are being written. No object may begin so.
const tempPrefix = ".put-"

var _ backup.ObjectStore = (*Dir)(nil)

// Dir is an object store in a folder: one file for each object.
type Dir struct{ root string }

// NewDir returns the store in the folder path, which must be absolute. Without
// that folder every use answers ErrNoBucket; Prepare makes it.
func NewDir(path string) *Dir { return &Dir{root: filepath.Clean(path)} }

// there answers ErrNoBucket when the store's folder is not.
func (d *Dir) there() error {
	st, err := os.Stat(d.root)
	if err == nil && !st.IsDir() || errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: there is no folder %s", ErrNoBucket, d.root)
	}
	return err
}

func (d *Dir) path(name string) string { return filepath.Join(d.root, filepath.FromSlash(name)) }

// Put is backup.ObjectStore's. The file appears under its name by a link (which
// fails on a taken name) or a rename, after it was synced.
func (d *Dir) Put(ctx context.Context, name string, body io.Reader, size int64, o backup.PutOptions) error {
	if err := checkName(name); err != nil {
		return err
	}
	if o.Lock.Mode != "" {
		return fmt.Errorf("put %s: %w", name, backup.ErrNoLock)
	}
	if err := d.there(); err != nil {
		return fmt.Errorf("put %s: %w", name, err)
	}
	final := d.path(name)
	if err := d.makeFolders(filepath.Dir(final)); err != nil {
		return fmt.Errorf("put %s: %w", name, err)
	}
	temp, err := writeTemp(ctx, filepath.Dir(final), body, size)
	if temp != "" {
		defer os.Remove(temp) //nolint:errcheck // gone after a rename
	}
	if err != nil {
		return fmt.Errorf("put %s: %w", name, err)
	}
	if err := publish(temp, final, o); err != nil {
		return fmt.Errorf("put %s: %w", name, err)
	}
	return syncDir(filepath.Dir(final))
}

func publish(temp, final string, o backup.PutOptions) error {
	if !o.IfNoneMatch {
		return os.Rename(temp, final)
	}
	err := os.Link(temp, final)
	if errors.Is(err, fs.ErrExist) {
		return data.ErrExists
	}
	return err
}

func writeTemp(ctx context.Context, dir string, body io.Reader, size int64) (string, error) {
	f, err := os.CreateTemp(dir, tempPrefix)
	if err != nil {
		return "", err
	}
	n, err := io.Copy(f, &contextReader{ctx, io.LimitReader(body, size+1)})
	if err == nil && n != size {
		err = fmt.Errorf("body is not of %d bytes", size)
	}
	if err == nil {
		err = f.Sync()
	}
	return f.Name(), errors.Join(err, f.Close())
}

// makeFolders makes the folders above an object and syncs each new one's
// parent, so that a power cut cannot take the object with its folder.
func (d *Dir) makeFolders(dir string) error {
	if _, err := os.Stat(dir); err == nil || dir == d.root {
		return err
	}
	if err := d.makeFolders(filepath.Dir(dir)); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncDir(filepath.Dir(dir))
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// Get is backup.ObjectStore's.
func (d *Dir) Get(ctx context.Context, name string) (io.ReadCloser, error) {
	if _, err := d.Stat(ctx, name); err != nil {
		return nil, err
	}
	f, err := os.Open(d.path(name))
	if err != nil {
		return nil, d.mapError("get", name, err)
	}
	return f, nil
}

// Stat is backup.ObjectStore's.
func (d *Dir) Stat(ctx context.Context, name string) (backup.Info, error) {
	if err := errors.Join(checkName(name), ctx.Err()); err != nil {
		return backup.Info{}, err
	}
	st, err := os.Stat(d.path(name))
	if err == nil && !st.Mode().IsRegular() {
		err = fs.ErrNotExist
	}
	if err != nil {
		return backup.Info{}, d.mapError("stat", name, err)
	}
	return backup.Info{Name: name, Size: st.Size(), Modified: st.ModTime()}, nil
}

func (d *Dir) mapError(verb, name string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		err = data.ErrNotFound
		if gone := d.there(); gone != nil {
			err = gone
		}
	}
	return fmt.Errorf("%s %s: %w", verb, name, err)
}

// Delete is backup.ObjectStore's. Folders that it empties stay.
func (d *Dir) Delete(ctx context.Context, name string) error {
	if err := errors.Join(checkName(name), ctx.Err()); err != nil {
		return err
	}
	err := os.Remove(d.path(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// List is backup.ObjectStore's.
func (d *Dir) List(ctx context.Context, prefix, after string, limit int) ([]backup.Info, error) {
	if err := d.there(); err != nil {
		return nil, fmt.Errorf("list %s: %w", prefix, err)
	}
	l := &lister{ctx: ctx, prefix: prefix, after: after, limit: limit}
	if err := l.walk(d.root, ""); err != nil {
		return nil, fmt.Errorf("list %s: %w", prefix, err)
	}
	return l.found, nil
}

// lister walks folders in the byte order of whole names, which is not the order
// of a plain walk: "a-b" sorts before "a/b".
type lister struct {
	ctx           context.Context
	prefix, after string
	limit         int
	found         []backup.Info
}

func (l *lister) walk(dir, base string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(sortName(a), sortName(b)) })
	for _, e := range entries {
		if len(l.found) >= l.limit {
			return nil
		}
		if err := errors.Join(l.ctx.Err(), l.visit(dir, base+sortName(e), e)); err != nil {
			return err
		}
	}
	return nil
}

func sortName(e fs.DirEntry) string {
	if e.IsDir() {
		return e.Name() + "/"
	}
	return e.Name()
}

func (l *lister) visit(dir, name string, e fs.DirEntry) error {
	if e.IsDir() {
		if !l.mayHold(name) {
			return nil
		}
		return l.walk(filepath.Join(dir, e.Name()), name)
	}
	if name <= l.after || !strings.HasPrefix(name, l.prefix) || strings.HasPrefix(e.Name(), tempPrefix) {
		return nil
	}
	info, err := e.Info()
	if errors.Is(err, fs.ErrNotExist) {
		return nil // deleted meanwhile
	}
	if err == nil {
		l.found = append(l.found, backup.Info{Name: name, Size: info.Size(), Modified: info.ModTime()})
	}
	return err
}

// mayHold reports whether names below folder (which ends in "/") can be listed.
func (l *lister) mayHold(folder string) bool {
	if !strings.HasPrefix(folder, l.prefix) && !strings.HasPrefix(l.prefix, folder) {
		return false
	}
	return folder > l.after || strings.HasPrefix(l.after, folder)
}

// contextReader ends a copy when its context ends.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c *contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}
