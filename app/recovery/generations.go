package recovery

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"holdfast/backup/chain"
	"holdfast/data"
)

// clocksApart is how far this host's clock and a target's may be apart, generously.
const clocksApart = time.Hour

// SegmentGenerations lists the generations of a store's segments key that something is
// sealed under, on any target and in this host's staging: the others can be dropped
// without taking a point away. Objects that were put after `retired`, when the newest of
// the generations that the caller asks about was replaced, are not looked at. It fails
// where a target cannot be read, and answers data.ErrBusy while something waits to be
// put.
func (s *Service) SegmentGenerations(ctx context.Context, id data.StoreID, retired time.Time) ([]uint32, error) {
	targets, err := s.targets(ctx)
	if err != nil {
		return nil, err
	}
	in := map[uint32]bool{}
	add := func(found []uint32, err error) error {
		for _, g := range found {
			in[g] = true
		}
		return err
	}
	for _, t := range targets {
		k, err := s.archivist(id, t)
		if err == nil {
			err = add(k.Generations(ctx, retired.Add(clocksApart)))
		}
		if err == nil {
			err = add(chain.StagedGenerations(s.stagingOf(laneKey{id.String(), t.ID})))
		}
		if err != nil {
			return nil, fmt.Errorf("target %s: %w", t.Name, err)
		}
	}
	return slices.Sorted(maps.Keys(in)), nil
}

// archivist is a keeper of its own, which only reads.
func (s *Service) archivist(id data.StoreID, t targetRow) (*chain.Keeper, error) {
	target, err := s.open(t)
	if err != nil {
		return nil, err
	}
	return chain.NewKeeper(chain.KeeperConfig{Target: target, Store: id.String(), Keys: s.config.Archive(id), Scratch: s.scratch, Clock: s.config.Clock})
}
