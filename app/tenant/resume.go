package tenant

import (
	"context"
	"errors"
	"fmt"

	"github.com/jmoiron/sqlx"

	"holdfast/data"
)

// resume ends what a crash cut short: half-made tenants are finished, half-restored
// ones undone, half-deleted ones brought to their end. What cannot be done now
// is logged and tried again by Sweep; it keeps nobody else from being served.
func (s *Service) resume(ctx context.Context) error {
	ctx = data.WithActor(ctx, data.Actor{Kind: data.System})
	half, err := s.rows(ctx, `state = 'creating'`)
	if err != nil {
		return fmt.Errorf("resume tenants: %w", err)
	}
	for _, r := range half {
		s.logged(ctx, "a half-made tenant", r.Slug, s.finish(ctx, r))
	}
	environments, err := s.halfEnvironments(ctx)
	if err != nil {
		return fmt.Errorf("resume environments: %w", err)
	}
	for _, h := range environments {
		_, err := s.environment(ctx, h.row, h.name)
		s.logged(ctx, "a half-made environment", h.row.Slug+"/"+h.name, err)
	}
	where := `settled = 0 AND state <> 'creating'`
	if s.config.Disposal != nil {
		where += ` AND state <> 'destroyed'` // certified when all rooms are open, by the first Sweep
	}
	s.logged(ctx, "half-done deletions", "", s.settleAll(ctx, where))
	return nil
}

func (s *Service) logged(ctx context.Context, what, name string, err error) {
	if err != nil {
		s.config.Logger.ErrorContext(ctx, what+" could not be ended", "name", name, "error", err)
	}
}

func (s *Service) finish(ctx context.Context, r row) error {
	defer s.found.forget(r.Slug)
	if r.Adopted {
		return s.abandon(ctx, r) // what filled it is gone
	}
	ctx = data.WithActor(ctx, data.ParseActor(r.CreatedBy))
	if err := s.bringUp(ctx, r, creation{fill: s.config.Pool.Create, action: "tenant.create", founding: Founding{Owner: r.Owner, Again: true}}); err != nil {
		return errors.Join(err, s.abandon(ctx, r))
	}
	return nil
}

type halfEnvironment struct {
	row  row
	name string
}

// halfEnvironments are those of live tenants; a tenant being made has its own way.
func (s *Service) halfEnvironments(ctx context.Context) (out []halfEnvironment, err error) {
	live, err := s.rows(ctx, `state = 'live' AND id IN (SELECT tenant FROM environments WHERE state = 'creating')`)
	for _, r := range live {
		for _, e := range r.environments {
			if e.State == creating {
				out = append(out, halfEnvironment{r, e.Name})
			}
		}
	}
	return out, err
}

// rows are the tenants of a condition, with their environments.
func (s *Service) rows(ctx context.Context, where string, args ...any) (rows []row, err error) {
	err = s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		if err := tx.SelectContext(ctx, &rows, `SELECT `+columns+` FROM tenants WHERE `+where+` ORDER BY id`, args...); err != nil {
			return err
		}
		return withEnvironments(ctx, tx, rows)
	})
	return rows, err
}
