package api

import (
	"context"
	"errors"
	"net/http"

	"holdfast/data"
)

// Assurance is how well the one who asks must have shown who they are, beyond
// being signed in. It says nothing of what they may: that is the permission.
type Assurance int

// The assurances.
const (
	// Usual asks for the factors that the person's policy asks for.
	Usual Assurance = iota
	// Fresh asks for a factor shown minutes ago: for what an unlocked screen or a
	// stolen cookie must not be enough for. Only people can show one: it does not
	// hold up the local socket.
	Fresh
	// Bare is content with any session: for what somebody needs who has yet to
	// enrol the factor that the policy asks for.
	Bare
	// Enrol is Fresh for such a person: it does not ask for the policy's factors.
	Enrol
)

// StepsUp says whether the assurance asks for a factor shown minutes ago.
func (a Assurance) StepsUp() bool { return a == Fresh || a == Enrol }

// ErrStepUp asks for a fresh factor; the request is good when repeated after one.
var ErrStepUp = errors.New("show a factor again")

// Assurer decides whether a request meets the assurance of its route. It is safe
// for concurrent use.
type Assurer interface {
	// Assure returns nil, ErrStepUp, or another error (a Problem) that says what is
	// missing. It is asked after the permission, never for the socket's host.
	Assure(r *http.Request, actor data.Actor, want Assurance) error
}

// assured asks the assurer where there is somebody who could show a factor.
func (rt *Router) assured(r *http.Request, route Route) error {
	actor := data.ActorFrom(r.Context())
	if rt.config.Assurer == nil || route.Permission == Public || actor.Kind == data.Host {
		return nil
	}
	return rt.config.Assurer.Assure(r, actor, route.Assurance)
}

// Narrower is an Assurer that knows sessions which reach less than their person does.
type Narrower interface {
	// Narrow gives the context with what the request's session does not reach, for Reach.
	// It is asked after Assure where a route reads what is reached in any tenant.
	Narrow(r *http.Request, actor data.Actor) (context.Context, error)
}

// narrowed is the request as its handler gets it.
func (rt *Router) narrowed(r *http.Request, route Route, scope Scope) (*http.Request, error) {
	n, ok := rt.config.Assurer.(Narrower)
	actor := data.ActorFrom(r.Context())
	list := route.Method == http.MethodGet && (scope.Tenant == AnyTenant || route.Permission == Signed)
	if !ok || !list || actor.Kind != data.Person {
		return r, nil
	}
	ctx, err := n.Narrow(r, actor)
	if err != nil {
		return r, err
	}
	return r.WithContext(ctx), nil
}
