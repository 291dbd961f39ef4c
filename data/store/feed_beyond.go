package store

import (
	"context"
	"errors"
	"time"

	"holdfast/data"
)

// OldestBeyond tells since when the store has had something that was not there at a
// position: when the oldest change after it was committed, or, where the position is of
// another life, when the present one began. It is the zero time where there is nothing.
func (s *Store) OldestBeyond(ctx context.Context, p data.Position) (time.Time, error) {
	now, err := s.Position(ctx)
	if err != nil || now == p {
		return time.Time{}, err
	}
	if p != (data.Position{}) && p.Incarnation != now.Incarnation {
		lives, err := s.livesSoFar(ctx)
		if err != nil {
			return time.Time{}, err
		}
		return lives[len(lives)-1].Began, nil
	}
	changes, err := s.Changes(ctx, p, 1)
	var pruned *PrunedError
	if errors.As(err, &pruned) { // it was at least as early
		changes, err = s.Changes(ctx, pruned.To, 1)
	}
	if err != nil || len(changes) == 0 {
		return time.Time{}, err
	}
	return changes[0].At, nil
}
