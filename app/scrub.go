package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"holdfast/app/api"
	"holdfast/data"
	"holdfast/data/cryptfs"
	"holdfast/data/keys"
)

// scrubEvery is how often each store is read through, on its own.
const scrubEvery = 7 * 24 * time.Hour

// scrubTick is how often the clock asks for the next ones.
const scrubTick = 10 * time.Minute

// scrubs has every live store scrubbed in turn, one at a time.
type scrubs struct {
	*house
	logger *slog.Logger
	ctx    context.Context // of the round under way
	stop   context.CancelFunc
	round  sync.Mutex
	work   sync.WaitGroup
	own    time.Time // when the appliance's own databases were scrubbed
}

func newScrubs(h *house, logger *slog.Logger) *scrubs {
	ctx, stop := context.WithCancel(context.Background())
	return &scrubs{house: h, logger: logger, ctx: ctx, stop: stop}
}

// Sweep scrubs as many stores as are due and as it takes to get round in time. It
// returns at once. The one clock calls it.
func (s *scrubs) Sweep(ctx context.Context, now time.Time) error {
	if !s.round.TryLock() {
		return nil
	}
	due, err := s.due(ctx, now)
	own := now.Sub(s.own) >= scrubEvery
	if err != nil || len(due) == 0 && !own {
		s.round.Unlock()
		return err
	}
	s.work.Go(func() {
		defer s.round.Unlock()
		if own {
			s.own = now
			if err := s.scrubOwn(s.ctx); err != nil && s.ctx.Err() == nil {
				s.logger.Error("the scrub of the appliance's own databases", "error", err)
			}
		}
		for _, id := range due {
			if err := s.scrub(id); err != nil && s.ctx.Err() == nil {
				s.logger.Error("a scrub did not end", "store", id.String(), "error", err)
			}
		}
	})
	return nil
}

// due lists the stores that were longest not scrubbed.
func (s *scrubs) due(ctx context.Context, now time.Time) ([]data.StoreID, error) {
	last, err := s.recovery.LastScrubs(ctx)
	if err != nil {
		return nil, err
	}
	var due []data.StoreID
	stores := 0
	for _, e := range s.ring.Entries() {
		id, err := data.ParseStoreID(string(e.Owner))
		if err != nil || e.Purpose != keys.Pages || e.State != keys.Live {
			continue
		}
		if stores++; now.Sub(last[id]) >= scrubEvery {
			due = append(due, id)
		}
	}
	slices.SortStableFunc(due, func(a, b data.StoreID) int { return last[a].Compare(last[b]) })
	rounds := int(scrubEvery / scrubTick)
	return due[:min(len(due), (stores+rounds-1)/rounds)], nil
}

// scrub waits for the end of a store's scrub, which is an operation like one that
// a person asks for.
func (s *scrubs) scrub(id data.StoreID) error {
	slug, err := s.tenants.Slug(s.ctx, id.Tenant)
	if err != nil {
		return err
	}
	op, err := s.recovery.Scrub(s.ctx, slug, id.Environment)
	if err == nil {
		_, err = s.operations.Wait(s.ctx, op.ID)
	}
	return err
}

// scrubOwn reads the system database and the vault through, a week after the last
// time and soon after each start.
func (s *scrubs) scrubOwn(ctx context.Context) error {
	var findings []string
	err := s.system.Scrub(ctx, func(p cryptfs.Progress) {
		if f := p.Finding; f != nil {
			findings = append(findings, fmt.Sprintf("%s, page %d: %s", filepath.Base(f.File), f.Page, f.Reason))
		}
	})
	if damaged := s.vault.Check(ctx); damaged != nil && ctx.Err() == nil {
		findings = append(findings, damaged.Error())
	}
	if err != nil || len(findings) == 0 {
		return err
	}
	return errors.Join(fmt.Errorf("%s: %w", strings.Join(findings, "; "), data.ErrTampered), s.audit.Record(ctx, api.Event{
		Action: "system.scrub", Target: "system", Outcome: api.Failed,
		Detail: map[string]string{"findings": strconv.Itoa(len(findings)), "first": findings[0]},
	}))
}

// close ends the round; the operations end by themselves.
func (s *scrubs) close() error {
	s.stop()
	s.work.Wait()
	return nil
}
