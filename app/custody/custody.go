// Package custody keeps the keys of the house in good hands: the slots of the
// root key, its rotation and that of each purpose, the copies of the keyring off
// this host, and the rules by which a sealed appliance is opened.
package custody

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"github.com/jmoiron/sqlx"

	"holdfast/app/api"
	"holdfast/backup"
	"holdfast/backup/objects"
	"holdfast/data"
	"holdfast/data/keys"
	"holdfast/data/system"
)

// DefaultHorizon is how long a copy of the keys stays off this host once a newer
// one has taken its place: what a destroyed key may still be had from.
const DefaultHorizon = 7 * 24 * time.Hour

// Database is what the room asks of data/system.
type Database interface {
	Migrate(ctx context.Context, room string, ms []system.Migration) error
	Update(ctx context.Context, fn func(*sqlx.Tx) error) error
	View(ctx context.Context, fn func(*sqlx.Tx) error) error
}

// Target is a place off this host where copies of the keys may be kept.
type Target struct {
	ID   string
	Name string
	URL  string
	Open func() (backup.ObjectStore, error)
}

// Rekeyer writes anew, under the live generation, what an owner has under older
// ones, and drops generations that nothing is under any more. It may be asked
// again after a crash and goes on then. progress may be called from any
// goroutine; total 0 means unknown.
type Rekeyer interface {
	Rekey(ctx context.Context, owner keys.Owner, purpose keys.Purpose, progress func(done, total int64)) error
}

// Sealed is how often the keys of one generation sealed: of those that are derived
// from it, the one that sealed most often.
type Sealed struct {
	Owner      keys.Owner
	Purpose    keys.Purpose
	Generation uint32
	Count      int64
	Bound      int64 // writes are refused shortly before
}

// Config of the room. All fields are required but those that say otherwise.
type Config struct {
	Dir        string // the keys folder
	Ring       *keys.Ring
	DB         Database
	Recorder   api.Recorder
	Operations *api.Operations
	// Targets lists where copies may be kept.
	Targets func(context.Context) ([]Target, error)
	// Owner finds a store by "slug" or "slug/environment". data.ErrNotFound.
	Owner func(ctx context.Context, name string) (keys.Owner, error)
	// Name is the inverse of Owner; "" when it is not known.
	Name func(ctx context.Context, owner keys.Owner) string

	// Seals tells how often keys sealed, of what is open; nil: nothing is known.
	Seals func() []Sealed
	// Needed says what still needs the retired generations of a key; nil: nobody knows.
	Needed func(keys.Owner, keys.Purpose) string

	Rekeyer    Rekeyer // nil: old data stays under its old generation until it is written anew
	KeyFile    string  // the key file of this appliance; "" for none
	Credential string  // the credential that the service manager gave; "" for none
	OpenedBy   string  // id of the slot that opened this appliance, "" for none
	Horizon    time.Duration
	// Kept tells what a target keeps of deleted objects; nil: objects.WhatIsKept.
	Kept   func(context.Context, backup.ObjectStore) (objects.Keeps, error)
	Clock  func() time.Time // nil: time.Now
	Logger *slog.Logger     // nil: discarded
}

// Service is the capability. It is safe for concurrent use.
type Service struct {
	config Config
	slots  *keys.Slots
	copies *copier
	tries  *Tries // of proofs

	mu      sync.Mutex // one change of slots at a time
	pending map[string]*pendingSlot
}

// New checks the configuration, brings the tables up to date and starts to keep
// the copies. Close ends that.
func New(ctx context.Context, c Config) (*Service, error) {
	if c.Dir == "" || c.Ring == nil || c.DB == nil || c.Recorder == nil || c.Operations == nil ||
		c.Targets == nil || c.Owner == nil || c.Name == nil {
		return nil, errors.New("new custody: a required part of the configuration is missing")
	}
	c.fill()
	if err := c.DB.Migrate(ctx, "custody", migrations); err != nil {
		return nil, fmt.Errorf("new custody: %w", err)
	}
	slots, err := keys.OpenSlots(filepath.Join(c.Dir, keys.SlotsFile))
	if err != nil {
		return nil, fmt.Errorf("new custody: %w", err)
	}
	s := &Service{config: c, slots: slots, pending: map[string]*pendingSlot{}, tries: NewTries("", c.Clock)}
	if s.copies, err = newCopier(ctx, c); err != nil {
		return nil, fmt.Errorf("new custody: %w", err)
	}
	if c.OpenedBy != "" {
		if err := s.markProven(ctx, c.OpenedBy); err != nil {
			return nil, fmt.Errorf("new custody: %w", err)
		}
	}
	s.copies.start()
	return s, nil
}

func (c *Config) fill() {
	if c.Horizon == 0 {
		c.Horizon = DefaultHorizon
	}
	if c.Kept == nil {
		c.Kept = objects.WhatIsKept
	}
	if c.Clock == nil {
		c.Clock = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
}

func (s *Service) now() time.Time { return s.config.Clock().UTC() }

// Close ends the copying; a copy under way is finished or given up.
func (s *Service) Close() error {
	s.config.Ring.OnChange(nil)
	s.copies.close()
	return nil
}

// Sweep tries failed copies again, removes those past the horizon, and forgets
// slots that were begun and not proven. The one clock calls it.
func (s *Service) Sweep(_ context.Context, now time.Time) error {
	s.forgetPending(now)
	s.copies.kick(false)
	return nil
}

func (s *Service) record(ctx context.Context, action, target string, outcome api.Outcome, detail map[string]string) error {
	return s.config.Recorder.Record(ctx, api.Event{Action: action, Target: target, Outcome: outcome, Detail: detail})
}

// problemOf says the errors of package keys in words for the client.
func problemOf(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, keys.ErrWeak):
		return api.InvalidField("passphrase", "is too short: at least 12 characters").Because(err)
	case errors.Is(err, keys.ErrIdentity):
		return api.InvalidField("age", "is no age identity or recipient").Because(err)
	case errors.Is(err, keys.ErrCode):
		return api.InvalidField("code", "is mistyped: its check letters do not fit").Because(err)
	case errors.Is(err, keys.ErrShare), errors.Is(err, keys.ErrFewShares):
		return api.InvalidField("shares", "%s", ShareText(err)).Because(err)
	case errors.Is(err, keys.ErrLastSlot):
		return api.Errorf(409, "last-slot", "This is the last slot that can be opened. Add another one first.").Because(err)
	case errors.Is(err, keys.ErrExposed):
		return api.Errorf(409, "exposed", "Other users of this machine can read that file.").Because(err)
	case errors.Is(err, keys.ErrWrongKey):
		return api.Errorf(403, "wrong-key", "That does not open the slot.").Because(err)
	case errors.Is(err, data.ErrNotFound):
		return api.Errorf(404, "not-found", "There is no such slot, file or key.").Because(err)
	}
	return err
}
