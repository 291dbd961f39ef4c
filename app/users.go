package app

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"

	"holdfast/app/api"
	"holdfast/app/edge"
	"holdfast/data"
	"holdfast/data/store"
)

// A tenant's own users: their sign-ins and factors into the store's audit log, and
// the policies of their collections over REST.

// onUser records what a store tells of its users. Failed sign-ins are many when
// somebody guesses, so they are counted as other refusals are.
func (h *house) onUser(ctx context.Context, id data.StoreID, e store.UserEvent) error {
	event := api.Event{Action: e.Action, Target: e.Target, Store: id.String(), Outcome: api.OK, Detail: e.Detail}
	if !e.Refused {
		return h.audit.Record(context.WithoutCancel(ctx), event)
	}
	event.Outcome = api.Refused
	if event.Detail == nil {
		event.Detail = map[string]string{}
	}
	return h.refusals.record(ctx, refusal{name: "user " + e.Action + " " + event.Detail["address"], stranger: true, event: event})
}

// UserPolicy is an auth collection with its policy.
type UserPolicy struct {
	Collection string `json:"collection"`
	store.UserPolicy
}

const authPath = "/api/v1/stores/{slug}/{env}/auth-collections"

func (h *house) userRoutes() []api.Route {
	const one, user = authPath + "/{collection}/policy", authPath + "/{collection}/users/{id}/factors"
	return []api.Route{
		{
			Method: "GET", Path: authPath, Permission: api.DataRead, Scope: h.storeScope, Paged: true,
			Summary: "List the auth collections with the policies of their users", Response: api.Page[UserPolicy]{}, Handler: h.listUserPolicies,
		},
		{
			Method: "GET", Path: one, Permission: api.DataRead, Scope: h.storeScope,
			Summary: "Show how the users of a collection sign in", Response: UserPolicy{}, Handler: h.getUserPolicy,
		},
		{
			Method: "PUT", Path: one, Permission: api.SchemaManage, Scope: h.storeScope,
			Summary: "Change how the users of a collection sign in", Request: store.UserPolicy{}, Response: UserPolicy{}, Handler: h.putUserPolicy,
		},
		{
			Method: "GET", Path: user, Permission: api.DataRead, Scope: h.storeScope,
			Summary: "List a user's factors; nothing of them is secret", Response: store.UserFactors{}, Handler: h.getUserFactors,
		},
		{
			Method: "DELETE", Path: user, Permission: api.SchemaManage, Assurance: api.Fresh, Scope: h.storeScope,
			Summary: "Take all factors from a user who lost them, and end its sessions", Handler: h.resetUserFactors,
		},
	}
}

// storeScope asks within the store; for one that is not there, on the appliance.
func (h *house) storeScope(r *http.Request) api.Scope {
	id, err := h.tenants.Anyhow(r.Context(), r.PathValue("slug"), r.PathValue("env"))
	if err != nil {
		return api.Scope{Missing: err}
	}
	return api.StoreScope(id)
}

// inStore runs fn on the store that the path names.
func (h *house) inStore(r *http.Request, fn func(context.Context, *store.Store) error) error {
	id, err := h.tenants.Resolve(r.Context(), r.PathValue("slug"), r.PathValue("env"))
	if err != nil {
		return err
	}
	st, err := h.pool.Acquire(r.Context(), id)
	if err != nil {
		return err
	}
	defer st.Release()
	return fn(r.Context(), st)
}

func (h *house) listUserPolicies(w http.ResponseWriter, r *http.Request) error {
	p, err := api.ReadPage(r)
	if err != nil {
		return err
	}
	return h.inStore(r, func(ctx context.Context, st *store.Store) error {
		all, err := st.UserPolicies(ctx)
		if err != nil {
			return err
		}
		out := []UserPolicy{}
		for name, policy := range all {
			out = append(out, UserPolicy{name, policy})
		}
		slices.SortFunc(out, func(a, b UserPolicy) int { return strings.Compare(a.Collection, b.Collection) })
		return api.Respond(w, http.StatusOK, api.Cut(out, p))
	})
}

func (h *house) getUserPolicy(w http.ResponseWriter, r *http.Request) error {
	return h.inStore(r, func(ctx context.Context, st *store.Store) error {
		p, err := st.UserPolicy(ctx, r.PathValue("collection"))
		if err != nil {
			return err
		}
		return api.Respond(w, http.StatusOK, UserPolicy{r.PathValue("collection"), p})
	})
}

// putUserPolicy changes what the body names and leaves the rest.
func (h *house) putUserPolicy(w http.ResponseWriter, r *http.Request) error {
	return h.inStore(r, func(ctx context.Context, st *store.Store) error {
		p, err := st.UserPolicy(ctx, r.PathValue("collection"))
		if err != nil {
			return err
		}
		if err := api.Read(r, &p); err != nil {
			return err
		}
		if err := st.SetUserPolicy(ctx, r.PathValue("collection"), p); err != nil {
			if errors.Is(err, store.ErrInvalid) {
				field, reason := wrongOf(err)
				return api.InvalidField(field, "%s", reason)
			}
			return err
		}
		return api.Respond(w, http.StatusOK, UserPolicy{r.PathValue("collection"), p})
	})
}

// wrongOf is the field of a policy that is wrong, and what is, without where it was met.
func wrongOf(err error) (field, reason string) {
	_, said, _ := strings.Cut(err.Error(), store.ErrInvalid.Error()+": "+store.ErrInvalid.Error()+": ")
	field, reason, _ = strings.Cut(said, ": ")
	return field, reason
}

func (h *house) getUserFactors(w http.ResponseWriter, r *http.Request) error {
	return h.inStore(r, func(ctx context.Context, st *store.Store) error {
		f, err := st.FactorsOf(ctx, r.PathValue("collection"), r.PathValue("id"))
		if err != nil {
			return err
		}
		return api.Respond(w, http.StatusOK, f)
	})
}

func (h *house) resetUserFactors(w http.ResponseWriter, r *http.Request) error {
	return h.inStore(r, func(ctx context.Context, st *store.Store) error {
		if err := st.ResetFactors(ctx, r.PathValue("collection"), r.PathValue("id")); err != nil {
			return err
		}
		w.WriteHeader(http.StatusNoContent)
		return nil
	})
}

// originOf is the tenant's own origin. Below a path of the base host there is none:
// passkeys that were made there would be the console's.
func originOf(r *http.Request, t edge.Target) string {
	switch {
	case t.ByPath:
		return ""
	case r.TLS != nil:
		return "https://" + r.Host
	}
	return "http://" + r.Host
}

// usersPrefix is where the store itself answers for its users' factors.
const usersPrefix = ownPrefix + "collections/"
