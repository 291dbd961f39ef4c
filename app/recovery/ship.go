package recovery

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"holdfast/app/api"
	"holdfast/backup/chain"
	"holdfast/data"
)

// ref is a store as a request names it.
type ref struct {
	id          data.StoreID
	slug        string
	environment string
	closed      error // nil for a live one
}

func (r ref) String() string {
	if r.environment == data.Prod {
		return r.slug
	}
	return r.slug + "/" + r.environment
}

func (s *Service) find(ctx context.Context, slug, environment string) (ref, error) {
	id, closed, err := s.config.Tenants.Find(ctx, slug, environment)
	return ref{id, slug, environment, closed}, err
}

// Shipped is the result of "snapshot now". Seq, Pages, Bytes and Files are the
// first target's.
type Shipped struct {
	Store   string   `json:"store"`
	Seq     int64    `json:"seq"`
	Pages   int      `json:"pages"`
	Bytes   int64    `json:"bytes"`
	Files   int      `json:"files"`
	Targets []ToEach `json:"targets"`
}

// ToEach is what one target got.
type ToEach struct {
	Target    string `json:"target"`
	Seq       int64  `json:"seq"`
	Kind      string `json:"kind" enum:"base,segment"`
	Pages     int    `json:"pages"`
	Bytes     int64  `json:"bytes"`
	Files     int    `json:"files"`
	Unchanged bool   `json:"unchanged,omitempty" doc:"nothing had changed since"`
}

// Snapshot starts shipping a live store to one target, or to all ("").
func (s *Service) Snapshot(ctx context.Context, slug, environment, target string) (api.Operation, error) {
	r, err := s.find(ctx, slug, environment)
	if err == nil {
		err = r.closed
	}
	if err != nil {
		return api.Operation{}, s.explain(err)
	}
	targets, err := s.chosen(ctx, target)
	if err != nil {
		return api.Operation{}, err
	}
	return s.config.Operations.Start(ctx, "snapshot", r.String(), r.id.String(), func(ctx context.Context, p *api.Progress) (any, error) {
		return s.snapshot(ctx, p, r, targets)
	})
}

// snapshot ships to each target; one that fails does not keep the others.
func (s *Service) snapshot(ctx context.Context, p *api.Progress, r ref, targets []targetRow) (any, error) {
	result := Shipped{Store: r.id.String()}
	var failed error
	for i, t := range targets {
		p.Set(ctx, int64(i), int64(len(targets)), "targets", "shipping to "+t.Name)
		shipped, err := s.ship(ctx, r, t)
		if err != nil && failed == nil {
			failed = s.explain(err)
		}
		if err == nil {
			result.Targets = append(result.Targets, each(t, shipped))
		}
	}
	if failed != nil {
		return nil, failed
	}
	first := result.Targets[0]
	result.Seq, result.Pages, result.Bytes, result.Files = first.Seq, first.Pages, first.Bytes, first.Files
	return result, nil
}

func each(t targetRow, r chain.Result) ToEach {
	return ToEach{t.Name, r.Sequence, kind(r.Base), r.Pages, r.Bytes, r.Files, r.Unchanged}
}

func kind(base bool) string {
	if base {
		return "base"
	}
	return "segment"
}

// ship brings one target up to the present and records it.
func (s *Service) ship(ctx context.Context, r ref, t targetRow) (chain.Result, error) {
	result, err := s.shipStore(ctx, r.id, t)
	failure := ""
	if err != nil {
		failure = api.AsProblem(s.explain(err)).Detail
		s.config.Logger.WarnContext(ctx, "a snapshot failed", "store", r.id.String(), "target", t.Name, "error", err)
	}
	err = errors.Join(err, s.outcome(ctx, r.id, t.ID, failure), s.recordShip(ctx, r, t, result, err))
	return result, err
}

func (s *Service) recordShip(ctx context.Context, r ref, t targetRow, result chain.Result, failed error) error {
	e := api.Event{Action: "snapshot.create", Target: r.String(), Store: r.id.String(), Outcome: api.OK, Detail: map[string]string{"target": t.Name}}
	if failed != nil {
		e.Outcome, e.Detail["reason"] = api.Failed, api.AsProblem(s.explain(failed)).Code
	} else {
		e.Detail["seq"], e.Detail["manifest"] = strconv.FormatInt(result.Sequence, 10), result.Manifest.String()
		e.Detail["pages"], e.Detail["bytes"] = strconv.Itoa(result.Pages), strconv.FormatInt(result.Bytes, 10)
	}
	return s.config.Recorder.Record(context.WithoutCancel(ctx), e)
}

func (s *Service) shipStore(ctx context.Context, id data.StoreID, t targetRow) (chain.Result, error) {
	l, err := s.line(ctx, id)
	if err != nil {
		return chain.Result{}, err
	}
	defer s.leave(l)
	c, err := s.chain(l, id, t)
	if err != nil {
		return chain.Result{}, err
	}
	st, err := s.config.Stores.Acquire(ctx, id)
	if err != nil {
		return chain.Result{}, fmt.Errorf("open store: %w", err)
	}
	defer st.Release()
	at, err := st.Position(ctx)
	if err != nil {
		return chain.Result{}, err
	}
	if l.last != t.ID { // the tap's changes are relative to another chain
		st.Pages().MarkAll()
	}
	l.last = ""
	r, err := c.Ship(ctx, st.Pages(), st.Files(), at)
	if err == nil {
		l.last = t.ID
		st.Shipped(label(t.ID, r.Epoch, r.Sequence))
	}
	return r, err
}
