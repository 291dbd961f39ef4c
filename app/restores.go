package app

import (
	"context"

	"holdfast/data"
	"holdfast/data/keys"
	"holdfast/data/store"
)

// farewell has the log follow a store to its end before a restore replaces it.
func (h *house) farewell(ctx context.Context, id data.StoreID, old *store.Store) error {
	return h.audit.Farewell(ctx, id, old)
}

// freshKey makes a new generation of a store's pages key: how often a key sealed is
// counted in the store's folder, and a restore in place puts another one there.
func (h *house) freshKey(ctx context.Context, id data.StoreID) error {
	key := keyOf{keys.Owner(id.String()), keys.Pages}
	if err := h.rekeys.record(ctx, "key.rotate", key, map[string]string{"reason": "a restore in place"}); err != nil {
		return err
	}
	return h.ring.Rotate(key.owner, key.purpose)
}

// resumeRestores goes on with what a crash or a restart cut short. A command that
// opened the folder for itself leaves that to the server.
func (h *house) resumeRestores(ctx context.Context, a *Appliance) error {
	if !a.config.serves {
		return nil
	}
	if err := h.recovery.ResumeRestores(ctx); err != nil {
		a.logger.ErrorContext(ctx, "a restore could not be taken up again", "error", err)
	}
	return nil
}
