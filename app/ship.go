package app

import (
	"context"
	"fmt"

	"holdfast/app/recovery"
	"holdfast/data"
	"holdfast/data/keys"
)

// ownChains are the parts of the appliance that are shipped like stores. What the
// clock keeps in the vault, and what shipping remembers of itself, is no reason to.
func (h *house) ownChains() map[string]recovery.Own {
	segments := h.ring.Source(keys.System, keys.Segments)
	return map[string]recovery.Own{
		recovery.SystemChain: {Keys: segments, Pages: h.system.PagesFor},
		recovery.VaultChain:  {Keys: segments, Stream: h.vault, Size: h.vault.Size},
	}
}

// changed tells those who follow a store of a commit. It is called from under the
// database.
func (h *house) changed(id data.StoreID) {
	h.audit.Nudge(id)
	if r := h.shipping.Load(); r != nil {
		r.Nudge(id)
	}
}

// systemChanged is told of commits to the system database, some of them before
// there is a recovery room.
func (h *house) systemChanged() {
	if r := h.shipping.Load(); r != nil {
		r.NudgeOwn(recovery.SystemChain)
	}
}

// liveStores are those whose keys are live.
func (h *house) liveStores(context.Context) (live []data.StoreID, err error) {
	for _, e := range h.ring.Entries() {
		if id, err := data.ParseStoreID(string(e.Owner)); err == nil && e.Purpose == keys.Segments && e.State == keys.Live {
			live = append(live, id)
		}
	}
	return live, nil
}

func (h *house) slugOf(ctx context.Context, id data.StoreID) (string, error) {
	return h.tenants.Slug(ctx, id.Tenant)
}

// startShipping begins continuous shipping where a server runs: a command that
// opened the folder for itself leaves it to the next one.
func (h *house) startShipping(ctx context.Context, serving bool) error {
	h.shipping.Store(h.recovery)
	h.vault.Follow(func() { h.recovery.NudgeOwn(recovery.VaultChain) })
	if !serving {
		return nil
	}
	if err := h.recovery.Start(ctx); err != nil {
		return fmt.Errorf("start shipping: %w", err)
	}
	return nil
}
