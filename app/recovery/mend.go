package recovery

import (
	"context"
	"errors"
	"fmt"
	"math"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"holdfast/app/api"
	"holdfast/backup"
	"holdfast/backup/chain"
	"holdfast/backup/restore"
	"holdfast/data"
)

// Whoever has the target can take away or replace what lies there. Keeping a chain short
// reads back, each minute, the manifests that were put since: there it shows first. What
// was lost stays lost, but the points from now on do not build on it.

// shortened merges, and mends where the chain is not what was shipped.
func (s *Service) shortened(ctx context.Context, key laneKey, t targetRow, k *chain.Keeper, newest int64) error {
	_, err := k.Compact(ctx, newest)
	found := lost(err)
	if found == nil {
		return err
	}
	if _, err := k.Compact(ctx, newest); lost(err) == nil {
		return err // a prune came between
	}
	return s.mend(ctx, key, t, found)
}

// lost is the object that an error blames for not being there as it was shipped, nil
// if it is another error.
func lost(err error) *backup.ObjectError {
	var object *backup.ObjectError
	if !errors.As(err, &object) || !isAny(err, data.ErrNotFound, data.ErrTampered, backup.ErrFormat) {
		return nil
	}
	return object
}

// mend has the chain go on in a new epoch at once, and tells of what is missing.
func (s *Service) mend(ctx context.Context, key laneKey, t targetRow, found *backup.ObjectError) error {
	l, err := s.lane(ctx, key)
	if err != nil {
		return err
	}
	c, err := s.openChain(ctx, l, t, false)
	if err == nil {
		c.Anew(fmt.Errorf("the chain is damaged: %w", found))
		l.keeper = nil
	}
	s.leave(l)
	if err != nil {
		return err
	}
	s.ships.again(key, s.now())
	report := restore.Report{Sampled: true, Problems: []restore.Problem{{Object: found.Name, Reason: found.Err.Error()}}}
	return errors.Join(s.keepVerified(ctx, key.chain, t, report), s.recordDamaged(ctx, key, t, found))
}

// mendVerified has a chain go on in a new epoch where a verification found that the newest
// points build on something that is damaged.
func (s *Service) mendVerified(ctx context.Context, key laneKey, t targetRow, problems []restore.Problem) error {
	if len(problems) == 0 || !s.ships.running() {
		return nil
	}
	l, err := s.lane(ctx, key)
	if err != nil {
		return err
	}
	defer s.leave(l)
	c, err := s.openChain(ctx, l, t, false)
	if err != nil {
		return nil //nolint:nilerr // the verification stands all the same; shipping tells what it fails of
	}
	base := c.Status().Base
	if slices.ContainsFunc(problems, func(p restore.Problem) bool { return sequenceOf(p.Object) >= base }) {
		c.Anew(fmt.Errorf("a verification found the chain damaged: %s", problems[0].Object))
		l.keeper = nil
		s.ships.again(key, s.now())
	}
	return nil
}

// sequenceOf is the snapshot that an object is of, by its name. Files' content is of any
// of them.
func sequenceOf(object string) int64 {
	dir, name := path.Split(object)
	sequence, err := strconv.ParseInt(name[:min(16, len(name))], 16, 64)
	if err != nil || strings.HasSuffix(dir, "/files/") {
		return math.MaxInt64
	}
	return sequence
}

func (s *Service) recordDamaged(ctx context.Context, key laneKey, t targetRow, found *backup.ObjectError) error {
	e := api.Event{Action: "snapshot.damaged", Target: key.chain, Outcome: api.Failed, Detail: map[string]string{
		"target": t.Name, "object": found.Name, "reason": found.Err.Error(),
	}}
	if _, ok := key.store(); ok {
		e.Store = key.chain
	}
	return s.config.Recorder.Record(context.WithoutCancel(ctx), e)
}

// again has a chain shipped though nothing changed.
func (p *ships) again(key laneKey, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.touch(p.course(key), now)
}
