package tenant

import (
	"context"
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

// storeScope asks within the tenant, whatever its state.
func (s *Service) storeScope(r *http.Request) api.Scope {
	ref, err := s.Find(r.Context(), r.PathValue("slug"), r.PathValue("env"))
	if err != nil {
		return api.Scope{}
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
	i.Position = &position
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
