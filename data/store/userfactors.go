package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/pocketbase/pocketbase/core"
	"github.com/pocketbase/pocketbase/tools/hook"
	"github.com/pocketbase/pocketbase/tools/router"

	"holdfast/data"
	"holdfast/data/store/users"
)

// UserPolicy is how the users of an auth collection sign in.
type UserPolicy = users.Policy

// UserFactors are what a user has beside the password.
type UserFactors = users.Factors

// UserEvent is a sign-in of a tenant's user, or a change of its factors.
type UserEvent = users.Event

// WithOrigin returns a context whose request came to the tenant's own host, of that
// origin: passkeys are made for it. See users.WithOrigin.
func WithOrigin(ctx context.Context, origin string) context.Context {
	return users.WithOrigin(ctx, origin)
}

// openUsers joins the rules for a tenant's own users.
func (s *Store) openUsers(ctx context.Context) (err error) {
	s.users, err = users.Open(ctx, users.Config{
		Store: s.id.String(), App: s.app, Inner: inner, Shared: s.pool.users, Clock: s.pool.config.Clock, Breached: s.pool.config.Breached,
		Record: func(ctx context.Context, e UserEvent) error { return s.pool.config.OnUser(ctx, s.id, e) },
	})
	if err == nil {
		s.bindForgetting()
	}
	return err
}

// scopeOf is the least scope that a key needs for a route; false when there is none.
func scopeOf(pattern string) (Scope, bool) {
	if need, ok := routes[pattern]; ok {
		return need, true
	}
	for _, r := range users.Routes() {
		if r.Pattern == pattern {
			return map[users.Access]Scope{users.SignIn: Write, users.UserOnly: noKey, users.Admin: Admin}[r.Access], true
		}
	}
	return 0, false
}

func (s *Store) addUserRoutes(r *router.Router[*core.RequestEvent]) {
	for _, route := range users.Routes() {
		method, path, _ := strings.Cut(route.Pattern, " ")
		r.Route(method, path, route.Handler(s.users))
	}
}

// bindForgetting drops what belongs to the users of a collection that goes.
func (s *Store) bindForgetting() {
	s.app.OnCollectionDeleteExecute().Bind(&hook.Handler[*core.CollectionEvent]{Id: "hfForgetUsers", Priority: 98, Func: func(e *core.CollectionEvent) error {
		if err := e.Next(); err != nil || !e.Collection.IsAuth() {
			return err
		}
		return s.users.ForgetCollection(e.Context, e.App, e.Collection.Id)
	}})
}

// authCollection is the way in for calls that name one.
func (s *Store) authCollection(ctx context.Context, name string, need Scope) (*core.Collection, error) {
	c, err := s.findCollection(ctx, name, need)
	if err == nil && (!c.IsAuth() || c.Name == core.CollectionNameSuperusers) {
		err = fmt.Errorf("auth collection %s of %s: %w", name, s.id, data.ErrNotFound)
	}
	return c, err
}

// UserPolicies gives the policies of the auth collections by name, the default one
// where none was set.
func (s *Store) UserPolicies(ctx context.Context) (map[string]UserPolicy, error) {
	all, err := s.app.FindAllCollections(core.CollectionTypeAuth)
	if err != nil {
		return nil, fmt.Errorf("auth collections of %s: %w", s.id, err)
	}
	found := map[string]UserPolicy{}
	reach := reachFrom(ctx)
	for _, c := range all {
		if c.Name != core.CollectionNameSuperusers && reach.covers(c) {
			found[c.Name], _ = s.users.PolicyOf(c)
		}
	}
	return found, nil
}

// UserPolicy gives the policy of an auth collection; data.ErrNotFound.
func (s *Store) UserPolicy(ctx context.Context, collection string) (UserPolicy, error) {
	c, err := s.authCollection(ctx, collection, Read)
	if err != nil {
		return UserPolicy{}, err
	}
	p, _ := s.users.PolicyOf(c)
	p.Origins = slices.Clone(p.Origins)
	return p, nil
}

// SetUserPolicy changes it from now on, and tells OnUser first; ErrInvalid,
// data.ErrNotFound.
func (s *Store) SetUserPolicy(ctx context.Context, collection string, p UserPolicy) error {
	if err := s.admitted(ctx, Manage, Use{What: "policy of users", Name: collection}); err != nil {
		return err
	}
	c, err := s.authCollection(ctx, collection, Admin)
	if err != nil {
		return err
	}
	err = s.users.SetPolicy(ctx, s.app, c, p)
	if errors.Is(err, users.ErrInvalid) {
		err = fmt.Errorf("policy of %s: %w: %w", c.Name, ErrInvalid, err)
	}
	return err
}

// FactorsOf gives a user's factors, nothing of them secret; data.ErrNotFound.
func (s *Store) FactorsOf(ctx context.Context, collection, record string) (UserFactors, error) {
	if err := s.admitted(ctx, See, Use{What: "factors of a user", Name: collection}); err != nil {
		return UserFactors{}, err
	}
	r, err := s.user(ctx, collection, record, Read)
	if err != nil {
		return UserFactors{}, err
	}
	return s.users.Describe(ctx, s.app, r)
}

// ResetFactors takes a user's factors away, ends its tokens, and tells OnUser first;
// data.ErrNotFound.
func (s *Store) ResetFactors(ctx context.Context, collection, record string) error {
	if err := s.admitted(ctx, Change, Use{What: "reset factors", Name: collection}); err != nil {
		return err
	}
	r, err := s.user(ctx, collection, record, Admin)
	if err != nil {
		return err
	}
	app, done := s.as(ctx)
	defer done()
	return s.users.Reset(ctx, app, r)
}

func (s *Store) user(ctx context.Context, collection, record string, need Scope) (*core.Record, error) {
	c, err := s.authCollection(ctx, collection, need)
	if err != nil {
		return nil, err
	}
	r, err := s.app.FindRecordById(c, record)
	if errors.Is(err, sql.ErrNoRows) {
		err = fmt.Errorf("user %s of %s: %w", record, c.Name, data.ErrNotFound)
	}
	return r, err
}
