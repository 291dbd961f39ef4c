package recovery

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"holdfast/app/api"
	"holdfast/backup"
	"holdfast/backup/chain"
)

// unclaimed keeps a chain whose staging is lost from going on behind snapshots that
// this host did not ship: another host may ship them. A chain that remembers compares
// for itself.
func (s *Service) unclaimed(ctx context.Context, key laneKey, c *chain.Chain, target backup.ObjectStore) error {
	if st := c.Status(); st.Sequence > 0 || st.Staged {
		return nil
	}
	there, err := backup.Newest(ctx, target, key.chain)
	if err != nil {
		return err
	}
	known, err := s.newestOn(ctx, key)
	if err != nil || known == 0 || there <= known { // 0: a target that is new here, or was removed and is added again
		return err
	}
	return fmt.Errorf("snapshot %d is there, this host shipped up to %d: %w", there, known, backup.ErrFenced)
}

// Takeover is the body of a takeover.
type Takeover struct {
	Target string `json:"target" doc:"name of the target whose chain this host is to go on with"`
}

// TakeOver starts going on with a chain that another host continued: an epoch of
// this host's own begins behind what is there, and the other host is fenced.
func (s *Service) TakeOver(ctx context.Context, slug, environment, target string) (api.Operation, error) {
	r, err := s.named(ctx, slug, environment)
	if err == nil {
		err = r.closed
	}
	if err != nil {
		return api.Operation{}, s.explain(err)
	}
	t, err := s.target(ctx, target)
	if err != nil {
		return api.Operation{}, err
	}
	return s.config.Operations.Start(ctx, "snapshot.takeover", r.String(), r.log(), func(ctx context.Context, _ *api.Progress) (any, error) {
		result, err := s.takeOver(ctx, laneKey{r.chain(), t.ID}, t)
		if err := errors.Join(s.explain(err), s.recordTakeover(ctx, r, t, result, err)); err != nil {
			return nil, err
		}
		return Shipped{
			Store: r.chain(), Seq: result.Sequence, Pages: result.Pages, Bytes: result.Bytes, Files: result.Files, Targets: []ToEach{each(t, result)},
		}, nil
	})
}

func (s *Service) takeOver(ctx context.Context, key laneKey, t targetRow) (chain.Result, error) {
	l, err := s.lane(ctx, key)
	if err != nil {
		return chain.Result{}, err
	}
	defer s.leave(l)
	if err := l.close(); err != nil {
		return chain.Result{}, err
	}
	if _, err := s.openChain(ctx, l, t, true); err != nil {
		return chain.Result{}, err
	}
	result, err := s.shipLane(ctx, l, t)
	s.ended(key, err)
	err = errors.Join(err, l.close()) // the next one no longer takes over
	if err == nil {
		err = s.outcome(ctx, key, "", "")
	}
	return result, errors.Join(err, s.flush(ctx))
}

func (s *Service) recordTakeover(ctx context.Context, r ref, t targetRow, result chain.Result, failed error) error {
	e := api.Event{Action: "snapshot.takeover", Target: r.String(), Store: r.log(), Outcome: api.OK, Detail: map[string]string{"target": t.Name}}
	if failed != nil {
		e.Outcome, e.Detail["reason"] = api.Failed, api.AsProblem(s.explain(failed)).Code
	} else {
		e.Detail["seq"], e.Detail["manifest"] = strconv.FormatInt(result.Sequence, 10), result.Manifest.String()
	}
	return s.config.Recorder.Record(context.WithoutCancel(ctx), e)
}

func (s *Service) serveTakeover(w http.ResponseWriter, r *http.Request) error {
	var t Takeover
	if err := api.Read(r, &t); err != nil {
		return err
	}
	if t.Target == "" {
		return api.InvalidField("target", "name the target")
	}
	op, err := s.TakeOver(r.Context(), r.PathValue("slug"), r.PathValue("env"), t.Target)
	return accepted(w, op, err)
}
