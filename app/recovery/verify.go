package recovery

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"holdfast/app/api"
	"holdfast/backup"
	"holdfast/backup/restore"
	"holdfast/data"
)

// Verified is the result of a verification.
type Verified struct {
	OK        bool     `json:"ok"`
	Snapshots int      `json:"snapshots"`
	Objects   int      `json:"objects"`
	Bytes     int64    `json:"bytes" doc:"read from the targets"`
	Problems  []string `json:"problems" doc:"each names an object and what is wrong with it"`
	Leftover  []string `json:"leftover" doc:"objects that belong to no snapshot; they do no harm"`
	Sampled   bool     `json:"sampled" doc:"only a part of the objects was read, drawn by lot, beside all manifests"`
}

// VerifyOrder is the body of a verification.
type VerifyOrder struct {
	Choice
	Sample float64 `json:"sample,omitempty" doc:"share of the objects to read, drawn by lot, beside all manifests: 0.05 is a twentieth; all where it is not given"`
}

// Verify starts reading a store's chain on one target, or on all ("").
func (s *Service) Verify(ctx context.Context, slug, environment string, o VerifyOrder) (api.Operation, error) {
	if o.Sample < 0 || o.Sample > 1 {
		return api.Operation{}, api.InvalidField("sample", "want a number from 0 to 1")
	}
	r, err := s.verifiable(ctx, slug, environment)
	if err != nil {
		return api.Operation{}, err
	}
	targets, err := s.chosen(ctx, o.Target)
	if err != nil {
		return api.Operation{}, err
	}
	return s.config.Operations.Start(ctx, "snapshot.verify", r.String(), r.log(), func(ctx context.Context, p *api.Progress) (any, error) {
		return s.verify(ctx, p, r, targets, o.Sample)
	})
}

// verifiable is readable, or a part of the appliance.
func (s *Service) verifiable(ctx context.Context, slug, environment string) (ref, error) {
	if r, err := s.named(ctx, slug, environment); err == nil && r.own != "" {
		return r, nil
	}
	return s.readable(ctx, slug, environment)
}

// archive are the keys to read a chain with.
func (s *Service) archive(r ref) data.KeySource {
	return s.keysOf(r.chain())
}

// readable finds a store whose snapshots can be read: live or parked.
func (s *Service) readable(ctx context.Context, slug, environment string) (ref, error) {
	r, err := s.find(ctx, slug, environment)
	if err == nil {
		err = s.notDestroyed(ctx, r)
	}
	if err == nil {
		_, _, err = s.config.Archive(r.id).Current()
	}
	return r, s.explain(err)
}

func (s *Service) verify(ctx context.Context, p *api.Progress, r ref, targets []targetRow, sample float64) (any, error) {
	sum := Verified{OK: true, Problems: []string{}, Leftover: []string{}}
	newest, err := s.newestOf(ctx, r.chain())
	if err != nil {
		return nil, err
	}
	for _, t := range targets {
		row, shipped := newest[t.ID]
		c, err := s.source(ctx, r, t, p)
		if err != nil {
			return nil, err
		}
		c.AtLeast, c.Sample = row.Sequence, sample
		report, err := restore.Verify(ctx, c)
		if errors.Is(err, backup.ErrNoSnapshot) && !shipped && len(targets) > 1 {
			continue
		}
		if err != nil {
			return nil, s.explain(fmt.Errorf("target %s: %w", t.Name, err))
		}
		sum.add(report)
		key := laneKey{r.chain(), t.ID}
		if err := errors.Join(s.keepVerified(ctx, r.chain(), t, report), s.mendVerified(ctx, key, t, report.Problems)); err != nil {
			return nil, err
		}
	}
	return sum, s.recordVerify(ctx, r, sum)
}

func (v *Verified) add(r restore.Report) {
	v.OK = v.OK && r.OK
	v.Snapshots += r.Snapshots
	v.Objects += r.Objects
	v.Bytes += r.Bytes
	v.Sampled = v.Sampled || r.Sampled
	v.Leftover = append(v.Leftover, r.Leftover...)
	for _, p := range r.Problems {
		v.Problems = append(v.Problems, p.Object+": "+p.Reason)
	}
}

func (s *Service) recordVerify(ctx context.Context, r ref, v Verified) error {
	e := api.Event{Action: "snapshot.verify", Target: r.String(), Store: r.log(), Outcome: api.OK, Detail: map[string]string{
		"ok": strconv.FormatBool(v.OK), "objects": strconv.Itoa(v.Objects), "problems": strconv.Itoa(len(v.Problems)),
	}}
	if !v.OK {
		e.Outcome = api.Failed
	}
	return s.config.Recorder.Record(ctx, e)
}

// source says where to read a store's chain from.
func (s *Service) source(ctx context.Context, r ref, t targetRow, p *api.Progress) (restore.Config, error) {
	target, err := s.open(t)
	return restore.Config{
		Source: target, Store: r.chain(), Keys: s.archive(r), Scratch: s.scratch,
		Progress: func(done, of int64) { p.Set(ctx, done, of, "bytes", "reading from "+t.Name) },
	}, err
}
