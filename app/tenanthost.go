package app

import (
	"context"
	"net/http"

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
	ctx, err := h.credential(r, t.Store)
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
	r = r.WithContext(ctx)
	st.ServeHTTP(h.refusals.watch(w, r, t.Store), r)
}

// credential puts the request's actor and reach into its context. An API key is
// taken out of the headers: behind here nobody has use for it.
func (h *house) credential(r *http.Request, id data.StoreID) (context.Context, error) {
	ctx := data.WithActor(r.Context(), data.Actor{Kind: data.Guest})
	raw := identity.KeyFromRequest(r)
	if raw == "" {
		return ctx, nil
	}
	k, err := h.identity.ResolveKey(ctx, raw, id, r.RemoteAddr)
	if err != nil {
		if e := h.refusals.credential(r.WithContext(ctx), id, err); e != nil {
			return nil, e
		}
		return nil, err
	}
	r.Header.Del("Authorization")
	r.Header.Del("X-API-Key")
	ctx = data.WithActor(ctx, k.Actor())
	return store.WithReach(ctx, store.Reach{Scope: keyScopes[k.Scope], Collections: k.Collections, Until: k.Expires}), nil
}

// serveStudio serves the studio's own host. Whose token it is only the store knows,
// so to the log whoever is refused here is a guest.
func (h *house) serveStudio(w http.ResponseWriter, r *http.Request, t edge.Target) {
	guest := r.WithContext(data.WithActor(r.Context(), data.Actor{Kind: data.Guest}))
	h.studio.Origin(t.Store).ServeHTTP(h.refusals.watch(w, guest, t.Store), r)
}
