package custody

import (
	"encoding/json"
	"net/http"

	"holdfast/app/api"
)

// CopyOrder is the body of an addition.
type CopyOrder struct {
	Target string `json:"target" doc:"name of a target"`
}

// Routes are slots, keys and copies over REST.
func (s *Service) Routes() []api.Route {
	const base = "/api/v1/keys"
	return append([]api.Route{
		{
			Method: "GET", Path: base, Permission: api.CustodyRead,
			Summary: "Slots, keyring, copies, and what is not as it should be", Response: Status{}, Handler: s.serveStatus,
		},
		{
			Method: "GET", Path: base + "/entries", Permission: api.CustodyRead, Paged: true,
			Query: []api.Param{
				{Name: "owner", Summary: "system, or a store's slug or slug/environment"},
				{Name: "purpose", Summary: "pages, files, segments, ..."}, {Name: "state", Summary: "live, parked, retired, destroyed"},
			},
			Summary: "List the keys of the keyring", Response: api.Page[Entry]{}, Handler: s.serveEntries,
		},
		{
			Method: "POST", Path: base + "/rotate", Permission: api.CustodyManage, Assurance: api.Fresh,
			Summary: "New generations of an owner's keys; old data is written anew in the background", Request: Order{}, Response: api.Operation{}, Status: 202, Handler: s.serveRotate,
		},
		{
			Method: "POST", Path: base + "/root/rotate", Permission: api.CustodyManage, Assurance: api.Fresh,
			Pair:    &api.Pair{Action: "root.rotate", Title: "Make a new root key, recovery key and shares"},
			Summary: "A new root key; recovery key and shares are shown once", Request: RootOrder{}, Response: NewRoot{}, Handler: s.serveRotateRoot,
		},
	}, append(s.slotRoutes(base), s.copyRoutes(base)...)...)
}

func (s *Service) slotRoutes(base string) []api.Route {
	one := base + "/slots/{id}"
	return []api.Route{
		{
			Method: "POST", Path: base + "/slots", Permission: api.CustodyManage, Assurance: api.Fresh,
			Pair:    &api.Pair{Action: "slot.add", Title: "Add a way to open the root key"},
			Summary: "Add a slot, which is opened once before it counts", Request: NewSlot{}, Response: Added{}, Status: 201, Handler: s.serveAdd,
		},
		{
			Method: "DELETE", Path: one, Permission: api.CustodyManage, Assurance: api.Fresh,
			Pair:    &api.Pair{Action: "slot.remove", Title: "Remove a way to open the root key"},
			Query:   []api.Param{{Name: "sure", Summary: "true: also the last slot that opens without a person"}},
			Summary: "Remove a slot; never the last one", Handler: s.serveRemove,
		},
		{
			Method: "POST", Path: one + "/proof", Permission: api.CustodyManage,
			Summary: "Open a slot by its secret; a proven recovery key replaces the older ones", Request: Secret{}, Response: Proven{}, Handler: s.serveProve,
		},
		{
			Method: "POST", Path: base + "/recovery", Permission: api.CustodyManage, Assurance: api.Fresh,
			Pair:    &api.Pair{Action: "recovery.replace", Title: "Make a new recovery key"},
			Summary: "A new recovery key, shown once; the old one opens until the new one is proven", Response: NewRecovery{}, Status: 201, Handler: s.serveRecovery,
		},
	}
}

func (s *Service) copyRoutes(base string) []api.Route {
	all := base + "/copies"
	return []api.Route{
		{
			Method: "POST", Path: all, Permission: api.CustodyManage, Assurance: api.Fresh,
			Pair:    &api.Pair{Action: "keycopy.add", Title: "Keep copies of the keys on a target", Means: s.meansTarget},
			Summary: "Keep copies of the keys on a target", Request: CopyOrder{}, Response: CopyTarget{}, Status: 201, Handler: s.serveKeepOn,
		},
		{
			Method: "DELETE", Path: all + "/{target}", Permission: api.CustodyManage, Assurance: api.Fresh,
			Pair:    &api.Pair{Action: "keycopy.remove", Title: "Keep no more copies of the keys on a target", Means: s.meansKept},
			Query:   []api.Param{{Name: "leave", Summary: "true: leave the copies that are there"}},
			Summary: "Keep no more copies on a target, and delete those that are there", Handler: s.serveKeepOff,
		},
		{
			Method: "POST", Path: all + "/now", Permission: api.CustodyManage,
			Summary: "Visit every target now", Response: CopyState{}, Handler: s.serveNow,
		},
		{
			Method: "POST", Path: all + "/purge", Permission: api.CustodyManage, Assurance: api.Fresh,
			Summary: "Delete every copy but the newest, whatever its age", Response: CopyState{}, Handler: s.servePurge,
		},
	}
}

// meansTarget is the id of the target in the body.
func (s *Service) meansTarget(r *http.Request, body json.RawMessage) (string, error) {
	var o CopyOrder
	if err := json.Unmarshal(body, &o); err != nil {
		return "", err
	}
	t, err := s.copies.target(r.Context(), func(t Target) bool { return t.Name == o.Target })
	return t.ID, err
}

// meansKept is the id of the target in the path, on which copies are kept.
func (s *Service) meansKept(r *http.Request, _ json.RawMessage) (string, error) {
	rows, err := s.copies.rows(r.Context())
	for _, row := range rows {
		if row.Name == r.PathValue("target") {
			return row.Target, err
		}
	}
	return "", err
}

// secretly keeps an answer that shows secrets out of every cache.
func secretly(w http.ResponseWriter, status int, v any) error {
	w.Header().Set("Cache-Control", "no-store")
	return api.Respond(w, status, v)
}

func (s *Service) serveStatus(w http.ResponseWriter, r *http.Request) error {
	st, err := s.Status(r.Context())
	if err != nil {
		return err
	}
	return api.Respond(w, http.StatusOK, st)
}

func (s *Service) serveEntries(w http.ResponseWriter, r *http.Request) error {
	p, err := api.ReadPage(r)
	if err != nil {
		return err
	}
	q := r.URL.Query()
	page, err := s.Entries(r.Context(), EntryFilter{q.Get("owner"), q.Get("purpose"), q.Get("state")}, p)
	if err != nil {
		return err
	}
	return api.Respond(w, http.StatusOK, page)
}

func (s *Service) serveRotate(w http.ResponseWriter, r *http.Request) error {
	var o Order
	if err := api.Read(r, &o); err != nil {
		return err
	}
	op, err := s.Rotate(r.Context(), o)
	if err != nil {
		return err
	}
	return api.Respond(w, http.StatusAccepted, op)
}

func (s *Service) serveRotateRoot(w http.ResponseWriter, r *http.Request) error {
	var o RootOrder
	if err := api.Read(r, &o); err != nil {
		return err
	}
	root, err := s.RotateRoot(r.Context(), o)
	if err != nil {
		return err
	}
	return secretly(w, http.StatusOK, root)
}

func (s *Service) serveAdd(w http.ResponseWriter, r *http.Request) error {
	var n NewSlot
	if err := api.Read(r, &n); err != nil {
		return err
	}
	added, err := s.Add(r.Context(), n)
	if err != nil {
		return err
	}
	return secretly(w, http.StatusCreated, added)
}

func (s *Service) serveRemove(w http.ResponseWriter, r *http.Request) error {
	if err := s.Remove(r.Context(), r.PathValue("id"), r.URL.Query().Get("sure") == "true"); err != nil {
		return err
	}
	return api.NoContent(w)
}

func (s *Service) serveProve(w http.ResponseWriter, r *http.Request) error {
	var secret Secret
	if err := api.Read(r, &secret); err != nil {
		return err
	}
	p, err := s.Prove(r.Context(), r.PathValue("id"), secret)
	if err != nil {
		return err
	}
	return api.Respond(w, http.StatusOK, p)
}

func (s *Service) serveRecovery(w http.ResponseWriter, r *http.Request) error {
	made, err := s.Recovery(r.Context())
	if err != nil {
		return err
	}
	return secretly(w, http.StatusCreated, made)
}

func (s *Service) serveKeepOn(w http.ResponseWriter, r *http.Request) error {
	var o CopyOrder
	if err := api.Read(r, &o); err != nil {
		return err
	}
	t, err := s.KeepOn(r.Context(), o.Target)
	if err != nil {
		return err
	}
	return api.Respond(w, http.StatusCreated, t)
}

func (s *Service) serveKeepOff(w http.ResponseWriter, r *http.Request) error {
	if err := s.KeepOff(r.Context(), r.PathValue("target"), r.URL.Query().Get("leave") == "true"); err != nil {
		return err
	}
	return api.NoContent(w)
}

func (s *Service) serveNow(w http.ResponseWriter, r *http.Request) error {
	if err := s.Flush(r.Context()); err != nil {
		return err
	}
	return s.serveCopies(w, r)
}

func (s *Service) servePurge(w http.ResponseWriter, r *http.Request) error {
	if err := s.Purge(r.Context()); err != nil {
		return err
	}
	return s.serveCopies(w, r)
}

func (s *Service) serveCopies(w http.ResponseWriter, r *http.Request) error {
	state, err := s.copyState(r.Context())
	if err != nil {
		return err
	}
	return api.Respond(w, http.StatusOK, state)
}
