package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/pocketbase/dbx"
	"github.com/pocketbase/pocketbase/core"

	"holdfast/data"
	"holdfast/data/cryptfs"
)

// PocketBase deletes the files of a deleted or changed record behind the request. A
// process that dies before leaves files that no record names. They are looked for in
// open stores only, a bounded part at a time. A file goes when it has no record twice:
// it may belong to one that is being saved, and its age is no proof that it does not,
// for a clock can be set forward.
const (
	orphanAge    = time.Hour // a younger file is not even suspected
	sweptFiles   = 1000      // files looked at in one go
	mostSuspects = 4 * sweptFiles
)

// sweepFiles removes files that nobody can ask for any more, going on where it
// stopped, and uploads in parts that were given up. It tells how many files went.
func (s *Store) sweepFiles(ctx context.Context, now time.Time) (removed int, err error) {
	if !exists(filepath.Join(s.dir, filesDir)) {
		return 0, nil // no files: nothing to open
	}
	t, err := s.pool.treeOf(s.seat)
	if err != nil {
		return 0, err
	}
	if _, err := t.files.SweepUploads(ctx, now.Add(-cryptfs.UploadsLast)); err != nil {
		return 0, err
	}
	list, err := t.files.List(ctx, "", t.swept, sweptFiles)
	if err != nil {
		return 0, err
	}
	for _, info := range list {
		gone, err := s.sweepFile(ctx, t, info, now)
		if err != nil {
			return removed, err
		}
		if gone {
			removed++
		}
	}
	if t.swept = ""; len(list) == sweptFiles {
		t.swept = list[len(list)-1].Name
	}
	return removed, nil
}

func (s *Store) sweepFile(ctx context.Context, t *tree, info data.FileInfo, now time.Time) (gone bool, err error) {
	if now.Sub(info.Modified) < orphanAge {
		return false, nil
	}
	err = s.whole(func() error { // a read that fails is no evidence
		gone, err = s.isOrphan(ctx, info.Name)
		return err
	})
	if err != nil || !t.suspected(info.Name, gone) {
		return false, err
	}
	if err := t.files.Delete(ctx, info.Name); err != nil && !errors.Is(err, data.ErrNotFound) {
		return false, err
	}
	return true, nil
}

// suspected says whether a file has no record, now and when it was looked at before.
func (t *tree) suspected(name string, now bool) bool {
	before := t.suspects[name]
	delete(t.suspects, name)
	if !now || before {
		return now
	}
	if t.suspects == nil || len(t.suspects) >= mostSuspects {
		t.suspects = map[string]bool{}
	}
	t.suspects[name] = true
	return false
}

// isOrphan says that the record of a file is gone, or names it in none of its file
// fields. What is not named as PocketBase names files is nobody's orphan.
func (s *Store) isOrphan(ctx context.Context, name string) (bool, error) {
	collection, rest, _ := strings.Cut(name, "/")
	record, file, ok := strings.Cut(rest, "/")
	if !ok {
		return false, nil
	}
	if thumb, _, ok := strings.Cut(file, "/"); ok {
		file = strings.TrimPrefix(thumb, "thumbs_")
	}
	c, err := s.app.FindCollectionByNameOrId(collection)
	if errors.Is(err, sql.ErrNoRows) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("whose file: %w", err)
	}
	if c.Id != collection || c.IsView() {
		return false, nil
	}
	named, err := s.namesFile(ctx, c, record, file)
	return !named, err
}

// namesFile looks through a record's file fields.
func (s *Store) namesFile(ctx context.Context, c *core.Collection, record, file string) (bool, error) {
	row := dbx.NullStringMap{}
	err := s.app.ConcurrentDB().Select("*").From(c.Name).Where(dbx.HashExp{"id": record}).WithContext(ctx).One(row)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("whose file: %w", err)
	}
	for _, f := range c.Fields {
		if f.Type() == core.FieldTypeFile && strings.Contains(row[f.GetName()].String, file) {
			return true, nil
		}
	}
	return false, nil
}
