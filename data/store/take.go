package store

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/pocketbase/pocketbase/core"
	"github.com/pocketbase/pocketbase/tools/filesystem"

	"holdfast/data"
)

// Conflict says what becomes of a record that is there already, and differs.
type Conflict string

// The ways out of a conflict.
const (
	Overwrite Conflict = "overwrite" // it becomes as it was then
	Keep      Conflict = "keep"      // it stays as it is
	Refuse    Conflict = "refuse"    // nothing is taken at all
)

// ErrConflict is the cause of a Take under Refuse that took nothing.
var ErrConflict = errors.New("a record is there already, and differs")

// Wanted are records of one collection: those of the ids, or all.
type Wanted struct {
	Collection string // name or id
	IDs        []string
}

// TakeOptions say how records are taken.
type TakeOptions struct {
	Conflict Conflict
	Dry      bool // only count what would be done
}

// Taken is what became of one collection. Records that are there now and were not
// then are left alone, and not counted.
type Taken struct {
	Collection string   `json:"collection"`
	Made       bool     `json:"made,omitempty" doc:"the collection was not there any more, and came back with its rules"`
	Added      int      `json:"added"`
	Changed    int      `json:"changed"`
	Same       int      `json:"same"`
	Kept       int      `json:"kept,omitempty" doc:"records that differ and were kept as they are"`
	Files      int      `json:"files,omitempty"`
	Left       []string `json:"left,omitempty" doc:"fields that the collection no longer has, or has with another type"`
}

// MaxTake is the most records that one Take takes: it is one transaction, during
// which the store's other writers wait.
const MaxTake = 100_000

// Take brings records of another store (a copy of an earlier state) into this one,
// through PocketBase's validation, with their ids, dates, passwords and files: all
// of them or none. Tokens of a user that is brought back end. data.ErrNotFound for a
// collection or a record that the copy has not, ErrInvalid for a view, one of
// PocketBase's own, too many records, or what validation refuses; ErrConflict.
func (s *Store) Take(ctx context.Context, from *Store, wanted []Wanted, o TakeOptions) ([]Taken, error) {
	if err := s.admitted(ctx, Change, Use{What: "take"}); err != nil {
		return nil, err
	}
	t := &taking{ctx: ctx, to: s, from: from, o: o}
	if err := t.list(wanted); err != nil {
		return nil, fmt.Errorf("take records into %s: %w", s.id, err)
	}
	app, done := s.as(ctx)
	defer done()
	err := app.RunInTransaction(t.run)
	if errors.Is(err, errDry) {
		err = nil
	}
	if err != nil {
		return nil, fmt.Errorf("take records into %s: %w", s.id, err)
	}
	out := make([]Taken, len(t.sets))
	for i, set := range t.sets {
		out[i] = set.taken
	}
	return out, nil
}

// errDry takes back what was only tried.
var errDry = errors.New("only counted")

// taking is one run of Take.
type taking struct {
	ctx      context.Context
	to, from *Store
	o        TakeOptions
	sets     []*takeSet
}

// takeSet is one collection of it.
type takeSet struct {
	source *core.Collection
	target *core.Collection
	ids    []string // not yet taken
	taken  Taken
}

func (t *taking) list(wanted []Wanted) error {
	total := 0
	for _, w := range wanted {
		c, err := t.from.app.FindCollectionByNameOrId(w.Collection)
		if err != nil {
			return fmt.Errorf("collection %q was not there: %w", w.Collection, data.ErrNotFound)
		}
		if c.IsView() || c.System {
			return fmt.Errorf("%w: %s has no records of its own to take", ErrInvalid, c.Name)
		}
		set := &takeSet{source: c, taken: Taken{Collection: c.Name}}
		if set.ids, err = t.idsOf(c, w.IDs); err != nil {
			return err
		}
		if total += len(set.ids); total > MaxTake {
			return fmt.Errorf("%w: more than %d records; restore a copy beside it, and import from that", ErrInvalid, MaxTake)
		}
		t.sets = append(t.sets, set)
	}
	return nil
}

func (t *taking) idsOf(c *core.Collection, ids []string) (out []string, err error) {
	if len(ids) == 0 {
		err = t.from.IDs(t.ctx, c.Id, func(id string) error { out = append(out, id); return nil })
		return out, err
	}
	for _, id := range ids {
		if _, err := t.from.app.FindRecordById(c, id); err != nil {
			return nil, fmt.Errorf("record %q of %s was not there: %w", id, c.Name, data.ErrNotFound)
		}
	}
	return ids, nil
}

func (t *taking) run(tx core.App) error {
	if err := t.collections(tx); err != nil {
		return err
	}
	for {
		before := t.left()
		failed, err := t.round(tx)
		switch {
		case err != nil:
			return err
		case failed == nil && t.o.Dry:
			return errDry
		case failed == nil:
			return nil
		case t.left() == before: // what they refer to is not coming any more
			return failed
		}
	}
}

func (t *taking) left() (n int) {
	for _, set := range t.sets {
		n += len(set.ids)
	}
	return n
}

// collections finds where records go, making what is no longer there.
func (t *taking) collections(tx core.App) error {
	var missing []*core.Collection
	for _, set := range t.sets {
		found, err := tx.FindCollectionByNameOrId(set.source.Id)
		if err != nil {
			found, err = tx.FindCollectionByNameOrId(set.source.Name)
		}
		if err != nil {
			set.taken.Made, missing = true, append(missing, set.source)
			continue
		}
		if found.Type != set.source.Type {
			return fmt.Errorf("%w: collection %s is of another type now", ErrInvalid, found.Name)
		}
		set.target = found
	}
	if len(missing) == 0 {
		return nil
	}
	definition, err := json.Marshal(missing)
	if err == nil {
		err = tx.ImportCollectionsByMarshaledJSON(definition, false)
	}
	if err != nil {
		return fmt.Errorf("%w: make the missing collections: %w", ErrInvalid, err)
	}
	for _, set := range t.sets {
		if set.target == nil {
			if set.target, err = tx.FindCollectionByNameOrId(set.source.Id); err != nil {
				return err
			}
		}
	}
	return nil
}

// round tries each record that is left: one that refers to another of them fails
// until that one is there. It gives the first failure.
func (t *taking) round(tx core.App) (failed, err error) {
	for _, set := range t.sets {
		var again []string
		for _, id := range set.ids {
			if err := t.ctx.Err(); err != nil {
				return nil, err
			}
			failure := savepoint(tx, func() error { return t.take(tx, set, id) })
			if failure == nil {
				continue
			}
			if !retriable(failure) {
				return nil, failure
			}
			again = append(again, id)
			if failed == nil {
				failed = fmt.Errorf("%w: record %s of %s: %w", ErrInvalid, id, set.target.Name, failure)
			}
		}
		set.ids = again
	}
	return failed, nil
}

func retriable(err error) bool {
	return !errors.Is(err, ErrConflict) && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded)
}

// take brings one record.
func (t *taking) take(tx core.App, set *takeSet, id string) error {
	source, err := t.from.app.FindRecordById(set.source, id)
	if err != nil {
		return err
	}
	record, err := tx.FindRecordById(set.target, id)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		record = core.NewRecord(set.target)
		record.Id = id
	case err != nil:
		return err
	}
	files, err := t.fill(set, record, source)
	if err != nil {
		return err
	}
	return t.settle(tx, set, record, files)
}

// settle saves the record, or does not, and counts it.
func (t *taking) settle(tx core.App, set *takeSet, record *core.Record, files int) error {
	fresh := record.IsNew()
	if !fresh && files == 0 && sameRecord(record) {
		set.taken.Same++
		return nil
	}
	if !fresh && t.o.Conflict == Refuse {
		return fmt.Errorf("record %s of %s: %w", record.Id, set.target.Name, ErrConflict)
	}
	if !fresh && t.o.Conflict == Keep {
		set.taken.Kept++
		return nil
	}
	if record.Collection().IsAuth() {
		record.RefreshTokenKey() // what was revoked since would be valid again
	}
	if t.o.Dry {
		files = len(unsaved(record))
	} else if err := tx.SaveWithContext(t.ctx, record); err != nil {
		return err
	}
	set.taken.Files += files
	if fresh {
		set.taken.Added++
	} else {
		set.taken.Changed++
	}
	return nil
}

// sameRecord says that nothing was changed. A token key never counts.
func sameRecord(r *core.Record) bool {
	was, err := r.Original().DBExport(nil)
	if err != nil {
		return false
	}
	is, err := r.DBExport(nil)
	if err != nil {
		return false
	}
	delete(was, core.FieldNameTokenKey)
	delete(is, core.FieldNameTokenKey)
	a, errA := json.Marshal(was)
	b, errB := json.Marshal(is)
	return errA == nil && errB == nil && bytes.Equal(a, b)
}

// fill gives the record the values of the source, and its files: it tells how many
// have to be brought.
func (t *taking) fill(set *takeSet, record, source *core.Record) (files int, err error) {
	for _, f := range source.Collection().Fields {
		name := f.GetName()
		own := record.Collection().Fields.GetByName(name)
		if own == nil || own.Type() != f.Type() {
			set.leave(name)
			continue
		}
		if f.Type() != core.FieldTypeFile {
			record.SetRaw(name, source.GetRaw(name))
			continue
		}
		n, err := t.files(record, source, name)
		if err != nil {
			return files, err
		}
		files += n
	}
	return files, nil
}

func (set *takeSet) leave(field string) {
	for _, known := range set.taken.Left {
		if known == field {
			return
		}
	}
	set.taken.Left = append(set.taken.Left, field)
}

// files sets a file field: what the record has of the same name stays.
func (t *taking) files(record, source *core.Record, field string) (n int, err error) {
	had := map[string]bool{}
	for _, name := range record.Original().GetStringSlice(field) {
		had[name] = true
	}
	var values []any
	for _, name := range source.GetStringSlice(field) {
		if had[name] {
			values = append(values, name)
			continue
		}
		place := source.Collection().Id + "/" + source.Id + "/" + name
		r, info, err := t.from.Files().Open(t.ctx, place)
		if err != nil {
			return n, fmt.Errorf("file %s: %w", name, err)
		}
		if err := r.Close(); err != nil {
			return n, err
		}
		values = append(values, &filesystem.File{Name: name, OriginalName: name, Size: info.Size, Reader: fileOf{t.ctx, t.from, place}})
		n++
	}
	record.Set(field, values)
	return n, nil
}

// fileOf is PocketBase's reader of another store's file.
type fileOf struct {
	ctx   context.Context
	store *Store
	name  string
}

var _ filesystem.FileReader = fileOf{}

// Open reads the file from its beginning.
func (f fileOf) Open() (io.ReadSeekCloser, error) {
	r, _, err := f.store.Files().Open(f.ctx, f.name)
	return r, err
}
