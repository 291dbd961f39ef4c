package identity

import (
	"context"
	"time"

	"holdfast/app/api"
	"holdfast/data"
)

// Warrant is what a store is told: this actor may do this with its records. App makes
// of it what the stores take.
type Warrant struct {
	Store      data.StoreID
	Actor      data.Actor
	Permission api.Permission
	Until      time.Time // zero: no end
	// Note is called before the store gives anything, and what it refuses is not given;
	// nil where nothing is to be noted.
	Note func(ctx context.Context, what, name, query string) error
}

// Warrant is Authorize; where the permission is about one store's records the context
// that it gives opens them, as far as that permission goes and no further.
func (s *Service) Warrant(ctx context.Context, actor data.Actor, p api.Permission, scope api.Scope) (context.Context, error) {
	by, err := s.allowed(ctx, actor, p, scope)
	if err != nil || s.config.Warrant == nil || !p.Content() || scope.Store == "" {
		return ctx, err
	}
	id, err := data.ParseStoreID(scope.Store)
	if err != nil {
		return ctx, err
	}
	w := Warrant{Store: id, Actor: actor, Permission: p, Until: by.Until}
	if by.Glass {
		w.Note = s.noting(by, id)
	}
	return s.config.Warrant(ctx, w), nil
}
