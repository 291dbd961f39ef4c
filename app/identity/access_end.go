package identity

import (
	"context"
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
	if err := s.closing(ctx, "", `id = ?`, id); err != nil {
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

// disconnect ends what a person has open in the stores of a tenant.
func (s *Service) disconnect(holder, tenant string) {
	if s.config.Revoked == nil || holder == hostHolder || tenant == Appliance {
		return
	}
	for _, env := range []string{data.Prod, data.Test, data.Dev} {
		s.config.Revoked(data.StoreID{Tenant: tenant, Environment: env}, data.Actor{Kind: data.Person, ID: holder})
	}
}

// disconnectAll is disconnect in every tenant where somebody has a role: a studio does not
// outlive a session that was ended.
func (s *Service) disconnectAll(ctx context.Context, person string) error {
	st, err := s.standing(ctx, person)
	if isNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, scope := range st.scopes(s.now()) {
		s.disconnect(person, scope)
	}
	return nil
}

// endAccess writes down what the time has ended: requests that nobody answered, and
// grants that are over. Each check of a permission looks at the clock by itself; what is
// written here stays ended should the clock be set back.
func (s *Service) endAccess(ctx context.Context) error {
	const over = `(state = 'open' AND expires <= ? OR state = 'approved' AND valid_until <= ?)`
	now := millis(s.now())
	var any bool
	err := s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		return tx.GetContext(ctx, &any, `SELECT EXISTS (SELECT 1 FROM access_requests WHERE `+over+`)`, now, now)
	})
	if err != nil || !any { // a write for nothing would make a snapshot for nothing
		return err
	}
	return s.closing(ctx, "", over, now, now)
}

// closing ends the requests that match, and what they brought. The end holds even if it
// cannot be recorded, which is said.
func (s *Service) closing(ctx context.Context, why, where string, args ...any) error {
	err := s.ending(ctx, func(tx *sqlx.Tx) ([]holding, error) { return s.closeWhere(ctx, tx, why, where, args...) })
	if err != nil {
		return fmt.Errorf("end access: %w", err)
	}
	return nil
}

// closeWhere ends in a transaction the requests that match, and what they brought, and
// owes the entries. It tells whose they were.
func (s *Service) closeWhere(ctx context.Context, tx *sqlx.Tx, why, where string, args ...any) (over []holding, err error) {
	var rows []requestRow
	err = tx.SelectContext(ctx, &rows, `SELECT `+requestColumns+` FROM access_requests WHERE state IN ('open', 'approved') AND (`+where+`) ORDER BY asked, id`, args...)
	if err != nil {
		return nil, err
	}
	for _, r := range rows {
		if err := s.closeRow(ctx, tx, r, why); err != nil {
			return nil, err
		}
		over = append(over, holding{r.Requester, r.Tenant})
	}
	return over, nil
}

func (s *Service) closeRow(ctx context.Context, tx *sqlx.Tx, r requestRow, why string) error {
	now := s.now()
	switch r.state(now) {
	case requestApproved:
		return s.endRow(ctx, tx, r, now, why)
	case requestEnded:
		return s.endRow(ctx, tx, r, fromMillis(r.Until), "")
	case requestExpired:
		_, err := tx.ExecContext(ctx, `UPDATE access_requests SET state = ? WHERE id = ?`, requestExpired, r.ID)
		return orElse(err, s.oweAccess(ctx, tx, "access.expire", r, nil))
	}
	r.State, r.Decided, r.Note = requestRefused, millis(now), why
	r.DecidedBy, _ = holderOf(data.ActorFrom(ctx))
	if err := decide(ctx, tx, r, now); err != nil {
		return err
	}
	return s.oweAccess(ctx, tx, "access.refuse", r, map[string]string{"note": why})
}

// endRow takes the grant away that a request brought; at is when it ended.
func (s *Service) endRow(ctx context.Context, tx *sqlx.Tx, r requestRow, at time.Time, why string) error {
	_, err := tx.ExecContext(ctx, `UPDATE grants SET revoked = ?, revoked_by = ? WHERE id = ? AND revoked = 0`, millis(at), data.ActorFrom(ctx).String(), r.Grant)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `UPDATE access_requests SET state = ?, valid_until = min(valid_until, ?) WHERE id = ?`, requestEnded, millis(at), r.ID)
	if err != nil {
		return err
	}
	return s.oweAccess(ctx, tx, "access.end", r, map[string]string{"because": why})
}

// closeRequests ends all requests of a tenant that is destroyed: there is no log of its
// own any more that could tell.
func (s *Service) closeRequests(ctx context.Context, tenant string) error {
	return s.config.DB.Update(ctx, func(tx *sqlx.Tx) error {
		_, err := tx.ExecContext(ctx, `UPDATE access_requests SET state = ? WHERE tenant = ? AND state IN ('open', 'approved')`, requestEnded, tenant)
		return err
	})
}

// withNothingOfTheirOwn are the requests of a person to tenants where nobody gave them
// anything: they asked as an operator.
const withNothingOfTheirOwn = `requester = ? AND NOT EXISTS (SELECT 1 FROM grants g
	WHERE g.person = requester AND g.scope = access_requests.tenant AND g.revoked = 0 AND g.request = '')`

// shutOut ends in a transaction all that somebody asked for, or was let into, and tells
// where they may have something open.
func (s *Service) shutOut(ctx context.Context, tx *sqlx.Tx, person, why string) ([]holding, error) {
	var scopes []string
	err := tx.SelectContext(ctx, &scopes, `SELECT DISTINCT scope FROM grants WHERE person = ? AND revoked = 0 AND scope <> ?`, person, Appliance)
	if err != nil {
		return nil, err
	}
	over, err := s.closeWhere(ctx, tx, why, `requester = ?`, person)
	if err == nil {
		err = s.endPairs(ctx, tx, why, `requester = ?`, person)
	}
	for _, scope := range scopes {
		over = append(over, holding{person, scope})
	}
	return over, err
}

// EndGlass ends all that was given by breaking glass, as after a restore: what was given
// when the copy was made may have ended since. It tells how many grants there were.
func (s *Service) EndGlass(ctx context.Context, why string) (n int, err error) {
	const given = `state = 'approved' AND glass = 1`
	err = s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		return tx.GetContext(ctx, &n, `SELECT count(*) FROM access_requests WHERE `+given)
	})
	if err != nil || n == 0 {
		return n, err
	}
	return n, s.closing(ctx, why, given)
}
