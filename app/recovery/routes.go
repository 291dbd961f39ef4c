package recovery

import (
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"slices"

	"holdfast/app/api"
	"holdfast/data"
)

// Choice is the body of a snapshot or a verification.
type Choice struct {
	Target string `json:"target,omitempty" doc:"only this target; all where it is not given"`
}

// Routes are targets, snapshots and restores over REST.
func (s *Service) Routes() []api.Route {
	return append(s.targetRoutes(), append(s.storeRoutes(), s.pointRoute(), s.verifyRoute())...)
}

func (s *Service) targetRoutes() []api.Route {
	const all, one = "/api/v1/targets", "/api/v1/targets/{name}"
	return []api.Route{
		{
			Method: "GET", Path: all, Permission: api.TargetRead, Paged: true,
			Summary: "List targets", Response: api.Page[Target]{}, Handler: s.serveTargets,
		},
		{
			Method: "POST", Path: all, Permission: api.TargetManage, Assurance: api.Fresh,
			Pair:    &api.Pair{Action: "target.add", Title: "Add a target for snapshots"},
			Summary: "Add a target; its credentials are kept sealed and never shown", Request: NewTarget{}, Response: Target{}, Status: 201, Handler: s.serveAdd,
		},
		{
			Method: "POST", Path: one + "/test", Permission: api.TargetManage,
			Summary: "Try a target: write, read, list, delete, conditional write", Response: Tried{}, Handler: s.serveTry,
		},
		{
			Method: "DELETE", Path: one, Permission: api.TargetManage,
			Summary: "Forget a target; what it holds stays there", Handler: s.serveRemove,
		},
		{
			Method: "PATCH", Path: one, Permission: api.TargetManage, Assurance: api.Fresh,
			Pair:    &api.Pair{Action: "target.set", Title: "Change a target for snapshots", Means: s.meansTarget},
			Summary: "Say where a target is, or give it new credentials", Request: TargetChange{}, Response: Target{}, Handler: s.serveChange,
		},
		{
			Method: "GET", Path: "/api/v1/snapshots/overview", Permission: api.TargetRead, Paged: true,
			Summary: "How every store is kept, worst first; filter is a state, or trouble: all that are not current", Response: api.Page[Overview]{}, Handler: s.serveOverview,
		},
	}
}

func (s *Service) storeRoutes() []api.Route {
	const base = "/api/v1/stores/{slug}/{env}"
	return []api.Route{
		{
			Method: "GET", Path: base + "/snapshots", Permission: api.SnapshotRead, Scope: s.scope, Paged: true,
			Summary: "List the points that can be restored, newest first", Response: api.Page[Snapshot]{}, Handler: s.serveList,
		},
		{
			Method: "POST", Path: base + "/snapshots", Permission: api.SnapshotCreate, Scope: s.scope,
			Summary: "Ship what changed since the last snapshot", Request: Choice{}, Response: api.Operation{}, Status: 202, Handler: s.serveSnapshot,
		},
		{
			Method: "GET", Path: base + "/snapshots/status", Permission: api.SnapshotRead, Scope: s.scope,
			Summary: "How far the store is on each target", Response: Status{}, Handler: s.serveStatus,
		},
		{
			Method: "GET", Path: base + "/snapshots/policy", Permission: api.SnapshotRead, Scope: s.scope,
			Summary: "How snapshots are made and kept", Response: Policy{}, Handler: s.servePolicy,
		},
		{
			Method: "PUT", Path: base + "/snapshots/policy", Permission: api.SnapshotRestore, Scope: s.scope,
			Summary: "Replace the policy; fields that are not given have their defaults", Request: Policy{}, Response: Policy{}, Handler: s.serveSetPolicy,
		},
		{
			Method: "POST", Path: base + "/snapshots/prune", Permission: api.SnapshotRestore, Scope: s.scope,
			Summary: "Delete what was condemned a grace ago, and condemn what no kept point needs", Request: Choice{}, Response: api.Operation{}, Status: 202, Handler: s.servePrune,
		},
		{
			Method: "POST", Path: base + "/snapshots/takeover", Permission: api.TargetManage,
			Pair:    &api.Pair{Action: "snapshot.takeover", Title: "Go on with a chain that another appliance continued", Means: s.meansTakeover},
			Summary: "Go on with a chain that another appliance continued", Request: Takeover{}, Response: api.Operation{}, Status: 202, Handler: s.serveTakeover,
		},
		{
			Method: "POST", Path: base + "/snapshots/verify", Permission: api.SnapshotRead, Scope: s.scope,
			Summary: "Read the chain: signatures, hashes, positions, decryption, checksums", Request: VerifyOrder{}, Response: api.Operation{}, Status: 202, Handler: s.serveVerify,
		},
		{
			Method: "POST", Path: base + "/scrub", Permission: api.SnapshotRead, Scope: s.scope,
			Summary: "Read the store's disk through: authenticate every page and file, and hold them against the last snapshot", Response: api.Operation{}, Status: 202, Handler: s.serveScrub,
		},
		{
			Method: "POST", Path: base + "/restores", Permission: api.SnapshotRestore, Assurance: api.Fresh, Scope: s.scope,
			Summary: "Restore a point as a new tenant (needs the permission to create tenants, too), in place, or only records; or tell what that would change", Request: Order{}, Response: api.Operation{}, Status: 202, Handler: s.serveRestore,
		},
		{
			Method: "GET", Path: base + "/restores", Permission: api.SnapshotRead, Scope: s.scope, Paged: true,
			Summary: "List the restores of the store, newest first", Response: api.Page[Restore]{}, Handler: s.serveRestores,
		},
		{
			Method: "POST", Path: base + "/restores/{id}/confirm", Permission: api.SnapshotRestore, Assurance: api.Fresh, Scope: s.scope,
			Summary: "Drop what a restore in place replaced", Response: Restore{}, Handler: s.serveConfirm,
		},
		{
			Method: "POST", Path: base + "/restores/{id}/undo", Permission: api.SnapshotRestore, Assurance: api.Fresh, Scope: s.scope,
			Summary: "Put back what a restore in place replaced; changes made since are gone", Response: api.Operation{}, Status: 202, Handler: s.serveUndo,
		},
	}
}

// Tried is the answer of a target that works.
type Tried struct {
	Name string `json:"name"`
	OK   bool   `json:"ok"`
}

// scope asks within the tenant, whatever its state; for none, on the appliance.
func (s *Service) scope(r *http.Request) api.Scope {
	found, err := s.find(r.Context(), r.PathValue("slug"), r.PathValue("env"))
	if err != nil {
		return api.Scope{Missing: err}
	}
	return api.StoreScope(found.id)
}

// meansTarget is the id of the target in the path.
func (s *Service) meansTarget(r *http.Request, _ json.RawMessage) (string, error) {
	t, err := s.target(r.Context(), r.PathValue("name"))
	return t.ID, err
}

// meansTakeover is the store's id and the target's.
func (s *Service) meansTakeover(r *http.Request, body json.RawMessage) (string, error) {
	var o Takeover
	if err := json.Unmarshal(body, &o); err != nil {
		return "", err
	}
	found, err := s.find(r.Context(), r.PathValue("slug"), r.PathValue("env"))
	if err != nil {
		return "", err
	}
	t, err := s.target(r.Context(), o.Target)
	return found.id.String() + " " + t.ID, err
}

func (s *Service) serveTargets(w http.ResponseWriter, r *http.Request) error {
	p, err := api.ReadPage(r)
	if err != nil {
		return err
	}
	rows, err := s.targets(r.Context())
	if err != nil {
		return err
	}
	shown := make([]Target, len(rows))
	for i, row := range rows {
		shown[i] = row.shown()
	}
	return api.Respond(w, http.StatusOK, api.Cut(shown, p))
}

func (s *Service) serveAdd(w http.ResponseWriter, r *http.Request) error {
	var n NewTarget
	if err := api.Read(r, &n); err != nil {
		return err
	}
	t, err := s.Add(r.Context(), n)
	if err != nil {
		return err
	}
	return api.Respond(w, http.StatusCreated, t)
}

func (s *Service) serveTry(w http.ResponseWriter, r *http.Request) error {
	if err := s.Try(r.Context(), r.PathValue("name")); err != nil {
		return err
	}
	return api.Respond(w, http.StatusOK, Tried{r.PathValue("name"), true})
}

func (s *Service) serveRemove(w http.ResponseWriter, r *http.Request) error {
	if err := s.Remove(r.Context(), r.PathValue("name")); err != nil {
		return err
	}
	return api.NoContent(w)
}

func (s *Service) serveList(w http.ResponseWriter, r *http.Request) error {
	return servePage(s, w, r, s.List)
}

// servePage answers with a page of what a store has.
func servePage[T any](s *Service, w http.ResponseWriter, r *http.Request, list func(context.Context, data.StoreID, api.Paging) (api.Page[T], error)) error {
	p, err := api.ReadPage(r)
	if err != nil {
		return err
	}
	found, err := s.find(r.Context(), r.PathValue("slug"), r.PathValue("env"))
	if err != nil {
		return err
	}
	page, err := list(r.Context(), found.id, p)
	if err != nil {
		return err
	}
	return api.Respond(w, http.StatusOK, page)
}

func (s *Service) serveStatus(w http.ResponseWriter, r *http.Request) error {
	status, err := s.Status(r.Context(), r.PathValue("slug"), r.PathValue("env"))
	if err != nil {
		return err
	}
	return api.Respond(w, http.StatusOK, status)
}

func (s *Service) serveSnapshot(w http.ResponseWriter, r *http.Request) error {
	var c Choice
	if err := api.Read(r, &c); err != nil {
		return err
	}
	op, err := s.Snapshot(r.Context(), r.PathValue("slug"), r.PathValue("env"), c.Target)
	return accepted(w, op, err)
}

func (s *Service) serveVerify(w http.ResponseWriter, r *http.Request) error {
	var o VerifyOrder
	if err := api.Read(r, &o); err != nil {
		return err
	}
	op, err := s.Verify(r.Context(), r.PathValue("slug"), r.PathValue("env"), o)
	return accepted(w, op, err)
}

func (s *Service) serveRestore(w http.ResponseWriter, r *http.Request) error {
	var o Order
	if err := api.Read(r, &o); err != nil {
		return err
	}
	op, err := s.Restore(r.Context(), r.PathValue("slug"), r.PathValue("env"), o)
	return accepted(w, op, err)
}

func (s *Service) serveRestores(w http.ResponseWriter, r *http.Request) error {
	return servePage(s, w, r, s.Restores)
}

func (s *Service) serveConfirm(w http.ResponseWriter, r *http.Request) error {
	done, err := s.Confirm(r.Context(), r.PathValue("slug"), r.PathValue("env"), r.PathValue("id"))
	if err != nil {
		return err
	}
	return api.Respond(w, http.StatusOK, done)
}

func (s *Service) serveUndo(w http.ResponseWriter, r *http.Request) error {
	op, err := s.Undo(r.Context(), r.PathValue("slug"), r.PathValue("env"), r.PathValue("id"))
	return accepted(w, op, err)
}

func accepted(w http.ResponseWriter, op api.Operation, err error) error {
	if err != nil {
		return err
	}
	return api.Respond(w, http.StatusAccepted, op)
}

func sortBy(rows []targetRow, key func(targetRow) int64) {
	slices.SortStableFunc(rows, func(a, b targetRow) int { return cmp.Compare(key(a), key(b)) })
}
