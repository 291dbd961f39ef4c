package app

import (
	"context"
	"fmt"
	"time"

	"holdfast/app/disposal"
	"holdfast/app/recovery"
	"holdfast/app/tenant"
	"holdfast/data"
	"holdfast/data/keys"
)

// openDisposal opens the ledger before the tenants, who ask it what may be here at
// all. What it asks of others it asks later.
func (h *house) openDisposal(ctx context.Context, a *Appliance) (err error) {
	h.disposal, err = disposal.New(ctx, disposal.Config{
		DB: h.system, Recorder: h.audit, Access: access{h}, Auditor: h.audit, Stores: h.pool, Tenants: lateTenants{h},
		Signing:  h.ring.Source(keys.System, keys.AuditSigning),
		Sealing:  h.ring.Source(keys.System, keys.Segments),
		Personal: func(id data.StoreID) data.KeySource { return h.ring.Archive(keys.Owner(id.String()), keys.Personal) },
		Keys:     h.keysOf, Targets: h.ledgerTargets, Held: h.heldCopies, Keyrings: h.keyringCopies,
		Clock: a.now, Logger: a.logger,
	})
	return err
}

// comeToTerms ends what a crash cut short and carries out what the ledgers on the
// targets know and this data folder, being an old copy, does not. Nothing is served
// before.
func (h *house) comeToTerms(ctx context.Context, a *Appliance) error {
	if err := h.disposal.CompareAll(ctx); err != nil {
		return err
	}
	if err := h.tenants.Sweep(ctx, a.now()); err != nil {
		a.logger.ErrorContext(ctx, "destructions could not be ended; they are tried again", "error", err)
	}
	return h.disposal.Apply(ctx)
}

// keysOf describes the keys of a store for its certificate.
func (h *house) keysOf(id data.StoreID) (out []disposal.Key) {
	for _, e := range h.ring.Entries() {
		if e.Owner == keys.Owner(id.String()) {
			out = append(out, disposal.Key{
				Purpose: string(e.Purpose), Generation: e.Generation, Fingerprint: e.Fingerprint,
				Created: e.Created.UTC(), Destroyed: e.Changed.UTC(), Gone: e.State == keys.Destroyed,
			})
		}
	}
	return out
}

func (h *house) ledgerTargets(ctx context.Context) ([]disposal.Target, error) {
	if h.recovery == nil { // not opened yet
		return nil, nil
	}
	places, err := h.recovery.Places(ctx)
	out := make([]disposal.Target, len(places))
	for i, p := range places {
		out[i] = disposal.Target{ID: p.ID, Name: p.Name, Open: p.Open}
	}
	return out, err
}

// heldCopies words what targets hold of a destroyed store.
func (h *house) heldCopies(ctx context.Context, id data.StoreID) (out []disposal.Copy, err error) {
	held, err := h.recovery.Held(ctx, id)
	for _, t := range held {
		out = append(out, copyOf(id, t))
	}
	return out, err
}

func copyOf(id data.StoreID, t recovery.Held) disposal.Copy {
	newest := t.Newest.UTC().Truncate(time.Millisecond)
	return disposal.Copy{
		Kind: "snapshots", Where: t.Target, Objects: t.Snapshots, Newest: &newest,
		Note: fmt.Sprintf("Ciphertext of store %s under %s; nobody can read it without the destroyed keys.", id, t.URL),
	}
}

// askCopies is how long a certificate waits for the targets that hold copies of the
// keyring.
const askCopies = 15 * time.Second

// keyringCopies words what copies of the keyring still hold destroyed keys. Who
// cannot be asked does not hold up a certificate, but it says so.
func (h *house) keyringCopies(ctx context.Context, destroyed time.Time) (out []disposal.Copy, err error) {
	ctx, cancel := context.WithTimeout(ctx, askCopies)
	defer cancel()
	copies, err := h.custody.Remaining(ctx, destroyed)
	if err != nil {
		return []disposal.Copy{{Kind: "keyring", Where: "unknown", Readable: true,
			Note: "The copies of the keyring could not be looked at when this was written; what they hold is not known."}}, nil
	}
	for _, c := range copies {
		made := c.Made.UTC().Truncate(time.Millisecond)
		one := disposal.Copy{Kind: "keyring", Where: c.Target, Objects: 1, Newest: &made, Readable: true,
			Note: "A sealed copy of the keyring made before. Whoever can open the root key could take the destroyed keys from it until it is removed."}
		if c.Until != nil {
			until := c.Until.UTC().Truncate(time.Millisecond)
			one.Until = &until
		} else {
			one.Note += " The target could not be visited; the copy is removed some time after it can be again."
		}
		out = append(out, one)
	}
	return out, nil
}

// lateTenants is the tenants' directory for the ledger, which is opened first.
type lateTenants struct{ *house }

func (l lateTenants) Store(ctx context.Context, slug, environment string) (data.StoreID, error) {
	return l.tenants.Store(ctx, slug, environment)
}

func (l lateTenants) Anyhow(ctx context.Context, slug, environment string) (data.StoreID, error) {
	return l.tenants.Anyhow(ctx, slug, environment)
}

// Name is a store's, while its tenant is not destroyed.
func (l lateTenants) Name(ctx context.Context, id data.StoreID) string {
	return l.keyOwnerName(ctx, keys.Owner(id.String()))
}

func (l lateTenants) Bury(ctx context.Context, id string, stores []data.StoreID) (bool, error) {
	return l.tenants.Bury(ctx, id, stores)
}

// undertaker is the ledger as the tenants ask for it, with what else ends when a
// tenant does.
type undertaker struct{ *house }

var _ tenant.Disposal = undertaker{}

func (u undertaker) Begin(ctx context.Context, d tenant.Destruction) error {
	o := disposal.Order{Tenant: d.Tenant, Slug: d.Slug, Asked: disposal.Step{By: d.AskedBy, At: d.Asked}, By: data.ActorFrom(ctx), AtOnce: d.AtOnce}
	for _, s := range d.Stores {
		o.Stores = append(o.Stores, disposal.StoreSize(s))
	}
	return u.disposal.Begin(ctx, o)
}

// Finish lets everything go that still knows the tenant, then certifies.
func (u undertaker) Finish(ctx context.Context, id, slug string, stores []data.StoreID) error {
	for _, s := range stores {
		if err := u.recovery.Forget(ctx, s); err != nil {
			return fmt.Errorf("drop what is staged of %s: %w", s, err)
		}
		if err := u.drills.Forget(ctx, s); err != nil {
			return err
		}
	}
	if err := u.sso.EndTenant(ctx, id); err != nil {
		return err
	}
	apiKeys, grants, err := u.identity.EndTenant(ctx, id, stores)
	if err != nil {
		return err
	}
	return u.disposal.Finish(ctx, id, slug, disposal.Revoked{APIKeys: apiKeys, Grants: grants})
}

func (u undertaker) Destroyed(ctx context.Context, id data.StoreID) (bool, error) {
	found, err := u.disposal.Destroyed(ctx, id)
	return found != "", err
}
