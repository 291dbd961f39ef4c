package app

import (
	"context"
	"time"

	"holdfast/app/drill"
	"holdfast/app/recovery"
	"holdfast/backup/restore"
	"holdfast/data"
)

// openDrills joins the drills with who ships, the stores and the log.
func (h *house) openDrills(ctx context.Context, a *Appliance) (err error) {
	own, err := newOwnTrials(h, a.folder.in("staging", "drills"))
	if err != nil {
		return err
	}
	h.drills, err = drill.New(ctx, drill.Config{
		DB: h.system, Stores: h.pool, Tenants: drilledTenants{directory{h.tenants}}, Chains: drilledChains{h.recovery},
		Recorder: h.audit, Signer: h.audit, Operations: h.operations, Access: access{h},
		Policy: h.drillPolicy, Own: own.all(),
		Room:  func() (int64, error) { return freeRoom(a.folder.in("stores")) },
		Clock: a.now, Logger: a.logger,
	})
	if err != nil {
		return err
	}
	h.opened(h.drills.Close)
	return nil
}

// drillPolicy is a store's snapshot policy as drills are held to it.
func (h *house) drillPolicy(ctx context.Context, id data.StoreID) (drill.Policy, error) {
	p, err := h.recovery.Policy(ctx, id)
	return drill.Policy{
		Every: time.Duration(p.DrillEveryDays) * 24 * time.Hour,
		RTO:   time.Duration(p.RTOSeconds) * time.Second, RPO: time.Duration(p.RPOSeconds) * time.Second,
	}, err
}

// lateDrills are the drills for recovery, which is opened before them.
type lateDrills struct{ *house }

func (l lateDrills) Good(ctx context.Context, store, target string) ([]int64, error) {
	if l.drills == nil {
		return nil, nil
	}
	return l.drills.Good(ctx, store, target)
}

func (l lateDrills) Last(ctx context.Context, store string) (*recovery.LastDrill, error) {
	if l.drills == nil {
		return nil, nil
	}
	d, err := l.drills.Last(ctx, store)
	if d == nil || err != nil {
		return nil, err
	}
	missed := d.RTOMet != nil && !*d.RTOMet || d.RPOMet != nil && !*d.RPOMet
	return &recovery.LastDrill{At: d.Started, Target: d.Target, OK: d.OK, Met: !missed}, nil
}

// drilledTenants is the tenants' directory as drills ask for it.
type drilledTenants struct{ directory }

// Name finds a store by its id, if its tenant lives under its slug.
func (d drilledTenants) Name(ctx context.Context, id data.StoreID) (string, error) {
	slug, err := d.Slug(ctx, id.Tenant)
	if err != nil {
		return "", err
	}
	found, closed, err := d.Find(ctx, slug, id.Environment)
	switch {
	case err != nil:
		return "", err
	case found != id:
		return "", data.ErrNotFound
	case closed != nil:
		return "", closed
	case id.Environment == data.Prod:
		return slug, nil
	}
	return slug + "/" + id.Environment, nil
}

// drilledChains is recovery as drills ask for it.
type drilledChains struct{ recovery *recovery.Service }

func (d drilledChains) Chains(ctx context.Context, name string) ([]drill.Chain, error) {
	found, err := d.recovery.Chains(ctx, name)
	out := make([]drill.Chain, len(found))
	for i, c := range found {
		out[i] = drill.Chain(c)
	}
	return out, err
}

func (d drilledChains) Source(ctx context.Context, name, target string) (restore.Config, error) {
	return d.recovery.Source(ctx, name, target)
}

func (d drilledChains) VerifyNext(ctx context.Context, now time.Time) error {
	return d.recovery.VerifyNext(ctx, now)
}

func (d drilledChains) Explain(err error) error { return d.recovery.Explain(err) }
