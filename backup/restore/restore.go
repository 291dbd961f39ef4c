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
	"os"
	"time"

	"holdfast/backup"
	"holdfast/backup/read"
	"holdfast/data"
)

// Config says what to read from where.
type Config struct {
	Source backup.ObjectStore
	Store  string         // store id, see backup.CheckStore
	Keys   data.KeySource // purpose "segments"; an archive source reads within the undelete window

	// Of the snapshots that there are: the one of this sequence, else the last
	// that is not after At, else the newest. An At before the first or after the
	// last is a *RangeError; Until is a moment up to which the caller knows that
	// nothing came after the last (a store that lies idle ships nothing).
	Sequence int64
	At       time.Time
	Until    time.Time

	// AtLeast is a sequence known to have been shipped: a chain that ends before
	// it was cut. 0 if nothing is known.
	AtLeast int64

	// Sample makes Verify read only so much of the parts, drawn by lot: 0.1 is a
	// tenth. 0 and 1 are all.
	Sample float64

	// Files picks the files that the sink gets, by their info; nil is all. Where
	// only some records are wanted, the content of the others is not fetched.
	Files func(data.FileInfo) bool

	// Begin hears what is going to be done before anything is written, and may
	// refuse it (too little room). It may be nil.
	Begin func(Preview) error

	// Resume is a folder in which fetched objects are kept, sealed as they are, so
	// that the next Run with the same folder does not fetch them again; made if
	// missing, removed by a Run that succeeds. "" keeps nothing.
	Resume string

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
	if c.Begin != nil {
		if err := c.Begin(r.preview(links)); err != nil {
			return Result{}, fmt.Errorf("restore %s: %w", c.Store, err)
		}
	}
	result, err := r.run(ctx, links, sink)
	if err = settle(c, err); err == nil && c.Resume != "" {
		err = os.RemoveAll(c.Resume)
	}
	if err != nil {
		return Result{}, fmt.Errorf("restore %s: %w", c.Store, err)
	}
	result.Duration = time.Since(start)
	return result, nil
}

func (r *reader) run(ctx context.Context, links []*read.Link, sink Sink) (Result, error) {
	last := links[len(links)-1]
	for _, l := range links {
		r.expect += l.Bytes()
	}
	over, err := read.NewOverlay(r.cfg.Scratch)
	if err != nil {
		return Result{}, err
	}
	defer over.Close()
	tree, err := r.changes(ctx, links, over)
	if err != nil {
		return Result{}, err
	}
	if tree.Root() != last.Files.After {
		return Result{}, last.Wrong("the file tree is not the one that was shipped")
	}
	wanted := r.wanted(tree)
	for _, f := range wanted {
		r.expect += f.Size
	}
	if err := r.pages(ctx, links[0], last, over, sink); err != nil {
		return Result{}, err
	}
	size, err := r.files(ctx, wanted, sink)
	if err != nil {
		return Result{}, err
	}
	return Result{
		Sequence: last.Sequence, Time: last.Time, Position: last.Position, Pages: last.Pages.Total,
		Files: len(wanted), FileBytes: size, Missing: last.Files.Missing,
		Objects: r.objects, Bytes: r.bytes,
	}, nil
}

// changes collects the pages that changed after the base, and the file tree.
func (r *reader) changes(ctx context.Context, links []*read.Link, over *read.Overlay) (*backup.FileTree, error) {
	tree := backup.NewFileTree()
	over.Begin(links[0].Pages.Total)
	for i, l := range links {
		r.count(l.Size, 0)
		if i > 0 {
			over.Resize(min(over.Total, l.Low))
		}
		err := r.Each(ctx, l, func(ref backup.Ref) bool { return i > 0 || ref.Kind == backup.Tree }, func(p read.Part) error {
			r.count(p.Ref.Size, p.Ref.Size)
			if p.Pages != nil {
				return over.PutAll(p.Pages)
			}
			return l.ApplyTree(tree, p.Changes)
		})
		if err != nil {
			return nil, err
		}
		over.Resize(l.Pages.Total)
	}
	return tree, nil
}

// pages streams the base, overlaid by what changed, and checks the whole.
func (r *reader) pages(ctx context.Context, base, last *read.Link, over *read.Overlay, sink Sink) error {
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
		return last.Wrong("the database is not the one that was shipped (whole-database checksum)")
	}
	return nil
}

// wanted are the files that the sink is to get, in order of name.
func (r *reader) wanted(tree *backup.FileTree) (files []backup.File) {
	for _, name := range tree.Names() {
		if f, _ := tree.Get(name); r.cfg.Files == nil || r.cfg.Files(f.FileInfo) {
			files = append(files, f)
		}
	}
	return files
}

// files hands files to the sink, their chunks fetched ahead.
func (r *reader) files(ctx context.Context, files []backup.File, sink Sink) (size int64, err error) {
	var chunks []backup.Chunk
	for _, f := range files {
		chunks = append(chunks, f.Chunks...)
	}
	s := read.Ahead(ctx, len(chunks), func(ctx context.Context, i int) (read.Content, error) { return r.Content(ctx, chunks[i]) })
	defer s.Close()
	for _, f := range files {
		body := &fileBody{r: r, chunks: s, left: len(f.Chunks)}
		err := sink.File(ctx, f.FileInfo, body)
		if err == nil && (body.left > 0 || len(body.rest) > 0) {
			err = errors.New("file was not read to its end")
		}
		if err != nil {
			return size, errors.Join(body.err, err)
		}
		size += f.Size
	}
	return size, nil
}

// fileBody reads one file's chunks from the stream of all.
type fileBody struct {
	r      *reader
	chunks *read.Stream[read.Content]
	left   int
	rest   []byte
	err    error
}

func (b *fileBody) Read(p []byte) (int, error) {
	for len(b.rest) == 0 {
		if b.left == 0 {
			return 0, io.EOF
		}
		f, err := b.chunks.Next()
		if err != nil {
			b.err = err
			return 0, err
		}
		b.left--
		b.rest = f.Plain
		b.r.count(f.Size, int64(len(f.Plain)))
	}
	n := copy(p, b.rest)
	b.rest = b.rest[n:]
	return n, nil
}
