package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"holdfast/data"
)

// A store gives records to nobody merely because somebody asks. Who comes with a
// key or as a tenant's user has a reach or the API's rules; the appliance at work
// itself is the system, or on duty; everybody else shows a warrant for this very
// store. A route that forgets to ask for a permission has none, so it gets nothing.

// ErrWarrant means that whoever asks has not been given this store's records.
var ErrWarrant = errors.New("no warrant for the records of this store")

// errSecondWarden keeps the making of warrants in one hand.
var errSecondWarden = errors.New("the pool's warden is taken already")

// Level is how far a warrant goes.
type Level int

// The levels, each with those before it.
const (
	See    Level = iota + 1 // records and files are read
	Change                  // and written, and collections made
	Manage                  // and collections changed, and the dashboard opened
)

// Use is what a warrant is shown for.
type Use struct {
	What  string // the route's pattern, or the call
	Name  string // a collection or a file, as it was asked for
	Query string // filter and order as they came; "" for none
}

// Warrant lets an actor have the records of one store. Only a Warden makes one that
// counts.
type Warrant struct {
	Store data.StoreID
	Actor data.Actor
	Level Level
	Until time.Time // zero: as long as the request lasts
	// Note is called before anything is given, and what it refuses is not given;
	// nil: nothing is to be noted. It is called for each request and each call.
	Note func(context.Context, Use) error

	warden *Warden
}

// Warden makes the warrants of one pool's stores. Who holds it decides who sees
// records, so there is one.
type Warden struct{ pool *Pool }

// Warden gives the pool's, once: the second caller gets an error.
func (p *Pool) Warden() (*Warden, error) {
	w := &Warden{p}
	if !p.warden.CompareAndSwap(nil, w) {
		return nil, errSecondWarden
	}
	return w, nil
}

type warrantKey struct{}

// Issue returns a context whose actor, w.Actor, may have what w says.
func (d *Warden) Issue(ctx context.Context, w Warrant) context.Context {
	w.warden = d
	return WithWarrant(ctx, w)
}

// WarrantFrom is the context's, the zero one where there is none.
func WarrantFrom(ctx context.Context) Warrant {
	w, _ := ctx.Value(warrantKey{}).(Warrant)
	return w
}

// WithWarrant carries a warrant into another request of the same actor, such as the one
// that redeems a link. One that no warden made counts for nothing.
func WithWarrant(ctx context.Context, w Warrant) context.Context {
	return context.WithValue(ctx, warrantKey{}, w)
}

type dutyKey struct{}

// OnDuty marks work that shows records to nobody: shipping, restoring, replaying the
// ledger of erasures, comparing. The actor stays who ordered it, and needs no warrant.
// Who calls it answers for that; TestWhoIsOnDuty holds the list of those who do.
func OnDuty(ctx context.Context) context.Context {
	return context.WithValue(ctx, dutyKey{}, true)
}

// admitted decides whether the context may have records of the store, and has it noted
// where that is due. Keys and users come with a reach, which is looked at elsewhere.
func (s *Store) admitted(ctx context.Context, need Level, u Use) error {
	if onDuty, _ := ctx.Value(dutyKey{}).(bool); onDuty {
		return nil
	}
	actor := data.ActorFrom(ctx)
	switch actor.Kind {
	case data.System:
		return nil
	case data.Key:
		if _, limited := ctx.Value(reachKey{}).(Reach); limited {
			return nil
		}
	}
	w := WarrantFrom(ctx)
	if !w.covers(s, actor, need) {
		return fmt.Errorf("%s of %s by %s: %w", u.What, s.id, actor, ErrWarrant)
	}
	if w.Note == nil {
		return nil
	}
	return w.Note(ctx, u)
}

func (w Warrant) covers(s *Store, actor data.Actor, need Level) bool {
	return w.warden != nil && w.warden == s.pool.warden.Load() && w.Store == s.id && w.Actor == actor &&
		w.Level >= need && w.lives(s.pool.config.Clock())
}

func (w Warrant) lives(now time.Time) bool { return w.Until.IsZero() || now.Before(w.Until) }

// lasting ends a long reading when the warrant behind it ends.
func (s *Store) lasting(ctx context.Context) error {
	if w := WarrantFrom(ctx); !w.lives(s.pool.config.Clock()) {
		return fmt.Errorf("%s: the warrant ended: %w", s.id, ErrWarrant)
	}
	return nil
}

// levelOf is what a route that needs a key of this scope takes.
func levelOf(need Scope) Level {
	switch need {
	case Write:
		return Change
	case Admin:
		return Manage
	}
	return See
}
