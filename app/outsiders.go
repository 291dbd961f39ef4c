package app

import (
	"context"
	"errors"
	"fmt"
	"time"

	"holdfast/app/sso"
	"holdfast/data"
)

// Operators could once make keys and identity providers in tenants where they had no
// role. Those tenants are told, in their own logs, and the doctor says what is left.

// outsidersProviders are the tenants' providers that such an operator set, and nobody of
// the tenant since.
func (h *house) outsidersProviders(ctx context.Context) (list []sso.Tenanted, err error) {
	all, err := h.sso.Tenanted(ctx)
	for _, p := range all {
		was, e := h.identity.WasOutsider(ctx, p.By, p.Tenant, p.Updated)
		if err = errors.Join(err, e); was {
			list = append(list, p)
		}
	}
	return list, err
}

// tellOfOutsiders enters what outsiders made into the logs of the tenants, once each.
func (h *house) tellOfOutsiders(ctx context.Context) error {
	ctx = data.WithActor(ctx, data.Actor{Kind: data.System})
	keys, err := h.identity.OutsidersKeys(ctx)
	for _, k := range keys {
		id, e := data.ParseStoreID(k.Store)
		if e == nil {
			e = h.identity.TellOnce(ctx, id, "key.outsider", k.ID, map[string]string{
				"name": k.Name, "by": k.By, "made": time.UnixMilli(k.Created).UTC().Format(time.RFC3339), "why": outsiderWhy})
		}
		err = errors.Join(err, e)
	}
	providers, e := h.outsidersProviders(ctx)
	err = errors.Join(err, e)
	for _, p := range providers {
		err = errors.Join(err, h.identity.TellOnce(ctx, data.StoreID{Tenant: p.Tenant, Environment: data.Prod}, "sso.provider.outsider", p.ID,
			map[string]string{"name": p.Name, "by": p.By, "made": p.Updated.Format(time.RFC3339), "why": outsiderWhy}))
	}
	return err
}

const outsiderWhy = "made by somebody who had no role in the tenant, when operators did not have to ask"

// ofOutsiders tells of what outsiders made and nobody has replaced.
func (d doctor) ofOutsiders(ctx context.Context) (out []Ailment, err error) {
	keys, err := d.identity.OutsidersKeys(ctx)
	for i, k := range keys {
		if i == mostKeysNamed {
			out = append(out, Ailment{"keys-of-outsiders", warning, fmt.Sprintf("%d more API keys were made by operators who had no role in the tenant.", len(keys)-i), "holdfast key list TENANT shows those of a tenant."})
			break
		}
		name, of := d.keyHome(ctx, k.Store)
		out = append(out, Ailment{"key-of-outsider", warning, fmt.Sprintf("The API key %q (%s) of %s was made by %s, an operator who had no role in the tenant, and opens its records still.", k.Name, k.ID, name, k.By),
			"An owner of the tenant replaces it: holdfast key rotate " + of + " " + k.ID + "; or revokes it if nobody needs it."})
	}
	providers, e := d.outsidersProviders(ctx)
	for _, p := range providers {
		out = append(out, Ailment{"provider-of-outsider", warning, fmt.Sprintf("The identity provider %q (%s) of a tenant was set by %s, an operator who had no role in the tenant: who runs it can come in as the tenant's people.", p.Name, p.ID, p.By),
			"An owner of the tenant looks at it and saves it anew, or removes it: Settings, Single sign-on."})
	}
	return out, errors.Join(err, e)
}
