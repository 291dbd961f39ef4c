package tenant

import (
	"context"
	"errors"
	"io/fs"
	"net/http"
	"path/filepath"

	"holdfast/app/api"
	"holdfast/data"
	"holdfast/data/store"
)

// StoreInfo tells of one store. What can be read only from an open store is absent
// where it is parked or destroyed.
type StoreInfo struct {
	ID          string         `json:"id" doc:"<tenant id>/<environment>"`
	Slug        string         `json:"slug"`
	Environment string         `json:"environment"`
	URL         string         `json:"url"`
	State       string         `json:"state" enum:"live,parked,destroyed"`
	Position    *data.Position `json:"position,omitempty"`
	Collections int            `json:"collections" doc:"without PocketBase's own"`
	Records     int64          `json:"records"`
	Bytes       int64          `json:"bytes" doc:"on disk, sealed"`
	Durability  string         `json:"durability,omitempty" enum:"full,relaxed" doc:"when a write is acknowledged"`
}

// StoreSettings is the body of a change of a store's settings.
type StoreSettings struct {
	Durability string `json:"durability" enum:"full,relaxed" doc:"full: writes are on the disk when they are acknowledged; relaxed: a power cut may take the newest back"`
}

const storePath = "/api/v1/stores/{slug}/{env}"

func (s *Service) storeRoutes() []api.Route {
	const collection = storePath + "/collections/{collection}"
	routes := []api.Route{
		{
			Method: "GET", Path: storePath, Permission: api.TenantRead, Summary: "Show a store",
			Response: StoreInfo{}, Handler: s.serveInfo,
		},
		{
			Method: "PATCH", Path: storePath, Permission: api.SchemaManage, Summary: "Change a store's settings",
			Request: StoreSettings{}, Response: StoreInfo{}, Handler: s.serveSettings,
		},
		{
			Method: "GET", Path: storePath + "/collections", Permission: api.DataRead, Paged: true,
			Summary: "List collections", Response: api.Page[store.Collection]{}, Handler: s.serveCollections,
		},
		{
			Method: "GET", Path: collection + "/records", Permission: api.DataRead, Paged: true,
			Summary: "List records, as PocketBase does", Response: RecordPage{}, Handler: s.serveRecords,
		},
	}
	routes = append(routes, s.importRoutes(collection)...)
	for i := range routes {
		routes[i].Scope = s.storeScope
	}
	return routes
}

// storeScope asks within the tenant, as long as there is anything of it and so anybody
// who may.
func (s *Service) storeScope(r *http.Request) api.Scope {
	ref, err := s.Find(r.Context(), r.PathValue("slug"), r.PathValue("env"))
	if err == nil && ref.State == Destroyed {
		err = data.ErrDestroyed
	}
	if err != nil {
		return api.Scope{Missing: err}
	}
	return api.StoreScope(ref.Store)
}

func (s *Service) ref(r *http.Request) (Ref, error) {
	return s.Find(r.Context(), r.PathValue("slug"), r.PathValue("env"))
}

// withStore holds the route's store open while fn runs.
func (s *Service) withStore(r *http.Request, fn func(Ref, *store.Store) error) error {
	ref, err := s.ref(r)
	if err != nil {
		return err
	}
	if err := ref.Err(); err != nil {
		return err
	}
	return s.open(r.Context(), ref.Store, func(st *store.Store) error { return fn(ref, st) })
}

func (s *Service) open(ctx context.Context, id data.StoreID, fn func(*store.Store) error) error {
	st, err := s.config.Pool.Acquire(ctx, id)
	if err != nil {
		return err
	}
	defer st.Release()
	return fn(st)
}

func (s *Service) serveInfo(w http.ResponseWriter, r *http.Request) error {
	ref, err := s.ref(r)
	if err != nil {
		return err
	}
	info, err := s.Info(r.Context(), ref)
	if err != nil {
		return err
	}
	return api.Respond(w, http.StatusOK, info)
}

func (s *Service) serveSettings(w http.ResponseWriter, r *http.Request) error {
	var in StoreSettings
	if err := api.Read(r, &in); err != nil {
		return err
	}
	return s.withStore(r, func(ref Ref, st *store.Store) error {
		if err := s.setDurability(r.Context(), ref, st, store.Durability(in.Durability)); err != nil {
			return err
		}
		return s.serveInfo(w, r)
	})
}

// setDurability is in the log before it is so.
func (s *Service) setDurability(ctx context.Context, ref Ref, st *store.Store, d store.Durability) error {
	if d != store.Full && d != store.Relaxed {
		return api.InvalidField("durability", "is full or relaxed")
	}
	event := api.Event{
		Action: "store.durability", Target: ref.Slug + "/" + ref.Environment, Store: ref.Store.String(), Outcome: api.OK,
		Detail: map[string]string{"durability": string(d), "before": string(st.Durability())},
	}
	if err := s.config.Recorder.Record(ctx, event); err != nil {
		return err
	}
	if err := st.SetDurability(context.WithoutCancel(ctx), d); err != nil {
		event.Outcome = api.Failed
		return errors.Join(err, s.config.Recorder.Record(ctx, event))
	}
	return nil
}

// Info tells of a store.
func (s *Service) Info(ctx context.Context, ref Ref) (StoreInfo, error) {
	info := StoreInfo{
		ID: ref.Store.String(), Slug: ref.Slug, Environment: ref.Environment, State: ref.State,
		URL: s.config.URL(ref.Slug, ref.Environment), Bytes: s.bytes(ref.Store),
	}
	if ref.State != Live {
		return info, nil
	}
	err := s.open(ctx, ref.Store, func(st *store.Store) error { return info.count(ctx, st) })
	return info, err
}

func (i *StoreInfo) count(ctx context.Context, st *store.Store) error {
	position, err := st.Position(ctx)
	if err != nil {
		return err
	}
	i.Position, i.Durability = &position, string(st.Durability())
	collections, err := st.Collections(ctx)
	for _, c := range collections {
		if !c.System {
			i.Collections++
		}
		if !c.System && c.Type != "view" {
			i.Records += c.Records
		}
	}
	return err
}

// bytes adds up what a store's folder takes; what cannot be read counts nothing.
func (s *Service) bytes(id data.StoreID) (sum int64) {
	if s.config.StoresDir == "" {
		return 0
	}
	dir := filepath.Join(s.config.StoresDir, id.Tenant, id.Environment)
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return nil
		}
		if info, err := d.Info(); err == nil {
			sum += info.Size()
		}
		return nil
	})
	return sum
}

func (s *Service) serveCollections(w http.ResponseWriter, r *http.Request) error {
	p, err := api.ReadPage(r)
	if err != nil {
		return err
	}
	return s.withStore(r, func(_ Ref, st *store.Store) error {
		all, err := st.Collections(r.Context())
		if err != nil {
			return err
		}
		return api.Respond(w, http.StatusOK, api.Cut(sorted(all, p), p))
	})
}
