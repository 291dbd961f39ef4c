package identity

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jmoiron/sqlx"
)

// endPairs ends in a transaction the questions that match and wait, and the approvals that
// were not carried out, and owes the entries.
func (s *Service) endPairs(ctx context.Context, tx *sqlx.Tx, why, where string, args ...any) error {
	var rows []pairRow
	err := tx.SelectContext(ctx, &rows, `SELECT `+pairColumns+` FROM pair_requests WHERE state IN ('open', 'approved') AND (`+where+`) ORDER BY asked, id`, args...)
	if err != nil {
		return fmt.Errorf("end what takes two persons: %w", err)
	}
	for _, r := range rows {
		if _, err := tx.ExecContext(ctx, `UPDATE pair_requests SET state = ? WHERE id = ?`, requestExpired, r.ID); err != nil {
			return fmt.Errorf("end what takes two persons: %w", err)
		}
		if err := s.owe(ctx, tx, "", "approval.expire", r.Action, r.detail(map[string]string{"was": r.State, "why": why})); err != nil {
			return err
		}
	}
	return nil
}

// EndApprovals ends all that waits for a second person or was approved, as after a restore:
// what was good when the copy was made may have been used, refused or withdrawn since. It
// tells how many there were.
func (s *Service) EndApprovals(ctx context.Context, why string) (n int, err error) {
	err = s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		return tx.GetContext(ctx, &n, `SELECT count(*) FROM pair_requests WHERE state IN ('open', 'approved')`)
	})
	if err != nil || n == 0 {
		return n, err
	}
	return n, s.ending(ctx, func(tx *sqlx.Tx) ([]holding, error) { return nil, s.endPairs(ctx, tx, why, `true`) })
}

// pairPolicyAgain sets whether two persons are asked for to what a log has, where the
// database is older. It says whether there was anything to do.
func (s *Service) pairPolicyAgain(ctx context.Context, mode string, at time.Time) (done bool, err error) {
	if !slices.Contains([]string{PairAuto, PairOn, PairOff}, mode) {
		return false, nil
	}
	err = s.ending(ctx, func(tx *sqlx.Tx) ([]holding, error) {
		var was string
		err := oneRow(tx.GetContext(ctx, &was, `SELECT mode FROM pair_policy WHERE updated < ?`, millis(at)))
		if isNotFound(err) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		if _, err := tx.ExecContext(ctx, `UPDATE pair_policy SET mode = ?, updated = ?`, mode, millis(at)); err != nil || was == mode {
			return nil, err
		}
		done = true
		return nil, s.owe(ctx, tx, "", "two-persons.set", mode, again(nil))
	})
	if err != nil {
		return false, fmt.Errorf("set again whether two persons are asked for: %w", err)
	}
	return done, nil
}
