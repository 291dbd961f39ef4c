package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"holdfast/app/api"
	"holdfast/app/audit"
	"holdfast/app/custody"
	"holdfast/app/disposal"
	"holdfast/app/drill"
	"holdfast/app/identity"
	"holdfast/app/mail"
	"holdfast/app/recovery"
	"holdfast/app/review"
	"holdfast/app/sso"
	"holdfast/app/studio"
	"holdfast/app/tenant"
	"holdfast/data"
	"holdfast/data/keys"
	"holdfast/data/store"
	"holdfast/data/system"
	"holdfast/data/vault"
)

// house is everything that an unsealed appliance holds open, from the ground up.
type house struct {
	ring       *keys.Ring
	openedBy   string // id of the slot
	vault      *vault.Vault
	system     *system.DB
	pool       *store.Pool
	audit      *audit.Service
	operations *api.Operations
	tenants    *tenant.Service
	identity   *identity.Service
	sso        *sso.Service
	mail       *mail.Service
	recovery   *recovery.Service
	custody    *custody.Service
	drills     *drill.Service
	reviews    *review.Service
	rekeys     *rekeys
	scrubs     *scrubs
	disposal   *disposal.Service
	shipping   atomic.Pointer[recovery.Service] // once it is to be told of commits
	studio     *studio.Service
	router     *api.Router
	refusals   *refusals
	clock      *clock

	closers []func() error // in the order of opening
}

// openHouse opens the rooms floor by floor. What was opened before a failure is
// closed again.
func openHouse(ctx context.Context, a *Appliance, o opened) (*house, error) {
	h := &house{ring: o.ring, openedBy: o.slot}
	h.opened(func() error { o.ring.Seal(); return nil })
	for _, open := range []func(context.Context, *Appliance) error{h.openGround, h.openRecords, h.openCapabilities} {
		if err := open(ctx, a); err != nil {
			return nil, errors.Join(err, h.close())
		}
	}
	if err := h.startShipping(ctx, a.config.serves); err != nil {
		return nil, errors.Join(err, h.close())
	}
	h.startClock(a.logger, a.now)
	return h, nil
}

func (h *house) opened(closer func() error) { h.closers = append(h.closers, closer) }

// close closes in reverse order: capabilities before what they stand on.
func (h *house) close() error {
	var errs []error
	for i := len(h.closers) - 1; i >= 0; i-- {
		errs = append(errs, h.closers[i]())
	}
	h.closers = nil
	return errors.Join(errs...)
}

// openGround opens vault, system database and the pool of stores.
func (h *house) openGround(ctx context.Context, a *Appliance) (err error) {
	if h.vault, err = vault.Open(a.folder.in("vault"), h.ring.Source(keys.System, keys.Vault)); err != nil {
		return fmt.Errorf("open the vault: %w", err)
	}
	h.opened(h.vault.Close)
	h.system, err = system.Open(ctx, system.Config{
		Dir: a.folder.path, Keys: h.ring.Source(keys.System, keys.Pages), OnCommit: h.systemChanged, Witness: systemWitness{h.vault.Sub("system")},
		AcceptCutLog: a.config.acceptSystemLoss, AcceptPutBack: a.config.acceptSystemLoss || a.config.restoring,
	})
	if err != nil {
		return fmt.Errorf("open the system database: %w", err)
	}
	h.opened(h.system.Close)
	h.pool, err = store.New(store.Config{
		Dir: a.folder.in("stores"), Keys: storeKeys{h.ring}, Clock: a.now, Logger: a.logger,
		OnCommit: h.changed, OnUser: h.onUser, Breached: a.config.breached,
		MemoryBudget: int64(a.config.MemoryBudget), MaxUpload: int64(a.config.MaxUpload),
		QueryTimeout: a.config.QueryTimeout, Followed: h.followed,
	})
	if err != nil {
		return fmt.Errorf("open the stores: %w", err)
	}
	h.opened(h.pool.Close)
	return nil
}

// followed is what the log has of a store's changes. Who else follows a feed can do
// without what is old.
func (h *house) followed(ctx context.Context, id data.StoreID) (data.Position, error) {
	return h.audit.Followed(ctx, id)
}

// storeKeys gives each store its keys out of the keyring.
type storeKeys struct{ ring *keys.Ring }

func (k storeKeys) Pages(id data.StoreID) data.KeySource {
	return k.ring.Source(keys.Owner(id.String()), keys.Pages)
}

func (k storeKeys) Files(id data.StoreID) data.KeySource {
	return k.ring.Source(keys.Owner(id.String()), keys.Files)
}

// openRecords opens what every capability writes into: the audit logs and the
// operations.
func (h *house) openRecords(ctx context.Context, a *Appliance) (err error) {
	h.audit, err = audit.New(ctx, audit.Config{
		Vault: h.vault.Sub("audit/"), Signing: h.ring.Source(keys.System, keys.AuditSigning),
		Personal: func(owner string) data.KeySource { return h.ring.Archive(keys.Owner(owner), keys.Personal) },
		Stores:   audit.FromPool(h.pool), Clock: a.now, Logger: a.logger,
		Resolve: func(ctx context.Context, slug, env string) (data.StoreID, error) {
			return h.tenants.Anyhow(ctx, slug, env)
		},
	})
	if err != nil {
		return err
	}
	h.opened(h.audit.Close)
	if !a.config.restoring { // that has an entry of its own
		if err := h.recordSystemLoss(ctx); err != nil {
			return err
		}
	}
	h.refusals = newRefusals(h.audit, a.now)
	h.operations, err = api.NewOperations(ctx, api.OperationsConfig{DB: h.system, Recorder: h.audit, Clock: a.now, Logger: a.logger, Quoting: []string{"import"}})
	return err
}

// startClock gives each room its turn. It stops first of all.
func (h *house) startClock(logger *slog.Logger, now func() time.Time) {
	h.clock = newClock(now, logger)
	h.scrubs = newScrubs(h, logger)
	h.opened(h.scrubs.close)
	seen := lastSeen{h.vault.Sub("clock"), h.audit.Record}
	if err := seen.note(context.Background(), now()); err != nil {
		logger.Warn("clock", "error", err)
	}
	h.clock.every(lastSeenEvery, "clock", seen.note)
	h.clock.every(attestEvery, "system database", func(ctx context.Context, _ time.Time) error { return h.system.Attest(ctx) })
	h.clock.every(time.Minute, "close idle stores", func(_ context.Context, now time.Time) error { h.pool.Sweep(now); return nil })
	h.clock.every(time.Minute, "garbage", func(context.Context, time.Time) error { tuneGarbage(h.pool.MemoryBudget()); return nil })
	h.clock.every(time.Minute, "audit", h.audit.Sweep)
	h.clock.every(time.Minute, "tenants past their undelete window", h.tenants.Sweep)
	h.clock.every(time.Minute, "ledger of destructions", h.disposal.Sweep)
	h.clock.every(time.Minute, "idle chains", h.recovery.Sweep)
	h.clock.every(time.Hour, "old operations", h.operations.Sweep)
	h.clock.every(10*time.Minute, "old snapshots", h.recovery.SweepPrunes)
	h.clock.every(10*time.Minute, "copies of the keys", h.custody.Sweep)
	h.clock.every(time.Minute, "sessions and links", func(ctx context.Context, _ time.Time) error { return h.identity.Sweep(ctx) })
	h.clock.every(time.Minute, "single sign-on", func(ctx context.Context, _ time.Time) error { return h.sso.Sweep(ctx) })
	h.clock.every(time.Minute, "outbox of mail", h.mail.Sweep)
	h.clock.every(10*time.Minute, "keys that are to be replaced", h.rekeys.Sweep)
	h.clock.every(scrubTick, "scrub", h.scrubs.Sweep)
	h.clock.every(10*time.Minute, "access reviews", h.reviews.Sweep)
	h.clock.every(drill.Tick, "drills", h.drills.Sweep)
	h.clock.every(time.Hour, "vault garbage", func(ctx context.Context, _ time.Time) error { return h.vault.Collect(ctx) })
	h.clock.start()
	h.opened(func() error { h.clock.close(); return nil })
}
