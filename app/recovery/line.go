package recovery

import (
	"context"
	"errors"
	"fmt"
	"time"

	"holdfast/backup/chain"
	"holdfast/data"
)

// line is what is open of one store: its chains, by target id. A store has one
// tap, whose changed pages are relative to the chain that asked last.
type line struct {
	turn   chan struct{} // holds one token: who has it works on the store
	chains map[string]*chain.Chain
	last   string // target id of the last Ship
	used   time.Time
}

// line takes a store's line for the caller alone.
func (s *Service) line(ctx context.Context, id data.StoreID) (*line, error) {
	for {
		l, err := s.lineOf(id)
		if err != nil {
			return nil, err
		}
		select {
		case <-l.turn:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		s.mu.Lock()
		current := s.lines[id] == l // not swept meanwhile
		s.mu.Unlock()
		if current {
			return l, nil
		}
		l.turn <- struct{}{}
	}
}

func (s *Service) lineOf(id data.StoreID) (*line, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, errors.New("recovery is closed")
	}
	l := s.lines[id]
	if l == nil {
		l = &line{turn: make(chan struct{}, 1), chains: map[string]*chain.Chain{}, used: s.now()}
		l.turn <- struct{}{}
		s.lines[id] = l
	}
	return l, nil
}

func (s *Service) leave(l *line) {
	s.mu.Lock()
	l.used = s.now()
	s.mu.Unlock()
	l.turn <- struct{}{}
}

// idle is asked under the service's lock.
func (l *line) idle(now time.Time) bool { return len(l.turn) == 1 && now.Sub(l.used) > idleAfter }

func (l *line) close() error {
	var errs []error
	for target, c := range l.chains {
		errs = append(errs, c.Close())
		delete(l.chains, target)
	}
	l.last = ""
	return errors.Join(errs...)
}

// chain opens the chain of a store to a target, or gives the one that is open.
func (s *Service) chain(l *line, id data.StoreID, t targetRow) (*chain.Chain, error) {
	if c := l.chains[t.ID]; c != nil {
		return c, nil
	}
	target, err := s.open(t)
	if err != nil {
		return nil, err
	}
	c, err := chain.New(chain.Config{
		Target: target, Store: id.String(), Keys: s.config.Segments(id), Staging: s.staging(id, t.ID), Clock: s.config.Clock,
		Confirmed: func(ctx context.Context, r chain.Result) error { return s.keep(ctx, id, t.ID, r) },
	})
	if err != nil {
		return nil, fmt.Errorf("target %s: %w", t.Name, err)
	}
	l.chains[t.ID] = c
	return c, nil
}
