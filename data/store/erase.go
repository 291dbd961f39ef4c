package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/pocketbase/dbx"
	"github.com/pocketbase/pocketbase/core"
	"github.com/pocketbase/pocketbase/tools/dbutils"

	"holdfast/data"
)

// RecordRef names a record by ids.
type RecordRef struct {
	Collection string // PocketBase's collection id
	ID         string
}

// MaxErasure is the most records that one erasure takes, those that go with others
// among them.
const MaxErasure = 10_000

// errTooMany is an ErrInvalid.
var errTooMany = fmt.Errorf("%w: more than %d records", ErrInvalid, MaxErasure)

// Select gives the records that an erasure means: the one of that id, or those that
// match PocketBase's filter; and with them every record that PocketBase deletes
// when they go. data.ErrNotFound without such a collection or record. ErrInvalid
// for a bad filter, a view, one of PocketBase's own collections, too many records,
// or a record that another one cannot be without.
func (s *Store) Select(ctx context.Context, collection, id, filter string) ([]RecordRef, error) {
	if err := s.admitted(ctx, Change, Use{What: "select", Name: collection, Query: filter}); err != nil {
		return nil, err
	}
	c, err := s.findCollection(ctx, collection, Write)
	if err != nil {
		return nil, err
	}
	if c.IsView() || c.System {
		return nil, fmt.Errorf("select in %s: %w: no records of its own to erase", c.Name, ErrInvalid)
	}
	var refs []RecordRef
	err = s.whole(func() error {
		first, err := s.meant(c, id, filter)
		if err == nil {
			refs, err = s.withDependents(ctx, first)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("select in %s of %s: %w", c.Name, s.id, err)
	}
	return refs, nil
}

func (s *Store) meant(c *core.Collection, id, filter string) ([]*core.Record, error) {
	if id != "" {
		r, err := s.app.FindRecordById(c, id)
		if errors.Is(err, sql.ErrNoRows) {
			err = data.ErrNotFound
		}
		return []*core.Record{r}, err
	}
	found, err := s.app.FindRecordsByFilter(c, filter, "", MaxErasure+1, 0)
	if err != nil {
		return nil, fmt.Errorf("%w: filter: %w", ErrInvalid, err)
	}
	if len(found) > MaxErasure {
		return nil, errTooMany
	}
	return found, nil
}

// withDependents adds what PocketBase deletes when these records go.
func (s *Store) withDependents(ctx context.Context, first []*core.Record) ([]RecordRef, error) {
	set, refs := map[RecordRef]bool{}, []RecordRef{}
	add := func(records []*core.Record) (fresh []*core.Record) {
		for _, r := range records {
			if ref := (RecordRef{r.Collection().Id, r.Id}); !set[ref] {
				set[ref] = true
				refs, fresh = append(refs, ref), append(fresh, r)
			}
		}
		return fresh
	}
	for todo := add(first); len(todo) > 0; {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if len(refs) > MaxErasure {
			return nil, errTooMany
		}
		next, err := s.dependents(todo[0], set)
		if err != nil {
			return nil, err
		}
		todo = append(todo[1:], add(next)...)
	}
	return refs, nil
}

// dependents are the records that refer to r alone, or to others that go too.
func (s *Store) dependents(r *core.Record, going map[RecordRef]bool) (out []*core.Record, err error) {
	references, err := s.app.FindCachedCollectionReferences(r.Collection())
	if err != nil {
		return nil, err
	}
	for c, fields := range references {
		for _, f := range fields {
			field, ok := f.(*core.RelationField)
			if !ok || c.IsView() {
				continue
			}
			found, err := s.referring(c, field, r.Id)
			if err != nil {
				return nil, err
			}
			if out, err = orphans(out, found, field, r.Collection().Id, going); err != nil {
				return nil, err
			}
		}
	}
	return out, nil
}

func (s *Store) referring(c *core.Collection, f *core.RelationField, id string) (found []*core.Record, err error) {
	column := c.Name + "." + f.Name
	query := s.app.RecordQuery(c)
	if f.IsMultiple() {
		query.AndWhere(dbx.Exists(dbx.NewExp("SELECT 1 FROM "+dbutils.JSONEach(column)+" {{__je__}} WHERE [[__je__.value]]={:id}", dbx.Params{"id": id})))
	} else {
		query.AndWhere(dbx.HashExp{column: id})
	}
	err = query.Limit(MaxErasure + 1).All(&found)
	return found, err
}

func orphans(out, found []*core.Record, f *core.RelationField, target string, going map[RecordRef]bool) ([]*core.Record, error) {
	for _, r := range found {
		stays := false
		for _, id := range r.GetStringSlice(f.Name) {
			stays = stays || !going[RecordRef{target, id}]
		}
		self := RecordRef{r.Collection().Id, r.Id}
		switch {
		case stays || going[self]:
		case f.CascadeDelete:
			out = append(out, r)
		case f.Required:
			return nil, fmt.Errorf("%w: record %s of %s cannot be without it (field %s); erase or change that one first", ErrInvalid, r.Id, r.Collection().Name, f.Name)
		}
	}
	return out, nil
}

// IDs calls fn with the id of each record of a collection, in order. A collection
// that is not there has none.
func (s *Store) IDs(ctx context.Context, collection string, fn func(id string) error) error {
	if err := s.admitted(ctx, See, Use{What: "ids", Name: collection}); err != nil {
		return err
	}
	c, err := s.app.FindCachedCollectionByNameOrId(collection)
	if err != nil || c.IsView() {
		return nil //nolint:nilerr // it has no records
	}
	for last := ""; ; {
		var ids []string
		err := s.whole(func() error {
			return s.app.ConcurrentDB().Select("id").From(c.Name).Where(dbx.NewExp("[[id]] > {:after}", dbx.Params{"after": last})).
				OrderBy("id").Limit(exportPage * 10).WithContext(ctx).Column(&ids)
		})
		if err != nil {
			return fmt.Errorf("ids of %s in %s: %w", c.Name, s.id, err)
		}
		for _, id := range ids {
			if err := fn(id); err != nil {
				return err
			}
		}
		if len(ids) == 0 {
			return nil
		}
		last = ids[len(ids)-1]
	}
}

// Erase deletes records and their files, and overwrites in the database what they
// took. Records that are not there are no error; a record that others refer to goes
// all the same. It gives how many there were.
func (s *Store) Erase(ctx context.Context, refs []RecordRef) (n int, err error) {
	if err := s.admitted(ctx, Change, Use{What: "erase"}); err != nil {
		return 0, err
	}
	ctx = context.WithoutCancel(ctx) // half an erasure is worse than a client that left
	for len(refs) > 0 {
		batch := refs[:min(len(refs), importBatch)]
		refs = refs[len(batch):]
		done, err := s.eraseBatch(ctx, batch)
		if err != nil {
			return n, fmt.Errorf("erase records of %s: %w", s.id, err)
		}
		n += done
		if err := s.eraseFiles(ctx, batch); err != nil {
			return n, fmt.Errorf("erase files of %s: %w", s.id, err)
		}
	}
	return n, nil
}

func (s *Store) eraseBatch(ctx context.Context, batch []RecordRef) (n int, err error) {
	app, done := s.as(ctx)
	defer done()
	for _, remove := range []func(core.App, *core.Record) error{
		func(tx core.App, r *core.Record) error { return tx.DeleteWithContext(ctx, r) },
		func(tx core.App, r *core.Record) error { return s.removeRow(ctx, tx, r) },
	} {
		n = 0
		err = s.whole(func() error {
			return app.RunInTransaction(func(tx core.App) error {
				n, err = s.overwriting(ctx, tx, func() (int, error) { return removeAll(tx, batch, remove) })
				return err
			})
		})
		if err == nil {
			return n, nil
		}
	}
	return 0, err
}

// overwriting makes SQLite put zeros where deleted rows were.
func (s *Store) overwriting(ctx context.Context, tx core.App, work func() (int, error)) (n int, err error) {
	if _, err := execInner(ctx, tx.NonconcurrentDB(), "PRAGMA secure_delete=ON", nil); err != nil {
		return 0, err
	}
	defer func() {
		_, off := execInner(ctx, tx.NonconcurrentDB(), "PRAGMA secure_delete=OFF", nil)
		err = errors.Join(err, off)
	}()
	return work()
}

func removeAll(tx core.App, batch []RecordRef, remove func(core.App, *core.Record) error) (n int, err error) {
	for _, ref := range batch {
		c, err := tx.FindCachedCollectionByNameOrId(ref.Collection)
		if err != nil || c.Id != ref.Collection || c.IsView() {
			continue // the collection is gone, and its records with it
		}
		r, err := tx.FindRecordById(c, ref.ID)
		if errors.Is(err, sql.ErrNoRows) {
			continue
		}
		if err == nil {
			err = remove(tx, r)
		}
		if err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

// removeRow deletes a record's row past PocketBase's rules, which keep what another
// record requires, and what lets its person sign in.
func (s *Store) removeRow(ctx context.Context, tx core.App, r *core.Record) error {
	if r.Collection().IsAuth() {
		for _, own := range []string{core.CollectionNameAuthOrigins, core.CollectionNameExternalAuths, core.CollectionNameMFAs, core.CollectionNameOTPs} {
			query := "DELETE FROM {{" + own + "}} WHERE [[collectionRef]] = {:c} AND [[recordRef]] = {:r}"
			if err := s.exec(ctx, tx, query, dbx.Params{"c": r.Collection().Id, "r": r.Id}); err != nil {
				return err
			}
		}
	}
	return s.exec(ctx, tx, "DELETE FROM {{"+r.Collection().Name+"}} WHERE [[id]] = {:id}", dbx.Params{"id": r.Id})
}

func (s *Store) exec(ctx context.Context, tx core.App, query string, params dbx.Params) error {
	_, err := tx.NonconcurrentDB().NewQuery(query).WithContext(ctx).Bind(params).Execute()
	return err
}

// eraseFiles does not wait for PocketBase, which deletes files in its own time.
func (s *Store) eraseFiles(ctx context.Context, batch []RecordRef) error {
	files := s.Files()
	for _, ref := range batch {
		for {
			list, err := files.List(ctx, ref.Collection+"/"+ref.ID+"/", "", 100)
			if err != nil {
				return err
			}
			if len(list) == 0 {
				break
			}
			for _, f := range list {
				if err := files.Delete(ctx, f.Name); err != nil && !errors.Is(err, data.ErrNotFound) {
					return err
				}
			}
		}
	}
	return nil
}
