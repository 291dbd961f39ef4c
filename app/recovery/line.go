package recovery

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"holdfast/backup"
	"holdfast/backup/chain"
	"holdfast/data"
)

// laneKey names one chain: what is shipped ("<tenant id>/<environment>" or the name
// of a part of the appliance) and the id of the target.
type laneKey struct{ chain, target string }

// store is the tenant's store that the chain is of; false for a part of the
// appliance.
func (k laneKey) store() (data.StoreID, bool) {
	id, err := data.ParseStoreID(k.chain)
	return id, err == nil
}

// lane is what is open of one chain. Lanes know nothing of each other: a target
// that is slow keeps only its own.
type lane struct {
	key    laneKey
	turn   chan struct{} // holds one token: who has it works on the chain
	chain  *chain.Chain
	keeper *chain.Keeper
	used   time.Time
}

// lane takes a lane for the caller alone.
func (s *Service) lane(ctx context.Context, key laneKey) (*lane, error) {
	for {
		l, err := s.laneOf(key)
		if err != nil {
			return nil, err
		}
		select {
		case <-l.turn:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		s.mu.Lock()
		current := s.lanes[key] == l // not swept meanwhile
		s.mu.Unlock()
		if current {
			return l, nil
		}
		l.turn <- struct{}{}
	}
}

func (s *Service) laneOf(key laneKey) (*lane, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, errors.New("recovery is closed")
	}
	l := s.lanes[key]
	if l == nil {
		l = &lane{key: key, turn: make(chan struct{}, 1), used: s.now()}
		l.turn <- struct{}{}
		s.lanes[key] = l
	}
	return l, nil
}

func (s *Service) leave(l *lane) {
	s.mu.Lock()
	l.used = s.now()
	s.mu.Unlock()
	l.turn <- struct{}{}
}

// idle is asked under the service's lock.
func (l *lane) idle(now time.Time) bool { return len(l.turn) == 1 && now.Sub(l.used) > idleAfter }

func (l *lane) close() error {
	var err error
	if l.chain != nil {
		err = l.chain.Close()
	}
	l.chain, l.keeper = nil, nil
	return err
}

// closeIdle closes what is open of a chain to any target and not at work.
func (s *Service) closeIdle(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, l := range s.lanes {
		if key.chain == name && len(l.turn) == 1 {
			_ = l.close()
			delete(s.lanes, key)
		}
	}
}

// open opens the chain of a lane, or gives the one that is open.
func (s *Service) openChain(ctx context.Context, l *lane, t targetRow, takeOver bool) (*chain.Chain, error) {
	if l.chain != nil {
		return l.chain, nil
	}
	target, err := s.open(t)
	if err != nil {
		return nil, err
	}
	lock, err := s.lockOn(ctx, l.key.chain, t)
	if err != nil {
		return nil, err
	}
	key := l.key
	c, err := chain.New(chain.Config{
		Target: target, Store: key.chain, Keys: s.segments(key), Staging: s.stagingOf(key), Clock: s.config.Clock, Lock: lock, TakeOver: takeOver,
		MaxStaging: s.config.MaxStaging,
		Confirmed:  func(_ context.Context, r chain.Result) error { s.confirmed(key, r); return nil },
	})
	if err != nil {
		return nil, fmt.Errorf("target %s: %w", t.Name, err)
	}
	if err := s.usable(ctx, t, target); err != nil {
		return nil, errors.Join(fmt.Errorf("target %s: %w", t.Name, err), c.Close())
	}
	if !takeOver {
		if err := s.unclaimed(ctx, key, c, target); err != nil {
			return nil, errors.Join(fmt.Errorf("target %s: %w", t.Name, err), c.Close())
		}
	}
	l.chain = c
	return c, nil
}

// lockOn is the lock of what is put for a chain on a target: none where the target
// cannot.
func (s *Service) lockOn(ctx context.Context, name string, t targetRow) (backup.LockFor, error) {
	p, err := s.policyOf(ctx, name)
	if err != nil || !t.locks() {
		return backup.LockFor{}, err
	}
	return p.lock(), nil
}

// openKeeper opens what keeps a lane's chain short.
func (s *Service) openKeeper(ctx context.Context, l *lane, t targetRow) (*chain.Keeper, error) {
	if l.keeper != nil {
		return l.keeper, nil
	}
	target, err := s.open(t)
	if err != nil {
		return nil, err
	}
	lock, err := s.lockOn(ctx, l.key.chain, t)
	if err != nil {
		return nil, err
	}
	l.keeper, err = chain.NewKeeper(chain.KeeperConfig{
		Target: target, Store: l.key.chain, Keys: s.segments(l.key), Scratch: s.scratch, Clock: s.config.Clock, Lock: lock,
	})
	return l.keeper, err
}

// segments are the keys that a chain is sealed under.
func (s *Service) segments(key laneKey) data.KeySource {
	if id, ok := key.store(); ok {
		return s.config.Segments(id)
	}
	return s.config.Own[key.chain].Keys
}

// stagingOf is the folder of one lane.
func (s *Service) stagingOf(key laneKey) string {
	return filepath.Join(append(append([]string{s.config.Staging}, strings.Split(s.stagingName(key.chain), "/")...), key.target)...)
}

// stagingName gives the parts of the appliance two names, as stores have.
func (s *Service) stagingName(name string) string {
	if !strings.Contains(name, "/") {
		return "own/" + name
	}
	return name
}

// dropLanes ends and forgets every lane that matches, with what is staged.
func (s *Service) dropLanes(ctx context.Context, match func(laneKey) bool) error {
	s.ships.drop(match)
	var errs []error
	for _, key := range s.openLanes(match) {
		l, err := s.lane(ctx, key)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		errs = append(errs, l.close(), os.RemoveAll(s.stagingOf(key)))
		s.mu.Lock()
		delete(s.lanes, key)
		s.mu.Unlock()
		l.turn <- struct{}{}
	}
	return errors.Join(errs...)
}

func (s *Service) openLanes(match func(laneKey) bool) (keys []laneKey) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key := range s.lanes {
		if match(key) {
			keys = append(keys, key)
		}
	}
	return keys
}
