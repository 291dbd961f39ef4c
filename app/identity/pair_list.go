package identity

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"

	"holdfast/app/api"
	"holdfast/data"
)

// Approval is a request that takes two persons, with what came of it.
type Approval struct {
	ID        string     `json:"id"`
	Requester Person     `json:"requester" doc:"id is host for the local socket's actor, which did it alone"`
	Action    string     `json:"action"`
	Title     string     `json:"title"`
	Facts     []api.Fact `json:"facts" doc:"all that was asked for; of secrets only which are given"`
	Secrets   []string   `json:"secrets" doc:"fields whose values are given only when it is carried out, and that nobody approves"`
	Digest    string     `json:"digest" doc:"SHA-256 of who asked and of exactly what"`
	Asked     time.Time  `json:"asked"`
	Expires   time.Time  `json:"expires" doc:"unanswered until then, or approved and not carried out, it counts no more"`
	State     string     `json:"state" enum:"open,approved,refused,withdrawn,expired,used,alone" doc:"used: carried out; alone: by the host's command line, without anybody"`
	Decided   *time.Time `json:"decided"`
	DecidedBy *Person    `json:"decidedBy"`
	Note      string     `json:"note" doc:"of who decided"`
	Used      *time.Time `json:"used"`
	Mine      bool       `json:"mine"`
	MayDecide bool       `json:"mayDecide" doc:"the caller may approve or refuse it"`
}

func (s *Service) shownPair(ctx context.Context, r pairRow) (Approval, error) {
	list, err := s.shownPairs(ctx, []pairRow{r})
	if err != nil {
		return Approval{}, err
	}
	return list[0], nil
}

func (s *Service) shownPairs(ctx context.Context, rows []pairRow) ([]Approval, error) {
	people := map[string]Person{hostHolder: {ID: hostHolder, Name: "Command line of the host"}}
	out := make([]Approval, len(rows))
	for i, r := range rows {
		var err error
		if out[i], err = s.onePair(ctx, r, people); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (s *Service) onePair(ctx context.Context, r pairRow, people map[string]Person) (a Approval, err error) {
	me, _ := holderOf(data.ActorFrom(ctx))
	a = Approval{ID: r.ID, Action: r.Action, Title: r.Title, Digest: r.Digest, Asked: fromMillis(r.Asked), Expires: fromMillis(r.Expires),
		State: r.state(s.now()), Decided: moment(r.Decided), Note: r.Note, Used: moment(r.Used), Mine: me == r.Requester}
	if err := json.Unmarshal([]byte(r.Facts), &a.Facts); err != nil {
		return a, fmt.Errorf("read what was asked: %w", err)
	}
	if err := json.Unmarshal([]byte(r.Secrets), &a.Secrets); err != nil {
		return a, fmt.Errorf("read what was asked: %w", err)
	}
	if a.Requester, err = s.knownPerson(ctx, r.Requester, people); err != nil {
		return a, err
	}
	if r.DecidedBy != "" {
		by, err := s.knownPerson(ctx, r.DecidedBy, people)
		if err != nil {
			return a, err
		}
		a.DecidedBy = &by
	}
	if a.State == requestOpen && me != "" && !a.Mine {
		a.MayDecide, err = s.couldApprovePair(ctx, r, me)
	}
	return a, err
}

func (s *Service) couldApprovePair(ctx context.Context, r pairRow, me string) (bool, error) {
	if me == hostHolder {
		return true, nil
	}
	force, err := s.readForce(ctx, api.Permission(r.Permission))
	if err != nil {
		return false, err
	}
	err = s.mayApprovePair(ctx, r, me, force)
	if errors.Is(err, api.ErrForbidden) || errors.Is(err, api.ErrUnauthenticated) {
		return false, nil
	}
	return err == nil, err
}

// pairStates are the states that a list can be narrowed to, by the clock.
const (
	pairsOpen = `state = 'open' AND expires > ?`
	pairsGood = `state = 'approved' AND expires > ?`
)

// pairs is a page of all requests, newest first; state narrows it.
func (s *Service) pairs(ctx context.Context, state string, page api.Paging) (api.Page[Approval], error) {
	where, now := ``, millis(s.now())
	args := []any{now}
	switch state {
	case "":
		args = nil
	case requestOpen:
		where = ` WHERE ` + pairsOpen
	case requestApproved:
		where = ` WHERE ` + pairsGood
	case pairAlone:
		where, args = ` WHERE state = 'alone'`, nil
	case "past":
		where, args = ` WHERE NOT (`+pairsOpen+` OR `+pairsGood+`)`, []any{now, now}
	default:
		return api.Page[Approval]{}, api.InvalidField("state", "want open, approved, alone or past")
	}
	var rows []pairRow
	var total int
	err := s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		if err := tx.GetContext(ctx, &total, `SELECT count(*) FROM pair_requests`+where, args...); err != nil {
			return err
		}
		return tx.SelectContext(ctx, &rows, `SELECT `+pairColumns+` FROM pair_requests`+where+` ORDER BY asked DESC, id LIMIT ? OFFSET ?`,
			append(args, page.PerPage, page.Offset())...)
	})
	if err != nil {
		return api.Page[Approval]{}, fmt.Errorf("list approvals: %w", err)
	}
	items, err := s.shownPairs(ctx, rows)
	return api.NewPage(items, page, total), err
}

// aloneShown is how long what the host did alone is told of, and how much of it.
const aloneShown, mostAlone = 7 * 24 * time.Hour, 20

// DoneAlone is what the host's command line did of late without a second person, newest
// first, at most twenty.
func (s *Service) DoneAlone(ctx context.Context) ([]Approval, error) {
	var rows []pairRow
	err := s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		return tx.SelectContext(ctx, &rows, `SELECT `+pairColumns+` FROM pair_requests WHERE state = ? AND asked > ? ORDER BY asked DESC, id LIMIT ?`,
			pairAlone, millis(s.now().Add(-aloneShown)), mostAlone)
	})
	if err != nil {
		return nil, fmt.Errorf("look what the host did alone: %w", err)
	}
	return s.shownPairs(ctx, rows)
}
