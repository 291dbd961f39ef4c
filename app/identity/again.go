package identity

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/jmoiron/sqlx"

	"holdfast/app/api"
	"holdfast/data"
)

// EndAgain carries out once more what a log says was ended at a moment, where this
// database is older and does not know it: a person was locked or disabled, grants were ended or
// replaced, a key of the control plane or an invite was revoked, a request for access or what
// it brought was ended; or whether two persons are asked for was set. target and detail are the entry's. What the database knows to be younger is
// left alone. It says whether there was anything to do; entries of other actions are
// none of its business. A 409 problem where nobody would own the scope any more.
func (s *Service) EndAgain(ctx context.Context, action, target string, detail map[string]string, at time.Time) (done bool, err error) {
	scope, role := detail["scope"], detail["role"]
	switch action {
	case "person.lock":
		done, err = s.closeAgain(ctx, target, locked, at)
	case "person.disable":
		done, err = s.closeAgain(ctx, target, stateDisabled, at)
	case "key.revoke":
		err = s.endKey(ctx, "", target)
		done = err == nil
	case "invite.revoke":
		err = s.endInvite(ctx, scope, target)
		done = err == nil
	case "grant.revoke":
		err = s.endingGrants(ctx, scope, `person = ? AND scope = ? AND role = ? AND created <= ?`, target, scope, role, millis(at))
		done = err == nil
	case "member.remove":
		err = s.endingGrants(ctx, scope, `person = ? AND scope = ? AND created <= ?`, target, scope, millis(at))
		done = err == nil
	case "operator.end":
		err = s.endingGrants(ctx, Appliance, `person = ? AND scope = ? AND created <= ?`, target, Appliance, millis(at))
		done = err == nil
	case "access.refuse", "access.withdraw", "access.expire", "access.end":
		return s.endAccessAgain(ctx, action, detail["request"])
	case "two-persons.set":
		return s.pairPolicyAgain(ctx, target, at)
	case "grant.change":
		return s.replaceAgain(ctx, Grant{Person: target, Role: role, Scope: scope, Why: detail["why"]}, at)
	}
	if errors.Is(err, data.ErrNotFound) {
		return false, nil
	}
	if err != nil || !done {
		return false, err
	}
	return true, s.record(ctx, action, target, api.OK, again(detail))
}

// again marks the entry of what a log had before.
func again(detail map[string]string) map[string]string {
	out := map[string]string{"again": "true"}
	for name, value := range detail {
		out[name] = value
	}
	return out
}

// closeAgain locks or disables an account. Locking is not refused, disabling is for
// the last owner of something, as ever.
func (s *Service) closeAgain(ctx context.Context, person, state string, at time.Time) (bool, error) {
	err := s.ending(ctx, func(tx *sqlx.Tx) (over []holding, err error) {
		change := func() error {
			return changedOne(tx.ExecContext(ctx, `UPDATE persons SET state = ?, updated = ? WHERE id = ? AND state = ? AND updated <= ?`,
				state, millis(s.now()), person, active, millis(at)))
		}
		if state == locked {
			err = change()
		} else {
			err = s.keepingOwners(ctx, tx, person, change)
		}
		if err != nil {
			return nil, err
		}
		return s.shutOut(ctx, tx, person, "the account was closed")
	})
	return err == nil, err
}

// endedAs is what a request became, by the entry that tells of it.
var endedAs = map[string]string{
	"access.refuse": requestRefused, "access.withdraw": requestWithdrawn, "access.expire": requestExpired, "access.end": requestEnded,
}

// endAccessAgain ends a request that the database has open, or approved, still. One that
// was approved later than the database knows and ended is not to be approved again.
func (s *Service) endAccessAgain(ctx context.Context, action, id string) (bool, error) {
	done := false
	err := s.ending(ctx, func(tx *sqlx.Tx) (over []holding, err error) {
		var r requestRow
		err = oneRow(tx.GetContext(ctx, &r, `SELECT `+requestColumns+` FROM access_requests WHERE id = ? AND state IN ('open', 'approved')`, id))
		if errors.Is(err, data.ErrNotFound) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		done = true
		if r.State == requestApproved {
			return []holding{{r.Requester, r.Tenant}}, s.endRow(ctx, tx, r, s.now(), "ended again: the log has its end")
		}
		_, err = tx.ExecContext(ctx, `UPDATE access_requests SET state = ?, decided = ? WHERE id = ?`, endedAs[action], millis(s.now()), id)
		return nil, orElse(err, s.oweAccess(ctx, tx, action, r, map[string]string{"again": "true"}))
	})
	if err != nil {
		return false, fmt.Errorf("end access again: %w", err)
	}
	return done, nil
}

// AccessPolicyAgain sets a tenant's policy to what its log has, where the database is
// older. It says whether there was anything to do.
func (s *Service) AccessPolicyAgain(ctx context.Context, tenant string, emergency bool, at time.Time) (done bool, err error) {
	detail := map[string]string{"emergency": strconv.FormatBool(emergency), "again": "true"}
	err = s.ending(ctx, func(tx *sqlx.Tx) ([]holding, error) {
		var younger bool
		err := tx.GetContext(ctx, &younger, `SELECT EXISTS (SELECT 1 FROM access_policies WHERE tenant = ? AND updated >= ?)`, tenant, millis(at))
		if err != nil || younger {
			return nil, err
		}
		if now, err := policyOf(ctx, tx, tenant); err != nil || now.Emergency == emergency {
			return nil, err
		}
		done = true
		if err := storeAccessPolicy(ctx, tx, tenant, AccessPolicy{emergency}, at); err != nil {
			return nil, err
		}
		return nil, s.owe(ctx, tx, data.StoreID{Tenant: tenant, Environment: data.Prod}.String(), "access-policy.set", tenant, detail)
	})
	if err != nil {
		return false, fmt.Errorf("set access policy again: %w", err)
	}
	return done, nil
}

// replaceAgain gives the one role in place of older ones.
func (s *Service) replaceAgain(ctx context.Context, g Grant, at time.Time) (bool, error) {
	var older int
	err := s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		return tx.GetContext(ctx, &older, `SELECT count(*) FROM grants WHERE person = ? AND scope = ? AND role <> ? AND revoked = 0 AND request = '' AND created <= ?`,
			g.Person, g.Scope, g.Role, millis(at))
	})
	if err != nil || older == 0 {
		return false, err
	}
	_, err = s.replace(ctx, g)
	return err == nil, err
}
