package recovery

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"holdfast/app/api"
	"holdfast/data"
	"holdfast/data/store"
)

// restoreInPlace puts the past in the place of the living store, which is kept. The
// living store goes on until the copy is verified and whole; the requests that come
// during the swap wait for it.
func (s *Service) restoreInPlace(ctx context.Context, j *job, b *building) error {
	if err := s.freshKey(ctx, j.ref.id); err != nil {
		return err
	}
	var copied history
	b.look = func(ctx context.Context, st *store.Store) (err error) {
		if err := b.count(ctx, st); err != nil {
			return err
		}
		copied, err = historyOf(ctx, st)
		return err
	}
	err := s.config.Stores.Replace(ctx, j.ref.id, b.build, func(ctx context.Context, old *store.Store) error {
		living, err := s.farewell(ctx, j.ref.id, old)
		if err != nil {
			return err
		}
		b.result.Undone = living.beyond(copied)
		return s.mark(ctx, j.row.ID, restoreSwapping, &Restored{
			ID: j.row.ID, Slug: j.ref.slug, InPlace: true, Seq: b.got.Sequence, Time: b.got.Time, Position: b.got.Position,
			Records: b.result.Records, Undone: b.result.Undone, Erased: b.erased,
		}, "")
	})
	b.result.Slug, b.result.InPlace = j.ref.slug, true
	if err == nil && s.config.Swapped != nil {
		s.config.Swapped(j.ref.id)
	}
	return err
}

// freshKey has what is sealed from now on sealed under a new key: counts of seals are a
// folder's own, and another folder takes the store's place.
func (s *Service) freshKey(ctx context.Context, id data.StoreID) error {
	if s.config.FreshKey == nil {
		return nil
	}
	return s.config.FreshKey(ctx, id)
}

// farewell lets followers see the last of a store that is about to be replaced.
func (s *Service) farewell(ctx context.Context, id data.StoreID, old *store.Store) (history, error) {
	if s.config.Farewell != nil {
		if err := s.config.Farewell(ctx, id, old); err != nil {
			return history{}, err
		}
	}
	return historyOf(ctx, old)
}

// history is the lives of a store and how far it is.
type history struct {
	lives []store.Incarnation
	at    int64
}

func historyOf(ctx context.Context, st *store.Store) (h history, err error) {
	if h.lives, err = st.Incarnations(ctx); err != nil {
		return h, err
	}
	p, err := st.Position(ctx)
	h.at = p.Sequence
	return h, err
}

// end is the last sequence of a life.
func (h history) end(life int) int64 {
	if life+1 < len(h.lives) {
		return h.lives[life+1].From
	}
	return h.at
}

// beyond counts the changes of this history that are not part of the other one, a copy
// of an earlier state that has begun a life of its own.
func (h history) beyond(copied history) int64 {
	if n := len(copied.lives); n > 0 {
		copied.at = copied.lives[n-1].From
		copied.lives = copied.lives[:n-1]
	}
	common := int64(0)
	for i := range min(len(h.lives), len(copied.lives)) {
		if h.lives[i].ID != copied.lives[i].ID {
			break
		}
		common = min(h.end(i), copied.end(i))
	}
	return h.at - common
}

// keptOf finds a restore in place that still keeps what it replaced.
func (s *Service) keptOf(ctx context.Context, slug, environment, id string) (ref, restoreRow, error) {
	r, err := s.find(ctx, slug, environment)
	if err == nil {
		err = r.closed
	}
	if err != nil {
		return r, restoreRow{}, s.explain(err)
	}
	row, err := s.restoreOf(ctx, r.id, id)
	if err == nil && row.State != restoreKept {
		err = api.Errorf(http.StatusConflict, "not-kept", "Restore %s keeps nothing (it is %s).", id, row.State)
	}
	return r, row, err
}

// Confirm ends the keeping: what a restore in place replaced is gone for good.
// data.ErrNotFound; a 409 problem where nothing is kept.
func (s *Service) Confirm(ctx context.Context, slug, environment, id string) (Restore, error) {
	r, _, err := s.keptOf(ctx, slug, environment, id)
	if err != nil {
		return Restore{}, err
	}
	if err := s.record(ctx, "snapshot.confirm", r, map[string]string{"restore": id}); err != nil {
		return Restore{}, err
	}
	if err := s.mark(ctx, id, restoreConfirming, nil, ""); err != nil {
		return Restore{}, err
	}
	if err := s.dropKept(ctx, r.id, id); err != nil {
		return Restore{}, err
	}
	row, err := s.restoreOf(ctx, r.id, id)
	if err != nil {
		return Restore{}, err
	}
	return row.shown()
}

func (s *Service) dropKept(ctx context.Context, id data.StoreID, restore string) error {
	if err := s.config.Stores.DropKept(id); err != nil {
		return err
	}
	return s.mark(ctx, restore, restoreConfirmed, nil, "")
}

func (s *Service) record(ctx context.Context, action string, r ref, detail map[string]string) error {
	return s.config.Recorder.Record(context.WithoutCancel(ctx), api.Event{Action: action, Target: r.String(), Store: r.id.String(), Outcome: api.OK, Detail: detail})
}

// Reverted is the result of an undo.
type Reverted struct {
	ID     string `json:"id" doc:"of the restore that was undone"`
	Slug   string `json:"slug"`
	Undone int64  `json:"undone_changes" doc:"changes made since the restore, which are gone"`
	Erased int    `json:"erased,omitempty" doc:"records taken out because they were erased since"`
}

// Undo starts putting back what a restore in place replaced, as a life of its own.
// Errors are Confirm's.
func (s *Service) Undo(ctx context.Context, slug, environment, id string) (api.Operation, error) {
	r, row, err := s.keptOf(ctx, slug, environment, id)
	if err != nil {
		return api.Operation{}, err
	}
	if err := s.mark(ctx, row.ID, restoreUndoing, nil, ""); err != nil {
		return api.Operation{}, err
	}
	op, err := s.config.Operations.Start(ctx, "restore.undo", r.String(), r.id.String(), func(ctx context.Context, _ *api.Progress) (any, error) {
		return s.undo(ctx, r, row.ID)
	})
	if err != nil {
		err = errors.Join(err, s.mark(ctx, row.ID, restoreKept, nil, ""))
	}
	return op, err
}

func (s *Service) undo(ctx context.Context, r ref, restore string) (any, error) {
	ctx = store.OnDuty(ctx)
	result, err := s.revert(context.WithoutCancel(ctx), r, restore)
	state := restoreUndone
	if err != nil && s.config.Stores.Kept(r.id) {
		state = restoreKept
	}
	if err := errors.Join(s.explain(err), s.mark(ctx, restore, state, nil, "")); err != nil {
		return nil, err
	}
	return result, s.record(ctx, "snapshot.undo", r, map[string]string{"restore": restore, "undone changes": strconv.FormatInt(result.Undone, 10)})
}

func (s *Service) revert(ctx context.Context, r ref, restore string) (Reverted, error) {
	result := Reverted{ID: restore, Slug: r.slug}
	replay, err := s.replayOf(ctx, r.id)
	if err != nil {
		return result, err
	}
	if err := s.freshKey(ctx, r.id); err != nil {
		return result, err
	}
	amend := func(ctx context.Context, st *store.Store) (err error) {
		if replay != nil {
			result.Erased, err = replay(ctx, st)
		}
		return err
	}
	err = s.config.Stores.Revert(ctx, r.id, amend, func(ctx context.Context, current *store.Store) error {
		h, err := s.farewell(ctx, r.id, current)
		if err == nil && len(h.lives) > 0 {
			result.Undone = h.at - h.lives[len(h.lives)-1].From
		}
		return err
	})
	if err == nil && s.config.Swapped != nil {
		s.config.Swapped(r.id)
	}
	return result, err
}

// settled ends the steps that a crash cut short, and says whether nothing is left to do.
// What is kept on the disk tells whether a swap was done.
func (s *Service) settled(ctx context.Context, j *job) (bool, error) {
	kept := s.config.Stores.Kept(j.ref.id)
	switch j.row.State {
	case restoreSwapping:
		if !kept {
			return false, nil
		}
		shown, err := j.row.shown()
		if err != nil || shown.Result == nil {
			return true, errors.Join(err, fmt.Errorf("restore %s: its result is not there", j.row.ID))
		}
		_, err = s.finish(ctx, j, *shown.Result, nil)
		return true, err
	case restoreConfirming:
		return true, s.dropKept(ctx, j.ref.id, j.row.ID)
	case restoreUndoing:
		if !kept {
			return true, errors.Join(s.mark(ctx, j.row.ID, restoreUndone, nil, ""), s.record(ctx, "snapshot.undo", j.ref, map[string]string{"restore": j.row.ID}))
		}
		_, err := s.undo(ctx, j.ref, j.row.ID)
		return true, err
	}
	return false, nil
}
