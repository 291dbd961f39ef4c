package api

import (
	"context"
	"net/http"
	"slices"

	"holdfast/data"
)

// Routes are the operations over REST. An operation of the appliance is seen by
// who may read operations there, one of a store also by its tenant's.
func (o *Operations) Routes(reach Reacher) []Route {
	of := func(r *http.Request) Scope { return o.scope(r) }
	return []Route{
		{
			Method: http.MethodGet, Path: "/api/v1/operations", Permission: OperationRead, Paged: true,
			Scope:    func(*http.Request) Scope { return Scope{Tenant: AnyTenant} },
			Summary:  "List operations, newest first",
			Query:    []Param{{"state", "only in this state", ""}, {"store", "only of this store's id", ""}, {"kind", "only of this kind", ""}},
			Response: Page[Operation]{},
			Handler:  func(w http.ResponseWriter, r *http.Request) error { return o.serveList(w, r, reach) },
		},
		{
			Method: http.MethodGet, Path: "/api/v1/operations/{id}", Permission: OperationRead, Scope: of,
			Summary: "Show one operation", Response: Operation{},
			Handler: func(w http.ResponseWriter, r *http.Request) error { return o.serveOne(w, r, reach) },
		},
		{
			Method: http.MethodPost, Path: "/api/v1/operations/{id}/cancel", Permission: OperationCancel, Scope: of,
			Summary: "Ask a running operation to stop", Status: http.StatusAccepted, Response: Operation{}, Handler: o.serveCancel,
		},
	}
}

func (o *Operations) scope(r *http.Request) Scope {
	op, err := o.Get(r.Context(), r.PathValue("id"))
	if err != nil {
		return Scope{}
	}
	id, err := data.ParseStoreID(op.Store)
	if err != nil {
		return Scope{}
	}
	return StoreScope(id)
}

func (o *Operations) serveList(w http.ResponseWriter, r *http.Request, reach Reacher) error {
	page, err := ReadPage(r)
	if err != nil {
		return err
	}
	may, err := reach.Reach(r.Context(), data.ActorFrom(r.Context()), OperationRead)
	if err != nil {
		return err
	}
	q := r.URL.Query()
	list, err := o.List(r.Context(), OperationFilter{
		State: OperationState(q.Get("state")), Store: q.Get("store"), Kind: q.Get("kind"), Reach: may,
	}, page)
	if err != nil {
		return err
	}
	if err := o.veil(r.Context(), reach, list.Items); err != nil {
		return err
	}
	return Respond(w, http.StatusOK, list)
}

func (o *Operations) serveOne(w http.ResponseWriter, r *http.Request, reach Reacher) error {
	op, err := o.Get(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	shown := []Operation{op}
	if err := o.veil(r.Context(), reach, shown); err != nil {
		return err
	}
	return Respond(w, http.StatusOK, shown[0])
}

// veil leaves out what operations may quote of records, to who may not read those.
func (o *Operations) veil(ctx context.Context, reach Reacher, ops []Operation) error {
	may, err := reach.Reach(ctx, data.ActorFrom(ctx), DataRead)
	if err != nil {
		return err
	}
	for i := range ops {
		op := &ops[i]
		id, err := data.ParseStoreID(op.Store)
		if err != nil || !slices.Contains(o.config.Quoting, op.Kind) || may.Includes(id.Tenant) {
			continue
		}
		op.Result = nil
		if op.Error != nil {
			op.Error = Errorf(op.Error.Status, op.Error.Code, "The reason may quote records, which you do not see.")
		}
	}
	return nil
}

func (o *Operations) serveCancel(w http.ResponseWriter, r *http.Request) error {
	ctx, id := r.Context(), r.PathValue("id")
	op, err := o.Get(ctx, id)
	if err != nil {
		return err
	}
	if op.State == Running {
		if err := o.recordCancel(ctx, op); err != nil {
			return err
		}
	}
	if err := o.Cancel(ctx, id); err != nil {
		return err
	}
	if op, err = o.Get(ctx, id); err != nil {
		return err
	}
	return Respond(w, http.StatusAccepted, op)
}

// recordCancel comes first: nothing is stopped without an entry.
func (o *Operations) recordCancel(ctx context.Context, op Operation) error {
	if o.config.Recorder == nil {
		return nil
	}
	return o.config.Recorder.Record(ctx, Event{
		Action: "operation.cancel", Target: op.ID, Store: op.Store, Outcome: OK,
		Detail: map[string]string{"kind": op.Kind, "of": op.Target},
	})
}

// Accepted answers 202 with the operation and where to watch it.
func Accepted(w http.ResponseWriter, op Operation) error {
	w.Header().Set("Location", "/api/v1/operations/"+op.ID)
	return Respond(w, http.StatusAccepted, op)
}
