package review

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/jmoiron/sqlx"

	"holdfast/app/api"
	"holdfast/data"
	"holdfast/data/system"
)

// Causes of a campaign.
const (
	asked    = "asked"
	schedule = "schedule"
)

// Review is a campaign as it is shown.
type Review struct {
	ID        string     `json:"id"`
	Scope     string     `json:"scope" doc:"appliance, or a tenant's id"`
	Name      string     `json:"name" doc:"of the scope, as it was when the campaign began"`
	State     string     `json:"state" enum:"open,notice,closed" doc:"notice: what is unanswered lapses soon"`
	Cause     string     `json:"cause" enum:"asked,schedule"`
	Started   time.Time  `json:"started"`
	StartedBy string     `json:"startedBy"`
	Due       time.Time  `json:"due" doc:"until then it is to be answered"`
	Ends      time.Time  `json:"ends" doc:"when what is unanswered is revoked"`
	Closed    *time.Time `json:"closed"`
	Summary   Summary    `json:"summary"`
}

// Summary counts the items of a campaign by what was decided.
type Summary struct {
	Items     int `json:"items" db:"items"`
	Waiting   int `json:"waiting" db:"waiting"`
	Confirmed int `json:"confirmed" db:"confirmed"`
	Revoked   int `json:"revoked" db:"revoked"`
	Lapsed    int `json:"lapsed" db:"lapsed" doc:"revoked because nobody answered"`
	Kept      int `json:"kept" db:"kept" doc:"unanswered, and kept: the last owner's"`
	Gone      int `json:"gone" db:"gone" doc:"ended by other means before it was decided"`
}

const summaryColumns = `count(*) AS items, coalesce(sum(decision = ''), 0) AS waiting, coalesce(sum(decision = 'confirmed'), 0) AS confirmed,
	coalesce(sum(decision = 'revoked'), 0) AS revoked, coalesce(sum(decision = 'lapsed'), 0) AS lapsed,
	coalesce(sum(decision = 'kept'), 0) AS kept, coalesce(sum(decision = 'gone'), 0) AS gone`

func (r reviewRow) review(sum Summary) Review {
	state := "open"
	switch {
	case r.Closed != 0:
		state = "closed"
	case r.Noticed != 0:
		state = "notice"
	}
	return Review{
		ID: r.ID, Scope: r.Scope, Name: r.Name, State: state, Cause: r.Cause, Started: timeOf(r.Started), StartedBy: r.StartedBy,
		Due: timeOf(r.Due), Ends: r.ends(), Closed: moment(r.Closed), Summary: sum,
	}
}

// Start begins a campaign of a scope. A 409 while one is under way.
func (s *Service) Start(ctx context.Context, scope Scope) (Review, error) {
	return s.start(ctx, scope, asked)
}

func (s *Service) start(ctx context.Context, scope Scope, cause string) (Review, error) {
	s.turn.Lock()
	defer s.turn.Unlock()
	if open, err := s.openOf(ctx, scope.ID); err != nil || open != "" {
		return Review{}, orElse(err, api.Errorf(http.StatusConflict, "review-open", "A review of %s is under way: %s.", scope.Name, open).Because(data.ErrExists))
	}
	policy, err := s.Policy(ctx)
	if err != nil {
		return Review{}, err
	}
	held, err := s.config.Access.Held(ctx, scope.ID)
	if err != nil {
		return Review{}, fmt.Errorf("start a review of %s: %w", scope.Name, err)
	}
	now := s.now()
	row := reviewRow{ID: system.NewID(), Scope: scope.ID, Name: scope.Name, Cause: cause, Started: millis(now), StartedBy: data.ActorFrom(ctx).String(),
		Due: millis(now.Add(time.Duration(policy.Answer) * day)), Notice: int64(policy.Notice)}
	detail := map[string]string{"scope": scope.Name, "cause": cause, "items": strconv.Itoa(len(held)), "due": timeOf(row.Due).Format(time.RFC3339)}
	if err := s.record(ctx, scope.ID, "review.start", row.ID, detail); err != nil {
		return Review{}, err
	}
	if err := s.insert(ctx, row, held); err != nil {
		return Review{}, fmt.Errorf("start a review of %s: %w", scope.Name, err)
	}
	s.tell(ctx, Notice{Kind: NoticeStarted, Scope: scope.ID, Name: scope.Name, Review: row.ID, Waiting: len(held), Until: row.ends()})
	return s.finishIfDone(ctx, row.ID)
}

func orElse(err, otherwise error) error {
	if err != nil {
		return err
	}
	return otherwise
}

// openOf is the id of the campaign of a scope that is under way; "" for none.
func (s *Service) openOf(ctx context.Context, scope string) (id string, err error) {
	err = s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		return tx.GetContext(ctx, &id, `SELECT coalesce(max(id), '') FROM reviews WHERE scope = ? AND closed = 0`, scope)
	})
	return id, err
}

func (s *Service) insert(ctx context.Context, row reviewRow, held []Held) error {
	return s.config.DB.Update(ctx, func(tx *sqlx.Tx) error {
		if _, err := tx.NamedExecContext(ctx, `INSERT INTO reviews (id, scope, name, cause, started, started_by, due, notice)
			VALUES (:id, :scope, :name, :cause, :started, :started_by, :due, :notice)`, row); err != nil {
			return err
		}
		for _, h := range held {
			item := itemRow{ID: system.NewID(), Review: row.ID, Kind: h.Kind, Held: h.ID, Store: h.Store, Name: h.Name, Detail: h.Detail, Role: h.Role,
				Since: millis(h.Since), Until: millis(h.Until), Used: millis(h.Used)}
			if h.Holder.Kind != "" {
				item.Holder = h.Holder.String()
			}
			if _, err := tx.NamedExecContext(ctx, `INSERT INTO review_items (id, review, kind, held, store, holder, name, detail, role, since, until, used)
				VALUES (:id, :review, :kind, :held, :store, :holder, :name, :detail, :role, :since, :until, :used)`, item); err != nil {
				return err
			}
		}
		return nil
	})
}

// Get shows a campaign. data.ErrNotFound.
func (s *Service) Get(ctx context.Context, id string) (Review, error) {
	row, err := s.row(ctx, id)
	if err != nil {
		return Review{}, err
	}
	sum, err := s.summary(ctx, id)
	return row.review(sum), err
}

func (s *Service) summary(ctx context.Context, id string) (sum Summary, err error) {
	err = s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		return tx.GetContext(ctx, &sum, `SELECT `+summaryColumns+` FROM review_items WHERE review = ?`, id)
	})
	return sum, err
}

// finishIfDone closes a campaign in which nothing waits any more.
func (s *Service) finishIfDone(ctx context.Context, id string) (Review, error) {
	r, err := s.Get(ctx, id)
	if err != nil || r.Summary.Waiting > 0 || r.State == "closed" {
		return r, err
	}
	return s.close(ctx, id)
}

// close ends a campaign, with its signed report.
func (s *Service) close(ctx context.Context, id string) (Review, error) {
	row, err := s.row(ctx, id)
	if err != nil {
		return Review{}, err
	}
	row.Closed = millis(s.now())
	if err := s.sign(ctx, &row); err != nil {
		return Review{}, err
	}
	sum, err := s.summary(ctx, id)
	if err != nil {
		return Review{}, err
	}
	detail := map[string]string{"scope": row.Name, "confirmed": strconv.Itoa(sum.Confirmed), "revoked": strconv.Itoa(sum.Revoked), "lapsed": strconv.Itoa(sum.Lapsed), "kept": strconv.Itoa(sum.Kept)}
	if err := s.record(ctx, row.Scope, "review.close", id, detail); err != nil {
		return Review{}, err
	}
	err = s.config.DB.Update(ctx, func(tx *sqlx.Tx) error {
		_, err := tx.NamedExecContext(ctx, `UPDATE reviews SET closed = :closed, report = :report, signature = :signature, vkey = :vkey WHERE id = :id`, row)
		return err
	})
	return row.review(sum), errors.Join(err)
}
