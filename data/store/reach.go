package store

import (
	"context"
	"database/sql"
	"slices"
	"strings"
	"time"

	"github.com/pocketbase/dbx"
	"github.com/pocketbase/pocketbase/core"
)

// Scope is how much a credential may do.
type Scope int

// The scopes, from least to most. Under Public, PocketBase's own API rules
// decide; the others stand above the rules.
const (
	Public Scope = iota
	Read
	Write
	Admin
)

// Reach is what a credential may touch. Collections are ids, which outlive names
// (a name that was given up may become another collection's); nil means all.
// System collections are in no credential's reach.
type Reach struct {
	Scope       Scope
	Collections []string
	Until       time.Time // when the credential expires, and its event streams with it; zero: never
}

type reachKey struct{}

// WithReach returns a context whose request has that reach. ServeHTTP treats its
// absence as Public.
func WithReach(ctx context.Context, r Reach) context.Context {
	return context.WithValue(ctx, reachKey{}, r)
}

func reachFrom(ctx context.Context) Reach {
	r, _ := ctx.Value(reachKey{}).(Reach)
	return r
}

// covers tells whether a collection is in reach.
func (r Reach) covers(c *core.Collection) bool {
	if r.Scope == Public {
		return true
	}
	if c == nil || c.System && strings.HasPrefix(c.Name, "_") {
		return false
	}
	return r.Collections == nil || slices.Contains(r.Collections, c.Id)
}

// reachApp is the app as a key's request sees it: collections out of reach do not
// exist, whichever way PocketBase asks for them (route, filter, sort, expand,
// back relation, @collection, batch). Transactions pass the view on.
type reachApp struct {
	*core.BaseApp
	reach Reach
	self  *core.Record // the key, in the shape of a superuser
}

var _ core.App = (*reachApp)(nil)

func (a *reachApp) FindCachedCollectionByNameOrId(name string) (*core.Collection, error) {
	return a.visible(a.BaseApp.FindCachedCollectionByNameOrId(name))
}

func (a *reachApp) FindCollectionByNameOrId(name string) (*core.Collection, error) {
	return a.visible(a.BaseApp.FindCollectionByNameOrId(name))
}

func (a *reachApp) visible(c *core.Collection, err error) (*core.Collection, error) {
	if err == nil && !a.reach.covers(c) {
		return nil, sql.ErrNoRows
	}
	return c, err
}

func (a *reachApp) FindAllCollections(types ...string) ([]*core.Collection, error) {
	all, err := a.BaseApp.FindAllCollections(types...)
	return slices.DeleteFunc(all, func(c *core.Collection) bool { return !a.reach.covers(c) }), err
}

func (a *reachApp) FindCachedCollectionReferences(c *core.Collection, exclude ...string) (map[*core.Collection][]core.Field, error) {
	refs, err := a.BaseApp.FindCachedCollectionReferences(c, exclude...)
	for ref := range refs {
		if !a.reach.covers(ref) {
			delete(refs, ref)
		}
	}
	return refs, err
}

func (a *reachApp) FindRecordById(collection any, id string, filters ...func(*dbx.SelectQuery) error) (*core.Record, error) {
	if !a.sees(collection) {
		return nil, sql.ErrNoRows
	}
	return a.BaseApp.FindRecordById(collection, id, filters...)
}

func (a *reachApp) FindRecordsByIds(collection any, ids []string, filters ...func(*dbx.SelectQuery) error) ([]*core.Record, error) {
	if !a.sees(collection) {
		return nil, nil
	}
	return a.BaseApp.FindRecordsByIds(collection, ids, filters...)
}

func (a *reachApp) sees(collection any) bool {
	switch c := collection.(type) {
	case *core.Collection:
		return a.reach.covers(c)
	case core.Collection:
		return a.reach.covers(&c)
	case string:
		_, err := a.FindCachedCollectionByNameOrId(c)
		return err == nil
	}
	return false
}

// FindAuthRecordByToken lets a key read protected files: it has no stored record
// whose file token PocketBase could look up.
func (a *reachApp) FindAuthRecordByToken(token string, types ...string) (*core.Record, error) {
	if slices.Contains(types, core.TokenTypeFile) {
		return a.self, nil
	}
	return a.BaseApp.FindAuthRecordByToken(token, types...)
}

func (a *reachApp) RunInTransaction(fn func(core.App) error) error {
	return a.BaseApp.RunInTransaction(func(tx core.App) error {
		base, ok := tx.(*core.BaseApp)
		if !ok {
			return fn(tx)
		}
		return fn(&reachApp{base, a.reach, a.self})
	})
}
