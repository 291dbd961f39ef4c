package store

import (
	"context"
	"errors"
	"reflect"
	"unsafe"

	"github.com/pocketbase/pocketbase/core"
	"github.com/pocketbase/pocketbase/tools/hook"

	"holdfast/data"
)

// PocketBase saves records with context.Background(), so a request's actor is
// lost on the way to SQLite. Each request therefore gets a shallow clone of the
// app; the clone's address is its name. A model event carries the clone, or a
// transaction whose private parent field leads back to it. Innermost, just before
// the statement, we look the actor up and put it into the statement's context,
// where the trigger's hf_actor() finds it.

// parentField is where a transaction keeps the app that began it.
var parentField, parentErr = findParentField()

func findParentField() (reflect.StructField, error) {
	f, ok := reflect.TypeFor[core.TxAppInfo]().FieldByName("parent")
	if !ok || f.Type != reflect.TypeFor[*core.BaseApp]() {
		return f, errors.New("this PocketBase keeps a transaction's parent elsewhere: the actor could not be told")
	}
	return f, nil
}

func parentOf(app *core.BaseApp) *core.BaseApp {
	info := app.TxInfo()
	if info == nil {
		return nil
	}
	return *(**core.BaseApp)(unsafe.Add(unsafe.Pointer(info), parentField.Offset))
}

// borrow gives a clone of the app whose writes are the given actor's, until the
// returned func is called.
func (s *Store) borrow(actor func() data.Actor) (*core.BaseApp, func()) {
	clone := *s.app
	s.actors.Store(&clone, actor)
	return &clone, func() { s.actors.Delete(&clone) }
}

// as is borrow for calls that come with a context instead of a request.
func (s *Store) as(ctx context.Context) (*core.BaseApp, func()) {
	actor := data.ActorFrom(ctx)
	return s.borrow(func() data.Actor { return actor })
}

// actorContext puts into ctx the actor of the request that app belongs to.
func (s *Store) actorContext(ctx context.Context, app core.App) context.Context {
	if ctx == nil {
		ctx = context.Background()
	}
	if w, ok := app.(*reachApp); ok {
		app = w.BaseApp
	}
	for b, _ := app.(*core.BaseApp); b != nil; b = parentOf(b) {
		if actor, ok := s.actors.Load(b); ok {
			return data.WithActor(ctx, actor.(func() data.Actor)())
		}
	}
	return ctx
}

// bindActor names the actor of each model write.
func (s *Store) bindActor() {
	for _, h := range []*hook.Hook[*core.ModelEvent]{
		s.app.OnModelCreateExecute().Hook, s.app.OnModelUpdateExecute().Hook, s.app.OnModelDeleteExecute().Hook,
	} {
		h.Bind(&hook.Handler[*core.ModelEvent]{Id: "hfActor", Func: s.nameActor, Priority: 500})
	}
}

func (s *Store) nameActor(e *core.ModelEvent) error {
	before := e.Context
	defer func() { e.Context = before }()
	e.Context = s.actorContext(e.Context, e.App)
	return e.Next()
}

// requestActor is the caller that the edge named, else the tenant's user that
// PocketBase authenticated, else a guest.
func requestActor(ctx context.Context, auth *core.Record) data.Actor {
	if a := data.ActorFrom(ctx); a.Kind != data.System && a.Kind != data.Guest {
		return a
	}
	if auth == nil {
		return data.Actor{Kind: data.Guest}
	}
	if auth.IsSuperuser() {
		return studioActor(auth)
	}
	return data.Actor{Kind: data.User, ID: auth.Collection().Name + "/" + auth.Id}
}
