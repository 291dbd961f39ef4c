package tenant

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/jmoiron/sqlx"

	"holdfast/app/api"
	"holdfast/data"
	"holdfast/data/keys"
)

// change is one step of a tenant's life after it was made.
type change struct {
	action string
	state  string
	until  time.Time // of parked
}

// Delete parks a tenant: its stores close, event streams end, its keys stay sealed
// for the undelete window. With now, or where it is parked already and now is given,
// everything is destroyed at once. data.ErrNotFound, data.ErrDestroyed; a 409
// problem where it is parked already.
func (s *Service) Delete(ctx context.Context, slug string, now bool) (Tenant, error) {
	if now {
		return s.move(ctx, slug, change{action: "tenant.destroy", state: Destroyed})
	}
	return s.move(ctx, slug, change{action: "tenant.delete", state: Parked, until: s.now().Add(s.config.Window)})
}

// Undelete brings a parked tenant back. data.ErrNotFound, data.ErrDestroyed; a 409
// problem where it is not deleted.
func (s *Service) Undelete(ctx context.Context, slug string) (Tenant, error) {
	return s.move(ctx, slug, change{action: "tenant.undelete", state: Live})
}

func (s *Service) move(ctx context.Context, slug string, c change) (Tenant, error) {
	release, err := s.busy.take(slug)
	if err != nil {
		return Tenant{}, err
	}
	defer release()
	r, err := s.row(ctx, slug)
	if err != nil {
		return Tenant{}, missing(err, "There is no tenant %q (not found).", slug)
	}
	if err := c.allowed(r, s.now()); err != nil {
		return Tenant{}, err
	}
	if err := s.carryOut(ctx, r, c); err != nil {
		return Tenant{}, fmt.Errorf("%s %s: %w", c.action, slug, err)
	}
	return s.Get(ctx, slug)
}

// allowed says whether the step makes sense from where the tenant is.
func (c change) allowed(r row, now time.Time) error {
	switch {
	case r.State == Parked && c.state == Live && r.ParkedUntil <= millis(now):
		return fmt.Errorf("tenant %s: its undelete window is over: %w", r.Slug, data.ErrDestroyed)
	case r.State == creating:
		return missing(data.ErrNotFound, "There is no tenant %q (not found).", r.Slug)
	case r.State == Destroyed:
		return fmt.Errorf("tenant %s: %w", r.Slug, data.ErrDestroyed)
	case r.State != c.state:
		return nil
	case c.state == Parked:
		return api.Errorf(409, "parked", "Tenant %q is deleted already. Undelete it, or destroy it with now=true.", r.Slug).Because(data.ErrParked)
	}
	return api.Errorf(409, "live", "Tenant %q is not deleted.", r.Slug)
}

// carryOut records the step before anything is done, so that nothing is destroyed
// without an entry; then the row says what shall be, and keys and stores
// follow. After a crash resume ends what was begun.
func (s *Service) carryOut(ctx context.Context, r row, c change) error {
	event := api.Event{Action: c.action, Target: r.Slug, Outcome: api.OK, Detail: map[string]string{"id": r.ID}}
	if !c.until.IsZero() {
		event.Detail["until"] = c.until.Format(time.RFC3339)
	}
	if err := s.config.Recorder.Record(ctx, event); err != nil {
		return err
	}
	ctx = context.WithoutCancel(ctx) // half a step is worse than a client that left
	err := s.begin(ctx, r, c)
	if err == nil {
		err = s.mark(ctx, &r, c)
	}
	if err == nil {
		err = s.settle(ctx, r)
	}
	if err != nil {
		event.Outcome = api.Failed
		return errors.Join(err, s.config.Recorder.Record(ctx, event))
	}
	return nil
}

func (s *Service) mark(ctx context.Context, r *row, c change) error {
	defer s.found.forget(r.Slug)
	r.State, r.Settled, r.ParkedUntil = c.state, false, 0
	if !c.until.IsZero() {
		r.ParkedUntil = millis(c.until)
	}
	switch c.state {
	case Parked:
		r.DeletedBy, r.Deleted = data.ActorFrom(ctx).String(), millis(s.now())
	case Live:
		r.DeletedBy, r.Deleted = "", 0
	}
	return s.config.DB.Update(ctx, func(tx *sqlx.Tx) error {
		_, err := tx.ExecContext(ctx, `UPDATE tenants SET state = ?, settled = 0, parked_until = ?, changed = ?, deleted_by = ?, deleted = ? WHERE id = ?`,
			r.State, r.ParkedUntil, millis(s.now()), r.DeletedBy, r.Deleted, r.ID)
		return err
	})
}

// settle brings keys and stores after the row. Each part may have been done before.
func (s *Service) settle(ctx context.Context, r row) error {
	defer s.found.forget(r.Slug)
	for _, e := range r.environments {
		if err := s.settleStore(ctx, r.store(e.Name), r.State); err != nil {
			return fmt.Errorf("bring %s/%s to %s: %w", r.Slug, e.Name, r.State, err)
		}
	}
	if r.State == Destroyed {
		if err := s.certify(ctx, r); err != nil {
			return err
		}
	}
	return s.config.DB.Update(ctx, func(tx *sqlx.Tx) error {
		_, err := tx.ExecContext(ctx, `UPDATE tenants SET settled = 1 WHERE id = ?`, r.ID)
		return err
	})
}

func (s *Service) settleStore(ctx context.Context, id data.StoreID, state string) error {
	owner := keys.Owner(id.String())
	if state == Live {
		return s.config.Ring.Unpark(owner)
	}
	if err := s.closeStore(ctx, id); err != nil {
		return err
	}
	s.catchUp(ctx, id)
	if state == Destroyed {
		return s.destroy(ctx, id)
	}
	if err := s.config.Ring.Park(owner); err != nil {
		return err
	}
	// Somebody let in before the row changed may have opened it meanwhile.
	return s.closeStore(ctx, id)
}

// patience is how long a deletion waits for what still works on the store. Then
// the keys go all the same, and what is left of it fails.
const patience = 30 * time.Second

// closeStore cancels the store's operations and closes it.
func (s *Service) closeStore(ctx context.Context, id data.StoreID) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := s.cancelOperations(ctx, id); err != nil {
		return err
	}
	err := s.config.Pool.Evict(ctx, id)
	if errors.Is(err, context.DeadlineExceeded) {
		s.config.Logger.WarnContext(ctx, "a store closes slowly; its keys are taken from it", "store", id.String())
		return nil
	}
	return err
}

func (s *Service) cancelOperations(ctx context.Context, id data.StoreID) error {
	f := api.OperationFilter{State: api.Running, Store: id.String(), Reach: api.Reach{All: true}}
	running, err := s.config.Operations.List(ctx, f, api.Paging{Page: 1, PerPage: api.MaxPerPage})
	if err != nil {
		return err
	}
	for _, op := range running.Items {
		// One that has ended meanwhile is as good as cancelled.
		if err := s.config.Operations.Cancel(ctx, op.ID); err != nil && api.AsProblem(err).Status != http.StatusConflict {
			return err
		}
	}
	return nil
}

// catchUp lets the audit log have the store's last changes. A store that cannot
// be read must still be deletable.
func (s *Service) catchUp(ctx context.Context, id data.StoreID) {
	if s.config.CatchUp == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	err := s.config.CatchUp(ctx, id)
	if err != nil && !errors.Is(err, data.ErrParked) && !errors.Is(err, data.ErrDestroyed) && !errors.Is(err, data.ErrNotFound) {
		s.config.Logger.WarnContext(ctx, "a store's last changes were not followed", "store", id.String(), "error", err)
	}
}

// Sweep destroys the tenants whose undelete window is over, as the system, and
// tries again what could not be settled. The one clock calls it.
func (s *Service) Sweep(ctx context.Context, now time.Time) error {
	ctx = data.WithActor(ctx, data.Actor{Kind: data.System})
	due, err := s.rows(ctx, `state = 'parked' AND parked_until <= ?`, millis(now))
	if err != nil {
		return fmt.Errorf("sweep tenants: %w", err)
	}
	var errs []error
	for _, r := range due {
		_, err := s.move(ctx, r.Slug, change{action: "tenant.destroy", state: Destroyed})
		errs = append(errs, unlessBusy(err))
	}
	return errors.Join(append(errs, s.retry(ctx))...)
}

// retry settles what an earlier step could not.
func (s *Service) retry(ctx context.Context) error {
	return s.settleAll(ctx, `settled = 0 AND state <> 'creating'`)
}

func (s *Service) settleAll(ctx context.Context, where string) error {
	rows, err := s.rows(ctx, where)
	if err != nil {
		return err
	}
	var errs []error
	for _, r := range rows {
		release, err := s.busy.take(r.Slug)
		if err != nil {
			continue
		}
		errs = append(errs, s.settle(ctx, r))
		release()
	}
	return errors.Join(errs...)
}

func unlessBusy(err error) error {
	if errors.Is(err, data.ErrBusy) {
		return nil
	}
	return err
}
