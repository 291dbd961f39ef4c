package tenant

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"holdfast/app/api"
	"holdfast/data"
	"holdfast/data/store"
)

// importRun is one import at work.
type importRun struct {
	Import
	store    *store.Store
	staged   data.FileInfo
	tree     data.FileTree
	progress *api.Progress
	logger   *slog.Logger

	schema schema
	source rows
	place  *placeReader
	broken error // why the rest of the file could not be read
	made   bool  // the collection was made by this run
	result Imported
}

func (s *Service) runImport(ctx context.Context, ref Ref, im Import, staged data.FileInfo, p *api.Progress) (Imported, error) {
	run := &importRun{Import: im, staged: staged, tree: s.config.Staging, progress: p, logger: s.config.Logger}
	run.result = Imported{Collection: im.Collection, Errors: []store.RowError{}, Inferred: []store.Field{}}
	err := s.open(ctx, ref.Store, func(st *store.Store) error {
		run.store = st
		return run.do(ctx)
	})
	return run.result, err
}

func (r *importRun) do(ctx context.Context) error {
	r.progress.Set(ctx, 0, r.staged.Size, "bytes", "looking at the data")
	seen, err := r.sample(ctx)
	if err != nil {
		return fileProblem(err)
	}
	if err := r.target(ctx, seen); err != nil {
		return err
	}
	if err := r.indexKey(ctx); err != nil {
		r.logger.WarnContext(ctx, "an import's key has no index: it will be slow", "collection", r.Collection, "error", err)
	}
	err = r.load(ctx)
	if err != nil && r.Strict && r.made {
		err = errors.Join(err, r.unmake(ctx))
	}
	return err
}

// sample looks at the file once before it is read for good.
func (r *importRun) sample(ctx context.Context) (*sample, error) {
	file, _, err := r.tree.Open(ctx, r.staged.Name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	in, err := openRows(r.Format, contextReader{ctx, file})
	if emptyFile(r.staged, r.Format) {
		return &sample{whole: true, columns: map[string]observer{}}, nil
	}
	if err != nil {
		return nil, err
	}
	return look(r.Format, in)
}

// emptyFile has no record, which is no error where there need be no header.
func emptyFile(f data.FileInfo, format Format) bool { return f.Size == 0 && format == JSONL }

// target finds the collection or makes it.
func (r *importRun) target(ctx context.Context, seen *sample) error {
	c, err := collectionOf(ctx, r.store, r.Collection)
	if errors.Is(err, data.ErrNotFound) && r.Create {
		return r.make(ctx, seen)
	}
	if err != nil {
		return err
	}
	if err := r.fits(c); err != nil {
		return err
	}
	r.schema = seen.match(c)
	if r.Key == "id" && r.schema.of["id"] == "source_id" {
		r.Key = "source_id"
	}
	if unknown := r.schema.unknown(); r.Format == CSV && len(unknown) > 0 {
		return api.Errorf(422, "columns", "Collection %q has no field for the column %s.", c.Name, quoted(unknown))
	}
	return nil
}

func quoted(names []string) string {
	if len(names) > 10 {
		names = append(names[:10:10], "…")
	}
	return `"` + strings.Join(names, `", "`) + `"`
}

func (r *importRun) make(ctx context.Context, seen *sample) error {
	r.schema = seen.plan()
	if field, ok := r.schema.of[r.Key]; ok {
		r.Key = field
	}
	if _, ok := r.schema.types[r.Key]; r.Key != "" && !ok {
		return api.InvalidField("key", "the data has no column %q", r.Key)
	}
	err := r.store.CreateCollection(ctx, r.Collection, r.schema.fields)
	if errors.Is(err, store.ErrInvalid) {
		return api.Errorf(422, "collection", "The collection could not be made: %v.", err).Because(err)
	}
	if err != nil {
		return err
	}
	r.made = true
	if r.schema.fields != nil {
		r.result.Inferred = r.schema.fields
	}
	return nil
}

// load reads the file for good. The rows before a place where it breaks are
// imported, unless it is strict.
func (r *importRun) load(ctx context.Context) error {
	if emptyFile(r.staged, r.Format) {
		return nil
	}
	file, _, err := r.tree.Open(ctx, r.staged.Name)
	if err != nil {
		return err
	}
	defer file.Close()
	r.place = &placeReader{in: contextReader{ctx, file}}
	if r.source, err = openRows(r.Format, r.place); err != nil {
		return fileProblem(err)
	}
	options := store.ImportOptions{Key: r.Key, Strict: r.Strict}
	got, err := r.store.Import(ctx, r.Collection, options, r.next, func(p store.ImportProgress) { r.report(ctx, p) })
	r.take(got)
	return r.ended(err)
}

// next gives the store a row. A file that breaks off ends the rows; strictly, it
// is a bad row, which undoes the others.
func (r *importRun) next() (map[string]any, int, error) {
	for {
		row, line, err := r.source.next()
		var bad errRow
		if err != nil && !errors.As(err, &bad) && !errors.Is(err, io.EOF) {
			r.broken = err
			if !r.Strict {
				err = io.EOF
			}
		}
		if err != nil {
			return nil, line, err
		}
		if r.foreign(row) {
			continue
		}
		row, err = r.schema.fieldRow(row, r.Format == CSV)
		return row, line, err
	}
}

// foreign rows of an export of all collections belong to another.
func (r *importRun) foreign(row map[string]any) bool {
	name, marked := row[collectionMark].(string)
	return marked && name != r.Collection
}

func (r *importRun) report(ctx context.Context, p store.ImportProgress) {
	text := fmt.Sprintf("%d rows", p.Read)
	if p.Failed > 0 {
		text += fmt.Sprintf(", %d failed", p.Failed)
	}
	r.progress.Set(ctx, r.place.read, r.staged.Size, "bytes", text)
}

func (r *importRun) take(got store.ImportResult) {
	r.result.Read, r.result.Created, r.result.Updated, r.result.Failed = got.Read, got.Created, got.Updated, got.Failed
	if got.Errors != nil {
		r.result.Errors = got.Errors
	}
}

// ended makes the client's words of what stopped an import.
func (r *importRun) ended(err error) error {
	switch {
	case r.broken != nil && r.Strict:
		return fileProblem(r.broken)
	case errors.Is(err, store.ErrStrict):
		return strictProblem(r.result, err)
	case errors.Is(err, store.ErrInvalid):
		return api.Errorf(422, "invalid", "%v.", err).Because(err)
	case err != nil:
		return err
	case r.broken != nil:
		return brokenProblem(r.broken, r.result)
	}
	return nil
}

// fileProblem names the line on which a file cannot be read.
func fileProblem(err error) error {
	var broken errFile
	if !errors.As(err, &broken) {
		return err
	}
	return api.Errorf(422, "malformed", "%v. Nothing was imported.", broken).Because(err)
}

func brokenProblem(err error, done Imported) error {
	var broken errFile
	if !errors.As(err, &broken) {
		return err
	}
	return api.Errorf(422, "malformed", "%v. Of the rows before it %d were created, %d updated, %d failed.",
		broken, done.Created, done.Updated, done.Failed).Because(err)
}

func strictProblem(done Imported, err error) error {
	reason := "a row is bad"
	if len(done.Errors) > 0 {
		reason = fmt.Sprintf("line %d: %s", done.Errors[0].Line, done.Errors[0].Reason)
	}
	return api.Errorf(422, "strict", "%s. The import is strict: nothing was imported.", reason).Because(err)
}

// placeReader tells how far a file is read.
type placeReader struct {
	in   io.Reader
	read int64
}

func (p *placeReader) Read(b []byte) (int, error) {
	n, err := p.in.Read(b)
	p.read += int64(n)
	return n, err
}

// contextReader stops when the operation is cancelled.
type contextReader struct {
	ctx context.Context
	in  io.Reader
}

func (c contextReader) Read(b []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.in.Read(b)
}
