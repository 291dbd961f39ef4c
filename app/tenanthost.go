package app

import (
	"context"
	"net/http"
	"strings"

	"holdfast/app/api"
	"holdfast/app/edge"
	"holdfast/app/identity"
	"holdfast/data"
	"holdfast/data/store"
)

// keyScopes are the reaches of an API key's scopes.
var keyScopes = map[identity.Scope]store.Scope{
	identity.ScopeRead:  store.Read,
	identity.ScopeWrite: store.Write,
	identity.ScopeAdmin: store.Admin,
}

// serveTenant serves a store's API to whoever the request's credential makes of
// its sender: an API key, a user of the tenant, or a guest.
func (h *house) serveTenant(w http.ResponseWriter, r *http.Request, t edge.Target) {
	if strings.HasPrefix(r.URL.Path, ownPrefix) && !strings.HasPrefix(r.URL.Path, usersPrefix) {
		h.serveOwn(w, r, t)
		return
	}
	ctx, err := h.credential(w, r, t.Store)
	if err != nil {
		api.WriteProblem(w, err)
		return
	}
	st, err := h.pool.Acquire(ctx, t.Store)
	if err != nil {
		api.WriteProblem(w, err)
		return
	}
	defer st.Release()
	r = r.WithContext(store.WithOrigin(ctx, originOf(r, t)))
	st.ServeHTTP(h.refusals.watch(w, r, t.Store), r)
}

// credential puts the request's actor and reach into its context, and what is left
// of a key's rate onto the answer. An API key is taken out of the headers: behind
// here nobody has use for it.
func (h *house) credential(w http.ResponseWriter, r *http.Request, id data.StoreID) (context.Context, error) {
	ctx := data.WithActor(r.Context(), data.Actor{Kind: data.Guest})
	raw := identity.KeyFromRequest(r)
	if raw == "" {
		return ctx, nil
	}
	k, err := h.identity.ResolveKey(ctx, raw, id, r.RemoteAddr)
	scope, reaches := keyScopes[k.Scope]
	if err == nil && !reaches {
		err = errKeyScope()
	}
	if err != nil {
		if e := h.refusals.credential(r.WithContext(ctx), id, err); e != nil {
			return nil, e
		}
		return nil, err
	}
	k.Headers(w.Header())
	r.Header.Del("Authorization")
	r.Header.Del("X-API-Key")
	ctx = data.WithActor(ctx, k.Actor())
	return store.WithReach(ctx, store.Reach{Scope: scope, Collections: k.Collections, Until: k.Expires}), nil
}

// errKeyScope refuses a key whose scope reaches no records.
func errKeyScope() error {
	return api.Errorf(http.StatusForbidden, "key-scope", "The API key's scope reaches no records.").Because(api.ErrForbidden)
}

// ownPrefix is where a store's own host answers for what Holdfast adds to PocketBase.
const ownPrefix = "/api/v1/"

// ownPath finds the parts of the control plane that a store's host answers to its own
// keys; those of the store lie under its path on the base host.
func ownPath(path string, t edge.Target) (string, bool) {
	first, _, _ := strings.Cut(strings.TrimPrefix(path, ownPrefix), "/")
	switch first {
	case "operations":
		return path, path != ownPrefix+"operations"
	case "snapshots", "scrub":
		return "/api/v1/stores/" + t.Slug + "/" + t.Environment + "/" + strings.TrimPrefix(path, ownPrefix), true
	}
	return "", false
}

// serveOwn hands a request with a store's key on to the control plane's router, which
// asks for permissions as it does on the base host. Cookies mean nothing here.
func (h *house) serveOwn(w http.ResponseWriter, r *http.Request, t edge.Target) {
	path, ok := ownPath(r.URL.Path, t)
	if !ok {
		api.WriteProblem(w, data.ErrNotFound)
		return
	}
	if !strings.HasPrefix(identity.KeyFromRequest(r), identity.StoreKeyPrefix) {
		api.WriteProblem(w, api.ErrUnauthenticated)
		return
	}
	inner := r.Clone(r.Context())
	inner.Header.Del("Cookie")
	inner.URL.Path, inner.URL.RawPath = path, ""
	inner.RequestURI = inner.URL.RequestURI()
	h.control().ServeHTTP(w, inner)
}

// control is the control plane as it is served: its router, and what finds out whose
// key a request carries before it.
func (h *house) control() http.Handler { return h.identity.Keyed(h.router.Handler()) }

// serveStudio serves the studio's own host. Whose token it is only the store knows,
// so to the log whoever is refused here is a guest.
func (h *house) serveStudio(w http.ResponseWriter, r *http.Request, t edge.Target) {
	guest := r.WithContext(data.WithActor(r.Context(), data.Actor{Kind: data.Guest}))
	h.studio.Origin(t.Store).ServeHTTP(h.refusals.watch(w, guest, t.Store), r)
}
