package identity

import (
	"context"
	"errors"
	"time"

	"github.com/jmoiron/sqlx"

	"holdfast/app/api"
	"holdfast/data"
)

// EndAgain carries out once more what a log says was ended at a moment, where this
// database is older and does not know it: a person was locked or disabled, grants were ended or
// replaced, a key of the control plane or an invite was revoked. target and detail are the entry's. What the database knows to be younger is
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
	defer s.grants.forget()
	err := s.config.DB.Update(ctx, func(tx *sqlx.Tx) error {
		change := func() error {
			return changedOne(tx.ExecContext(ctx, `UPDATE persons SET state = ?, updated = ? WHERE id = ? AND state = ? AND updated <= ?`,
				state, millis(s.now()), person, active, millis(at)))
		}
		if state == locked {
			return change()
		}
		return s.keepingOwners(ctx, tx, person, change)
	})
	return err == nil, err
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
