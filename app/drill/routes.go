package drill

import (
	"context"
	"errors"
	"net/http"
	"time"

	"holdfast/app/api"
	"holdfast/data"
)

// Routes are drills and their reports over REST.
func (s *Service) Routes() []api.Route {
	const base, one, reports = "/api/v1/stores/{slug}/{env}/drills", "/api/v1/drills/{id}", "/api/v1/drill-reports"
	format := []api.Param{{Name: "format", Summary: "json (the bytes that are signed), sig (their signature) or html"}}
	return []api.Route{
		{
			Method: "POST", Path: base, Permission: api.DrillRun, Scope: s.scope,
			Summary: "Restore a point into scratch, check and measure it, and throw it away", Request: Order{}, Response: api.Operation{}, Status: 202, Handler: s.serveDrill,
		},
		{
			Method: "GET", Path: base, Permission: api.SnapshotRead, Scope: s.scope, Paged: true,
			Summary: "List a store's drills, newest first", Response: api.Page[Result]{}, Handler: s.serveOfStore,
		},
		{
			Method: "POST", Path: "/api/v1/drills", Permission: api.DrillRun,
			Summary: "Drill every live store from every target that has it, one after the other", Response: api.Operation{}, Status: 202, Handler: s.serveAll,
		},
		{
			Method: "GET", Path: "/api/v1/drills", Permission: api.SnapshotRead, Scope: anywhere, Paged: true,
			Summary: "List drills of all stores that one may see, newest first; filter is ok, failed, or a store's name", Response: api.Page[Result]{}, Handler: s.serveList,
		},
		{
			Method: "GET", Path: "/api/v1/drills/overview", Permission: api.SnapshotRead, Scope: anywhere, Paged: true,
			Summary: "How each store and target stands: the last drill, when the next is due; alarms first", Response: api.Page[Standing]{}, Handler: s.serveOverview,
		},
		{
			Method: "GET", Path: one, Permission: api.SnapshotRead, Scope: s.scopeOfDrill,
			Summary: "Show a drill", Response: Result{}, Handler: s.serveGet,
		},
		{
			Method: "GET", Path: one + "/report", Permission: api.SnapshotRead, Scope: s.scopeOfDrill, Query: format,
			Summary: "A drill's signed report", Produces: "application/json", Response: "", Handler: s.serveReportOfDrill,
		},
		{
			Method: "POST", Path: reports, Permission: api.AuditRead,
			Summary: "Make and sign a report of a period over all stores", Request: Period{}, Response: Kept{}, Status: 201, Handler: s.serveMake,
		},
		{
			Method: "GET", Path: reports, Permission: api.AuditRead, Paged: true,
			Summary: "List the reports that were made, newest first", Response: api.Page[Kept]{}, Handler: s.serveReports,
		},
		{
			Method: "GET", Path: reports + "/{id}", Permission: api.AuditRead, Query: format,
			Summary: "A signed report of a period", Produces: "application/json", Response: "", Handler: s.serveReport,
		},
	}
}

func anywhere(*http.Request) api.Scope { return api.Scope{Tenant: api.AnyTenant} }

// scope asks within the tenant, whatever its state; for none, on the appliance.
func (s *Service) scope(r *http.Request) api.Scope {
	id, _, err := s.config.Tenants.Find(r.Context(), r.PathValue("slug"), r.PathValue("env"))
	if err != nil {
		return api.Scope{}
	}
	return api.StoreScope(id)
}

func (s *Service) scopeOfDrill(r *http.Request) api.Scope {
	row, err := s.row(r.Context(), r.PathValue("id"))
	if err != nil {
		return api.Scope{}
	}
	id, err := data.ParseStoreID(row.Store)
	if err != nil {
		return api.Scope{}
	}
	return api.StoreScope(id)
}

func (s *Service) serveDrill(w http.ResponseWriter, r *http.Request) error {
	var o Order
	if err := api.Read(r, &o); err != nil {
		return err
	}
	op, err := s.Drill(r.Context(), r.PathValue("slug"), r.PathValue("env"), o)
	if err != nil {
		return err
	}
	return api.Respond(w, http.StatusAccepted, op)
}

func (s *Service) serveAll(w http.ResponseWriter, r *http.Request) error {
	op, err := s.All(r.Context())
	if err != nil {
		return err
	}
	return api.Respond(w, http.StatusAccepted, op)
}

func (s *Service) serveOfStore(w http.ResponseWriter, r *http.Request) error {
	p, err := api.ReadPage(r)
	if err != nil {
		return err
	}
	name, ok := s.own(r.PathValue("slug"), r.PathValue("env"))
	if !ok {
		id, _, err := s.config.Tenants.Find(r.Context(), r.PathValue("slug"), r.PathValue("env"))
		if err != nil {
			return err
		}
		name = id.String()
	}
	page, err := s.list(r.Context(), p, listing{Store: name, Reach: api.Reach{All: true}})
	if err != nil {
		return err
	}
	return api.Respond(w, http.StatusOK, page)
}

func (s *Service) serveList(w http.ResponseWriter, r *http.Request) error {
	p, err := api.ReadPage(r)
	if err != nil {
		return err
	}
	l := listing{Filter: p.Filter}
	if l.Reach, err = s.config.Access.Reach(r.Context(), data.ActorFrom(r.Context()), api.SnapshotRead); err != nil {
		return err
	}
	page, err := s.list(r.Context(), p, l)
	if err != nil {
		return err
	}
	return api.Respond(w, http.StatusOK, page)
}

func (s *Service) serveOverview(w http.ResponseWriter, r *http.Request) error {
	p, err := api.ReadPage(r)
	if err != nil {
		return err
	}
	reach, err := s.config.Access.Reach(r.Context(), data.ActorFrom(r.Context()), api.SnapshotRead)
	if err != nil {
		return err
	}
	all, err := s.overview(r.Context(), reach)
	if err != nil {
		return err
	}
	return api.Respond(w, http.StatusOK, api.Cut(all, p))
}

func (s *Service) serveGet(w http.ResponseWriter, r *http.Request) error {
	row, err := s.row(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	d, err := row.drill()
	if err != nil {
		return err
	}
	return api.Respond(w, http.StatusOK, resultOf(d))
}

func (s *Service) serveReportOfDrill(w http.ResponseWriter, r *http.Request) error {
	row, err := s.row(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	return sendReport(w, r, "drill-"+row.ID, signature{row.Report, row.Signature, row.VKey})
}

func (s *Service) serveMake(w http.ResponseWriter, r *http.Request) error {
	var p Period
	if err := api.Read(r, &p); err != nil {
		return err
	}
	kept, err := s.Report(r.Context(), p)
	if err != nil {
		return err
	}
	return api.Respond(w, http.StatusCreated, kept)
}

func (s *Service) serveReports(w http.ResponseWriter, r *http.Request) error {
	p, err := api.ReadPage(r)
	if err != nil {
		return err
	}
	page, err := s.reports(r.Context(), p)
	if err != nil {
		return err
	}
	return api.Respond(w, http.StatusOK, page)
}

func (s *Service) serveReport(w http.ResponseWriter, r *http.Request) error {
	row, err := s.kept(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	return sendReport(w, r, "drills-"+row.ID, row.signature)
}

// Drill starts a drill of a store from one target: the one that is named, or the one
// with the newest snapshot.
func (s *Service) Drill(ctx context.Context, slug, environment string, o Order) (api.Operation, error) {
	var at time.Time
	if o.At != "" {
		var err error
		if at, err = time.Parse(time.RFC3339, o.At); err != nil {
			return api.Operation{}, api.InvalidField("at", "%q is not a moment like 2026-01-31T12:00:00Z", o.At)
		}
	}
	if name, ok := s.own(slug, environment); ok {
		c, err := s.chosen(ctx, name, o.Target)
		if err != nil {
			return api.Operation{}, err
		}
		return s.start(ctx, task{chain: c, name: name, at: at, cause: asked})
	}
	id, closed, err := s.config.Tenants.Find(ctx, slug, environment)
	if err == nil && errors.Is(closed, data.ErrDestroyed) {
		err = s.config.Chains.Explain(closed)
	}
	if err != nil {
		return api.Operation{}, err
	}
	c, err := s.chosen(ctx, id.String(), o.Target)
	if err != nil {
		return api.Operation{}, err
	}
	name := slug
	if environment != data.Prod {
		name += "/" + environment
	}
	return s.start(ctx, task{chain: c, name: name, at: at, cause: asked, fresh: closed == nil})
}

func (s *Service) chosen(ctx context.Context, name, target string) (best Chain, err error) {
	chains, err := s.config.Chains.Chains(ctx, name)
	if err != nil {
		return best, err
	}
	for _, c := range chains {
		if (target == "" || c.TargetName == target) && (best.Target == "" || c.Newest.After(best.Newest)) {
			best = c
		}
	}
	if best.Target == "" && target == "" {
		return best, api.Errorf(http.StatusNotFound, "no-snapshot", "There is no snapshot to drill. Ship one: holdfast snapshot now").Because(data.ErrNotFound)
	}
	if best.Target == "" {
		return best, api.Errorf(http.StatusNotFound, "no-snapshot", "Nothing of this store was shipped to a target %q.", target).Because(data.ErrNotFound)
	}
	return best, nil
}

// All starts an operation that drills every live store from every target.
func (s *Service) All(ctx context.Context) (api.Operation, error) {
	all, err := s.standings(ctx)
	if err != nil {
		return api.Operation{}, err
	}
	if len(all) == 0 {
		return api.Operation{}, api.Errorf(http.StatusNotFound, "no-snapshot", "There is no snapshot to drill.").Because(data.ErrNotFound)
	}
	return s.config.Operations.Start(ctx, "drill", "all", "", func(ctx context.Context, p *api.Progress) (any, error) {
		sum := AllResult{OK: true, Drills: []Result{}}
		for i, st := range all {
			p.Set(ctx, int64(i), int64(len(all)), "drills", st.Name+" from "+st.Target)
			op, err := s.start(ctx, task{chain: st.chain, name: st.Name, cause: asked, fresh: true})
			if err != nil {
				return nil, err
			}
			if err := s.collect(ctx, op.ID, &sum); err != nil {
				return nil, err
			}
		}
		return sum, nil
	})
}
