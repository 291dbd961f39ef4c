package disposal

import (
	"errors"
	"net/http"

	"holdfast/app/api"
	"holdfast/app/api/signed"
	"holdfast/data"
)

// Routes are disposals, the ledger and erasures over REST.
func (s *Service) Routes() []api.Route {
	const one = "/api/v1/disposals/{id}"
	const erasures = "/api/v1/stores/{slug}/{env}/erasures"
	return []api.Route{
		{
			Method: "GET", Path: "/api/v1/disposals", Permission: api.DisposalRead, Paged: true,
			Summary: "List destroyed tenants, newest first; filter is a tenant's id or slug", Response: api.Page[Disposal]{}, Handler: s.serveList,
		},
		{
			Method: "GET", Path: one, Permission: api.DisposalRead,
			Summary: "Show a disposal with its certificate", Response: Certified{}, Handler: s.serveGet,
		},
		{
			Method: "GET", Path: one + "/certificate", Permission: api.DisposalRead,
			Summary: "The certificate: the bytes that are signed", Produces: "application/json", Response: "", Handler: s.serveCertificate,
		},
		{
			Method: "GET", Path: one + "/signature", Permission: api.DisposalRead,
			Summary: "The certificate's detached signature", Produces: "text/plain", Response: "", Handler: s.serveSignature,
		},
		{
			Method: "GET", Path: one + "/print", Permission: api.DisposalRead,
			Summary: "The certificate as a page to be printed", Produces: "text/html", Response: "", Handler: s.servePrint,
		},
		{
			Method: "GET", Path: "/api/v1/ledger", Permission: api.DisposalRead,
			Summary: "How far the ledger of destructions and erasures is, and on which targets", Response: Ledger{}, Handler: s.serveLedger,
		},
		{
			Method: "GET", Path: erasures, Permission: api.DataErase, Scope: s.scope, Paged: true,
			Summary: "List what was erased, newest first", Response: api.Page[Erasure]{}, Handler: s.serveErasures,
		},
		{
			Method: "POST", Path: erasures, Permission: api.DataErase, Assurance: api.Fresh, Scope: s.scope,
			Summary: "Erase records so that no restore brings them back", Request: NewErasure{}, Response: Erasure{}, Status: 201, Handler: s.serveErase,
		},
	}
}

// scope asks within the tenant, parked too; for none, or what was destroyed and has
// nobody any more, on the appliance.
func (s *Service) scope(r *http.Request) api.Scope {
	id, err := s.config.Tenants.Anyhow(r.Context(), r.PathValue("slug"), r.PathValue("env"))
	if err != nil {
		return api.Scope{Missing: err}
	}
	if _, err := s.config.Tenants.Store(r.Context(), r.PathValue("slug"), r.PathValue("env")); errors.Is(err, data.ErrDestroyed) {
		return api.Scope{Missing: err}
	}
	return api.StoreScope(id)
}

func (s *Service) serveList(w http.ResponseWriter, r *http.Request) error {
	p, err := api.ReadPage(r)
	if err != nil {
		return err
	}
	page, err := s.List(r.Context(), p)
	if err != nil {
		return err
	}
	return api.Respond(w, http.StatusOK, page)
}

func (s *Service) serveGet(w http.ResponseWriter, r *http.Request) error {
	c, err := s.Get(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	return api.Respond(w, http.StatusOK, c)
}

// certified finds a disposal that has its certificate.
func (s *Service) certified(r *http.Request) (disposalRow, error) {
	row, err := s.disposal(r.Context(), `id = ?`, r.PathValue("id"))
	if err == nil && row.Finished == 0 {
		err = api.Errorf(http.StatusConflict, "under-way", "The destruction is under way: it has no certificate yet.").Because(data.ErrBusy)
	}
	return row, missing(err, r.PathValue("id"))
}

func (s *Service) serveCertificate(w http.ResponseWriter, r *http.Request) error {
	row, err := s.certified(r)
	if err != nil {
		return err
	}
	return signed.SendFile(w, "application/json", "disposal-"+row.ID+".json", row.Certificate)
}

func (s *Service) serveSignature(w http.ResponseWriter, r *http.Request) error {
	row, err := s.certified(r)
	if err != nil {
		return err
	}
	return signed.SendFile(w, "text/plain; charset=utf-8", "disposal-"+row.ID+".json.sig", row.Signature)
}

func (s *Service) serveLedger(w http.ResponseWriter, r *http.Request) error {
	l, err := s.Ledger(r.Context())
	if err != nil {
		return err
	}
	return api.Respond(w, http.StatusOK, l)
}

func (s *Service) serveErasures(w http.ResponseWriter, r *http.Request) error {
	p, err := api.ReadPage(r)
	if err != nil {
		return err
	}
	id, err := s.config.Tenants.Anyhow(r.Context(), r.PathValue("slug"), r.PathValue("env"))
	if err != nil {
		return err
	}
	page, err := s.Erasures(r.Context(), id, p)
	if err != nil {
		return err
	}
	return api.Respond(w, http.StatusOK, page)
}

func (s *Service) serveErase(w http.ResponseWriter, r *http.Request) error {
	var n NewErasure
	if err := api.Read(r, &n); err != nil {
		return err
	}
	slug := r.PathValue("slug")
	id, err := s.config.Tenants.Store(r.Context(), slug, r.PathValue("env"))
	if err != nil {
		return err
	}
	e, err := s.Erase(r.Context(), slug, id, n)
	if err != nil {
		return err
	}
	return api.Respond(w, http.StatusCreated, e)
}
