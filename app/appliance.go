package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"holdfast/app/api"
	"holdfast/app/identity"
	"holdfast/data"
	"holdfast/data/keys"
)

// Appliance is one data folder being served. It is sealed until a slot has
// opened its keyring; then a house stands in it.
type Appliance struct {
	config   Config
	logger   *slog.Logger
	now      func() time.Time
	folder   *folder
	recovery string // shown once, after the first start
	why      error  // why it is sealed

	house  atomic.Pointer[house]
	change sync.Mutex // one opening or closing at a time
	gate   *gate
	front  *front
}

// OpenAppliance takes the data folder, making it where there is none, and unseals
// it with the key file. A key file that does not open it leaves it sealed, which
// is no error.
func OpenAppliance(ctx context.Context, c Config, logger *slog.Logger) (*Appliance, error) {
	f, err := openFolder(c.Data)
	if err != nil {
		return nil, err
	}
	a := &Appliance{config: c, logger: logger, now: now, folder: f}
	a.gate = newGate(a)
	a.front = newFront(a)
	if err := a.begin(ctx); err != nil {
		return nil, errors.Join(err, f.close())
	}
	return a, nil
}

func (a *Appliance) begin(ctx context.Context) (err error) {
	if exists(a.folder.in(restoringDir)) {
		return errRestoring
	}
	if !exists(a.folder.in("keys")) {
		if exists(a.folder.in("system.db")) {
			return fmt.Errorf("the data folder %s has data but no keys: put its keys folder back, or bring it back from an off-host copy: holdfast keys restore --from TARGET-URL", a.folder.path)
		}
		if a.recovery, err = createKeys(a.folder, a.config.KeyFile); err != nil {
			return fmt.Errorf("make the keys: %w", err)
		}
	}
	if a.why = a.openUnattended(ctx); a.why != nil && !sealable(a.why) {
		return a.why
	}
	return nil
}

// openUnattended tries what opens without a person: the service manager's
// credential, the key file. It never makes a key file: a missing one must not pass
// for a new one.
func (a *Appliance) openUnattended(ctx context.Context) error {
	var ways []keys.Slot
	if path := credentialPath(); path != "" {
		ways = append(ways, keys.Credential(path))
	}
	if exists(a.config.KeyFile) {
		ways = append(ways, keys.KeyFile(a.config.KeyFile))
	}
	if len(ways) == 0 {
		return fmt.Errorf("the key file %s is missing: %w", a.config.KeyFile, keys.ErrWrongKey)
	}
	return a.unseal(ctx, nil, ways...)
}

// sealable says that another slot may still open what this one did not.
func sealable(err error) bool {
	return errors.Is(err, keys.ErrWrongKey) || errors.Is(err, keys.ErrExposed)
}

// Unseal opens the keyring through a slot and the house with it.
func (a *Appliance) Unseal(ctx context.Context, slot keys.Slot) error {
	return a.unseal(ctx, nil, slot)
}

// unseal is Unseal through the first slot that opens; a person's unsealing has the
// detail of its entry in the log.
func (a *Appliance) unseal(ctx context.Context, entry map[string]string, ways ...keys.Slot) error {
	a.change.Lock()
	defer a.change.Unlock()
	if a.house.Load() != nil {
		return nil
	}
	o, err := unlock(a.folder, a.logger, ways...)
	if err != nil {
		return err
	}
	// The house outlives the request that unsealed it.
	ctx = context.WithoutCancel(ctx)
	h, err := openHouse(ctx, a, o)
	if err != nil {
		return err
	}
	if entry != nil {
		entry["kind"] = o.kind
		if err := h.audit.Record(ctx, api.Event{Action: "appliance.unseal", Target: o.slot, Outcome: api.OK, Detail: entry}); err != nil {
			return errors.Join(err, h.close())
		}
	}
	a.house.Store(h)
	a.front.unsealed(h)
	return nil
}

// Sealed says whether the appliance waits to be unsealed.
func (a *Appliance) Sealed() bool { return a.house.Load() == nil }

func (a *Appliance) sealedWhy() error { return a.why }

// RecoveryKey is the recovery key of a data folder made by this very start, or "".
func (a *Appliance) RecoveryKey() string { return a.recovery }

// SetupLink is the address where the first owner makes an account, or "" once
// there is one.
func (a *Appliance) SetupLink(ctx context.Context) (string, error) {
	token, err := a.house.Load().identity.SetupToken(ctx)
	if errors.Is(err, identity.ErrSetupDone) {
		return "", nil
	}
	return a.BaseURL() + "/setup#token=" + token, err
}

func (a *Appliance) status(ctx context.Context) (Status, error) {
	s := Status{Version: Version(), Sealed: a.Sealed(), Insecure: a.config.InsecureHTTP}
	if len(a.config.Domains) > 0 {
		s.Domain = a.config.Domains[0]
	}
	h := a.house.Load()
	if h == nil {
		s.Unseal = a.gate.ways(ctx)
		return s, nil
	}
	var err error
	s.SetupNeeded, err = h.identity.SetupNeeded(ctx)
	return s, err
}

// HostHandler answers in this process as the socket would: the actor is the host.
func (a *Appliance) HostHandler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx := data.WithActor(r.Context(), hostActor())
		a.front.face.Load().api.ServeHTTP(w, r.WithContext(ctx))
	})
}

// Close closes everything, the folder last. Wait has drained the requests by then.
func (a *Appliance) Close() error {
	a.change.Lock()
	defer a.change.Unlock()
	a.gate.shares.Close()
	var errs []error
	if h := a.house.Swap(nil); h != nil {
		errs = append(errs, h.close())
	}
	return errors.Join(append(errs, a.folder.close())...)
}
