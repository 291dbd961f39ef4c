package api

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"

	"holdfast/data"
)

// Config of a Router.
type Config struct {
	// Authenticate tells who asks. An error is a 401 (or the Problem that it
	// is) on every route but the public ones. The local socket has put its actor
	// into the context already; then Authenticate is not asked.
	Authenticate func(*http.Request) (data.Actor, error)
	Authorizer   Authorizer   // required
	Assurer      Assurer      // required for routes that ask for a fresh factor
	Pairer       Pairer       // nil: one person is enough everywhere
	Recorder     Recorder     // required: refusals are recorded
	Logger       *slog.Logger // nil: discarded
	Title        string       // of the OpenAPI document; default "Holdfast"
	Version      string       // of the OpenAPI document; default "dev"
}

// Router serves routes. Add them all before Handler is used.
type Router struct {
	config Config
	mux    *http.ServeMux
	routes []Route
	cross  *http.CrossOriginProtection
}

// NewRouter makes an empty router.
func NewRouter(c Config) (*Router, error) {
	if c.Authorizer == nil || c.Recorder == nil {
		return nil, errors.New("new router: an authorizer and a recorder are required")
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	rt := &Router{config: c, mux: http.NewServeMux(), cross: http.NewCrossOriginProtection()}
	rt.cross.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		WriteProblem(w, Errorf(http.StatusForbidden, "cross-origin", "Another site sent this request."))
	}))
	return rt, nil
}

// Add registers routes. It fails, and registers none of the rest, on a route
// without method, path, handler or known permission, on a body limit or an assurance that
// means nothing, and on a path that conflicts with an earlier one.
func (rt *Router) Add(routes ...Route) error {
	for _, r := range routes {
		if err := rt.check(r); err != nil {
			return fmt.Errorf("add route %s %s: %w", r.Method, r.Path, err)
		}
		if err := rt.register(r); err != nil {
			return err
		}
	}
	return nil
}

func (rt *Router) check(r Route) error {
	switch {
	case !slices.Contains(methods, r.Method):
		return errors.New("not a method")
	case !strings.HasPrefix(r.Path, "/"):
		return errors.New("the path must begin with /")
	case !r.Permission.Known():
		return fmt.Errorf("permission %q is not known", r.Permission)
	case r.Handler == nil:
		return errors.New("no handler")
	case r.Permission.Content() && r.Scope == nil:
		return errors.New("a permission for a tenant's records needs a scope")
	case r.Assurance < Usual || r.Assurance > Enrol:
		return errors.New("not an assurance")
	case r.Assurance.StepsUp() && (rt.config.Assurer == nil || r.Permission == Public):
		return errors.New("a fresh factor needs somebody signed in, and an assurer")
	case r.Pair != nil && (r.Pair.Action == "" || r.Pair.Title == "" || r.Permission == Public || r.Consumes != ""):
		return errors.New("what takes two persons needs an action, a title, somebody signed in and a body of JSON")
	case r.BodyLimit < NoLimit:
		return errors.New("a body limit is bytes, 0 or NoLimit")
	}
	return nil
}

var methods = []string{
	http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete,
}

// register turns the mux's panic on conflicting patterns into an error.
func (rt *Router) register(r Route) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("add route %s %s: %v", r.Method, r.Path, p)
		}
	}()
	rt.mux.Handle(r.Method+" "+r.Path, rt.endpoint(r))
	rt.routes = append(rt.routes, r)
	return nil
}

// Routes are all that were added, in order.
func (rt *Router) Routes() []Route { return slices.Clone(rt.routes) }

// Handler serves the routes, each answer (misses too) with request id, security
// headers, cross-origin protection, and panics turned into a 500 problem.
func (rt *Router) Handler() http.Handler {
	inner := rt.cross.Handler(http.HandlerFunc(rt.dispatch))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := newRequestID()
		w.Header().Set("X-Request-Id", id)
		secure(w.Header())
		r = r.WithContext(withRequestID(r.Context(), id))
		tracked := &tracker{ResponseWriter: w}
		defer rt.recovered(tracked, r)
		inner.ServeHTTP(tracked, r)
	})
}

// dispatch answers misses as problems, which the mux would answer as text.
func (rt *Router) dispatch(w http.ResponseWriter, r *http.Request) {
	if _, pattern := rt.mux.Handler(r); pattern != "" {
		rt.mux.ServeHTTP(w, r)
		return
	}
	allowed := rt.allowed(r)
	if len(allowed) == 0 {
		WriteProblem(w, data.ErrNotFound)
		return
	}
	WriteProblem(w, Errorf(http.StatusMethodNotAllowed, "method", "Use %s here.", strings.Join(allowed, ", ")).
		WithHeader("Allow", strings.Join(allowed, ", ")))
}

// allowed lists the methods that the path would answer.
func (rt *Router) allowed(r *http.Request) []string {
	var found []string
	probe := *r
	for _, m := range methods {
		probe.Method = m
		if _, pattern := rt.mux.Handler(&probe); pattern != "" {
			found = append(found, m)
		}
	}
	return found
}

// recovered is the last thing between a panic and the connection.
func (rt *Router) recovered(w *tracker, r *http.Request) {
	p := recover()
	if p == nil {
		return
	}
	if p == http.ErrAbortHandler {
		panic(p)
	}
	rt.config.Logger.ErrorContext(r.Context(), "panic in a handler",
		"method", r.Method, "path", r.URL.Path, "request", RequestID(r.Context()), "panic", fmt.Sprint(p), "stack", stack())
	if w.wrote {
		panic(http.ErrAbortHandler) // cut the answer off: half of one must not look whole
	}
	WriteProblem(w, errPanicked)
}

var errPanicked = errors.New("a handler panicked")

// actor is who asks: from the context on the local socket, else authenticated. A
// context without an actor must not count as the system here.
func (rt *Router) actor(r *http.Request) (data.Actor, error) {
	if a := data.ActorFrom(r.Context()); a.Kind == data.Host {
		return a, nil
	}
	if rt.config.Authenticate == nil {
		return data.Actor{Kind: data.Guest}, nil
	}
	a, err := rt.config.Authenticate(r)
	if err != nil || a.Kind == "" || a.Kind == data.System {
		return data.Actor{Kind: data.Guest}, err
	}
	return a, nil
}

// authorize finds the actor and asks for the route's permission, once.
func (rt *Router) authorize(r *http.Request, route Route) (context.Context, Scope, error) {
	actor, err := rt.actor(r)
	ctx := data.WithActor(r.Context(), actor)
	if route.Permission == Public {
		return ctx, Scope{}, nil
	}
	if err != nil {
		return ctx, Scope{}, err
	}
	var scope Scope
	if route.Scope != nil {
		scope = route.Scope(r.WithContext(ctx))
	}
	ctx, err = rt.granted(ctx, actor, route.Permission, scope)
	if err == nil && route.Permission.Content() && scope.Tenant == "" {
		// Who may know is told why there is no such tenant. The handler must not look
		// for it again: it may be there by then, and nobody has asked for it.
		err = cmp.Or(scope.Missing, data.ErrNotFound)
	}
	return ctx, scope, err
}

// granted asks for the permission, and gives the context that carries what it opens.
func (rt *Router) granted(ctx context.Context, actor data.Actor, p Permission, scope Scope) (context.Context, error) {
	w, ok := rt.config.Authorizer.(Warranter)
	if !ok {
		return ctx, rt.config.Authorizer.Authorize(ctx, actor, p, scope)
	}
	warranted, err := w.Warrant(ctx, actor, p, scope)
	if err != nil {
		return ctx, err
	}
	return warranted, nil
}
