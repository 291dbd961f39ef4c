package app

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"holdfast/app/api"
	"holdfast/app/audit"
	"holdfast/app/recovery"
	"holdfast/app/tenant"
	"holdfast/backup"
	"holdfast/data"
	"holdfast/data/keys"
)

// returning is a store that is to come back. The tenants' table, not the keyring, says
// in which state: the copy of the keys may be older.
type returning struct {
	id     data.StoreID
	name   string
	parked bool // deleted, within its undelete window
}

func (r returning) owner() keys.Owner { return keys.Owner(r.id.String()) }

// returning lists the stores of all tenants that are not destroyed.
func (b *bare) returning(ctx context.Context, h *house) (all []returning, err error) {
	for page := 1; ; page++ {
		paging := api.Paging{Page: page, PerPage: api.MaxPerPage}
		items, _, err := h.tenants.List(ctx, tenant.Listing{Paging: paging, Reach: api.Reach{All: true}})
		if err != nil {
			return nil, err
		}
		for _, t := range items {
			for _, e := range t.Environments {
				all = append(all, returning{data.StoreID{Tenant: t.ID, Environment: e.Name}, t.Slug + "/" + e.Name, t.State == tenant.Parked})
			}
		}
		if len(items) < api.MaxPerPage {
			return all, b.unknown(ctx, h, all)
		}
	}
}

// unknown names stores that there are keys for, and that the system database, being
// older, does not know.
func (b *bare) unknown(ctx context.Context, h *house, all []returning) error {
	live, err := h.liveStores(ctx)
	for _, id := range live {
		if !slices.ContainsFunc(all, func(r returning) bool { return r.id == id }) {
			b.missing(returning{id: id, name: id.String()}, "there are keys for it, but the system database is older than its tenant")
		}
	}
	return err
}

// from says where stores are read from.
func (b *bare) from(what string) recovery.From {
	return recovery.From{Source: b.source, URL: b.url, AcceptCut: b.cut, Progress: b.progress(what)}
}

// ownUncut holds what came back of the appliance itself against what its parts know of
// each other: the system database of the log's snapshots, the log of the database's.
func (b *bare) ownUncut(ctx context.Context, h *house, _ []returning) error {
	err := h.recovery.Uncut(ctx, b.from(recovery.VaultChain), recovery.VaultChain, b.ring.Archive(keys.System, keys.Segments))
	if err == nil {
		err = b.systemUncut(ctx, h)
	}
	if err != nil && b.cut && errors.Is(err, recovery.ErrCut) {
		b.warn("%v", err)
		return nil
	}
	return acceptable(err)
}

// acceptable says how to go on with a chain that was cut.
func acceptable(err error) error {
	if !errors.Is(err, recovery.ErrCut) {
		return err
	}
	return fmt.Errorf("%w. Somebody may have taken snapshots away or put others there. Restore from another target, into an empty folder; or give --accept-cut to take what there is", err)
}

// systemUncut looks for a snapshot of the system database that the log tells of and
// that did not come back. The log has one entry a day, and one for each base.
func (b *bare) systemUncut(ctx context.Context, h *house) error {
	target, err := h.recovery.TargetAt(ctx, b.url)
	if err != nil || target.ID == "" {
		return err
	}
	entries, _, err := h.audit.List(ctx, audit.Appliance, audit.Query{Action: "snapshot.create", Limit: 1000})
	for _, e := range entries {
		seq, bad := strconv.ParseInt(e.Detail["seq"], 10, 64)
		if e.Target == recovery.SystemChain && e.Detail["target"] == target.Name && bad == nil && seq > b.result.System.Seq {
			return fmt.Errorf("%w: the log tells of snapshot %d of the system database, shipped at %s; the chain ends at %d", recovery.ErrCut, seq, e.Time.Format(time.RFC3339), b.result.System.Seq)
		}
	}
	return err
}

// stores brings the stores back, those of deleted tenants too, and brings their keys to
// the state that the tenant is in.
func (b *bare) stores(ctx context.Context, h *house, all []returning) error {
	b.result.Parked = nil
	for _, r := range all {
		if err := b.store(ctx, h, r); err != nil {
			return fmt.Errorf("bring back %s: %w", r.name, acceptable(err))
		}
		if r.parked {
			b.result.Parked = append(b.result.Parked, r.name)
		}
		if err := b.note(); err != nil {
			return err
		}
	}
	return nil
}

func (b *bare) store(ctx context.Context, h *house, r returning) (err error) {
	_, _, err = h.ring.Archive(r.owner(), keys.Segments).Current()
	if errors.Is(err, data.ErrNotFound) || errors.Is(err, data.ErrDestroyed) {
		b.missing(r, "its keys are not in the copy of the keys, which was made "+b.result.Keys.Made)
		return nil
	}
	if err == nil {
		err = h.ring.Unpark(r.owner()) // what comes back is sealed with them
	}
	if err != nil {
		return err
	}
	if r.parked {
		defer func() { err = errors.Join(err, h.ring.Park(r.owner())) }()
	}
	if exists(b.folder.in("stores", r.id.Tenant, r.id.Environment)) {
		return nil
	}
	var done recovery.Returned
	if err = b.witnessed(ctx, h, r); err == nil {
		done, err = h.recovery.Return(ctx, r.id, b.from(r.name))
	}
	switch {
	case errors.Is(err, backup.ErrNoSnapshot):
		b.missing(r, "the target holds no snapshot of it")
		return nil
	case err != nil:
		return err
	}
	b.say("%s: %d records, as of %s", r.name, done.Records, done.Time.Format(time.RFC3339))
	b.result.Stores = append(b.result.Stores, done)
	b.result.Records += done.Records
	return nil
}

func (b *bare) missing(r returning, why string) {
	b.result.Missing = append(b.result.Missing, r.name)
	b.warn("%s: %s", r.name, why)
}

// claim has shipping go on behind what the targets hold.
func (b *bare) claim(ctx context.Context, h *house, all []returning) error {
	var ids []data.StoreID
	for _, r := range all {
		if exists(b.folder.in("stores", r.id.Tenant, r.id.Environment)) {
			ids = append(ids, r.id)
		}
	}
	if err := h.recovery.Claim(ctx, ids); err != nil {
		b.warn("a target could not be read, its chains have to be taken over (holdfast snapshot takeover --all --target NAME): %v", err)
	}
	return nil
}
