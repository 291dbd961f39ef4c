package audit

import (
	"errors"
	"net/http"
	"strconv"

	"holdfast/app/api"
	"holdfast/data"
)

// Routes are the logs over REST: the appliance's, and each store's.
func (s *Service) Routes() []api.Route {
	routes := s.routesUnder("/api/v1/audit", nil, "the appliance's audit log", func(*http.Request) (string, error) { return Appliance, nil })
	if s.config.Resolve == nil {
		return routes
	}
	return append(routes, s.routesUnder("/api/v1/stores/{slug}/{env}/audit", s.scope, "a store's audit log", s.logOf)...)
}

type namer func(*http.Request) (log string, err error)

func (s *Service) routesUnder(path string, scope func(*http.Request) api.Scope, what string, name namer) []api.Route {
	read := func(method, sub, summary string, answer any, h func(http.ResponseWriter, *http.Request, string) error) api.Route {
		return api.Route{
			Method: method, Path: path + sub, Permission: api.AuditRead, Scope: scope, Summary: summary + " " + what, Response: answer,
			Handler: func(w http.ResponseWriter, r *http.Request) error {
				log, err := name(r)
				if err != nil {
					return err
				}
				return h(w, r, log)
			},
		}
	}
	list := read("GET", "", "List", api.Page[Entry]{}, s.serveList)
	list.Paged, list.Query = true, []api.Param{
		{Name: "actor", Summary: "an actor, or a kind of actor", Example: "person"},
		{Name: "action", Summary: "an action, or its beginning up to a dot", Example: "tenant.create"},
		{Name: "q", Summary: "text found anywhere in the entry; filter is another name for it"},
	}
	consistency := read("GET", "/consistency", "Prove that nothing was changed since an earlier size of", Consistency{}, s.serveConsistency)
	consistency.Query = []api.Param{{Name: "from", Summary: "the earlier size, in entries", Example: 1}}
	export := read("GET", "/export", "Export", nil, s.serveExport)
	export.Status, export.Produces = http.StatusOK, "application/jsonl"
	return []api.Route{
		list, consistency, export,
		read("POST", "/verify", "Verify", Report{}, s.serveVerify),
		read("GET", "/checkpoint", "Signed head of", Checkpoint{}, s.serveCheckpoint),
		read("GET", "/entries/{index}/proof", "Prove that an entry is in", Proof{}, s.serveProof),
	}
}

// scope asks for the permission in the tenant; where there is none, on the
// appliance.
func (s *Service) scope(r *http.Request) api.Scope {
	id, err := s.config.Resolve(r.Context(), r.PathValue("slug"), r.PathValue("env"))
	if err != nil {
		return api.Scope{}
	}
	return api.StoreScope(id)
}

func (s *Service) logOf(r *http.Request) (string, error) {
	id, err := s.config.Resolve(r.Context(), r.PathValue("slug"), r.PathValue("env"))
	return id.String(), err
}

func (s *Service) serveList(w http.ResponseWriter, r *http.Request, log string) error {
	p, err := api.ReadPage(r)
	if err != nil {
		return err
	}
	q := r.URL.Query()
	text := q.Get("q")
	if text == "" {
		text = p.Filter
	}
	entries, total, err := s.List(r.Context(), log, Query{q.Get("actor"), q.Get("action"), text, p.Offset(), p.PerPage})
	if err != nil {
		return err
	}
	return api.Respond(w, http.StatusOK, api.NewPage(entries, p, total))
}

func (s *Service) serveVerify(w http.ResponseWriter, r *http.Request, log string) error {
	report, err := s.Verify(r.Context(), log)
	if err != nil {
		return err
	}
	return api.Respond(w, http.StatusOK, report)
}

func (s *Service) serveCheckpoint(w http.ResponseWriter, r *http.Request, log string) error {
	c, err := s.Checkpoint(r.Context(), log)
	if err != nil {
		return err
	}
	return api.Respond(w, http.StatusOK, c)
}

func (s *Service) serveProof(w http.ResponseWriter, r *http.Request, log string) error {
	n, err := strconv.ParseInt(r.PathValue("index"), 10, 64)
	if err != nil {
		return data.ErrNotFound
	}
	p, err := s.Prove(r.Context(), log, n)
	if errors.Is(err, data.ErrNotFound) {
		return api.Errorf(http.StatusNotFound, "not-found", "This log has no entry %d (not found).", n).Because(err)
	}
	if err != nil {
		return err
	}
	return api.Respond(w, http.StatusOK, p)
}

func (s *Service) serveConsistency(w http.ResponseWriter, r *http.Request, log string) error {
	from, err := strconv.ParseInt(r.URL.Query().Get("from"), 10, 64)
	if err != nil || from < 1 {
		return api.InvalidField("from", "want a whole number from 1")
	}
	c, err := s.ProveSince(r.Context(), log, from)
	if errors.Is(err, data.ErrNotFound) {
		return api.Errorf(http.StatusNotFound, "not-found", "This log has fewer than %d entries: it is another one, or its end was cut off.", from).Because(err)
	}
	if err != nil {
		return err
	}
	return api.Respond(w, http.StatusOK, c)
}

func (s *Service) serveExport(w http.ResponseWriter, r *http.Request, log string) error {
	w.Header().Set("Content-Type", "application/jsonl")
	w.Header().Set("Content-Disposition", `attachment; filename="audit.jsonl"`)
	return s.Export(r.Context(), log, w)
}
