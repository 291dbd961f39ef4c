package store

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/pocketbase/pocketbase/core"
	"github.com/pocketbase/pocketbase/tools/security"
)

// ImportOptions say how rows become records.
type ImportOptions struct {
	// Key names a field: a row whose value is already there updates that record
	// instead of making another.
	Key string
	// Strict undoes everything at the first bad row.
	Strict bool
}

// ImportProgress counts rows so far.
type ImportProgress struct{ Read, Created, Updated, Failed int }

// RowError is why a row was not taken. Line is what the source of the rows gave.
type RowError struct {
	Line   int    `json:"line"`
	Reason string `json:"reason"`
}

// ImportResult counts the rows. Errors holds the first hundred bad ones.
type ImportResult struct {
	Read    int        `json:"read"`
	Created int        `json:"created"`
	Updated int        `json:"updated"`
	Failed  int        `json:"failed"`
	Errors  []RowError `json:"errors"`
}

const (
	importBatch  = 500
	maxRowErrors = 100
)

// ErrStrict is the cause of a strict import that took nothing.
var ErrStrict = errors.New("a bad row, and the import is strict: nothing was imported")

type importRow struct {
	values map[string]any
	line   int
	err    error // the source could not read the row
}

// importer is one run of Import.
type importer struct {
	store      *Store
	collection *core.Collection
	options    ImportOptions
	reach      Reach // Public where the caller is the appliance itself
	report     func(ImportProgress)
	result     ImportResult
}

// Import reads rows until rows gives io.EOF and saves each through PocketBase's
// validation, in transactions of 500. A row that cannot be read (any other error
// of rows) or that PocketBase refuses is counted, noted and left out. Strings, as
// CSV has them, are converted by the type of their field. A strict import is one
// transaction, during which the store's other writers wait. report is called
// after each batch and may be nil. When ctx ends, the batches done so far stay.
func (s *Store) Import(ctx context.Context, collection string, o ImportOptions,
	rows func() (row map[string]any, line int, err error), report func(ImportProgress)) (ImportResult, error) {
	if err := s.admitted(ctx, Change, Use{What: "import", Name: collection}); err != nil {
		return ImportResult{}, err
	}
	c, err := s.findCollection(ctx, collection, Write)
	if err != nil {
		return ImportResult{}, err
	}
	if c.IsView() || o.Key != "" && c.Fields.GetByName(o.Key) == nil {
		return ImportResult{}, fmt.Errorf("import into %s: %w: a view, or no field %q to key by", c.Name, ErrInvalid, o.Key)
	}
	if report == nil {
		report = func(ImportProgress) {}
	}
	im := &importer{store: s, collection: c, options: o, report: report, reach: reachFrom(ctx)}
	app, done := s.as(ctx)
	defer done()
	if err := im.run(ctx, app, rows); err != nil {
		return im.result, fmt.Errorf("import into %s of %s: %w", c.Name, s.id, err)
	}
	return im.result, nil
}

func (im *importer) run(ctx context.Context, app core.App, rows func() (map[string]any, int, error)) error {
	if !im.options.Strict {
		return im.batches(ctx, rows, func(batch []importRow) error {
			return im.store.whole(func() error {
				return app.RunInTransaction(func(tx core.App) error { return im.saveAll(tx, batch) })
			})
		})
	}
	err := app.RunInTransaction(func(tx core.App) error {
		return im.batches(ctx, rows, func(batch []importRow) error { return im.saveAll(tx, batch) })
	})
	if err != nil {
		im.result.Created, im.result.Updated = 0, 0
	}
	return err
}

// batches reads ahead of the transaction, so that a slow source holds no lock.
func (im *importer) batches(ctx context.Context, rows func() (map[string]any, int, error), save func([]importRow) error) error {
	for end := false; !end; {
		if err := ctx.Err(); err != nil {
			return err
		}
		var batch []importRow
		batch, end = readBatch(rows)
		before := im.result
		if err := save(batch); err != nil {
			im.result = before
			im.noteStrict(err)
			return err
		}
		im.report(ImportProgress{im.result.Read, im.result.Created, im.result.Updated, im.result.Failed})
	}
	return nil
}

func readBatch(rows func() (map[string]any, int, error)) (batch []importRow, end bool) {
	for len(batch) < importBatch {
		values, line, err := rows()
		if errors.Is(err, io.EOF) {
			return batch, true
		}
		batch = append(batch, importRow{values, line, err})
	}
	return batch, false
}

func (im *importer) saveAll(tx core.App, batch []importRow) error {
	for _, row := range batch {
		im.result.Read++
		created, err := im.saveRow(tx, row)
		switch {
		case err == nil && created:
			im.result.Created++
		case err == nil:
			im.result.Updated++
		case im.options.Strict:
			return &strictError{row.line, err}
		default:
			im.fail(row.line, err)
		}
	}
	return nil
}

type strictError struct {
	line int
	err  error
}

func (e *strictError) Error() string { return fmt.Sprintf("line %d: %v: %v", e.line, e.err, ErrStrict) }
func (e *strictError) Unwrap() error { return ErrStrict }

func (im *importer) noteStrict(err error) {
	var strict *strictError
	if errors.As(err, &strict) {
		im.fail(strict.line, strict.err)
	}
}

func (im *importer) fail(line int, err error) {
	im.result.Failed++
	if len(im.result.Errors) < maxRowErrors {
		im.result.Errors = append(im.result.Errors, RowError{line, err.Error()})
	}
}

// saveRow saves one row, wholly or not at all.
func (im *importer) saveRow(tx core.App, row importRow) (created bool, err error) {
	if row.err != nil {
		return false, row.err
	}
	record, err := im.record(tx, row.values)
	if err != nil {
		return false, err
	}
	if err := im.outward(record); err != nil {
		return false, err
	}
	created = record.IsNew()
	return created, savepoint(tx, func() error { return tx.Save(record) })
}

// outward refuses a row that would tell of records out of reach.
func (im *importer) outward(record *core.Record) error {
	for name, err := range im.reach.setsOutward(im.store.app, record) {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

func savepoint(tx core.App, fn func() error) error {
	db := tx.NonconcurrentDB()
	if _, err := db.NewQuery("SAVEPOINT hf_row").Execute(); err != nil {
		return err
	}
	failure := fn()
	if failure != nil {
		if _, err := db.NewQuery("ROLLBACK TO hf_row").Execute(); err != nil {
			return errors.Join(failure, err)
		}
	}
	_, err := db.NewQuery("RELEASE hf_row").Execute()
	return errors.Join(failure, err)
}

// record makes or finds the record of a row and gives it the row's values.
func (im *importer) record(tx core.App, values map[string]any) (*core.Record, error) {
	record := core.NewRecord(im.collection)
	if im.options.Key != "" {
		key, err := convert(im.collection.Fields.GetByName(im.options.Key), values[im.options.Key])
		if err != nil {
			return nil, err
		}
		if found, err := tx.FindFirstRecordByData(im.collection, im.options.Key, key); err == nil {
			record = found
		}
	}
	for name, value := range values {
		if err := im.set(record, name, value); err != nil {
			return nil, err
		}
	}
	if record.IsNew() && im.collection.IsAuth() && values[core.FieldNamePassword] == nil {
		record.SetPassword(security.RandomString(30)) // the user sets one by reset
	}
	return record, nil
}

func (im *importer) set(record *core.Record, name string, value any) error {
	field := im.collection.Fields.GetByName(name)
	if field == nil {
		return fmt.Errorf("no field %q", name)
	}
	if name == "id" && !record.IsNew() {
		return nil
	}
	converted, err := convert(field, value)
	if err != nil {
		return err
	}
	if field.Type() == core.FieldTypeAutodate {
		record.SetRaw(name, converted) // Set would ignore it
		return nil
	}
	record.Set(name, converted)
	return nil
}
