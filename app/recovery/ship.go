package recovery

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"holdfast/app/api"
	"holdfast/backup/chain"
	"holdfast/data"
	"holdfast/data/store"
)

// ref is a store as a request names it.
type ref struct {
	id          data.StoreID
	slug        string
	environment string
	closed      error  // nil for a live one
	own         string // the part of the appliance that is meant instead
}

func (r ref) String() string {
	if r.own != "" {
		return r.own
	}
	if r.environment == data.Prod {
		return r.slug
	}
	return r.slug + "/" + r.environment
}

// chain is the name of what is shipped of it.
func (r ref) chain() string {
	if r.own != "" {
		return r.own
	}
	return r.id.String()
}

// log is the store whose audit log tells of it, "" for the appliance's.
func (r ref) log() string {
	if r.own != "" {
		return ""
	}
	return r.id.String()
}

func (s *Service) find(ctx context.Context, slug, environment string) (ref, error) {
	id, closed, err := s.config.Tenants.Find(ctx, slug, environment)
	return ref{id: id, slug: slug, environment: environment, closed: closed}, err
}

// named is find that also knows the parts of the appliance, whose names no tenant
// may have.
func (s *Service) named(ctx context.Context, slug, environment string) (ref, error) {
	if _, ok := s.config.Own[slug]; ok && environment == data.Prod {
		return ref{own: slug, slug: slug, environment: environment}, nil
	}
	return s.find(ctx, slug, environment)
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
	r, err := s.named(ctx, slug, environment)
	if err == nil {
		err = r.closed
	}
	if err != nil {
		return api.Operation{}, s.explain(err)
	}
	targets, err := s.allowed(ctx, r, target)
	if err != nil {
		return api.Operation{}, err
	}
	return s.config.Operations.Start(ctx, "snapshot", r.String(), r.log(), func(ctx context.Context, p *api.Progress) (any, error) {
		return s.snapshot(ctx, p, r, targets)
	})
}

// snapshot ships to each target; one that fails does not keep the others.
func (s *Service) snapshot(ctx context.Context, p *api.Progress, r ref, targets []targetRow) (any, error) {
	result := Shipped{Store: r.chain()}
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

// allowed are the targets that are meant and that the policy lets the store be
// shipped to; the named one, or all of those.
func (s *Service) allowed(ctx context.Context, r ref, name string) ([]targetRow, error) {
	targets, err := s.chosen(ctx, name)
	if err != nil {
		return nil, err
	}
	p, err := s.policyOf(ctx, r.chain())
	if err != nil {
		return nil, err
	}
	var in []targetRow
	why := ""
	for _, t := range targets {
		if out := p.keepsOut(t); out != "" {
			why = out
			continue
		}
		in = append(in, t)
	}
	if len(in) == 0 {
		return nil, api.Errorf(http.StatusConflict, "target-not-allowed", "%s", why)
	}
	return in, nil
}

// ship brings one target up to the present and records it.
func (s *Service) ship(ctx context.Context, r ref, t targetRow) (chain.Result, error) {
	key := laneKey{r.chain(), t.ID}
	result, err := s.deliver(ctx, key, t)
	failure := ""
	if err != nil {
		failure = s.wording(err)
		s.config.Logger.WarnContext(ctx, "a snapshot failed", "store", r.chain(), "target", t.Name, "error", err)
	}
	err = errors.Join(err, s.outcome(ctx, key, stateOf(err), failure), s.recordShip(ctx, r, t, result, err), s.flush(ctx))
	return result, err
}

// wording is an error for who reads a status.
func (s *Service) wording(err error) string { return api.AsProblem(s.explain(err)).Detail }

func (s *Service) recordShip(ctx context.Context, r ref, t targetRow, result chain.Result, failed error) error {
	e := api.Event{Action: "snapshot.create", Target: r.String(), Store: r.log(), Outcome: api.OK, Detail: map[string]string{"target": t.Name}}
	if failed != nil {
		e.Outcome, e.Detail["reason"] = api.Failed, api.AsProblem(s.explain(failed)).Code
	} else {
		e.Detail["seq"], e.Detail["manifest"] = strconv.FormatInt(result.Sequence, 10), result.Manifest.String()
		e.Detail["pages"], e.Detail["bytes"] = strconv.Itoa(result.Pages), strconv.FormatInt(result.Bytes, 10)
	}
	return s.config.Recorder.Record(context.WithoutCancel(ctx), e)
}

// deliver ships a chain up to the present. It waits for its turn.
func (s *Service) deliver(ctx context.Context, key laneKey, t targetRow) (chain.Result, error) {
	l, err := s.lane(ctx, key)
	if err != nil {
		return chain.Result{}, err
	}
	defer s.leave(l)
	result, err := s.shipLane(ctx, l, t)
	s.ended(key, err)
	return result, err
}

// shipLane ships what came until now; what comes meanwhile makes the chain dirty
// again.
func (s *Service) shipLane(ctx context.Context, l *lane, t targetRow) (chain.Result, error) {
	s.ships.take(l.key, s.now())
	c, err := s.openChain(ctx, l, t, false)
	if err != nil {
		return chain.Result{}, err
	}
	if id, ok := l.key.store(); ok {
		return s.shipStore(ctx, c, id, t)
	}
	own := s.config.Own[l.key.chain]
	if own.Stream != nil {
		return c.ShipStream(ctx, own.Stream, data.Position{})
	}
	return c.Ship(ctx, own.Pages(t.ID), nil, data.Position{})
}

// shipStore ends early when the store is asked to close: what is staged by then
// is put the next time.
func (s *Service) shipStore(ctx context.Context, c *chain.Chain, id data.StoreID, t targetRow) (chain.Result, error) {
	st, err := s.config.Stores.Acquire(ctx, id)
	if err != nil {
		return chain.Result{}, fmt.Errorf("open store: %w", errors.Join(err, errSource))
	}
	defer st.Release()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		select {
		case <-st.Closing():
			cancel(errClosing)
		case <-ctx.Done():
		}
	}()
	at, err := st.Position(ctx)
	if err != nil {
		return chain.Result{}, errors.Join(err, errSource)
	}
	r, err := c.Ship(store.OnDuty(ctx), settledPages(st, t.ID), st.Files(), at)
	if err == nil {
		st.ShippedTo(t.ID, label(t.ID, r.Epoch, r.Sequence))
	} else if errors.Is(context.Cause(ctx), errClosing) {
		err = errors.Join(errClosing, err)
	}
	return r, err
}

var (
	// errSource marks an error that the store caused, not the target.
	errSource = errors.New("the store cannot be read")
	// errClosing means that the store was asked to close meanwhile.
	errClosing = errors.New("the store closes")
)
