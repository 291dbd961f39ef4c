package app

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"holdfast/app/api"
	"holdfast/app/recovery"
	"holdfast/data"
	"holdfast/data/store"
)

// logState says whether a store's logs have all that was acknowledged, and what
// could be restored where they have not.
type logState struct {
	store.Loss
	Store     string         `json:"store" doc:"slug/environment"`
	Snapshots []heldSnapshot `json:"snapshots" doc:"what a restore would bring back instead"`
}

// heldSnapshot is the newest snapshot that a target has.
type heldSnapshot struct {
	Target string    `json:"target"`
	Newest time.Time `json:"newest"`
}

// lossOrder is the body of an acceptance.
type lossOrder struct {
	Store string `json:"store" doc:"slug/environment once more: what is missing is given up for good"`
}

// lossRoutes are those of a store whose log was cut.
func (h *house) lossRoutes() []api.Route {
	const base = "/api/v1/stores/{slug}/{env}/log"
	return []api.Route{
		{
			Method: http.MethodGet, Path: base, Permission: api.CustodyRead,
			Summary: "Whether a store's logs have all that was acknowledged", Response: logState{}, Handler: h.serveLog,
		},
		{
			Method: http.MethodPost, Path: base + "/accept-loss", Permission: api.CustodyManage, Assurance: api.Fresh,
			Summary: "Give up the commits that are missing from a store's cut log, so that it opens again; restore a snapshot rather, where there is one",
			Request: lossOrder{}, Response: api.Operation{}, Status: http.StatusAccepted, Handler: h.serveAcceptLoss,
		},
	}
}

func (h *house) logOf(r *http.Request) (state logState, id data.StoreID, err error) {
	slug, environment := r.PathValue("slug"), r.PathValue("env")
	if id, err = h.tenants.Store(r.Context(), slug, environment); err != nil {
		return state, id, err
	}
	state.Store, state.Snapshots = slug+"/"+environment, []heldSnapshot{}
	if state.Loss, err = h.pool.CheckLog(r.Context(), id); err != nil {
		return state, id, err
	}
	held, err := h.recovery.Held(r.Context(), id)
	for _, t := range held {
		state.Snapshots = append(state.Snapshots, newestOf(t))
	}
	return state, id, err
}

func newestOf(h recovery.Held) heldSnapshot { return heldSnapshot{h.Target, h.Newest} }

func (h *house) serveLog(w http.ResponseWriter, r *http.Request) error {
	state, _, err := h.logOf(r)
	if err != nil {
		return err
	}
	return api.Respond(w, http.StatusOK, state)
}

func (h *house) serveAcceptLoss(w http.ResponseWriter, r *http.Request) error {
	var order lossOrder
	if err := api.Read(r, &order); err != nil {
		return err
	}
	state, id, err := h.logOf(r)
	switch {
	case err != nil:
		return err
	case order.Store != state.Store:
		return api.InvalidField("store", "is to name the store whose commits are given up: %s", state.Store)
	case !state.Cut:
		return api.Errorf(http.StatusConflict, "whole", "The log of %s has all that was acknowledged: there is nothing to give up.", state.Store).Because(data.ErrExists)
	}
	op, err := h.operations.Start(r.Context(), "accept-loss", state.Store, id.String(), func(ctx context.Context, _ *api.Progress) (any, error) {
		return h.acceptLoss(ctx, state, id)
	})
	if err != nil {
		return err
	}
	return api.Respond(w, http.StatusAccepted, op)
}

// acceptLoss has the entry in the log before anything is given up.
func (h *house) acceptLoss(ctx context.Context, state logState, id data.StoreID) (logState, error) {
	first := state.Findings[0]
	e := api.Event{Action: "store.accept-loss", Target: state.Store, Store: id.String(), Outcome: api.OK, Detail: map[string]string{
		"findings": strconv.Itoa(len(state.Findings)), "file": first.File, "frame": strconv.FormatUint(uint64(first.Page), 10), "reason": first.Reason,
	}}
	if err := h.audit.Record(ctx, e); err != nil {
		return state, err
	}
	loss, err := h.pool.AcceptLoss(ctx, id)
	if err != nil {
		e.Outcome = api.Failed
		return state, errors.Join(err, h.audit.Record(context.WithoutCancel(ctx), e))
	}
	state.Loss = loss
	return state, nil
}

// recordSystemLoss notes what the start was told to give up of the system database.
func (h *house) recordSystemLoss(ctx context.Context) error {
	lost := h.system.Lost()
	if lost == nil {
		return nil
	}
	return h.audit.Record(data.WithActor(ctx, hostActor()), api.Event{Action: "system.accept-loss", Target: "system", Outcome: api.OK,
		Detail: map[string]string{"reason": lost.Error()}})
}
