package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"sync"

	"holdfast/data"
	"holdfast/data/cryptfs"
)

// tree is a store's sealed files. It outlives the open store: PocketBase deletes
// the files of a deleted record behind the request's back, and an eviction must
// not cut that short.
type tree struct {
	id    data.StoreID // that the files are bound to
	dir   string
	keys  Keys
	once  sync.Once
	files *cryptfs.Files
	err   error

	// Of sweepFiles, the one clock's alone.
	swept    string          // the last file that it looked at
	suspects map[string]bool // files that no record named when it came by before

	mu       sync.Mutex
	failures int64
	failure  error // the last
}

// treeOf opens a store's files on first use.
func (p *Pool) treeOf(id data.StoreID) (*tree, error) {
	p.mu.Lock()
	t := p.trees[id]
	if t == nil {
		t = &tree{id: id, dir: p.path(id), keys: p.config.Keys}
		p.trees[id] = t
	}
	p.mu.Unlock()
	t.once.Do(func() { t.files, t.err = openFiles(t.keys, t.id, t.dir) })
	if t.err != nil {
		p.forgetFiles(id) // the next caller tries again
		return nil, fmt.Errorf("files of %s: %w", id, t.err)
	}
	return t, nil
}

// seatOf gives a store that is not in its place (one that is being installed,
// looked at or replaced) files of its own: PocketBase deletes a record's files, and
// must not find those of the living store of the same id.
func (p *Pool) seatOf(id data.StoreID, dir string, keys Keys) data.StoreID {
	if dir == p.path(id) {
		return id
	}
	seat := data.StoreID{Tenant: "scratch-" + randomID(), Environment: id.Environment}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.trees[seat] = &tree{id: id, dir: dir, keys: keys}
	return seat
}

// filesOf is treeOf for who wants the files alone.
func (p *Pool) filesOf(id data.StoreID) (*cryptfs.Files, error) {
	t, err := p.treeOf(id)
	if err != nil {
		return nil, err
	}
	return t.files, nil
}

// answer is a file host's answer. What went wrong with the disk is kept, for
// PocketBase makes "bad request" of it (see faultless).
func (t *tree) answer(r *http.Request) *http.Response {
	res, err := bucket{t.files}.answer(r)
	if err != nil && !ordinary(err) {
		t.mu.Lock()
		t.failures, t.failure = t.failures+1, err
		t.mu.Unlock()
	}
	return res
}

// ordinary says that an error is about what was asked, not about the disk.
func ordinary(err error) bool {
	for _, e := range []error{data.ErrNotFound, errRange, errS3Unsupported, context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// failed is what went wrong under a store so far: how often, and what last.
type failed struct {
	pages, files int64
	page, file   error
}

func (s *Store) failed() (f failed) {
	f.pages, f.page = s.disk.Failures()
	s.pool.mu.Lock()
	t := s.pool.trees[s.seat]
	s.pool.mu.Unlock()
	if t == nil {
		return f
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	f.files, f.file = t.failures, t.failure
	return f
}

// since gives what went wrong since an earlier look, or nil.
func (f failed) since(before failed) error {
	switch {
	case f.pages != before.pages:
		return f.page
	case f.files != before.files:
		return f.file
	}
	return nil
}

func openFiles(keys Keys, id data.StoreID, dir string) (*cryptfs.Files, error) {
	if !exists(dir) {
		return nil, data.ErrNotFound
	}
	return cryptfs.OpenFiles(filepath.Join(dir, filesDir), id.String(), keys.Files(id))
}

func (p *Pool) forgetFiles(id data.StoreID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.trees, id)
}

// Files are the store's files, in clear.
func (s *Store) Files() data.FileTree { return &lazyFiles{s} }

// lazyFiles opens the tree when it is used, so that the error comes where the
// caller expects one.
type lazyFiles struct{ s *Store }

var _ data.FileTree = (*lazyFiles)(nil)

func (l *lazyFiles) tree() (*cryptfs.Files, error) { return l.s.pool.filesOf(l.s.seat) }

// treeFor is tree for who may have the files.
func (l *lazyFiles) treeFor(ctx context.Context, need Level, what, name string) (*cryptfs.Files, error) {
	if err := l.s.admitted(ctx, need, Use{What: what, Name: name}); err != nil {
		return nil, err
	}
	return l.tree()
}

func (l *lazyFiles) List(ctx context.Context, prefix, after string, limit int) ([]data.FileInfo, error) {
	f, err := l.treeFor(ctx, See, "list files", prefix)
	if err != nil {
		return nil, err
	}
	return f.List(ctx, prefix, after, limit)
}

// Touched lets who follows the tree do without listing it: see cryptfs.
func (l *lazyFiles) Touched(since string) (names []string, mark string, known bool) {
	f, err := l.tree()
	if err != nil {
		return nil, "", false
	}
	return f.Touched(since)
}

func (l *lazyFiles) Open(ctx context.Context, name string) (io.ReadSeekCloser, data.FileInfo, error) {
	f, err := l.treeFor(ctx, See, "read file", name)
	if err != nil {
		return nil, data.FileInfo{}, err
	}
	return f.Open(ctx, name)
}

func (l *lazyFiles) Put(ctx context.Context, info data.FileInfo, r io.Reader) (data.FileInfo, error) {
	f, err := l.treeFor(ctx, Change, "write file", info.Name)
	if err != nil {
		return info, err
	}
	return f.Put(ctx, info, r)
}

func (l *lazyFiles) Delete(ctx context.Context, name string) error {
	f, err := l.treeFor(ctx, Change, "delete file", name)
	if err != nil {
		return err
	}
	return f.Delete(ctx, name)
}
