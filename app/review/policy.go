package review

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/jmoiron/sqlx"

	"holdfast/app/api"
	"holdfast/data"
)

// Policy says when access is looked at again, and what becomes of what nobody uses.
// All are days.
type Policy struct {
	Every      int `json:"every_days" doc:"between campaigns of a scope; 0: only on demand"`
	Answer     int `json:"answer_days" doc:"from the beginning until notice is given"`
	Notice     int `json:"notice_days" doc:"from the notice until what is unanswered is revoked"`
	Dormant    int `json:"dormant_days" doc:"without a sign-in until an account is disabled; 0: never"`
	Warn       int `json:"warn_days" doc:"at least so long before that, its person is warned; owners of unused keys too, at most half of unused_key_days"`
	UnusedKeys int `json:"unused_key_days" doc:"without use until an API key is disabled; 0: never"`
}

// DefaultPolicy is what holds until somebody says otherwise.
func DefaultPolicy() Policy {
	return Policy{Every: 91, Answer: 14, Notice: 7, Dormant: 90, Warn: 14, UnusedKeys: 90}
}

func (p Policy) check() error {
	var wrong []api.FieldError
	within := func(field string, n, least, most int, orNever bool) {
		if orNever && n == 0 {
			return
		}
		if n < least || n > most {
			wrong = append(wrong, api.FieldError{Field: field, Message: fmt.Sprintf("%d to %d days", least, most)})
		}
	}
	within("every_days", p.Every, 7, 400, true)
	within("answer_days", p.Answer, 1, 90, false)
	within("notice_days", p.Notice, 1, 90, false)
	within("dormant_days", p.Dormant, 14, 3650, true)
	within("warn_days", p.Warn, 1, 60, false)
	within("unused_key_days", p.UnusedKeys, 7, 3650, true)
	if p.Every > 0 && p.Every < p.Answer+p.Notice {
		wrong = append(wrong, api.FieldError{Field: "every_days", Message: "a campaign would begin before the last one ends"})
	}
	if p.Dormant > 0 && p.Warn >= p.Dormant {
		wrong = append(wrong, api.FieldError{Field: "warn_days", Message: "must be fewer than dormant_days"})
	}
	if len(wrong) > 0 {
		return api.Invalid(wrong...)
	}
	return nil
}

// Policy is the one that holds.
func (s *Service) Policy(ctx context.Context) (Policy, error) {
	p, text := DefaultPolicy(), ""
	err := s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		return tx.GetContext(ctx, &text, `SELECT policy FROM review_policy WHERE one = 1`)
	})
	if errors.Is(err, sql.ErrNoRows) {
		return p, nil
	}
	if err == nil {
		err = json.Unmarshal([]byte(text), &p)
	}
	if err != nil {
		return p, fmt.Errorf("policy of reviews: %w", err)
	}
	return p, nil
}

// SetPolicy replaces the policy; campaigns under way keep theirs.
func (s *Service) SetPolicy(ctx context.Context, p Policy) error {
	if err := p.check(); err != nil {
		return err
	}
	text, err := json.Marshal(p)
	if err != nil {
		return err
	}
	if err := s.record(ctx, Appliance, "review.policy", "policy", map[string]string{"policy": string(text)}); err != nil {
		return err
	}
	return s.config.DB.Update(ctx, func(tx *sqlx.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO review_policy (one, policy, updated, updated_by) VALUES (1, ?, ?, ?)
			ON CONFLICT (one) DO UPDATE SET policy = excluded.policy, updated = excluded.updated, updated_by = excluded.updated_by`,
			string(text), millis(s.now()), data.ActorFrom(ctx).String())
		return err
	})
}
