// Package api is what every capability's routes are made of: a route with its
// permission, the router that checks it once, errors that become a status in
// one place, paging, lasting operations, and the OpenAPI document drawn from the
// same routes. It knows no rule of any capability.
package api

import (
	"context"
	"errors"
	"net/http"

	"holdfast/data"
)

// Errors of an Authorizer.
var (
	ErrUnauthenticated = errors.New("sign in first")
	ErrForbidden       = errors.New("not allowed")
)

// AnyTenant as Scope.Tenant asks whether the actor holds the permission
// anywhere at all. A handler under it shows only what Reach allows.
const AnyTenant = "*"

// Scope is where a permission is asked for: the zero value is the appliance.
type Scope struct {
	Tenant string // tenant id, AnyTenant, or "" for the appliance
	Store  string // data.StoreID.String(), or ""
	// Missing is why the path names no tenant that is there, for whoever may know; nil
	// where it says nothing of one.
	Missing error
}

// StoreScope is the scope of one store.
func StoreScope(id data.StoreID) Scope {
	return Scope{Tenant: id.Tenant, Store: id.String()}
}

// Route is one method on one path. Method, Path, Permission and Handler are
// required; a route without a known permission does not register.
type Route struct {
	Method     string
	Path       string // pattern of net/http, "/api/v1/tenants/{slug}"
	Permission Permission
	// Scope tells where the permission is asked for; nil is the appliance.
	// For a tenant that does not exist it gives the appliance, so that only who
	// may see everything learns that nothing is there.
	Scope func(*http.Request) Scope
	// Assurance is asked for besides; the zero value is Usual. A route with Fresh
	// does not register in a router without an Assurer.
	Assurance Assurance
	// Pair is set where one person alone is not enough, on an appliance that asks for two.
	Pair *Pair

	Summary  string
	Query    []Param // query parameters beside those of paging
	Paged    bool    // takes page, perPage, sort, filter
	Request  any     // zero value of the body's type; nil without a body
	Response any     // zero value of the answer's type; nil for an empty answer
	Status   int     // of success; 0 means 200, or 204 without Response
	Consumes string  // media type of a body that is not JSON
	Produces string  // media type of an answer that is not JSON

	BodyLimit int64 // bytes; 0 means DefaultBodyLimit, NoLimit none
	Handler   func(http.ResponseWriter, *http.Request) error
}

// Param is one query parameter.
type Param struct {
	Name, Summary string
	Example       any // its type is the parameter's type; nil means string
}

// Body limits in bytes.
const (
	DefaultBodyLimit int64 = 1 << 20
	NoLimit          int64 = -1
)

// Authorizer decides. It is safe for concurrent use.
type Authorizer interface {
	// Authorize returns nil, ErrUnauthenticated when nobody is signed in, or
	// ErrForbidden when the actor lacks the permission there.
	Authorize(ctx context.Context, actor data.Actor, p Permission, s Scope) error
}

// Warranter is an Authorizer that also tells the stores what it allowed: they give
// records to nobody without.
type Warranter interface {
	// Warrant is Authorize, and gives the context in which the stores let the actor do
	// what the permission says, for this one request.
	Warrant(ctx context.Context, actor data.Actor, p Permission, s Scope) (context.Context, error)
}

// Reach is where an actor holds a permission.
type Reach struct {
	All     bool     // everywhere
	Tenants []string // else: the ids of these tenants
}

// Includes says whether the reach covers a tenant's id.
func (r Reach) Includes(tenant string) bool {
	if r.All {
		return true
	}
	for _, t := range r.Tenants {
		if t == tenant {
			return true
		}
	}
	return false
}

// Reacher tells lists what they may show.
type Reacher interface {
	Reach(ctx context.Context, actor data.Actor, p Permission) (Reach, error)
}

// Outcome of an event.
type Outcome string

// The outcomes.
const (
	OK      Outcome = "ok"
	Refused Outcome = "refused"
	Failed  Outcome = "failed"
)

// Event is one thing done (or refused) on the control plane. Who did it is the
// context's actor.
type Event struct {
	Action  string // "tenant.create", "session.create", ...
	Target  string // what it was done to: a slug, an id, an address
	Store   string // data.StoreID.String(), or "" for the appliance's log
	Outcome Outcome
	Detail  map[string]string
}

// Recorder writes events into the audit log. It is safe for concurrent use.
type Recorder interface {
	// Record returns when the event is durable. When it fails, so must the
	// action that it tells of.
	Record(ctx context.Context, e Event) error
}
