package review

import (
	"context"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"

	"holdfast/data/system"
)

// While the appliance is off nobody can see a review, nor answer it. So the time to
// answer, and the notice after it, are longer by the time between the last sweep of the
// process before and the first of this one.

var awayMigrations = []system.Migration{{Name: "seen", SQL: `
CREATE TABLE review_seen (
	one INTEGER PRIMARY KEY CHECK (one = 1),
	at INTEGER NOT NULL                       -- when open reviews could last be seen, to the hour
) STRICT;
`}}

// leaveOutReviews lengthens open reviews once after a start, and remembers that they can
// be seen now. It writes only while one is open, once an hour.
func (s *Service) leaveOutReviews(ctx context.Context) error {
	open, err := s.open(ctx)
	if err != nil {
		return err
	}
	first := !s.swept.Swap(true)
	if len(open) == 0 {
		return nil
	}
	var seen int64
	err = s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		return tx.GetContext(ctx, &seen, `SELECT coalesce(max(at), 0) FROM review_seen`)
	})
	now := millis(s.now())
	if age := now - seen; err != nil || age >= 0 && age < tick.Milliseconds() {
		return err
	}
	if !first || seen == 0 {
		open = nil
	}
	if err := s.lengthen(ctx, open, seen, now); err != nil {
		s.swept.Store(!first) // the next sweep tries again
		return fmt.Errorf("leave out the time off: %w", err)
	}
	return nil
}

// lengthen moves what runs of each review, the time to answer or the notice, by the time
// in which nobody could see it. All are moved, or none.
func (s *Service) lengthen(ctx context.Context, open []reviewRow, seen, now int64) error {
	for i := range open {
		away := open[i].leaveOut(seen, now)
		if away == 0 {
			continue
		}
		detail := map[string]string{"scope": open[i].Name, "away": (time.Duration(away) * time.Millisecond).Round(time.Minute).String()}
		if err := s.record(ctx, open[i].Scope, "review.extend", open[i].ID, detail); err != nil {
			return err
		}
	}
	return s.config.DB.Update(ctx, func(tx *sqlx.Tx) error {
		for _, r := range open {
			if _, err := tx.NamedExecContext(ctx, `UPDATE reviews SET due = :due, noticed = :noticed WHERE id = :id`, r); err != nil {
				return err
			}
		}
		_, err := tx.ExecContext(ctx, `INSERT OR REPLACE INTO review_seen (one, at) VALUES (1, ?)`, now)
		return err
	})
}

// leaveOut moves what runs, and tells by how much, in milliseconds.
func (r *reviewRow) leaveOut(seen, now int64) (away int64) {
	if r.Noticed != 0 {
		away = max(0, now-max(r.Noticed, seen))
		r.Noticed += away
		return away
	}
	if from := max(r.Started, seen); from < r.Due { // else it was over before
		away = max(0, now-from)
		r.Due += away
	}
	return away
}
