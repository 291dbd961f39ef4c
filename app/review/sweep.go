package review

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/jmoiron/sqlx"

	"holdfast/data"
)

// Sweep begins campaigns that are due, gives notice, lets lapse what nobody answered
// for, and closes what nobody uses. The appliance's clock calls it.
func (s *Service) Sweep(ctx context.Context, _ time.Time) error {
	policy, err := s.Policy(ctx)
	if err != nil {
		return err
	}
	scopes, err := s.config.Access.Scopes(ctx)
	if err != nil {
		return fmt.Errorf("scopes to review: %w", err)
	}
	if err := s.leaveOutReviews(ctx); err != nil { // nothing lapses by a wrong time
		return err
	}
	err = errors.Join(s.begin(ctx, policy, scopes), s.goOn(ctx, scopes))
	if late := s.leaveOut(ctx); late != nil { // nothing is closed by a wrong time
		return errors.Join(err, late)
	}
	return errors.Join(err, s.sweepAccounts(ctx, policy), s.sweepKeys(ctx, policy, scopes))
}

// begin starts the campaigns that are due.
func (s *Service) begin(ctx context.Context, p Policy, scopes []Scope) error {
	if p.Every == 0 {
		return nil
	}
	last, err := s.lastStarts(ctx)
	for _, scope := range scopes {
		from := scope.Since
		if at, ok := last[scope.ID]; ok {
			from = at
		}
		if s.now().Sub(from) >= time.Duration(p.Every)*day {
			_, e := s.start(ctx, scope, schedule)
			if !errors.Is(e, data.ErrExists) {
				err = errors.Join(err, e)
			}
		}
	}
	return err
}

// lastStarts is when the last campaign of each scope began.
func (s *Service) lastStarts(ctx context.Context) (map[string]time.Time, error) {
	var rows []struct {
		Scope string `db:"scope"`
		Last  int64  `db:"last"`
	}
	err := s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		return tx.SelectContext(ctx, &rows, `SELECT scope, max(started) AS last FROM reviews GROUP BY scope`)
	})
	last := map[string]time.Time{}
	for _, r := range rows {
		last[r.Scope] = timeOf(r.Last)
	}
	return last, err
}

// goOn takes each open campaign a step further, where its scope is live: that of a
// deleted tenant rests.
func (s *Service) goOn(ctx context.Context, scopes []Scope) error {
	live := map[string]bool{}
	for _, scope := range scopes {
		live[scope.ID] = true
	}
	open, err := s.open(ctx)
	for _, r := range open {
		if live[r.Scope] {
			err = errors.Join(err, s.step(ctx, r))
		}
	}
	return err
}

// open are the campaigns under way, the oldest first.
func (s *Service) open(ctx context.Context) (rows []reviewRow, err error) {
	err = s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		return tx.SelectContext(ctx, &rows, `SELECT * FROM reviews WHERE closed = 0 ORDER BY started, id`)
	})
	return rows, err
}

func (s *Service) step(ctx context.Context, r reviewRow) error {
	now := s.now()
	switch {
	case r.Noticed == 0 && !now.Before(timeOf(r.Due)):
		return s.giveNotice(ctx, r, now)
	case r.Noticed != 0 && !now.Before(r.ends()):
		return s.lapse(ctx, r.ID)
	}
	return nil
}

func (s *Service) giveNotice(ctx context.Context, r reviewRow, now time.Time) error {
	sum, err := s.summary(ctx, r.ID)
	if err != nil {
		return err
	}
	r.Noticed = millis(now)
	detail := map[string]string{"scope": r.Name, "waiting": strconv.Itoa(sum.Waiting), "ends": r.ends().Format(time.RFC3339)}
	if err := s.record(ctx, r.Scope, "review.notice", r.ID, detail); err != nil {
		return err
	}
	if err := s.setNoticed(ctx, r.ID, now); err != nil {
		return err
	}
	s.tell(ctx, Notice{Kind: NoticeWaiting, Scope: r.Scope, Name: r.Name, Review: r.ID, Waiting: sum.Waiting, Until: r.ends()})
	return nil
}

// lapse revokes what nobody answered for, but for the last owner's, and closes the
// campaign.
func (s *Service) lapse(ctx context.Context, id string) error {
	s.turn.Lock()
	defer s.turn.Unlock()
	row, err := s.row(ctx, id)
	if err != nil || row.Closed != 0 {
		return err
	}
	items, err := s.items(ctx, id)
	if err != nil {
		return err
	}
	for i := range items {
		if items[i].Decision != "" {
			continue
		}
		if err := s.lapseOne(ctx, row, &items[i]); err != nil {
			return fmt.Errorf("lapse %s %s of review %s: %w", items[i].Kind, items[i].Held, id, err)
		}
	}
	_, err = s.close(ctx, id)
	return err
}

func (s *Service) lapseOne(ctx context.Context, row reviewRow, it *itemRow) error {
	err := s.config.Access.End(ctx, it.held())
	decision := Lapsed
	switch {
	case errors.Is(err, data.ErrNotFound):
		decision = Gone
	case errors.Is(err, ErrLastOwner):
		decision = Kept
	case err != nil:
		return err
	}
	return s.decided(ctx, row, it, Decision{Decision: decision})
}
