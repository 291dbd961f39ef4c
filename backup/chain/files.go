package chain

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"holdfast/backup"
	"holdfast/backup/read"
	"holdfast/data"
)

// errUnsettled means that a file which the pages may refer to vanished before it
// was read; taken again, the pages no longer refer to it.
var errUnsettled = errors.New("files changed while they were read")

const (
	listing   = 1000 // files asked for at once
	uploading = 4    // requests under way at the same time
)

// follower is a file tree that remembers which of its files were touched: with it
// a ship costs what changed, and the pairing of pages and files is exact. Without,
// all files are listed, and one that is written after the first listing and
// deleted before the second escapes.
type follower interface {
	Touched(since string) (names []string, mark string, known bool)
}

// fileScan pairs files with pages. A store writes a file before the record that
// refers to it commits, and deletes it after the record is gone. So what the
// pages refer to was there when they were read: it was there before, or comes to
// be there meanwhile. The union of both is kept; a file that is gone by then
// leaves the tree with the next snapshot.
type fileScan struct {
	chain *Chain
	d     *draft
	tree  data.FileTree // nil: carry the tree over
	names []string      // touched since the last snapshot; of no use where all is listed
	all   bool          // all must be listed
	mark  string        // before the first look
	first map[string]data.FileInfo

	mu   sync.Mutex
	puts map[string]backup.File
	gone map[string]bool         // vanished while being read
	have map[string]backup.Chunk // chunks that this scan put or found, by id
}

func newFileScan(c *Chain, d *draft, tree data.FileTree) *fileScan {
	f := &fileScan{chain: c, d: d, tree: tree, puts: map[string]backup.File{}, gone: map[string]bool{}, have: map[string]backup.Chunk{}}
	known := false
	if t, ok := tree.(follower); ok {
		f.names, f.mark, known = t.Touched(c.mark)
	}
	f.all = !known || d.full || len(f.names) > listing
	return f
}

// before ships what is there now. Files that vanish meanwhile were unreferenced
// by then.
func (f *fileScan) before(ctx context.Context) (err error) {
	if s, ok := f.tree.(*stretches); ok {
		f.tree = nil // nothing else of it
		return f.stretch(ctx, s.stream)
	}
	if f.tree == nil {
		return nil
	}
	if f.first, err = f.look(ctx, f.names); err != nil {
		return err
	}
	if err := f.ship(ctx, f.first); err != nil {
		return err
	}
	maps.DeleteFunc(f.first, func(name string, _ data.FileInfo) bool { return f.gone[name] })
	return nil
}

// after ships what came meanwhile and works out the changes of the tree.
func (f *fileScan) after(ctx context.Context, last bool) error {
	if f.tree == nil {
		return nil
	}
	clear(f.gone)
	var names []string
	if t, ok := f.tree.(follower); ok {
		touched, _, known := t.Touched(f.mark)
		if !known && !f.all {
			return errUnsettled // too many: list them
		}
		names = touched
	}
	second, err := f.look(ctx, names)
	if err != nil {
		return err
	}
	if err := f.ship(ctx, second); err != nil {
		return err
	}
	f.escaped(names, second)
	if len(f.gone) > 0 && !last {
		return errUnsettled
	}
	f.d.missing = len(f.gone)
	f.d.changes = f.changes(second)
	return nil
}

// escaped notes files that came and went while pages were read: a record of
// these pages may refer to them.
func (f *fileScan) escaped(names []string, second map[string]data.FileInfo) {
	for _, name := range names {
		_, there := second[name]
		_, taken := f.puts[name]
		_, known := f.d.from.tree.Get(name)
		if !there && !taken && !known {
			f.gone[name] = true
		}
	}
}

// changes are the files that are new or have changed, and those that are gone: of
// all files, or of those that were touched.
func (f *fileScan) changes(second map[string]data.FileInfo) []backup.Change {
	var list []backup.Change
	for _, file := range f.puts {
		list = append(list, backup.Change{Put: &file})
	}
	names := f.names
	if f.all {
		names = f.d.from.tree.Names()
	}
	for _, name := range names {
		_, inTree := f.d.from.tree.Get(name)
		_, inFirst := f.first[name]
		_, inSecond := second[name]
		if inTree && !inFirst && !inSecond {
			list = append(list, backup.Change{Drop: name})
		}
	}
	slices.SortFunc(list, func(a, b backup.Change) int { return strings.Compare(a.Name(), b.Name()) })
	return list
}

// look finds out about all files, or about those of these names that are there.
func (f *fileScan) look(ctx context.Context, names []string) (map[string]data.FileInfo, error) {
	if f.all {
		return f.list(ctx)
	}
	found := map[string]data.FileInfo{}
	for _, name := range names {
		r, info, err := f.tree.Open(ctx, name)
		if errors.Is(err, data.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("look at a file: %w", err)
		}
		found[name] = info
		if err := r.Close(); err != nil {
			return nil, fmt.Errorf("look at a file: %w", err)
		}
	}
	return found, nil
}

func (f *fileScan) list(ctx context.Context) (map[string]data.FileInfo, error) {
	all := map[string]data.FileInfo{}
	for after := ""; ; {
		page, err := f.tree.List(ctx, "", after, listing)
		if err != nil {
			return nil, fmt.Errorf("list files: %w", err)
		}
		for _, info := range page {
			all[info.Name] = info
			after = info.Name
		}
		if len(page) < listing {
			return all, nil
		}
	}
}

// ship puts the content of every file that is not as the tree has it.
func (f *fileScan) ship(ctx context.Context, files map[string]data.FileInfo) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(uploading)
	for _, info := range files {
		if f.known(info) {
			continue
		}
		g.Go(func() error {
			file, err := f.file(ctx, info.Name)
			return f.took(info.Name, file, err)
		})
	}
	return g.Wait()
}

func (f *fileScan) known(info data.FileInfo) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	file, ok := f.puts[info.Name]
	if !ok {
		file, ok = f.d.from.tree.Get(info.Name)
	}
	return ok && file.Size == info.Size && file.ETag == info.ETag && file.Modified.Equal(info.Modified)
}

func (f *fileScan) took(name string, file backup.File, err error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if errors.Is(err, data.ErrNotFound) {
		f.gone[name] = true
		return nil
	}
	if err != nil {
		return fmt.Errorf("ship file: %w", err) // without its name, which is content
	}
	f.puts[name] = file
	return nil
}

func (f *fileScan) file(ctx context.Context, name string) (backup.File, error) {
	r, info, err := f.tree.Open(ctx, name)
	if err != nil {
		return backup.File{}, err
	}
	defer r.Close() //nolint:errcheck // only read
	info.Modified = info.Modified.UTC()
	file := backup.File{FileInfo: info, Chunks: []backup.Chunk{}}
	buf := make([]byte, min(info.Size, backup.ChunkSize))
	for left := info.Size; left > 0; {
		chunk := buf[:min(left, backup.ChunkSize)]
		if _, err := io.ReadFull(r, chunk); err != nil {
			return file, fmt.Errorf("read: %w", err)
		}
		put, err := f.chunk(ctx, chunk)
		if err != nil {
			return file, err
		}
		file.Chunks = append(file.Chunks, put)
		left -= int64(len(chunk))
	}
	return file, nil
}

// chunk puts a piece of content unless the target has it. Content needs no
// staging: its name says what it must be, so a crash leaves nothing in the way.
func (f *fileScan) chunk(ctx context.Context, plain []byte) (backup.Chunk, error) {
	codec := f.chain.codec
	id, generation, err := codec.ContentID(plain)
	c := backup.Chunk{ID: id, Size: int64(len(plain))}
	if err != nil {
		return c, err
	}
	if known, ok := f.has(c); ok {
		return known, nil
	}
	h := f.d.header
	h.Generation, h.Previous = generation, f.d.previous
	if c.Copy, err = f.name(ctx, c); err != nil {
		return c, err
	}
	object, err := codec.SealContent(h, c, plain)
	if err != nil {
		return c, err
	}
	put, err := f.chain.putContent(ctx, c, object)
	if err == nil {
		f.note(c, put, int64(len(object)))
	}
	return c, err
}

// name tells which copy of a content may be referred to. A name that a prune
// condemned is not used again, even where the object is gone: a sweep that was
// interrupted comes a second time.
func (f *fileScan) name(ctx context.Context, c backup.Chunk) (int64, error) {
	ledger, err := f.ledger(ctx)
	if err != nil || !ledger.Condemned(backup.ContentName(f.chain.cfg.Store, c)) {
		return c.Copy, err
	}
	return ledger.Number, nil
}

// ledger reads the prunes when that was a while ago.
func (f *fileScan) ledger(ctx context.Context) (*read.Ledger, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	c := f.chain
	now := c.cfg.Clock()
	if since := now.Sub(c.asked); c.prunes != nil && since >= 0 && since < relied/4 {
		return c.prunes, nil
	}
	l, err := c.reader.Ledger(ctx)
	if err == nil {
		c.prunes, c.asked = l, now
	}
	return l, err
}

func (f *fileScan) has(c backup.Chunk) (backup.Chunk, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if known, ok := f.have[c.ID]; ok {
		return known, true
	}
	return f.d.from.has(c)
}

func (f *fileScan) note(c backup.Chunk, put bool, size int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.have[c.ID] = c
	if put {
		f.d.chunks++
		f.d.content += size
	}
}

// putContent reports whether the object had to be put. One of that name that
// cannot be opened is replaced: it is of no use to anyone.
func (c *Chain) putContent(ctx context.Context, id backup.Chunk, object []byte) (bool, error) {
	name := backup.ContentName(c.cfg.Store, id)
	err := c.put(ctx, name, object, backup.PutOptions{IfNoneMatch: true})
	if !errors.Is(err, data.ErrExists) {
		return true, err
	}
	there, err := backup.Fetch(ctx, c.cfg.Target, name, backup.MaxObject)
	if err == nil {
		_, err = c.codec.OpenContent(id, there)
	}
	if unusable(err) {
		return true, c.put(ctx, name, object, backup.PutOptions{})
	}
	return false, err
}

func (c *Chain) put(ctx context.Context, name string, object []byte, o backup.PutOptions) error {
	ctx, cancel := context.WithTimeout(ctx, requestLimit)
	defer cancel()
	o.Lock = c.cfg.Lock.From(c.cfg.Clock())
	return c.cfg.Target.Put(ctx, name, bytes.NewReader(object), int64(len(object)), o)
}
