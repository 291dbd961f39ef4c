package app

import (
	"context"
	"fmt"
	"net/http"

	"github.com/jmoiron/sqlx"

	"holdfast/app/api"
	"holdfast/app/identity"
	"holdfast/app/recovery"
	"holdfast/app/studio"
	"holdfast/app/tenant"
	"holdfast/data"
	"holdfast/data/cryptfs"
	"holdfast/data/keys"
	"holdfast/data/store"
)

// openCapabilities opens the rooms that have routes and joins these in a router.
func (h *house) openCapabilities(ctx context.Context, a *Appliance) (err error) {
	if err := h.openDisposal(ctx, a); err != nil {
		return err
	}
	warden, err := h.warden()
	if err != nil {
		return err
	}
	if err := h.openMail(ctx, a); err != nil {
		return err
	}
	h.identity, err = identity.New(ctx, identity.Config{
		DB: h.system, Sessions: identity.VaultValues{Vault: h.vault.Sub("identity/")}, Recorder: h.audit, Tenants: slugs{h}, Collections: collections{h.pool},
		Clock: a.now, Logger: a.logger, InsecureHTTP: a.config.InsecureHTTP, Revoked: h.pool.Disconnect, Warrant: warden.warrant, Federation: federation{h},
		Post: post{h.mail}, URL: a.BaseURL, Breached: a.config.breached,
	})
	if err != nil {
		return err
	}
	h.opened(h.identity.Close)
	if err := h.openTenants(ctx, a); err != nil { // gives tenants their owners
		return err
	}
	if err := h.openSSO(ctx, a); err != nil {
		return err
	}
	if err := h.identity.OwnTheOwnerless(ctx, h.tenants.IDs); err != nil {
		return fmt.Errorf("find tenants that nobody owns: %w", err)
	}
	if err := h.tellOfOutsiders(ctx); err != nil {
		a.logger.ErrorContext(ctx, "tenants could not be told of what outsiders made in them; the next start tries again", "error", err)
	}
	if err := h.openRecovery(ctx, a); err != nil {
		return err
	}
	if err := h.openDrills(ctx, a); err != nil {
		return err
	}
	if err := h.openReviews(ctx, a); err != nil {
		return err
	}
	if err := h.openCustody(ctx, a); err != nil {
		return err
	}
	h.studio, err = studio.New(studio.Config{
		Tenants: h.tenants, Pool: h.pool, Recorder: h.audit, Clock: a.now, Access: h.identity, URL: a.front.studioURL,
	})
	if err != nil {
		return err
	}
	if err := h.comeToTerms(ctx, a); err != nil {
		return err
	}
	if err := h.resumeRestores(ctx, a); err != nil {
		return err
	}
	// Last opened, first closed: running operations end before what they work on.
	h.opened(h.operations.Close)
	return h.openRouter(a)
}

func (h *house) openTenants(ctx context.Context, a *Appliance) error {
	staging, err := cryptfs.OpenFiles(a.folder.in("staging", "uploads"), string(keys.System), h.ring.Source(keys.System, keys.Files))
	if err != nil {
		return fmt.Errorf("open the staging folder: %w", err)
	}
	h.rekeys = newRekeys(h, a.logger, staging, a.now)
	h.opened(h.rekeys.close)
	h.tenants, err = tenant.New(ctx, tenant.Config{
		DB: h.system, Ring: h.ring, Pool: h.pool, Recorder: h.audit, Operations: h.operations, Access: access{h},
		Staging: staging, StoresDir: a.folder.in("stores"), URL: a.front.tenantURL,
		CatchUp: func(ctx context.Context, id data.StoreID) error { _, err := h.audit.CatchUp(ctx, id); return err },
		Founded: h.founded, Disposal: undertaker{h}, Window: a.config.UndeleteWindow,
		Clock: a.now, Logger: a.logger,
	})
	return err
}

func (h *house) openRecovery(ctx context.Context, a *Appliance) (err error) {
	h.recovery, err = recovery.New(ctx, recovery.Config{
		DB: h.system, Stores: h.pool, Tenants: directory{h.tenants}, Recorder: h.audit, Operations: h.operations, Access: access{h},
		Segments: func(id data.StoreID) data.KeySource { return h.ring.Source(keys.Owner(id.String()), keys.Segments) },
		Archive:  func(id data.StoreID) data.KeySource { return h.ring.Archive(keys.Owner(id.String()), keys.Segments) },
		Ledger:   h.disposal, Own: h.ownChains(), Live: h.liveStores, Slug: h.slugOf, Drills: lateDrills{h},
		Farewell: h.farewell, Swapped: h.changed, FreshKey: h.freshKey, Room: func() (int64, error) { return freeRoom(a.folder.path) },
		Staging: a.folder.in("staging", "chains"), Clock: a.now, Logger: a.logger,
	})
	if err != nil {
		return err
	}
	h.opened(h.recovery.Close)
	return nil
}

// directory is the tenants as recovery asks for them.
type directory struct{ *tenant.Service }

func (d directory) Find(ctx context.Context, slug, environment string) (id data.StoreID, closed, err error) {
	ref, err := d.Service.Find(ctx, slug, environment)
	return ref.Store, ref.Err(), err
}

func (d directory) Adopt(ctx context.Context, slug, name string, from data.StoreID, install func(context.Context, data.StoreID) error) error {
	_, err := d.Service.Adopt(ctx, slug, name, from.Tenant, install)
	return err
}

// collections is the stores as identity asks for them.
type collections struct{ pool *store.Pool }

// Collections leaves out PocketBase's own, which no key reaches.
func (c collections) Collections(ctx context.Context, id data.StoreID) ([]identity.Collection, error) {
	st, err := c.pool.Acquire(ctx, id)
	if err != nil {
		return nil, err
	}
	defer st.Release()
	all, err := st.Collections(ctx)
	var out []identity.Collection
	for _, found := range all {
		if !found.System {
			out = append(out, identity.Collection{ID: found.ID, Name: found.Name})
		}
	}
	return out, err
}

// slugs is the tenants for identity, which is opened before them and asks only while
// requests are served.
type slugs struct{ *house }

func (x slugs) Store(ctx context.Context, slug, environment string) (data.StoreID, error) {
	return x.tenants.Store(ctx, slug, environment)
}

func (x slugs) Slug(ctx context.Context, tenant string) (string, error) {
	return x.tenants.Slug(ctx, tenant)
}

// access is identity for rooms that are opened before it and ask only while
// requests are served.
type access struct{ *house }

func (x access) Authorize(ctx context.Context, actor data.Actor, p api.Permission, s api.Scope) error {
	return x.identity.Authorize(ctx, actor, p, s)
}

func (x access) Reach(ctx context.Context, actor data.Actor, p api.Permission) (api.Reach, error) {
	return x.identity.Reach(ctx, actor, p)
}

func (h *house) openRouter(a *Appliance) (err error) {
	h.router, err = api.NewRouter(api.Config{
		Authenticate: h.identity.AuthenticateRequest, Authorizer: h.identity, Assurer: h.identity, Pairer: h.identity, Recorder: h.audit, Logger: a.logger,
		Title: "Holdfast", Version: Version(),
	})
	if err != nil {
		return err
	}
	for _, routes := range [][]api.Route{
		h.ownRoutes(a), h.lossRoutes(), h.userRoutes(), doctor{h, a}.routes(), h.identity.Routes(), h.mail.Routes(), h.tenants.Routes(), h.recovery.Routes(), h.drills.Routes(), h.reviews.Routes(), h.custody.Routes(), h.disposal.Routes(),
		h.sso.Routes(), h.audit.Routes(), h.operations.Routes(h.identity), h.studio.Routes(),
	} {
		if err := h.router.Add(routes...); err != nil {
			return err
		}
	}
	return nil
}

// ownRoutes are the appliance's own: health, status, the API's description.
func (h *house) ownRoutes(a *Appliance) []api.Route {
	plain := func(w http.ResponseWriter, r *http.Request) error { healthy(w, r); return nil }
	gate := a.gate
	return []api.Route{
		{Method: http.MethodGet, Path: "/healthz", Permission: api.Public, Summary: "The process lives", Produces: "text/plain", Response: "", Handler: plain},
		{Method: http.MethodGet, Path: "/readyz", Permission: api.Public, Summary: "The appliance is unsealed and serves", Produces: "text/plain", Response: "", Handler: h.ready},
		{Method: http.MethodGet, Path: "/api/v1/status", Permission: api.Public, Summary: "What anybody may know", Response: Status{}, Handler: gate.status},
		{Method: http.MethodPost, Path: "/api/v1/unseal", Permission: api.Public, Summary: "Unseal the appliance", Request: unsealRequest{}, Response: Status{}, Handler: gate.unseal},
		{Method: http.MethodGet, Path: "/api/v1/openapi.json", Permission: api.Public, Summary: "This description", Produces: "application/json", Response: "", Handler: h.describe},
	}
}

// ready asks the database that every request needs.
func (h *house) ready(w http.ResponseWriter, r *http.Request) error {
	one := 0
	err := h.system.View(r.Context(), func(tx *sqlx.Tx) error { return tx.GetContext(r.Context(), &one, "SELECT 1") })
	if err != nil {
		return err
	}
	healthy(w, r)
	return nil
}

func (h *house) describe(w http.ResponseWriter, _ *http.Request) error {
	doc, err := h.router.OpenAPI()
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	_, err = w.Write(doc)
	return err
}
