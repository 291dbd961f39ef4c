package recovery

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"holdfast/app/api"
	"holdfast/backup/restore"
	"holdfast/data"
	"holdfast/data/store"
)

// Plan says what a restore would change.
type Plan struct {
	Collections []store.Difference `json:"collections" doc:"records: added, changed and removed, were the store to become what it was; of a restore of records nothing is removed"`
	Files       FilePlan           `json:"files"`
	Erasures    int                `json:"erasures" doc:"records that were erased since, and stay so"`
	Undone      int64              `json:"undone_changes" doc:"changes committed after the point"`
	NeedBytes   int64              `json:"need_bytes" doc:"room that the restore takes while it runs"`
	FreeBytes   int64              `json:"free_bytes,omitempty"`
	Enough      bool               `json:"enough_room"`
}

// FilePlan counts files.
type FilePlan struct {
	Added   int   `json:"added"`
	Removed int   `json:"removed"`
	Bytes   int64 `json:"bytes" doc:"of those that would be added"`
}

// past has fn look at the store as it was, what was erased since taken out.
func (s *Service) past(ctx context.Context, b *building, fn func(context.Context, *store.Store) error) error {
	build := func(ctx context.Context, t store.InstallTarget) error { return b.build(ctx, "", t) }
	return s.config.Stores.Try(ctx, build, func(ctx context.Context, then *store.Store) error {
		if err := b.amend(ctx, then); err != nil {
			return err
		}
		return fn(ctx, then)
	})
}

// restorePart brings records into the living store. Only files of the collections are
// fetched.
func (s *Service) restorePart(ctx context.Context, j *job, b *building) error {
	return s.part(ctx, j, b, store.TakeOptions{Conflict: conflict(j.order)})
}

func conflict(o Order) store.Conflict {
	if o.Conflict == "" {
		return store.Overwrite
	}
	return store.Conflict(o.Conflict)
}

func (s *Service) part(ctx context.Context, j *job, b *building, o store.TakeOptions) error {
	b.result.Slug = j.ref.slug
	return s.past(ctx, b, func(ctx context.Context, then *store.Store) error {
		living, err := s.config.Stores.Acquire(ctx, j.ref.id)
		if err != nil {
			return err
		}
		defer living.Release()
		b.result.Taken, err = living.Take(ctx, then, wantedOf(j.order), o)
		for _, t := range b.result.Taken {
			b.result.Records += int64(t.Added + t.Changed)
		}
		return partProblem(err)
	})
}

func wantedOf(o Order) []store.Wanted {
	wanted := make([]store.Wanted, len(o.Collections))
	for i, name := range o.Collections {
		wanted[i] = store.Wanted{Collection: name, IDs: o.Records}
	}
	return wanted
}

// partProblem words what keeps records from being taken.
func partProblem(err error) error {
	switch {
	case errors.Is(err, store.ErrConflict):
		return api.Errorf(409, "conflict", "Nothing was restored: %v.", err).Because(err)
	case errors.Is(err, store.ErrInvalid):
		return api.Errorf(422, "invalid", "Nothing was restored: %v.", err).Because(err)
	case errors.Is(err, data.ErrNotFound):
		return api.Errorf(404, "not-found", "Nothing was restored: %v (at that moment).", err).Because(err)
	}
	return err
}

// plan tells what a restore would change. It fetches the pages, and no file.
func (s *Service) plan(ctx context.Context, j *job, b *building) error {
	preview, err := restore.Look(ctx, b.config)
	if err != nil {
		return err
	}
	p := &Plan{NeedBytes: needed(preview), Collections: []store.Difference{}, Enough: true}
	if s.config.Room != nil {
		if p.FreeBytes, err = s.config.Room(); err != nil {
			return err
		}
		p.Enough = p.NeedBytes <= p.FreeBytes
	}
	files := map[string]data.FileInfo{}
	b.result.Plan, b.result.Slug, b.result.InPlace = p, j.ref.slug, j.order.InPlace
	b.config.Begin, b.config.Resume = nil, ""
	if len(j.order.Collections) > 0 {
		return s.planPart(ctx, j, b)
	}
	b.config.Files = func(f data.FileInfo) bool { files[f.Name] = f; return false }
	err = s.past(ctx, b, func(ctx context.Context, then *store.Store) error {
		if j.order.As != "" {
			return p.whole(ctx, then)
		}
		return s.planInPlace(ctx, j, b, then)
	})
	p.Erasures = b.erased
	if err != nil {
		return err
	}
	return s.planFiles(ctx, j, p, files)
}

func (s *Service) planPart(ctx context.Context, j *job, b *building) error {
	err := s.part(ctx, j, b, store.TakeOptions{Conflict: conflict(j.order), Dry: true})
	p := b.result.Plan
	p.Erasures = b.erased
	for _, t := range b.result.Taken {
		p.Collections = append(p.Collections, store.Difference{Collection: t.Collection, Added: int64(t.Added), Changed: int64(t.Changed), Same: int64(t.Same + t.Kept)})
		p.Files.Added += t.Files
	}
	return err
}

// whole counts everything as added.
func (p *Plan) whole(ctx context.Context, then *store.Store) error {
	collections, err := then.Collections(ctx)
	for _, c := range collections {
		if !c.System && c.Type != "view" {
			p.Collections = append(p.Collections, store.Difference{Collection: c.Name, Added: c.Records})
		}
	}
	return err
}

func (s *Service) planInPlace(ctx context.Context, j *job, b *building, then *store.Store) error {
	living, err := s.config.Stores.Acquire(ctx, j.ref.id)
	if err != nil {
		return err
	}
	defer living.Release()
	if b.result.Plan.Collections, err = living.Compare(ctx, then); err != nil {
		return err
	}
	now, err := historyOf(ctx, living)
	if err != nil {
		return err
	}
	was, err := historyOf(ctx, then)
	if err != nil {
		return err
	}
	was.lives = append(slices.Clone(was.lives), store.Incarnation{ID: "the copy's own", From: was.at})
	b.result.Plan.Undone = now.beyond(was)
	return nil
}

// planFiles holds the tree of then against that of now.
func (s *Service) planFiles(ctx context.Context, j *job, p *Plan, then map[string]data.FileInfo) error {
	if j.order.InPlace {
		living, err := s.config.Stores.Acquire(ctx, j.ref.id)
		if err != nil {
			return err
		}
		defer living.Release()
		for after := ""; ; {
			page, err := living.Files().List(ctx, "", after, 1000)
			if err != nil {
				return fmt.Errorf("list files: %w", err)
			}
			for _, f := range page {
				after = f.Name
				if was, ok := then[f.Name]; ok && was.Size == f.Size && strings.Trim(was.ETag, `"`) == strings.Trim(f.ETag, `"`) {
					delete(then, f.Name)
				} else if !ok {
					p.Files.Removed++
				}
			}
			if len(page) < 1000 {
				break
			}
		}
	}
	for _, f := range then {
		p.Files.Added++
		p.Files.Bytes += f.Size
	}
	return nil
}
