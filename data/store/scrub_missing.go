package store

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/pocketbase/dbx"
	"github.com/pocketbase/pocketbase/core"

	"holdfast/data"
	"holdfast/data/cryptfs"
)

const (
	missingRows = 500 // records looked at in one go
	missingRest = 3   // for each part of the time that looking takes, so many parts of rest
)

// missing looks for files that records name and that are not on the disk: reading
// what is there cannot notice what is not. A finding names the record and the field,
// not the file, whose name a user chose.
func (s *Store) missing(ctx context.Context, files *cryptfs.Files, found func(Finding)) error {
	all, err := s.app.FindAllCollections()
	if err != nil {
		return fmt.Errorf("look for missing files: %w", err)
	}
	for _, c := range all {
		fields := slices.Sorted(maps.Keys(fileFields(c)))
		if len(fields) == 0 || c.IsView() {
			continue
		}
		m := missingIn{Store: s, collection: c, fields: fields, files: files, found: found}
		if err := m.look(ctx); err != nil {
			return fmt.Errorf("look for missing files of %s: %w", c.Name, err)
		}
	}
	return nil
}

// missingIn goes through one collection.
type missingIn struct {
	*Store
	collection *core.Collection
	fields     []string // that name files
	files      *cryptfs.Files
	found      func(Finding)
}

func (m missingIn) look(ctx context.Context) error {
	for after := ""; ; {
		began := time.Now()
		rows, err := m.rows(ctx, after)
		if err != nil || len(rows) == 0 {
			return err
		}
		for _, row := range rows {
			if err := m.record(ctx, row); err != nil {
				return err
			}
		}
		after = rows[len(rows)-1]["id"].String
		if err := rested(ctx, missingRest*time.Since(began)); err != nil {
			return err
		}
	}
}

func rested(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

func (m missingIn) rows(ctx context.Context, after string) (rows []dbx.NullStringMap, err error) {
	err = m.whole(func() error {
		return m.app.ConcurrentDB().Select(append([]string{"id"}, m.fields...)...).From(m.collection.Name).
			Where(dbx.NewExp("[[id]] > {:after}", dbx.Params{"after": after})).OrderBy("id").Limit(missingRows).
			WithContext(inner(ctx)).All(&rows)
	})
	return rows, err
}

func (m missingIn) record(ctx context.Context, row dbx.NullStringMap) error {
	id := row["id"].String
	for _, field := range m.fields {
		for _, name := range namesIn(row[field].String) {
			gone, err := m.gone(ctx, id, name)
			if err != nil {
				return err
			}
			if gone {
				m.found(Finding{File: filesDir, Reason: fmt.Sprintf("record %s of %s names a file in %s that is not there", id, m.collection.Name, field)})
			}
		}
	}
	return nil
}

// gone says that a file is not there though the record names it. Files come before
// the record that names them and go after it, so the record is asked on both sides
// of the second look.
func (m missingIn) gone(ctx context.Context, record, name string) (bool, error) {
	path := m.collection.Id + "/" + record + "/" + name
	if there, err := m.there(ctx, path); there || err != nil {
		return false, err
	}
	for range 2 {
		named := false
		err := m.whole(func() (err error) {
			named, err = m.namesFile(inner(ctx), m.collection, record, name)
			return err
		})
		if err != nil || !named {
			return false, err
		}
		if there, err := m.there(ctx, path); there || err != nil {
			return false, err
		}
	}
	return true, nil
}

// there is true also for a file that cannot be read: that is another finding.
func (m missingIn) there(ctx context.Context, path string) (bool, error) {
	_, err := m.files.Stat(ctx, path)
	return !errors.Is(err, data.ErrNotFound), ctx.Err()
}
