package chain

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"holdfast/backup"
	"holdfast/data"
)

// Stream is a store that gives its records as a stream of bytes, in versions that
// ever rise, as badger does. It is safe for concurrent use.
type Stream interface {
	// Stream writes what came after a version (everything for 0) and returns the
	// version that it reaches; the same one and no byte when there is nothing.
	Stream(ctx context.Context, since uint64, w io.Writer) (version uint64, err error)
}

// streamPrefix begins the names of a stream's stretches in the file tree. They
// sort in the order in which they are to be loaded.
const streamPrefix = "stream/"

const (
	// streamStretches is how many stretches there are before the last ones are put
	// together.
	streamStretches = 64
	// streamWhole is how old the first stretch gets: a source may have cleared a
	// deletion away before it was asked.
	streamWhole = 24 * time.Hour
)

// ShipStream brings the target up to the present of a store that is a stream. A
// snapshot has no pages; each stretch of the stream is a file of its tree, so a
// restore gives its sink the stretches in order. A chain ships pages or a stream,
// never both. Errors are Ship's.
func (c *Chain) ShipStream(ctx context.Context, s Stream, at data.Position) (Result, error) {
	return c.Ship(ctx, noPages{}, &stretches{stream: s}, at)
}

// noPages is a database of no pages.
type noPages struct{}

func (noPages) Snapshot(context.Context, func(uint32, []byte) error) (data.Commit, error) {
	return data.Commit{}, nil
}
func (noPages) MarkAll()   {}
func (noPages) Dirty() int { return 0 }

// stretches marks a file tree that fileScan takes from a stream.
type stretches struct {
	data.FileTree // nil: nobody lists a stream
	stream        Stream
}

// stretchName says from which version to which, and is in order of both.
func stretchName(since, version uint64) string {
	return fmt.Sprintf("%s%016x-%016x", streamPrefix, since, version)
}

func parseStretch(name string) (since, version uint64, err error) {
	rest, ok := strings.CutPrefix(name, streamPrefix)
	if _, err := fmt.Sscanf(rest, "%016x-%016x", &since, &version); !ok || err != nil || stretchName(since, version) != name {
		return 0, 0, fmt.Errorf("%w: stretch %q", backup.ErrFormat, name)
	}
	return since, version, nil
}

// stretch ships what came since the last one, or everything where that is better.
func (f *fileScan) stretch(ctx context.Context, s Stream) error {
	since, anew, err := f.reached()
	if err != nil {
		return err
	}
	w := &chunkWriter{ctx: ctx, f: f}
	version, err := s.Stream(ctx, since, w)
	if err == nil {
		err = w.flush()
	}
	if err != nil {
		return fmt.Errorf("read stream: %w", err)
	}
	if version == since && w.size == 0 {
		return nil
	}
	if version <= since {
		return errors.New("the stream went back")
	}
	file := backup.File{FileInfo: data.FileInfo{Name: stretchName(since, version), Size: w.size, Modified: f.d.since.UTC()}, Chunks: w.chunks}
	names := f.d.from.tree.Names()
	switch {
	case anew:
		f.d.changes = replaced(names, &file)
	case len(names) >= streamStretches:
		return f.together(ctx, names, &file)
	default:
		f.d.changes = []backup.Change{{Put: &file}}
	}
	return nil
}

// together puts the last stretches into one, with the one that came: their bytes as
// they are, so that no deletion is lost. Of stretches that are each larger than all
// behind it there are few, so each byte is put anew a few times only.
func (f *fileScan) together(ctx context.Context, names []string, came *backup.File) error {
	first := f.small(names)
	since, _, err := parseStretch(names[first])
	if err != nil {
		return err
	}
	_, version, err := parseStretch(came.Name)
	if err != nil {
		return err
	}
	w := &chunkWriter{ctx: ctx, f: f}
	for _, name := range names[first:] {
		file, _ := f.d.from.tree.Get(name)
		if err := f.append(ctx, w, file.Chunks); err != nil {
			return err
		}
	}
	if err := errors.Join(f.append(ctx, w, came.Chunks), w.flush()); err != nil {
		return err
	}
	all := backup.File{FileInfo: data.FileInfo{Name: stretchName(since, version), Size: w.size, Modified: came.Modified}, Chunks: w.chunks}
	f.d.changes = replaced(names[first:], &all)
	return nil
}

// small finds the first of the stretches, but the very first, that is not larger than
// all behind it.
func (f *fileScan) small(names []string) int {
	behind := int64(0)
	first := len(names) - 1
	for i := len(names) - 1; i > 0; i-- {
		file, _ := f.d.from.tree.Get(names[i])
		if file.Size <= behind {
			first = i
		}
		behind += file.Size
	}
	return first
}

func (f *fileScan) append(ctx context.Context, w *chunkWriter, chunks []backup.Chunk) error {
	for _, c := range chunks {
		content, err := f.chain.reader.Content(ctx, c)
		if err == nil {
			_, err = w.Write(content.Plain)
		}
		if err != nil {
			return fmt.Errorf("put stretches together: %w", err)
		}
	}
	return nil
}

// reached is the version that the tree has, 0 when it is time to begin anew: the
// first stretch is old, or the others are larger together.
func (f *fileScan) reached() (since uint64, anew bool, err error) {
	names := f.d.from.tree.Names()
	if len(names) == 0 {
		return 0, true, nil
	}
	_, since, err = parseStretch(names[len(names)-1])
	first, _ := f.d.from.tree.Get(names[0])
	if f.d.since.Sub(first.Modified) > streamWhole || f.d.from.tree.Bytes() > 2*first.Size+backup.ChunkSize {
		return 0, true, err
	}
	return since, false, err
}

// replaced drops all stretches for one.
func replaced(names []string, file *backup.File) []backup.Change {
	list := []backup.Change{{Put: file}}
	for _, name := range names {
		if name != file.Name {
			list = append(list, backup.Change{Drop: name})
		}
	}
	slices.SortFunc(list, func(a, b backup.Change) int { return strings.Compare(a.Name(), b.Name()) })
	return list
}

// chunkWriter cuts a stream into content as it comes: memory holds one chunk.
type chunkWriter struct {
	ctx    context.Context
	f      *fileScan
	buf    []byte
	chunks []backup.Chunk
	size   int64
}

func (w *chunkWriter) Write(p []byte) (n int, err error) {
	for len(p) > 0 {
		part := p[:min(len(p), backup.ChunkSize-len(w.buf))]
		w.buf = append(w.buf, part...)
		p, n = p[len(part):], n+len(part)
		if len(w.buf) == backup.ChunkSize {
			if err := w.flush(); err != nil {
				return n, err
			}
		}
	}
	return n, nil
}

func (w *chunkWriter) flush() error {
	if len(w.buf) == 0 {
		return nil
	}
	c, err := w.f.chunk(w.ctx, w.buf)
	if err == nil {
		w.chunks, w.size, w.buf = append(w.chunks, c), w.size+int64(len(w.buf)), w.buf[:0]
	}
	return err
}
