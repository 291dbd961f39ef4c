package review

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"
)

// idleRow is an account that was warned of.
type idleRow struct {
	Person string `db:"person"`
	Name   string `db:"name"`
	Since  int64  `db:"since"`
	Warned int64  `db:"warned"`
	Kept   int64  `db:"kept"`
}

// closes is when the account is disabled: the period after its last use, and no
// sooner than the warning promised.
func (r idleRow) closes(p Policy) time.Time {
	at, promised := timeOf(r.Since).Add(time.Duration(p.Dormant)*day), timeOf(r.Warned).Add(time.Duration(p.Warn)*day)
	if promised.After(at) {
		return promised
	}
	return at
}

// idleRows are the accounts that were warned of, by person.
func (s *Service) idleRows(ctx context.Context) (map[string]idleRow, error) {
	var rows []idleRow
	err := s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		return tx.SelectContext(ctx, &rows, `SELECT * FROM idle_accounts`)
	})
	found := map[string]idleRow{}
	for _, r := range rows {
		found[r.Person] = r
	}
	return found, err
}

// sweepAccounts warns of accounts that nobody uses, and disables them later.
func (s *Service) sweepAccounts(ctx context.Context, p Policy) error {
	var idle []Account
	var err error
	if p.Dormant > 0 {
		if idle, err = s.config.Accounts.Idle(ctx, s.now().Add(-time.Duration(p.Dormant-p.Warn)*day)); err != nil {
			return fmt.Errorf("idle accounts: %w", err)
		}
	}
	warned, err := s.idleRows(ctx)
	if err != nil {
		return err
	}
	for _, a := range idle {
		row, known := warned[a.ID]
		delete(warned, a.ID)
		if known && row.Since == millis(a.Since) {
			err = errors.Join(err, s.closeAccount(ctx, p, row))
		} else {
			err = errors.Join(err, s.warnAccount(ctx, p, a))
		}
	}
	for person := range warned { // in use again, or no account that could be closed
		err = errors.Join(err, s.forgetIdle(ctx, person))
	}
	return err
}

func (s *Service) warnAccount(ctx context.Context, p Policy, a Account) error {
	row := idleRow{Person: a.ID, Name: a.Name + " (" + a.Email + ")", Since: millis(a.Since), Warned: millis(s.now())}
	closes := row.closes(p)
	if err := s.record(ctx, Appliance, "person.idle", a.ID, map[string]string{"since": a.Since.Format(time.RFC3339), "disabled_on": closes.Format(time.RFC3339)}); err != nil {
		return err
	}
	err := s.config.DB.Update(ctx, func(tx *sqlx.Tx) error {
		_, err := tx.NamedExecContext(ctx, `INSERT OR REPLACE INTO idle_accounts (person, name, since, warned, kept) VALUES (:person, :name, :since, :warned, 0)`, row)
		return err
	})
	if err == nil {
		s.tell(ctx, Notice{Kind: NoticeIdle, Address: a.Email, Name: a.Name, Until: closes})
	}
	return err
}

// closeAccount disables an account whose time is up; the last owner's is kept, and
// the doctor tells of it.
func (s *Service) closeAccount(ctx context.Context, p Policy, row idleRow) error {
	if s.now().Before(row.closes(p)) {
		return nil
	}
	err := s.config.Accounts.Disable(ctx, row.Person, fmt.Sprintf("no sign-in for %d days", p.Dormant))
	if err == nil {
		return s.forgetIdle(ctx, row.Person)
	}
	if !errors.Is(err, ErrLastOwner) || row.Kept != 0 {
		return ignore(err, ErrLastOwner)
	}
	return s.config.DB.Update(ctx, func(tx *sqlx.Tx) error {
		_, err := tx.ExecContext(ctx, `UPDATE idle_accounts SET kept = ? WHERE person = ?`, millis(s.now()), row.Person)
		return err
	})
}

func ignore(err, expected error) error {
	if errors.Is(err, expected) {
		return nil
	}
	return err
}

func (s *Service) forgetIdle(ctx context.Context, person string) error {
	return s.config.DB.Update(ctx, func(tx *sqlx.Tx) error {
		_, err := tx.ExecContext(ctx, `DELETE FROM idle_accounts WHERE person = ?`, person)
		return err
	})
}
