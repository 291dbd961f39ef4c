// Package audit keeps the transparency logs: one for each store, one for the
// appliance. An entry is durable before its action answers; every committed
// change of a store becomes exactly one leaf; anybody with the verifier key can
// check that nothing was changed, dropped or slipped in since a checkpoint.
package audit

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"holdfast/app/api"
	"holdfast/data"
	"holdfast/data/vault"
)

// ErrClosed answers every append after Close.
var ErrClosed = errors.New("the audit log is closed")

// Config of the room. Vault, Signing and Personal are required.
type Config struct {
	Vault    *vault.Vault                                                              // the room's own view, shared with nobody
	Signing  data.KeySource                                                            // owner "system", purpose "audit-signing"
	Personal func(owner string) data.KeySource                                         // purpose "personal" of "system" or a store; serves parked keys too
	Stores   Stores                                                                    // nil: no feed is followed and no route of a store answers
	Resolve  func(ctx context.Context, slug, environment string) (data.StoreID, error) // for the stores' routes
	Clock    func() time.Time                                                          // nil: time.Now
	Logger   *slog.Logger                                                              // nil: discarded
}

// Service is the room. It is safe for concurrent use.
type Service struct {
	config  Config
	name    string // "holdfast/<random>": names this appliance in checkpoints
	queue   chan *job
	follow  *follower
	ciphers *ciphers

	closing sync.RWMutex // held for reading while a job is handed over
	closed  bool
	worker  sync.WaitGroup

	signer     *signer // the worker's own
	generation uint32
	edges      map[string]*edge // the worker's own
}

var _ api.Recorder = (*Service)(nil)

// New starts the room; Close ends it. Stores whose changes may not all have
// been followed before the last stop are caught up in the background.
func New(ctx context.Context, c Config) (*Service, error) {
	if c.Vault == nil || c.Signing == nil || c.Personal == nil {
		return nil, errors.New("new audit: vault, signing and personal keys are required")
	}
	if c.Clock == nil {
		c.Clock = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Service{config: c, queue: make(chan *job, maxBatch), edges: map[string]*edge{}, ciphers: newCiphers()}
	if err := s.identify(ctx); err != nil {
		return nil, fmt.Errorf("new audit: %w", err)
	}
	s.worker.Go(s.work)
	s.follow = newFollower(s)
	return s, s.follow.start(ctx)
}

// Close writes what was handed over, stops following, and returns when both are
// done. Appends after it answer ErrClosed.
func (s *Service) Close() error {
	s.follow.close()
	s.closing.Lock()
	if !s.closed {
		s.closed = true
		close(s.queue)
	}
	s.closing.Unlock()
	s.worker.Wait()
	return nil
}

// identify loads the appliance's name, or makes one at the first start.
func (s *Service) identify(ctx context.Context) error {
	return s.config.Vault.Update(ctx, func(t *vault.Tx) error {
		id, err := t.Get([]byte("id"))
		if errors.Is(err, data.ErrNotFound) {
			var random [8]byte
			rand.Read(random[:])
			id = []byte(hex.EncodeToString(random[:]))
			err = t.Set([]byte("id"), id)
		}
		s.name = "holdfast/" + string(id)
		return err
	})
}

// Record appends the event to its store's log, or to the appliance's, and returns
// when it is durable. The actor is the context's. An event of a store that
// never was, or whose keys are destroyed, goes to the appliance's log.
func (s *Service) Record(ctx context.Context, e api.Event) error {
	_, err := s.append(ctx, e)
	return err
}

func (s *Service) append(ctx context.Context, e api.Event) (log string, err error) {
	b := body{Actor: data.ActorFrom(ctx).String(), Target: clip(e.Target), Detail: clipped(e.Detail)}
	log = Appliance
	if e.Store != "" {
		log = e.Store
	}
	r, err := s.seal(log, e, b)
	if log != Appliance && (errors.Is(err, data.ErrNotFound) || errors.Is(err, data.ErrDestroyed)) {
		log, b.Detail = Appliance, with(b.Detail, "store", e.Store)
		r, err = s.seal(log, e, b)
	}
	if err != nil {
		return log, fmt.Errorf("record %s: %w", e.Action, err)
	}
	// Who hangs up now must not leave an entry of an action that then fails.
	if err := s.submit(context.WithoutCancel(ctx), &job{log: log, records: []record{r}}); err != nil {
		return log, fmt.Errorf("record %s: %w", e.Action, err)
	}
	return log, nil
}

func (s *Service) seal(log string, e api.Event, b body) (record, error) {
	if err := checkLog(log); err != nil {
		return record{}, err
	}
	l := leaf{Time: s.config.Clock(), Action: e.Action, Outcome: string(e.Outcome)}
	return s.ciphers.seal(log, s.config.Personal(owner(log)), l, b)
}
