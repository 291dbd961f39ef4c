package store

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"sync"

	"holdfast/data"
	"holdfast/data/cryptfs"
)

// tree is a store's sealed files. It outlives the open store: PocketBase deletes
// the files of a deleted record behind the request's back, and an eviction must
// not cut that short.
type tree struct {
	once  sync.Once
	files *cryptfs.Files
	err   error
}

// filesOf opens a store's files on first use.
func (p *Pool) filesOf(id data.StoreID) (*cryptfs.Files, error) {
	p.mu.Lock()
	t := p.trees[id]
	if t == nil {
		t = &tree{}
		p.trees[id] = t
	}
	p.mu.Unlock()
	t.once.Do(func() { t.files, t.err = openFiles(p.config, id, p.path(id)) })
	if t.err != nil {
		p.forgetFiles(id) // the next caller tries again
		return nil, fmt.Errorf("files of %s: %w", id, t.err)
	}
	return t.files, nil
}

func openFiles(c Config, id data.StoreID, dir string) (*cryptfs.Files, error) {
	if !exists(dir) {
		return nil, data.ErrNotFound
	}
	return cryptfs.OpenFiles(filepath.Join(dir, filesDir), id.String(), c.Keys.Files(id))
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

func (l *lazyFiles) tree() (*cryptfs.Files, error) { return l.s.pool.filesOf(l.s.id) }

func (l *lazyFiles) List(ctx context.Context, prefix, after string, limit int) ([]data.FileInfo, error) {
	f, err := l.tree()
	if err != nil {
		return nil, err
	}
	return f.List(ctx, prefix, after, limit)
}

func (l *lazyFiles) Open(ctx context.Context, name string) (io.ReadSeekCloser, data.FileInfo, error) {
	f, err := l.tree()
	if err != nil {
		return nil, data.FileInfo{}, err
	}
	return f.Open(ctx, name)
}

func (l *lazyFiles) Put(ctx context.Context, info data.FileInfo, r io.Reader) (data.FileInfo, error) {
	f, err := l.tree()
	if err != nil {
		return info, err
	}
	return f.Put(ctx, info, r)
}

func (l *lazyFiles) Delete(ctx context.Context, name string) error {
	f, err := l.tree()
	if err != nil {
		return err
	}
	return f.Delete(ctx, name)
}
