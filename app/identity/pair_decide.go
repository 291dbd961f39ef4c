package identity

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/jmoiron/sqlx"

	"holdfast/app/api"
	"holdfast/data"
)

// ApprovePair lets who asked carry it out, once. The context's actor must be another one,
// hold what the request takes, and be independent of who asked.
func (s *Service) ApprovePair(ctx context.Context, id, note string) (Approval, error) {
	r, by, err := s.pairToDecide(ctx, id)
	if err != nil {
		return Approval{}, err
	}
	force, err := s.pairNow(ctx, api.Permission(r.Permission))
	if err != nil {
		return Approval{}, err
	}
	if by != hostHolder {
		if err := s.mayApprovePair(ctx, r, by, force); err != nil {
			return Approval{}, err
		}
	}
	now := s.now()
	r.State, r.Decided, r.DecidedBy, r.Note, r.Expires = requestApproved, millis(now), by, note, millis(now.Add(PairGood))
	if err := s.decidePair(ctx, "approval.approve", r); err != nil {
		return Approval{}, err
	}
	s.tellDecided(ctx, r)
	if by == hostHolder {
		s.tellAlone(ctx, r, force.could)
	}
	return s.shownPair(ctx, r)
}

// RefusePair answers no.
func (s *Service) RefusePair(ctx context.Context, id, note string) (Approval, error) {
	r, by, err := s.pairToDecide(ctx, id)
	if err != nil {
		return Approval{}, err
	}
	if by != hostHolder {
		if err := s.holdsPair(ctx, r, by); err != nil {
			return Approval{}, err
		}
	}
	r.State, r.Decided, r.DecidedBy, r.Note = requestRefused, millis(s.now()), by, note
	if err := s.decidePair(ctx, "approval.refuse", r); err != nil {
		return Approval{}, err
	}
	s.tellDecided(ctx, r)
	return s.shownPair(ctx, r)
}

// WithdrawPair ends a request of one's own, approved or not. data.ErrNotFound for another's.
func (s *Service) WithdrawPair(ctx context.Context, id string) (Approval, error) {
	me, _ := holderOf(data.ActorFrom(ctx))
	r, err := s.pairByID(ctx, id)
	if err == nil && r.Requester != me {
		err = data.ErrNotFound
	}
	if err != nil {
		return Approval{}, fmt.Errorf("withdraw: %w", err)
	}
	state := r.state(s.now())
	if state != requestOpen && state != requestApproved {
		return Approval{}, errNotOpen(state)
	}
	if err := s.recordPair(ctx, "approval.withdraw", r, api.OK, nil); err != nil {
		return Approval{}, err
	}
	if err := s.movePair(ctx, r, state, requestWithdrawn); err != nil {
		return Approval{}, err
	}
	r.State = requestWithdrawn
	return s.shownPair(ctx, r)
}

// pairToDecide finds an open request that is not the context's actor's own.
func (s *Service) pairToDecide(ctx context.Context, id string) (r pairRow, by string, err error) {
	by, ok := holderOf(data.ActorFrom(ctx))
	if !ok {
		return r, "", api.ErrForbidden
	}
	if r, err = s.pairByID(ctx, id); err != nil {
		return r, "", err
	}
	if r.Requester == by {
		return r, "", api.Errorf(http.StatusForbidden, "own-request", "Somebody else has to decide about a request of your own.").Because(api.ErrForbidden)
	}
	if state := r.state(s.now()); state != requestOpen {
		return r, "", errNotOpen(state)
	}
	return r, by, nil
}

func (s *Service) pairByID(ctx context.Context, id string) (r pairRow, err error) {
	err = s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		return oneRow(tx.GetContext(ctx, &r, `SELECT `+pairColumns+` FROM pair_requests WHERE id = ?`, id))
	})
	if err != nil {
		return r, fmt.Errorf("find the request: %w", err)
	}
	return r, nil
}

// holdsPair refuses who could not do what is asked for.
func (s *Service) holdsPair(ctx context.Context, r pairRow, person string) error {
	st, err := s.actorStanding(ctx, data.Actor{Kind: data.Person, ID: person})
	if err != nil {
		return err
	}
	ok, _ := st.allows(api.Permission(r.Permission), Appliance, s.now())
	return orForbidden(ok)
}

// mayApprovePair is holdsPair, and refuses who became an operator after the request, and
// whoever is not independent of who asks. Roles that were given before two persons are
// asked for count: somebody made everybody.
func (s *Service) mayApprovePair(ctx context.Context, r pairRow, person string, force pairForce) error {
	if person == r.Requester {
		return api.ErrForbidden
	}
	if err := s.holdsPair(ctx, r, person); err != nil {
		return err
	}
	var rows []grantRow
	var held []heldGrant
	var apart bool
	week := s.now().Add(-PairRests)
	err := s.config.DB.View(ctx, func(tx *sqlx.Tx) (err error) {
		err = tx.SelectContext(ctx, &rows, `SELECT `+grantColumns+` FROM grants g WHERE person = ? AND scope = ? AND revoked = 0 AND `+madeAt+` <= ?`,
			person, Appliance, r.Asked)
		if err == nil {
			held, err = s.effects(ctx, tx, rows)
		}
		if err == nil {
			apart, err = s.independent(ctx, tx, later(fromMillis(force.Since), week), week, r.Requester, person)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("look who may approve: %w", err)
	}
	if ok, _ := (standing{grants: held}).allows(api.Permission(r.Permission), Appliance, s.now()); !ok || !apart {
		return errNotIndependentPair()
	}
	return nil
}

func errNotIndependentPair() error {
	return api.Errorf(http.StatusForbidden, "not-independent",
		"Whoever approves this has to have been an operator before it was asked for. In the last seven days neither of the two may have made the other an operator, nor a third person both of them, nor may anybody have opened the account of either anew.").Because(api.ErrForbidden)
}

// stillApproved refuses an approval that could not be given any more, or whose request is
// carried out by an account that somebody else opened anew. Who approves on the host is
// not asked for more than that nobody did so since the request.
func (s *Service) stillApproved(ctx context.Context, r pairRow, force pairForce) error {
	if r.DecidedBy != hostHolder {
		return s.mayApprovePair(ctx, r, r.DecidedBy, force)
	}
	return s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		anew, err := openedAnew(ctx, tx, r.Requester, fromMillis(r.Asked))
		if err == nil && anew {
			err = api.ErrForbidden
		}
		return err
	})
}

// decidePair writes a decision down, which is in the log first; of two who decide at once,
// one comes too late, and the log says so.
func (s *Service) decidePair(ctx context.Context, action string, r pairRow) error {
	detail := map[string]string{"by": r.DecidedBy, "note": r.Note}
	if err := s.recordPair(ctx, action, r, api.OK, detail); err != nil {
		return err
	}
	err := s.config.DB.Update(ctx, func(tx *sqlx.Tx) error {
		return changedOne(tx.ExecContext(ctx, `UPDATE pair_requests SET state = ?, decided = ?, decided_by = ?, note = ?, expires = ?
			WHERE id = ? AND state = 'open' AND expires > ?`, r.State, r.Decided, r.DecidedBy, r.Note, r.Expires, r.ID, r.Decided))
	})
	if err == nil {
		return nil
	}
	if errors.Is(err, data.ErrNotFound) {
		err = errNotOpen("decided")
	}
	return errors.Join(err, s.recordPair(ctx, action, r, api.Failed, detail))
}

// expirePairs writes down what the time has ended: should the clock be set back, it
// stays ended.
func (s *Service) expirePairs(ctx context.Context) error {
	var over []pairRow
	err := s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		return tx.SelectContext(ctx, &over, `SELECT `+pairColumns+` FROM pair_requests WHERE state IN ('open', 'approved') AND expires <= ?`, millis(s.now()))
	})
	if err != nil {
		return fmt.Errorf("look for requests that are over: %w", err)
	}
	for _, r := range over {
		e := s.recordPair(ctx, "approval.expire", r, api.OK, map[string]string{"was": r.State})
		if e == nil {
			e = s.movePair(ctx, r, r.State, requestExpired)
		}
		err = errors.Join(err, e)
	}
	return err
}
