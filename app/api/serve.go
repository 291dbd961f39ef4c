package api

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"net/http"
	"runtime/debug"

	"holdfast/data"
)

// endpoint is one request's way through a route: limits, actor, permission,
// handler, and whatever error it gave as a problem.
func (rt *Router) endpoint(route Route) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		limitBody(w, r, route.BodyLimit)
		ctx, scope, err := rt.authorize(r, route)
		r = r.WithContext(context.WithValue(ctx, scopeKey{}, scope))
		if err == nil {
			err = rt.assured(r, route)
		}
		if err == nil {
			r, err = rt.narrowed(r, route, scope)
		}
		if err == nil {
			err = rt.handle(w, r, route, scope)
		}
		if err != nil {
			rt.fail(w, r, route, scope, err)
		}
	})
}

// handle runs the handler, once whoever else has to approve has done so.
func (rt *Router) handle(w http.ResponseWriter, r *http.Request, route Route, scope Scope) error {
	done, err := rt.paired(r, route, scope)
	if err != nil {
		return err
	}
	err = route.Handler(w, r)
	if done != nil {
		done(r.Context(), err)
	}
	return err
}

func limitBody(w http.ResponseWriter, r *http.Request, limit int64) {
	if limit == 0 {
		limit = DefaultBodyLimit
	}
	if limit > 0 {
		r.Body = http.MaxBytesReader(w, r.Body, limit)
	}
}

// fail answers with the error, records a refusal, and logs what is our fault.
func (rt *Router) fail(w http.ResponseWriter, r *http.Request, route Route, scope Scope, err error) {
	p := AsProblem(err)
	if p.Status == http.StatusForbidden && !errors.Is(err, ErrStepUp) && !errors.Is(err, ErrTwoPersons) { // questions, not refusals
		rt.refused(r, route, scope, p)
	}
	if p.Status >= http.StatusInternalServerError && !errors.Is(err, context.Canceled) {
		rt.config.Logger.ErrorContext(r.Context(), "a request failed", "method", r.Method,
			"path", r.URL.Path, "status", p.Status, "request", RequestID(r.Context()), "error", err)
	}
	if t, ok := w.(*tracker); ok && t.wrote {
		panic(http.ErrAbortHandler) // the answer has begun: end the connection, so that it does not look whole
	}
	WriteProblem(w, p)
}

// refused puts a refusal into the audit log. The request was refused in any
// case, so a log that cannot be written changes nothing for the client.
func (rt *Router) refused(r *http.Request, route Route, scope Scope, p *Problem) {
	event := Event{
		Action: string(route.Permission), Target: r.URL.Path, Store: scope.Store, Outcome: Refused,
		Detail: map[string]string{"method": r.Method, "code": p.Code, "request": RequestID(r.Context())},
	}
	// A client that hangs up must not keep its refusal out of the log.
	ctx := context.WithoutCancel(r.Context())
	if err := rt.config.Recorder.Record(ctx, event); err != nil {
		rt.config.Logger.ErrorContext(ctx, "a refusal was not recorded",
			"actor", data.ActorFrom(ctx).String(), "path", r.URL.Path, "error", err)
	}
}

// tracker knows whether the answer has begun.
type tracker struct {
	http.ResponseWriter
	wrote bool
}

func (t *tracker) WriteHeader(status int) {
	t.wrote = t.wrote || status >= http.StatusOK
	t.ResponseWriter.WriteHeader(status)
}

func (t *tracker) Write(p []byte) (int, error) {
	t.wrote = true
	return t.ResponseWriter.Write(p)
}

// Unwrap lets http.ResponseController reach the connection.
func (t *tracker) Unwrap() http.ResponseWriter { return t.ResponseWriter }

// Flush is for handlers that ask for http.Flusher.
func (t *tracker) Flush() {
	t.wrote = true
	_ = http.NewResponseController(t.ResponseWriter).Flush() // nothing to do where it cannot
}

type scopeKey struct{}

// ScopeFrom is where the request's permission was asked for; the zero value outside a
// route, and on public ones.
func ScopeFrom(ctx context.Context) Scope {
	scope, _ := ctx.Value(scopeKey{}).(Scope)
	return scope
}

type requestIDKey struct{}

// RequestID is the id that the answer carries as X-Request-Id, "" outside a
// request. It is ours, never the client's.
func RequestID(ctx context.Context) string {
	id, _ := ctx.Value(requestIDKey{}).(string)
	return id
}

func withRequestID(ctx context.Context, id string) context.Context {
	return context.WithValue(ctx, requestIDKey{}, id)
}

func newRequestID() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	return hex.EncodeToString(b[:])
}

func stack() string { return string(debug.Stack()) }

// secure sets the headers that every answer of the API has: it is never a page,
// never framed, never kept.
func secure(h http.Header) {
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
}
