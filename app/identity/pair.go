package identity

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/jmoiron/sqlx"

	"holdfast/app/api"
	"holdfast/data"
	"holdfast/data/system"
)

var _ api.Pairer = (*Service)(nil)

// How long a question for a second person waits, and how long its approval is good.
const (
	PairWaits = 24 * time.Hour
	PairGood  = 24 * time.Hour
)

// States of what takes two persons, besides those of requests for access.
const (
	pairUsed  = "used"  // carried out
	pairAlone = "alone" // carried out by the host's command line, without anybody
)

// pairRow is a question as the table holds it.
type pairRow struct {
	ID         string `db:"id"`
	Requester  string `db:"requester"`
	Action     string `db:"action"`
	Title      string `db:"title"`
	Permission string `db:"permission"`
	Tenant     string `db:"tenant"`
	Facts      string `db:"facts"`
	Secrets    string `db:"secrets"`
	Digest     string `db:"digest"`
	Asked      int64  `db:"asked"`
	Expires    int64  `db:"expires"`
	State      string `db:"state"`
	Decided    int64  `db:"decided"`
	DecidedBy  string `db:"decided_by"`
	Note       string `db:"note"`
	Used       int64  `db:"used"`
}

const pairColumns = `id, requester, action, title, permission, tenant, facts, secrets, digest, asked, expires, state, decided, decided_by, note, used`

// state is the row's, as the clock has it.
func (r pairRow) state(now time.Time) string {
	if (r.State == requestOpen || r.State == requestApproved) && millis(now) >= r.Expires {
		return requestExpired
	}
	return r.State
}

// Pair lets a request of an operator through when another one has approved exactly it,
// and asks for that otherwise. A tenant's own people are not asked: it is theirs. The
// host's command line can do it alone; then everybody who could have approved is told.
func (s *Service) Pair(ctx context.Context, a api.Asking) (func(context.Context, error), error) {
	force, err := s.pairNow(ctx, a.Permission)
	if err != nil || force.Since == 0 {
		return nil, err
	}
	actor := data.ActorFrom(ctx)
	switch actor.Kind {
	case data.Host:
		return nil, s.alone(ctx, a, force.could)
	case data.Person:
	default: // a program cannot wait for a person, nor be one
		return nil, api.Errorf(http.StatusForbidden, "two-persons", "This takes two persons here: a key cannot do it.").Because(api.ErrForbidden)
	}
	if operates, err := s.operates(ctx, actor.ID); err != nil || !operates {
		return nil, err
	}
	return s.secondPerson(ctx, actor.ID, a, force)
}

// operates says whether somebody has a role of the appliance.
func (s *Service) operates(ctx context.Context, person string) (bool, error) {
	st, err := s.standing(ctx, person)
	for _, g := range st.grants {
		if g.Scope == Appliance && g.at(s.now()) {
			return true, err
		}
	}
	return false, err
}

// secondPerson uses the approval that there is, or asks for one.
func (s *Service) secondPerson(ctx context.Context, person string, a api.Asking, force pairForce) (func(context.Context, error), error) {
	row, err := s.pairOf(ctx, person, a.Digest)
	if errors.Is(err, data.ErrNotFound) {
		row, err = s.askPair(ctx, person, a, force.could)
	}
	if err != nil {
		return nil, err
	}
	if row.State == requestOpen {
		return nil, errSecondPerson(row)
	}
	return s.usePair(ctx, row, force)
}

// errSecondPerson is what who asks reads; the header names the question.
func errSecondPerson(r pairRow) error {
	return api.Errorf(http.StatusForbidden, "second-person-required",
		"This takes two persons. Another operator has to approve it until %s (request %s); then do exactly the same again.",
		fromMillis(r.Expires).Format("2006-01-02 15:04 UTC"), r.ID).
		WithHeader("Location", pairsPath+"/"+r.ID).Because(api.ErrTwoPersons)
}

// pairOf is the question of a person with this digest that is open or approved.
// data.ErrNotFound.
func (s *Service) pairOf(ctx context.Context, person, digest string) (r pairRow, err error) {
	now := millis(s.now())
	err = s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		r, err = samePair(ctx, tx, person, digest, now)
		return err
	})
	if err != nil {
		return r, fmt.Errorf("find the approval: %w", err)
	}
	return r, nil
}

func samePair(ctx context.Context, tx *sqlx.Tx, person, digest string, now int64) (r pairRow, err error) {
	return r, oneRow(tx.GetContext(ctx, &r, `SELECT `+pairColumns+` FROM pair_requests WHERE digest = ? AND requester = ?
		AND state IN ('open', 'approved') AND expires > ?`, digest, person, now))
}

// newPair is a row of what is asked.
func (s *Service) newPair(requester string, a api.Asking, state string) pairRow {
	now := s.now()
	facts, _ := json.Marshal(a.Facts) // texts always marshal
	secrets, _ := json.Marshal(a.Secrets)
	return pairRow{ID: system.NewID(), Requester: requester, Action: a.Action, Title: a.Title, Permission: string(a.Permission), Tenant: a.Tenant,
		Facts: string(facts), Secrets: string(secrets), Digest: a.Digest, Asked: millis(now), Expires: millis(now.Add(PairWaits)), State: state}
}

const insertPair = `INSERT INTO pair_requests (` + pairColumns + `) VALUES
	(:id, :requester, :action, :title, :permission, :tenant, :facts, :secrets, :digest, :asked, :expires, :state, :decided, :decided_by, :note, :used)`

// askPair keeps a question, which is in the log first, and tells those who could answer.
// Of two who ask the same at once, both get the one.
func (s *Service) askPair(ctx context.Context, person string, a api.Asking, could []string) (pairRow, error) {
	r := s.newPair(person, a, requestOpen)
	mine := r.ID
	err := s.noted(ctx, func(tx *sqlx.Tx) (err error) {
		r, err = s.keepAsked(ctx, tx, r)
		return err
	}, func(ctx context.Context) error {
		if r.ID != mine {
			return nil
		}
		return s.recordPair(ctx, "approval.request", r, api.OK, nil)
	})
	if err != nil {
		return r, fmt.Errorf("ask for a second person: %w", err)
	}
	if r.ID == mine {
		s.tellAsked(ctx, r, could)
	}
	return r, nil
}

// keepAsked stores a question, or gives the same one that there is already.
func (s *Service) keepAsked(ctx context.Context, tx *sqlx.Tx, r pairRow) (pairRow, error) {
	there, err := samePair(ctx, tx, r.Requester, r.Digest, r.Asked)
	if !errors.Is(err, data.ErrNotFound) {
		return there, err
	}
	if err := s.endPairs(ctx, tx, "", `requester = ? AND digest = ?`, r.Requester, r.Digest); err != nil { // over, and not swept yet
		return r, err
	}
	if err := mayAskPair(ctx, tx, r); err != nil {
		return r, err
	}
	_, err = tx.NamedExecContext(ctx, insertPair, r)
	return r, err
}

func mayAskPair(ctx context.Context, tx *sqlx.Tx, r pairRow) error {
	var open int
	err := tx.GetContext(ctx, &open, `SELECT count(*) FROM pair_requests WHERE requester = ? AND state = 'open' AND expires > ?`, r.Requester, r.Asked)
	if err == nil && open >= maxOpenRequests {
		err = api.Errorf(http.StatusConflict, "too-many", "%d requests of yours wait already. Withdraw one first.", open)
	}
	return err
}

// usePair takes an approval, once, and records that it is carried out now. An approval
// that could not be given any more counts no more.
func (s *Service) usePair(ctx context.Context, r pairRow, force pairForce) (func(context.Context, error), error) {
	err := s.stillApproved(ctx, r, force)
	if errors.Is(err, api.ErrForbidden) || errors.Is(err, api.ErrUnauthenticated) {
		err = errors.Join(errNoMore(), s.dropPair(ctx, r))
	}
	if err != nil {
		return nil, err
	}
	if err := s.movePair(ctx, r, requestApproved, pairUsed); err != nil {
		return nil, err
	}
	if err := s.recordPair(ctx, "approval.use", r, api.OK, map[string]string{"by": r.DecidedBy}); err != nil {
		return nil, errors.Join(err, s.giveBack(ctx, r))
	}
	return func(ctx context.Context, failed error) { s.usedPair(ctx, r, failed) }, nil
}

func errNoMore() error {
	return api.Errorf(http.StatusForbidden, "approver-gone", "This could not be approved any more by who did it, or your account was opened anew since. Ask again.").Because(api.ErrForbidden)
}

// dropPair ends an approval that counts no more.
func (s *Service) dropPair(ctx context.Context, r pairRow) error {
	if err := s.recordPair(ctx, "approval.expire", r, api.OK, map[string]string{"why": "it could not be approved any more"}); err != nil {
		return err
	}
	return s.movePair(ctx, r, requestApproved, requestExpired)
}

// movePair changes a state if it still is what it was: of two at once, one comes too late.
func (s *Service) movePair(ctx context.Context, r pairRow, from, to string) error {
	used := int64(0)
	if to == pairUsed {
		used = millis(s.now())
	}
	err := s.config.DB.Update(context.WithoutCancel(ctx), func(tx *sqlx.Tx) error {
		return changedOne(tx.ExecContext(ctx, `UPDATE pair_requests SET state = ?, used = ? WHERE id = ? AND state = ?`, to, used, r.ID, from))
	})
	if errors.Is(err, data.ErrNotFound) {
		return errNotOpen("used")
	}
	return err
}

// usedPair gives the approval back when the request was refused before anything was done,
// as a passphrase that is too short.
func (s *Service) usedPair(ctx context.Context, r pairRow, failed error) {
	if failed == nil || api.AsProblem(failed).Status >= http.StatusInternalServerError {
		return
	}
	if err := s.giveBack(ctx, r); err != nil {
		s.config.Logger.ErrorContext(ctx, "an approval that was not used was not given back", "request", r.ID, "error", err)
	}
}

// giveBack makes an approval good that was taken and not used. Whoever asked for the same
// meanwhile needs no answer any more.
func (s *Service) giveBack(ctx context.Context, r pairRow) error {
	return s.ending(ctx, func(tx *sqlx.Tx) ([]holding, error) {
		if err := s.endPairs(ctx, tx, "an approval of the same is there", `requester = ? AND digest = ?`, r.Requester, r.Digest); err != nil {
			return nil, err
		}
		return nil, changedOne(tx.ExecContext(ctx, `UPDATE pair_requests SET state = 'approved', used = 0 WHERE id = ? AND state = 'used'`, r.ID))
	})
}

// alone records what the host's command line does without a second person, before it is
// done, and tells everybody who could have been one.
func (s *Service) alone(ctx context.Context, a api.Asking, could []string) error {
	r := s.newPair(hostHolder, a, pairAlone)
	r.Used = r.Asked
	if err := s.recordPair(ctx, "approval.alone", r, api.OK, nil); err != nil {
		return err
	}
	err := s.config.DB.Update(ctx, func(tx *sqlx.Tx) error {
		_, err := tx.NamedExecContext(ctx, insertPair, r)
		return err
	})
	if err != nil {
		return fmt.Errorf("note what the host does alone: %w", err)
	}
	s.tellAlone(ctx, r, could)
	return nil
}

// recordPair enters a step into the appliance's log.
func (s *Service) recordPair(ctx context.Context, action string, r pairRow, o api.Outcome, more map[string]string) error {
	return s.record(context.WithoutCancel(ctx), action, r.Action, o, r.detail(more))
}

// detail is what the log tells of it.
func (r pairRow) detail(more map[string]string) map[string]string {
	d := map[string]string{"request": r.ID, "action": r.Action, "digest": r.Digest, "requester": r.Requester, "what": factText(r, "; ")}
	for k, v := range more {
		if v != "" {
			d[k] = v
		}
	}
	return d
}

// factText words what was asked for.
func factText(r pairRow, between string) string {
	var facts []api.Fact
	_ = json.Unmarshal([]byte(r.Facts), &facts) // ours
	parts := make([]string, len(facts))
	for i, f := range facts {
		parts[i] = f.Name + ": " + f.Value
	}
	return strings.Join(parts, between)
}
