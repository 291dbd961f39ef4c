package identity

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/jmoiron/sqlx"

	"holdfast/app/api"
	"holdfast/data"
	"holdfast/data/system"
)

// glassEffect is what breaking glass allows: records are read, by no means more.
func glassEffect(role string) (effect, bool) {
	allow := permissions{api.TenantRead: true, api.DataRead: true}
	switch role {
	case GlassExport:
		allow[api.DataExport] = true
	case GlassRead:
	default:
		return effect{}, false
	}
	return effect{allow: allow}, true
}

// effectOfRow is what a stored grant allows.
func (s *Service) effectOfRow(ctx context.Context, tx *sqlx.Tx, r grantRow) (effect, error) {
	return s.effectOfAny(ctx, tx, r.Scope, r.Role, r.Glass)
}

func (s *Service) effectOfAny(ctx context.Context, tx *sqlx.Tx, scope, role string, glass bool) (effect, error) {
	if !glass {
		return s.effectOf(ctx, tx, scope, role)
	}
	e, ok := glassEffect(role)
	if !ok {
		return effect{}, errRole(role)
	}
	return e, nil
}

// ApproveAccess gives what was asked for, from now. The context's actor must be another
// one than who asked and hold on the tenant all that is given.
func (s *Service) ApproveAccess(ctx context.Context, tenant, id, note string) (AccessRequest, error) {
	r, approver, err := s.toDecide(ctx, tenant, id)
	if err != nil {
		return AccessRequest{}, err
	}
	end, err := s.givingAny(ctx, r)
	if err != nil {
		return AccessRequest{}, err
	}
	r.Note, r.Until = note, millis(end)
	r = s.approval(r, approver)
	err = s.noted(ctx, func(tx *sqlx.Tx) error { return s.giveAccess(ctx, tx, r) }, func(ctx context.Context) error { return s.recordApproval(ctx, r) })
	if err != nil {
		return AccessRequest{}, fmt.Errorf("approve access: %w", err)
	}
	return s.shownRequest(ctx, r)
}

// givingAny refuses to approve more than the approver has, and tells until when they have
// it; zero: no end.
func (s *Service) givingAny(ctx context.Context, r requestRow) (end time.Time, err error) {
	var e effect
	err = s.config.DB.View(ctx, func(tx *sqlx.Tx) (err error) {
		e, err = s.effectOfAny(ctx, tx, r.Tenant, r.Role, r.Glass)
		return err
	})
	if err != nil {
		return end, err
	}
	return s.handOut(ctx, r.Tenant, append(list(e.allow), api.MemberManage))
}

// toDecide finds an open request that is not the context's actor's own.
func (s *Service) toDecide(ctx context.Context, tenant, id string) (r requestRow, approver string, err error) {
	approver, ok := holderOf(data.ActorFrom(ctx))
	if !ok {
		return r, "", api.ErrUnauthenticated
	}
	if r, err = s.request(ctx, tenant, id); err != nil {
		return r, "", err
	}
	if r.Requester == approver {
		return r, "", api.Errorf(http.StatusForbidden, "own-request", "Somebody else has to decide about a request of your own.").Because(api.ErrForbidden)
	}
	if state := r.state(s.now()); state != requestOpen {
		return r, "", errNotOpen(state)
	}
	return r, approver, nil
}

func errNotOpen(state string) error {
	return api.Errorf(http.StatusConflict, "not-open", "This request is %s: it cannot be decided any more.", state)
}

// approval is a request as it is when it is approved now. What it brings ends at the
// latest at the request's Until, if it has one.
func (s *Service) approval(r requestRow, by string) requestRow {
	now := s.now()
	r.State, r.Decided, r.DecidedBy = requestApproved, millis(now), by
	r.Grant, r.Until = system.NewID(), millis(sooner(now.Add(time.Duration(r.Seconds)*time.Second), fromMillis(r.Until)))
	return r
}

// giveAccess turns an approved request into its grant.
func (s *Service) giveAccess(ctx context.Context, tx *sqlx.Tx, r requestRow) error {
	now := fromMillis(r.Decided)
	g := Grant{ID: r.Grant, Person: r.Requester, Role: r.Role, Scope: r.Tenant, From: now, Until: fromMillis(r.Until), Why: r.Why, Request: r.ID, Glass: r.Glass}
	if err := s.stillThere(ctx, tx, r); err != nil {
		return err
	}
	if err := decide(ctx, tx, r, now); err != nil {
		return err
	}
	if !g.Glass {
		if err := notOwnerAndDenied(ctx, tx, s, g); err != nil {
			return err
		}
	}
	return insertGrant(ctx, tx, g, now)
}

func (s *Service) recordApproval(ctx context.Context, r requestRow) error {
	return s.recordAccess(ctx, "access.approve", r, map[string]string{"until": fromMillis(r.Until).Format(time.RFC3339), "by": r.DecidedBy, "note": r.Note})
}

// stillThere refuses to let in whose account is not active any more.
func (s *Service) stillThere(ctx context.Context, tx *sqlx.Tx, r requestRow) error {
	if r.Requester == hostHolder {
		return nil
	}
	var state string
	err := oneRow(tx.GetContext(ctx, &state, `SELECT state FROM persons WHERE id = ?`, r.Requester))
	if err != nil || state != active {
		return orElse(err, api.Errorf(http.StatusConflict, "not-active", "The account of who asked is not active."))
	}
	ok, err := s.stillSees(ctx, tx, r)
	if err != nil || !ok {
		return orElse(err, api.Errorf(http.StatusConflict, "not-any-more", "Who asked has no role any more with which to ask."))
	}
	return nil
}

// stillSees says whether who asked may still do what asking takes.
func (s *Service) stillSees(ctx context.Context, tx *sqlx.Tx, r requestRow) (bool, error) {
	var rows []grantRow
	err := tx.SelectContext(ctx, &rows, `SELECT `+grantColumns+` FROM grants WHERE person = ? AND revoked = 0 AND scope IN (?, ?)`, r.Requester, r.Tenant, Appliance)
	if err != nil {
		return false, err
	}
	held, err := s.effects(ctx, tx, rows)
	ok, _ := standing{grants: held}.allows(api.TenantRead, r.Tenant, s.now())
	return ok, err
}

// decide ends the openness of a request; of two who decide at once, one comes too late.
func decide(ctx context.Context, tx *sqlx.Tx, r requestRow, now time.Time) error {
	done, err := tx.ExecContext(ctx, `UPDATE access_requests SET state = ?, decided = ?, decided_by = ?, note = ?, grant_id = ?, valid_until = ?
		WHERE id = ? AND state = 'open' AND expires > ?`, r.State, r.Decided, r.DecidedBy, r.Note, r.Grant, r.Until, r.ID, millis(now))
	err = changedOne(done, err)
	if errors.Is(err, data.ErrNotFound) {
		return errNotOpen("decided")
	}
	return err
}

// ApproveEmergency is one of two operators' approvals. It gives what was asked for when
// the second one has approved.
func (s *Service) ApproveEmergency(ctx context.Context, tenant, id, note string) (AccessRequest, error) {
	r, approver, err := s.toDecide(ctx, tenant, id)
	if err != nil {
		return AccessRequest{}, err
	}
	if approver == hostHolder {
		return AccessRequest{}, api.Errorf(http.StatusForbidden, "no-person", "Two persons have to approve an emergency, each with an account of their own.").Because(api.ErrForbidden)
	}
	r.Note = note
	var by []string
	err = s.noted(ctx, func(tx *sqlx.Tx) (err error) {
		if by, err = s.addApproval(ctx, tx, r, approver); err != nil || len(by) < 2 {
			return err
		}
		r = s.approval(r, strings.Join(by, ","))
		return s.giveAccess(ctx, tx, r)
	}, func(ctx context.Context) error {
		if len(by) < 2 {
			return s.recordAccess(ctx, "access.emergency", r, map[string]string{"by": approver, "approvals": "1 of 2"})
		}
		return s.recordApproval(ctx, r)
	})
	if err != nil {
		return AccessRequest{}, fmt.Errorf("approve emergency: %w", err)
	}
	return s.shownRequest(ctx, r)
}

// addApproval adds one operator's, and tells whose count now.
func (s *Service) addApproval(ctx context.Context, tx *sqlx.Tx, r requestRow, approver string) ([]string, error) {
	if p, err := policyOf(ctx, tx, r.Tenant); err != nil || !p.Emergency || !r.Emergency {
		return nil, orElse(err, errNoEmergency())
	}
	by, err := s.approversNow(ctx, tx, r)
	if err != nil || slices.Contains(by, approver) {
		return by, err
	}
	ok, err := s.mayApproveEmergency(ctx, tx, r, by, approver)
	if err != nil || !ok {
		return nil, orElse(err, errNotIndependent())
	}
	_, err = tx.ExecContext(ctx, `INSERT OR IGNORE INTO access_approvals (request, person, at) VALUES (?, ?, ?)`, r.ID, approver, millis(s.now()))
	return append(by, approver), err
}

// approversNow are those who approved and still could: an approval of who is locked since,
// or no operator any more, counts no more.
func (s *Service) approversNow(ctx context.Context, tx *sqlx.Tx, r requestRow) (by []string, err error) {
	var all []string
	err = tx.SelectContext(ctx, &all, `SELECT a.person FROM access_approvals a JOIN persons p ON p.id = a.person AND p.state = ?
		WHERE a.request = ? ORDER BY a.at, a.person`, active, r.ID)
	for _, person := range all {
		ok, e := s.mayApproveEmergency(ctx, tx, r, by, person)
		if err = errors.Join(err, e); ok {
			by = append(by, person)
		}
	}
	return by, err
}

// mayApproveEmergency says whether an operator is independent of the requester and of
// those who approved, and was one before the request by the roles that approve
// emergencies: no pair of eyes is made for the occasion.
func (s *Service) mayApproveEmergency(ctx context.Context, tx *sqlx.Tx, r requestRow, by []string, approver string) (bool, error) {
	ago := s.now().Add(-RecoveredAlone)
	apart, err := s.independent(ctx, tx, ago, ago, append([]string{r.Requester, approver}, by...)...)
	if err != nil || !apart {
		return false, err
	}
	var rows []grantRow
	err = tx.SelectContext(ctx, &rows, `SELECT `+grantColumns+` FROM grants g WHERE person = ? AND scope = ? AND revoked = 0 AND `+madeAt+` < ?`, approver, Appliance, r.Asked)
	if err != nil {
		return false, err
	}
	held, err := s.effects(ctx, tx, rows)
	ok, _ := standing{grants: held}.allows(api.AccessDecide, Appliance, s.now())
	return ok, err
}

func errNotIndependent() error {
	return api.Errorf(http.StatusForbidden, "not-independent",
		"Whoever approves an emergency has to have been an operator before it was asked for. In the last 14 days none of the three may have made another one an operator, nor one person two of them, nor may anybody have opened the account of one anew.").Because(api.ErrForbidden)
}

// RefuseAccess answers no.
func (s *Service) RefuseAccess(ctx context.Context, tenant, id, note string) (AccessRequest, error) {
	r, by, err := s.toDecide(ctx, tenant, id)
	if err != nil {
		return AccessRequest{}, err
	}
	now := s.now()
	r.State, r.Decided, r.DecidedBy, r.Note = requestRefused, millis(now), by, note
	return s.close(ctx, r, "access.refuse")
}

// close ends an open request without a grant.
func (s *Service) close(ctx context.Context, r requestRow, action string) (AccessRequest, error) {
	err := s.noted(ctx, func(tx *sqlx.Tx) error { return decide(ctx, tx, r, s.now()) },
		func(ctx context.Context) error {
			return s.recordAccess(ctx, action, r, map[string]string{"note": r.Note})
		})
	if err != nil {
		return AccessRequest{}, fmt.Errorf("close access request: %w", err)
	}
	return s.shownRequest(ctx, r)
}
