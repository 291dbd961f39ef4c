package store

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/ncruces/go-sqlite3"
	"github.com/pocketbase/dbx"
	"github.com/pocketbase/pocketbase/core"

	"holdfast/data"
)

// Collections lists the store's collections in the order they were made, with
// their record counts.
func (s *Store) Collections(ctx context.Context) ([]Collection, error) {
	all, err := s.app.FindAllCollections()
	if err != nil {
		return nil, fmt.Errorf("collections of %s: %w", s.id, err)
	}
	if reach, limited := ctx.Value(reachKey{}).(Reach); limited {
		all = slices.DeleteFunc(all, func(c *core.Collection) bool { return !reach.covers(c) })
	}
	out := make([]Collection, len(all))
	err = s.whole(func() (err error) {
		for i, c := range all {
			if out[i], err = s.describe(ctx, c); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("collections of %s: %w", s.id, err)
	}
	return out, nil
}

func (s *Store) describe(ctx context.Context, c *core.Collection) (Collection, error) {
	d := Collection{ID: c.Id, Name: c.Name, Type: c.Type, System: c.System}
	for _, f := range c.Fields {
		d.Fields = append(d.Fields, Field{f.GetName(), f.Type()})
	}
	err := s.app.ConcurrentDB().Select("count(*)").From(c.Name).WithContext(ctx).Row(&d.Records)
	if c.IsView() && errors.Is(err, sqlite3.INTERRUPT) && ctx.Err() == nil {
		return d, nil // who lists collections does not fail for a view that is too expensive
	}
	if err != nil {
		return d, fmt.Errorf("count %s: %w", c.Name, err)
	}
	return d, nil
}

// CreateCollection makes a base collection with these fields beside the id,
// created and updated that it always has. It answers data.ErrExists for a name
// that is taken, and ErrInvalid for what PocketBase's rules refuse.
func (s *Store) CreateCollection(ctx context.Context, name string, fields []Field) error {
	if err := s.admitted(ctx, Change, Use{What: "create collection", Name: name}); err != nil {
		return err
	}
	if reach, limited := ctx.Value(reachKey{}).(Reach); limited && (reach.Scope < Admin || reach.Collections != nil) {
		return fmt.Errorf("collection %s of %s: %w", name, s.id, ErrReach)
	}
	if _, err := s.app.FindCollectionByNameOrId(name); err == nil {
		return fmt.Errorf("collection %s in %s: %w", name, s.id, data.ErrExists)
	}
	c := core.NewBaseCollection(name)
	for _, f := range fields {
		made, err := newField(f)
		if err != nil {
			return fmt.Errorf("collection %s: %w", name, err)
		}
		if made != nil {
			c.Fields.Add(made)
		}
	}
	c.Fields.Add(
		&core.AutodateField{Name: "created", OnCreate: true},
		&core.AutodateField{Name: "updated", OnCreate: true, OnUpdate: true},
	)
	app, done := s.as(ctx)
	defer done()
	if err := app.SaveWithContext(context.WithoutCancel(ctx), c); err != nil {
		return fmt.Errorf("collection %s: %w: %w", name, ErrInvalid, err)
	}
	return nil
}

// newField makes a field of a type; nil for those that a collection has anyway.
func newField(f Field) (core.Field, error) {
	if slices.Contains([]string{"id", "created", "updated"}, f.Name) {
		return nil, nil
	}
	make, ok := core.Fields[f.Type]
	if !ok {
		return nil, fmt.Errorf("%w: field %s: type %q is none of %v", ErrInvalid, f.Name, f.Type, slices.Sorted(maps.Keys(core.Fields)))
	}
	field := make()
	field.SetName(f.Name)
	return field, nil
}

// Export calls fn with each record of a collection in the order of the ids, as
// PocketBase shows it to a superuser. Passwords and token keys are left out. The
// map is fn's to keep.
func (s *Store) Export(ctx context.Context, collection string, fn func(record map[string]any) error) error {
	if err := s.admitted(ctx, See, Use{What: "export", Name: collection}); err != nil {
		return err
	}
	c, err := s.findCollection(ctx, collection, Read)
	if err != nil {
		return err
	}
	for last := ""; ; {
		if err := s.lasting(ctx); err != nil {
			return err
		}
		records, err := s.page(ctx, c, last)
		if err != nil {
			return fmt.Errorf("export %s of %s: %w", c.Name, s.id, err)
		}
		for _, r := range records {
			if err := fn(exported(r)); err != nil {
				return err
			}
		}
		if len(records) == 0 {
			return nil
		}
		last = records[len(records)-1].Id
	}
}

const exportPage = 500

func (s *Store) page(ctx context.Context, c *core.Collection, after string) ([]*core.Record, error) {
	var records []*core.Record
	err := s.whole(func() error {
		return s.app.RecordQuery(c).AndWhere(dbx.NewExp("[[id]] > {:after}", dbx.Params{"after": after})).
			OrderBy("id").Limit(exportPage).WithContext(ctx).All(&records)
	})
	return records, err
}

func exported(r *core.Record) map[string]any {
	r.IgnoreEmailVisibility(true)
	r.Unhide(r.Collection().Fields.FieldNames()...)
	out := r.PublicExport()
	delete(out, core.FieldNameCollectionId)
	delete(out, core.FieldNameCollectionName)
	return out
}

// findCollection is the way in for calls that name a collection. Without a reach
// in the context the caller is the appliance itself.
func (s *Store) findCollection(ctx context.Context, name string, need Scope) (*core.Collection, error) {
	c, err := s.app.FindCachedCollectionByNameOrId(name)
	if err != nil {
		return nil, fmt.Errorf("collection %s of %s: %w", name, s.id, data.ErrNotFound)
	}
	reach, limited := ctx.Value(reachKey{}).(Reach)
	switch {
	case limited && !reach.covers(c):
		return nil, fmt.Errorf("collection %s of %s: %w", name, s.id, data.ErrNotFound)
	case limited && reach.Scope < need:
		return nil, fmt.Errorf("collection %s of %s: %w", name, s.id, ErrReach)
	}
	return c, nil
}
