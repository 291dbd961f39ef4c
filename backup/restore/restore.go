// Package restore reads chains: it verifies them and restores stores from them.
// Nothing that it reads from a target is believed before signature, hashes and
// positions agree, and nothing is finished before the whole-database checksum
// of what was written does.
package restore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"holdfast/backup"
	"holdfast/data"
)

// Config says what to read from where.
type Config struct {
	Source backup.ObjectStore
	Store  string         // store id, see backup.CheckStore
	Keys   data.KeySource // purpose "segments"; an archive source reads within the undelete window

	// Of the snapshots that there are: the one of this sequence, else the last
	// that is not after At, else the newest.
	Sequence int64
	At       time.Time

	// AtLeast is a sequence known to have been shipped: a chain that ends before
	// it was cut. 0 if nothing is known.
	AtLeast int64

	Scratch  string               // folder for sealed temporary files
	Progress func(done, of int64) // bytes of objects; may be nil; called from one goroutine
}

// Sink takes what is restored. Its methods are called one at a time.
type Sink interface {
	// Pages writes a database of total pages. next fills page (PageSize bytes,
	// reserved tail zero) with the image of pgno; it must be called for each
	// page from 1 to total in order (backup.LockPage may be left out).
	Pages(ctx context.Context, total uint32, next func(pgno uint32, page []byte) error) error
	// File stores one file. It must read r to its end.
	File(ctx context.Context, info data.FileInfo, r io.Reader) error
}

// Result is what was restored. Bytes were read from the target.
type Result struct {
	Sequence  int64
	Time      time.Time
	Position  data.Position
	Pages     uint32
	Files     int
	FileBytes int64
	Missing   int // files that the snapshot says it lacks
	Objects   int
	Bytes     int64
	Duration  time.Duration
}

// Run restores one snapshot into sink. When it returns an error, what the sink
// has is to be thrown away. It answers backup.ErrNoSnapshot,
// *backup.ObjectError for an object that cannot be used, and the key source's
// errors.
func Run(ctx context.Context, c Config, sink Sink) (Result, error) {
	start := time.Now()
	r, err := newReader(c)
	if err != nil {
		return Result{}, err
	}
	links, err := r.pick(ctx)
	if err != nil {
		return Result{}, fmt.Errorf("restore %s: %w", c.Store, err)
	}
	result, err := r.run(ctx, links, sink)
	if err != nil {
		return Result{}, fmt.Errorf("restore %s: %w", c.Store, err)
	}
	result.Duration = time.Since(start)
	return result, nil
}

func (r *reader) run(ctx context.Context, links []*link, sink Sink) (Result, error) {
	last := links[len(links)-1]
	for _, l := range links {
		r.expect += l.Bytes()
	}
	over, err := newOverlay(r.cfg.Scratch)
	if err != nil {
		return Result{}, err
	}
	defer over.close()
	tree, err := r.changes(ctx, links, over)
	if err != nil {
		return Result{}, err
	}
	if tree.Root() != last.Files.After {
		return Result{}, wrong(last, "the file tree is not the one that was shipped")
	}
	r.expect += tree.Bytes()
	if err := r.pages(ctx, links[0], last, over, sink); err != nil {
		return Result{}, err
	}
	if err := r.files(ctx, tree, sink); err != nil {
		return Result{}, err
	}
	return Result{
		Sequence: last.Sequence, Time: last.Time, Position: last.Position, Pages: last.Pages.Total,
		Files: tree.Count(), FileBytes: tree.Bytes(), Missing: last.Files.Missing,
		Objects: r.objects, Bytes: r.bytes,
	}, nil
}

// changes collects the pages that changed after the base, and the file tree.
func (r *reader) changes(ctx context.Context, links []*link, over *overlay) (*backup.FileTree, error) {
	tree := backup.NewFileTree()
	over.total, over.low = links[0].Pages.Total, links[0].Pages.Total
	for i, l := range links {
		if i > 0 {
			over.resize(l.Pages.Total)
		}
		err := r.each(ctx, l, func(ref backup.Ref) bool { return i > 0 || ref.Kind == backup.Tree }, func(p part) error {
			if p.pages != nil {
				return over.putAll(p.pages)
			}
			return tree.Apply(p.changes)
		})
		if err != nil {
			return nil, err
		}
	}
	return tree, nil
}

// pages streams the base, overlaid by what changed, and checks the whole.
func (r *reader) pages(ctx context.Context, base, last *link, over *overlay, sink Sink) error {
	m, err := newMerge(ctx, r, base, last, over)
	if err != nil {
		return err
	}
	defer m.close()
	if err := sink.Pages(ctx, last.Pages.Total, m.next); err != nil {
		return errors.Join(m.err, err)
	}
	root, err := m.finish()
	if err != nil {
		return err
	}
	if root != last.Pages.After {
		return wrong(last, "the database is not the one that was shipped (whole-database checksum)")
	}
	return nil
}

// files hands every file to the sink, its chunks fetched ahead.
func (r *reader) files(ctx context.Context, tree *backup.FileTree, sink Sink) error {
	var chunks []backup.Chunk
	for _, name := range tree.Names() {
		f, _ := tree.Get(name)
		chunks = append(chunks, f.Chunks...)
	}
	s := ahead(ctx, len(chunks), func(ctx context.Context, i int) (fetched, error) { return r.content(ctx, chunks[i]) })
	defer s.close()
	for _, name := range tree.Names() {
		f, _ := tree.Get(name)
		body := &fileBody{r: r, chunks: s, left: len(f.Chunks)}
		err := sink.File(ctx, f.FileInfo, body)
		if err == nil && (body.left > 0 || len(body.rest) > 0) {
			err = errors.New("file was not read to its end")
		}
		if err != nil {
			return errors.Join(body.err, err)
		}
	}
	return nil
}

// fileBody reads one file's chunks from the stream of all.
type fileBody struct {
	r      *reader
	chunks *stream[fetched]
	left   int
	rest   []byte
	err    error
}

func (b *fileBody) Read(p []byte) (int, error) {
	for len(b.rest) == 0 {
		if b.left == 0 {
			return 0, io.EOF
		}
		f, err := b.chunks.next()
		if err != nil {
			b.err = err
			return 0, err
		}
		b.left--
		b.rest = f.plain
		b.r.count(f.size, int64(len(f.plain)))
	}
	n := copy(p, b.rest)
	b.rest = b.rest[n:]
	return n, nil
}

// wrong blames the manifest whose word the objects do not keep.
func wrong(l *link, what string) error {
	name := backup.ManifestName(l.Store, l.Sequence)
	return &backup.ObjectError{Name: name, Err: fmt.Errorf("%w: %s", data.ErrTampered, what)}
}
