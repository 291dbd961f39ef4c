package app

import (
	"context"

	"holdfast/app/api"
	"holdfast/app/identity"
	"holdfast/app/tenant"
	"holdfast/data/store"
)

// levels are how far into a store each permission for its records goes. One that is not
// here opens nothing.
var levels = map[api.Permission]store.Level{
	api.DataRead:     store.See,
	api.DataExport:   store.See,
	api.DataWrite:    store.Change,
	api.DataErase:    store.Change,
	api.SchemaManage: store.Manage,
	api.StudioOpen:   store.Manage,
}

// warden makes of what identity allowed what the stores take. It is the only one.
type warden struct{ *store.Warden }

func (h *house) warden() (warden, error) {
	w, err := h.pool.Warden()
	return warden{w}, err
}

func (d warden) warrant(ctx context.Context, w identity.Warrant) context.Context {
	level, ok := levels[w.Permission]
	if !ok {
		return ctx
	}
	issued := store.Warrant{Store: w.Store, Actor: w.Actor, Level: level, Until: w.Until}
	if w.Note != nil {
		issued.Note = func(ctx context.Context, u store.Use) error { return w.Note(ctx, u.What, u.Name, u.Query) }
	}
	return d.Issue(ctx, issued)
}

// founded gives a tenant that is about to open its people.
func (h *house) founded(ctx context.Context, f tenant.Founding) error {
	if f.From != "" {
		if err := h.identity.Inherit(ctx, f.From, f.Tenant); err != nil {
			return err
		}
		return h.sso.Copy(ctx, f.From, f.Tenant)
	}
	return h.identity.Found(ctx, f.Tenant, f.Owner, f.Again)
}
