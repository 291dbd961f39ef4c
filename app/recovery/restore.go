package recovery

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"holdfast/app/api"
	"holdfast/backup"
	"holdfast/backup/restore"
	"holdfast/data"
	"holdfast/data/store"
)

// Order is the body of a restore.
type Order struct {
	As     string `json:"as" doc:"slug of the new tenant"`
	At     string `json:"at,omitempty" doc:"moment to restore (RFC 3339); the newest where it is not given"`
	Target string `json:"target,omitempty" doc:"target to read from; the one with the newest snapshot where it is not given"`
}

// Restored is the result of a restore.
type Restored struct {
	Slug       string        `json:"slug"`
	Records    int64         `json:"records"`
	RTOSeconds float64       `json:"rto_seconds" doc:"from the request to the open tenant"`
	Target     string        `json:"target"`
	Seq        int64         `json:"seq"`
	Time       time.Time     `json:"time" doc:"of the snapshot"`
	Position   data.Position `json:"position" doc:"in the store that was shipped"`
	Pages      int64         `json:"pages"`
	Files      int           `json:"files"`
	Bytes      int64         `json:"bytes" doc:"read from the target"`
	Erased     int           `json:"erased,omitempty" doc:"records taken out again because they were erased since"`
}

// Restore starts restoring a store as a new tenant. The store may be parked; of
// a destroyed one nothing can be read (data.ErrDestroyed).
func (s *Service) Restore(ctx context.Context, slug, environment string, o Order) (api.Operation, error) {
	start := time.Now()
	r, at, err := s.accept(ctx, slug, environment, o)
	if err != nil {
		return api.Operation{}, err
	}
	targets, err := s.candidates(ctx, r, o.Target)
	if err == nil {
		targets, err = s.consult(ctx, r, targets)
	}
	if err != nil {
		return api.Operation{}, err
	}
	return s.config.Operations.Start(ctx, "restore", r.String(), r.id.String(), func(ctx context.Context, p *api.Progress) (any, error) {
		result, err := s.restore(ctx, p, r, o.As, at, targets)
		result.RTOSeconds = time.Since(start).Seconds()
		if err = errors.Join(s.explain(err), s.recordRestore(ctx, r, o, result, err)); err != nil {
			return nil, err
		}
		return result, nil
	})
}

// accept checks an order before anything is begun.
func (s *Service) accept(ctx context.Context, slug, environment string, o Order) (r ref, at time.Time, err error) {
	if o.As == "" {
		return r, at, api.InvalidField("as", "name the new tenant")
	}
	if o.At != "" {
		if at, err = time.Parse(time.RFC3339, o.At); err != nil {
			return r, at, api.InvalidField("at", "%q is not a moment like 2026-01-31T12:00:00Z", o.At)
		}
	}
	// A restore as a new tenant creates one.
	if err := s.config.Access.Authorize(ctx, data.ActorFrom(ctx), api.TenantCreate, api.Scope{}); err != nil {
		return r, at, err
	}
	if r, err = s.readable(ctx, slug, environment); err != nil {
		return r, at, err
	}
	if _, closed, err := s.config.Tenants.Find(ctx, o.As, data.Prod); err == nil && !errors.Is(closed, data.ErrDestroyed) {
		return r, at, api.Errorf(409, "exists", "A tenant %q exists already.", o.As).Because(data.ErrExists)
	}
	return r, at, nil
}

// candidates are the targets to restore from, best first: those with the newest
// snapshots, then those that nothing is known of.
func (s *Service) candidates(ctx context.Context, r ref, name string) ([]targetRow, error) {
	targets, err := s.chosen(ctx, name)
	if err != nil || name != "" {
		return targets, err
	}
	newest, err := s.newest(ctx, r.id)
	if err != nil {
		return nil, err
	}
	sortBy(targets, func(t targetRow) int64 { return -newest[t.ID].Time })
	return targets, nil
}

// restore takes the first target that has the snapshot. A chain that is damaged
// is not passed over: the caller is to know, and may name another target.
func (s *Service) restore(ctx context.Context, p *api.Progress, r ref, as string, at time.Time, targets []targetRow) (Restored, error) {
	var none error
	for _, t := range targets {
		result, err := s.restoreFrom(ctx, p, r, as, at, t)
		if !errors.Is(err, backup.ErrNoSnapshot) {
			return result, err
		}
		none = errors.Join(none, fmt.Errorf("target %s: %w", t.Name, err))
	}
	return Restored{}, none
}

func (s *Service) restoreFrom(ctx context.Context, p *api.Progress, r ref, as string, at time.Time, t targetRow) (Restored, error) {
	c, err := s.source(ctx, r, t, p)
	if err != nil {
		return Restored{}, err
	}
	newest, err := s.newest(ctx, r.id)
	if err != nil {
		return Restored{}, err
	}
	c.At, c.AtLeast = at, newest[t.ID].Sequence
	if c.Sequence, err = restore.Find(ctx, c); err != nil { // before a tenant is made for it
		return Restored{}, err
	}
	got, erased, id, err := s.adopt(ctx, r, c, as)
	if err != nil {
		return Restored{}, err
	}
	result := Restored{
		Slug: as, Target: t.Name, Seq: got.Sequence, Time: got.Time, Position: got.Position,
		Pages: int64(got.Pages), Files: got.Files, Bytes: got.Bytes, Erased: erased,
	}
	result.Records, err = s.records(ctx, id)
	return result, err
}

// adopt makes a tenant of the chain: its store takes its place only when all of
// it was verified.
func (s *Service) adopt(ctx context.Context, r ref, c restore.Config, as string) (got restore.Result, erased int, id data.StoreID, err error) {
	replay, err := s.replayOf(ctx, r.id)
	if err != nil {
		return got, 0, id, err
	}
	build := func(ctx context.Context, _ string, t store.InstallTarget) (err error) {
		if replay != nil {
			t.Amend(func(ctx context.Context, st *store.Store) (err error) {
				erased, err = replay(ctx, st)
				return err
			})
		}
		got, err = restore.Run(ctx, c, t)
		return err
	}
	err = s.config.Tenants.Adopt(ctx, as, "", func(ctx context.Context, fresh data.StoreID) error {
		id = fresh
		return s.config.Stores.Install(ctx, fresh, build)
	})
	return got, erased, id, err
}

// records counts the records of all collections but PocketBase's own.
func (s *Service) records(ctx context.Context, id data.StoreID) (n int64, err error) {
	st, err := s.config.Stores.Acquire(ctx, id)
	if err != nil {
		return 0, err
	}
	defer st.Release()
	collections, err := st.Collections(ctx)
	for _, c := range collections {
		if !c.System && c.Type != "view" {
			n += c.Records
		}
	}
	return n, err
}

func (s *Service) recordRestore(ctx context.Context, r ref, o Order, result Restored, failed error) error {
	e := api.Event{Action: "snapshot.restore", Target: r.String(), Store: r.id.String(), Outcome: api.OK, Detail: map[string]string{"as": o.As}}
	if o.At != "" {
		e.Detail["at"] = o.At
	}
	if failed != nil {
		e.Outcome, e.Detail["reason"] = api.Failed, api.AsProblem(s.explain(failed)).Code
	} else {
		e.Detail["target"], e.Detail["seq"] = result.Target, strconv.FormatInt(result.Seq, 10)
		e.Detail["erased"] = strconv.Itoa(result.Erased)
		e.Detail["records"] = strconv.FormatInt(result.Records, 10)
	}
	return s.config.Recorder.Record(context.WithoutCancel(ctx), e)
}
