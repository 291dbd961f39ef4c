// Package backuptest holds the stand-ins that tests of shipping and restoring
// share: keys, a database of pages, a tree of files.
package backuptest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"holdfast/data"
)

var (
	_ data.KeySource  = (*Keys)(nil)
	_ data.PageSource = (*Pages)(nil)
	_ data.FileTree   = (*Files)(nil)
)

// Keys is a key source whose keys follow from Seed, so that golden files can be
// read again.
type Keys struct {
	Seed string

	mu         sync.Mutex
	generation uint32
	err        error
}

// NewKeys returns keys at generation 1.
func NewKeys(seed string) *Keys { return &Keys{Seed: seed, generation: 1} }

// Rotate begins the next generation.
func (k *Keys) Rotate() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.generation++
}

// Fail makes every later call answer err.
func (k *Keys) Fail(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.err = err
}

// Current is data.KeySource's.
func (k *Keys) Current() (uint32, [32]byte, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.generation, k.key(k.generation), k.err
}

// Generation is data.KeySource's.
func (k *Keys) Generation(g uint32) ([32]byte, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if g == 0 || g > k.generation {
		return [32]byte{}, fmt.Errorf("generation %d: %w", g, data.ErrNotFound)
	}
	return k.key(g), k.err
}

func (k *Keys) key(g uint32) [32]byte { return sha256.Sum256(fmt.Appendf(nil, "%s/%d", k.Seed, g)) }

// Pages is a database of pages in memory.
type Pages struct {
	mu     sync.Mutex
	image  [][]byte
	dirty  map[uint32]bool
	Fail   func(pgno uint32) error // called before each page is handed out
	During func()                  // called once the pages of a snapshot are fixed
}

// NewPages returns an empty database.
func NewPages() *Pages { return &Pages{dirty: map[uint32]bool{}} }

// Write sets a page, growing the database as needed.
func (p *Pages) Write(pgno uint32, image []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for uint32(len(p.image)) < pgno {
		p.image = append(p.image, make([]byte, data.PageSize))
	}
	page := make([]byte, data.PageSize)
	copy(page, image)
	p.image[pgno-1] = page
	p.dirty[pgno] = true
}

// Truncate cuts the database off.
func (p *Pages) Truncate(total uint32) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.image = p.image[:total]
	maps.DeleteFunc(p.dirty, func(pgno uint32, _ bool) bool { return pgno > total })
}

// Copy gives all pages.
func (p *Pages) Copy() [][]byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.image)
}

// Snapshot is data.PageSource's.
func (p *Pages) Snapshot(ctx context.Context, fn func(uint32, []byte) error) (data.Commit, error) {
	p.mu.Lock()
	image, dirty := slices.Clone(p.image), slices.Sorted(maps.Keys(p.dirty))
	p.mu.Unlock()
	if p.During != nil {
		p.During()
	}
	for _, pgno := range dirty {
		if err := p.hand(ctx, pgno, image[pgno-1], fn); err != nil {
			return data.Commit{}, err
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dirty = map[uint32]bool{}
	return data.Commit{DatabasePages: uint32(len(image)), Pages: len(dirty)}, nil
}

func (p *Pages) hand(ctx context.Context, pgno uint32, page []byte, fn func(uint32, []byte) error) error {
	if p.Fail != nil {
		if err := p.Fail(pgno); err != nil {
			return err
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return fn(pgno, bytes.Clone(page))
}

// MarkAll is data.PageSource's.
func (p *Pages) MarkAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range p.image {
		p.dirty[uint32(i+1)] = true
	}
}

// Dirty is data.PageSource's.
func (p *Pages) Dirty() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.dirty)
}

// Files is a tree of files in memory. It lists them in an order of its own, as
// real trees do.
type Files struct {
	mu    sync.Mutex
	files map[string]file
	Opens int // how many times a file was opened
	Lists int // how many times files were listed

	touched []string
}

// Touched is what a tree may have beside data.FileTree's methods.
func (f *Files) Touched(since string) (names []string, mark string, known bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	mark = fmt.Sprintf("%p/%d", f, len(f.touched))
	var from int
	if _, err := fmt.Sscanf(since, fmt.Sprintf("%p/%%d", f), &from); err != nil {
		return nil, mark, false
	}
	return slices.Clone(f.touched[from:]), mark, true
}

// Listed hides Touched.
type Listed struct{ data.FileTree }

type file struct {
	info data.FileInfo
	body []byte
}

// NewFiles returns an empty tree.
func NewFiles() *Files { return &Files{files: map[string]file{}} }

// Set writes a file.
func (f *Files) Set(name, body string) {
	info := data.FileInfo{Name: name, ContentType: "text/plain", Modified: time.Unix(1700000000, 0).UTC()}
	if _, err := f.Put(context.Background(), info, strings.NewReader(body)); err != nil {
		panic(err)
	}
}

// Put is data.FileTree's.
func (f *Files) Put(_ context.Context, info data.FileInfo, r io.Reader) (data.FileInfo, error) {
	body, err := io.ReadAll(r)
	if err != nil {
		return info, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	sum := sha256.Sum256(body)
	info.Size, info.ETag = int64(len(body)), hex.EncodeToString(sum[:8])
	f.files[info.Name] = file{info, body}
	f.touched = append(f.touched, info.Name)
	return info, nil
}

// Delete is data.FileTree's.
func (f *Files) Delete(_ context.Context, name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.files, name)
	f.touched = append(f.touched, name)
	return nil
}

// Copy gives all files' contents.
func (f *Files) Copy() map[string]string {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := map[string]string{}
	for name, file := range f.files {
		out[name] = string(file.body)
	}
	return out
}

// List is data.FileTree's.
func (f *Files) List(ctx context.Context, prefix, after string, limit int) ([]data.FileInfo, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.Lists++
	names := slices.SortedFunc(maps.Keys(f.files), func(a, b string) int { return strings.Compare(order(a), order(b)) })
	var list []data.FileInfo
	for _, name := range names {
		past := after == "" || order(name) > order(after)
		if past && strings.HasPrefix(name, prefix) && len(list) < limit {
			list = append(list, f.files[name].info)
		}
	}
	return list, ctx.Err()
}

func order(name string) string {
	sum := sha256.Sum256([]byte(name))
	return string(sum[:])
}

type body struct{ *bytes.Reader }

func (body) Close() error { return nil }

// Open is data.FileTree's.
func (f *Files) Open(ctx context.Context, name string) (io.ReadSeekCloser, data.FileInfo, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.Opens++
	file, ok := f.files[name]
	if !ok {
		return nil, data.FileInfo{}, fmt.Errorf("open: %w", data.ErrNotFound)
	}
	return body{bytes.NewReader(file.body)}, file.info, ctx.Err()
}

// Copied is a sink that keeps what is restored.
type Copied struct {
	Image [][]byte
	Files *Files
}

// NewCopied returns an empty sink.
func NewCopied() *Copied { return &Copied{Files: NewFiles()} }

// Pages is restore.Sink's.
func (c *Copied) Pages(_ context.Context, total uint32, next func(uint32, []byte) error) error {
	for pgno := uint32(1); pgno <= total; pgno++ {
		page := make([]byte, data.PageSize)
		if err := next(pgno, page); err != nil {
			return err
		}
		c.Image = append(c.Image, page)
	}
	return nil
}

// File is restore.Sink's.
func (c *Copied) File(ctx context.Context, info data.FileInfo, r io.Reader) error {
	_, err := c.Files.Put(ctx, info, r)
	return err
}
