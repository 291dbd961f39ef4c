package identity

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"

	"holdfast/data"
)

// EndAccess ends what a request brought, at once.
func (s *Service) EndAccess(ctx context.Context, tenant, id string) (AccessRequest, error) {
	r, err := s.request(ctx, tenant, id)
	if err != nil {
		return AccessRequest{}, err
	}
	if state := r.state(s.now()); state != requestApproved {
		return AccessRequest{}, errNotOpen(state)
	}
	if err := s.endRequest(ctx, r, s.now()); err != nil {
		return AccessRequest{}, err
	}
	if r, err = s.request(ctx, tenant, id); err != nil {
		return AccessRequest{}, err
	}
	return s.shownRequest(ctx, r)
}

// WithdrawAccess is the requester's own: an open request is withdrawn, and what one
// brought is given back. data.ErrNotFound for another's.
func (s *Service) WithdrawAccess(ctx context.Context, id string) (AccessRequest, error) {
	requester, ok := holderOf(data.ActorFrom(ctx))
	var r requestRow
	err := s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		return oneRow(tx.GetContext(ctx, &r, `SELECT `+requestColumns+` FROM access_requests WHERE id = ? AND requester = ?`, id, requester))
	})
	if err != nil || !ok {
		return AccessRequest{}, fmt.Errorf("find access request: %w", orElse(err, data.ErrNotFound))
	}
	if r.state(s.now()) == requestOpen {
		r.State, r.Decided, r.DecidedBy = requestWithdrawn, millis(s.now()), requester
		return s.close(ctx, r, "access.withdraw")
	}
	return s.EndAccess(ctx, r.Tenant, id)
}

// endRequest takes the grant away; at is when it ended. The end holds even if it cannot
// be recorded, which is said.
func (s *Service) endRequest(ctx context.Context, r requestRow, at time.Time) error {
	ctx = context.WithoutCancel(ctx)
	err := s.config.DB.Update(ctx, func(tx *sqlx.Tx) error {
		_, err := tx.ExecContext(ctx, `UPDATE grants SET revoked = ?, revoked_by = ? WHERE id = ? AND revoked = 0`, millis(at), data.ActorFrom(ctx).String(), r.Grant)
		_, e := tx.ExecContext(ctx, `UPDATE access_requests SET state = ?, valid_until = min(valid_until, ?) WHERE id = ?`, requestEnded, millis(at), r.ID)
		return errors.Join(err, e)
	})
	s.grants.forget()
	if err != nil {
		return fmt.Errorf("end access: %w", err)
	}
	s.disconnect(r.Requester, r.Tenant)
	return s.recordAccess(ctx, "access.end", r, nil)
}

// disconnect ends what a person has open in the stores of a tenant.
func (s *Service) disconnect(holder, tenant string) {
	if s.config.Revoked == nil || holder == hostHolder || tenant == Appliance {
		return
	}
	for _, env := range []string{data.Prod, data.Test, data.Dev} {
		s.config.Revoked(data.StoreID{Tenant: tenant, Environment: env}, data.Actor{Kind: data.Person, ID: holder})
	}
}

// endAccess writes down what the time has ended: requests that nobody answered, and
// grants that are over. Each check of a permission looks at the clock by itself; what is
// written here stays ended should the clock be set back.
func (s *Service) endAccess(ctx context.Context) error {
	var over []requestRow
	now := s.now()
	err := s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		return tx.SelectContext(ctx, &over, `SELECT `+requestColumns+` FROM access_requests
			WHERE state = 'open' AND expires <= ? OR state = 'approved' AND valid_until <= ?`, millis(now), millis(now))
	})
	if err != nil {
		return fmt.Errorf("look for access that is over: %w", err)
	}
	for _, r := range over {
		if r.State == requestApproved {
			err = errors.Join(err, s.endRequest(ctx, r, fromMillis(r.Until)))
			continue
		}
		err = errors.Join(err, s.expireRequest(ctx, r))
	}
	return err
}

func (s *Service) expireRequest(ctx context.Context, r requestRow) error {
	err := s.config.DB.Update(ctx, func(tx *sqlx.Tx) error {
		_, err := tx.ExecContext(ctx, `UPDATE access_requests SET state = ? WHERE id = ? AND state = 'open'`, requestExpired, r.ID)
		return err
	})
	if err != nil {
		return err
	}
	return s.recordAccess(ctx, "access.expire", r, nil)
}

// closeRequests ends all requests of a tenant that is destroyed.
func (s *Service) closeRequests(ctx context.Context, tenant string) error {
	return s.config.DB.Update(ctx, func(tx *sqlx.Tx) error {
		_, err := tx.ExecContext(ctx, `UPDATE access_requests SET state = ? WHERE tenant = ? AND state IN ('open', 'approved')`, requestEnded, tenant)
		return err
	})
}

// endRequestsOf ends what somebody asked for, and was given, as an operator who is none any
// more: all requests to tenants where they have nothing of their own.
func (s *Service) endRequestsOf(ctx context.Context, person string) error {
	var rows []requestRow
	err := s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		return tx.SelectContext(ctx, &rows, `SELECT `+requestColumns+` FROM access_requests r WHERE requester = ? AND state IN ('open', 'approved')
			AND NOT EXISTS (SELECT 1 FROM grants g WHERE g.person = r.requester AND g.scope = r.tenant AND g.revoked = 0 AND g.request = '')`, person)
	})
	by, _ := holderOf(data.ActorFrom(ctx))
	for _, r := range rows {
		switch r.state(s.now()) {
		case requestApproved:
			err = errors.Join(err, s.endRequest(ctx, r, s.now()))
		case requestOpen:
			r.State, r.Decided, r.DecidedBy, r.Note = requestRefused, millis(s.now()), by, "no operator any more"
			_, e := s.close(ctx, r, "access.refuse")
			err = errors.Join(err, e)
		}
	}
	return err
}
