package mail

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/jmoiron/sqlx"

	"holdfast/app/api"
	"holdfast/data/system"
)

// Bounds of the outbox.
const (
	atOnce     = 20 // letters of one round's page
	firstWait  = 30 * time.Second
	longWait   = time.Hour
	rowsKept   = 30 * 24 * time.Hour // after the end, without the text
	mostOpen   = 5000                // letters that somebody waits for at the screen
	mostOthers = 4000                // a letter of another kind finds room up to here
	carryLimit = 60 * time.Second
)

// ErrFull refuses a letter: too many wait.
var ErrFull = errors.New("the outbox is full")

func errFull() error {
	return api.Errorf(http.StatusServiceUnavailable, "mail-full", "Too many letters wait to be sent. Try again later.").
		WithHeader("Retry-After", "60").Because(ErrFull)
}

// pressing are the kinds of letters that somebody waits for at the screen: they go
// first, and the others leave room for them.
const pressing = `('code', 'reset')`

func room(kind string) (most int, first bool) {
	if kind == "code" || kind == "reset" {
		return mostOpen, true
	}
	return mostOthers, false
}

type letterRow struct {
	ID      string `db:"id"`
	To      string `db:"recipient"`
	Kind    string `db:"kind"`
	Subject string `db:"subject"`
	Body    string `db:"body"`
	State   string `db:"state"`
	Tries   int    `db:"tries"`
	Created int64  `db:"created"`
	Expires int64  `db:"expires"`
	Due     int64  `db:"due"`
	Ended   int64  `db:"ended"`
	Error   string `db:"error"`
}

const letterColumns = `id, recipient, kind, subject, body, state, tries, created, expires, due, ended, error`

// Send puts a letter into the outbox. It is durable when it returns, and handed over
// soon. ErrNotSet, ErrFull (a 503 problem).
func (s *Service) Send(ctx context.Context, l Letter) error {
	if s.settings.Load() == nil {
		return ErrNotSet
	}
	now := s.now().UnixMilli()
	row := letterRow{ID: system.NewID(), To: l.To, Kind: l.Kind, Subject: l.Subject, Body: l.Text, State: "waiting",
		Created: now, Expires: l.Expires.UnixMilli(), Due: now}
	most, first := room(l.Kind)
	err := s.config.DB.Update(ctx, func(tx *sqlx.Tx) error {
		var open int
		if err := tx.GetContext(ctx, &open, `SELECT count(*) FROM mail_outbox WHERE state IN ('waiting', 'sending')`); err != nil {
			return err
		}
		if open >= most {
			return errFull()
		}
		_, err := tx.NamedExecContext(ctx, `INSERT INTO mail_outbox (`+letterColumns+`) VALUES
			(:id, :recipient, :kind, :subject, :body, :state, :tries, :created, :expires, :due, :ended, :error)`, row)
		return err
	})
	if err != nil {
		return fmt.Errorf("keep letter: %w", err)
	}
	if first {
		s.first.Store(true)
	}
	s.kick()
	return nil
}

func (s *Service) anyDue(ctx context.Context, now time.Time) (due bool, err error) {
	err = s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		return tx.GetContext(ctx, &due, `SELECT EXISTS (SELECT 1 FROM mail_outbox WHERE state IN ('waiting', 'sending') AND due <= ?)`, now.UnixMilli())
	})
	return due, err
}

// round hands over all letters whose turn it is: the pressing ones first, then the
// oldest. A pressing one that comes meanwhile is next.
func (s *Service) round(ctx context.Context) error {
	s.desk.Lock()
	defer s.desk.Unlock()
	for {
		s.first.Store(false)
		var rows []letterRow
		err := s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
			return tx.SelectContext(ctx, &rows, `SELECT `+letterColumns+` FROM mail_outbox WHERE state IN ('waiting', 'sending') AND due <= ? AND expires > ?
				ORDER BY kind NOT IN `+pressing+`, created, id LIMIT ?`, s.now().UnixMilli(), s.now().UnixMilli(), atOnce)
		})
		if err != nil || len(rows) == 0 {
			return err
		}
		for _, row := range rows {
			settings := s.settings.Load()
			if settings == nil {
				return nil
			}
			if _, first := room(row.Kind); !first && s.first.Load() {
				break
			}
			if err := s.handOver(ctx, *settings, row); err != nil {
				return err
			}
		}
	}
}

// handOver marks the letter first, so that after a crash it is known that it may have
// gone, and its next turn comes later whatever happens. Its id is the same each time:
// mail servers know a second copy by that.
func (s *Service) handOver(ctx context.Context, settings Settings, row letterRow) error {
	row.Tries++
	due := s.now().Add(wait(row.Tries)).UnixMilli()
	if err := s.mark(ctx, `UPDATE mail_outbox SET state = 'sending', tries = ?, due = ? WHERE id = ?`, row.Tries, due, row.ID); err != nil {
		return err
	}
	carry, end := context.WithTimeout(ctx, carryLimit)
	err := s.config.Carrier.Carry(carry, settings, row.ID, Letter{To: row.To, Kind: row.Kind, Subject: row.Subject, Text: row.Body, Expires: time.UnixMilli(row.Expires)})
	end()
	keep := context.WithoutCancel(ctx)
	switch {
	case err == nil:
		return s.mark(keep, `UPDATE mail_outbox SET state = 'sent', body = '', error = '', ended = ? WHERE id = ?`, s.now().UnixMilli(), row.ID)
	case errors.Is(err, ErrRefused):
		return s.mark(keep, `UPDATE mail_outbox SET state = 'failed', body = '', error = ?, ended = ? WHERE id = ?`, clip(err.Error()), s.now().UnixMilli(), row.ID)
	case ctx.Err() != nil: // the appliance closes: its turn comes at the next start
		return ctx.Err()
	}
	// What the server said may name the recipient: the outbox keeps it, the log does not.
	s.config.Logger.WarnContext(ctx, "a letter was not taken; it is tried again", "letter", row.ID, "kind", row.Kind, "try", row.Tries)
	return s.mark(keep, `UPDATE mail_outbox SET state = 'waiting', error = ? WHERE id = ?`, clip(err.Error()), row.ID)
}

// wait doubles from half a minute to an hour.
func wait(tries int) time.Duration {
	if tries > 8 {
		return longWait
	}
	return min(firstWait<<(tries-1), longWait)
}

func clip(s string) string {
	if len(s) > 300 {
		return s[:300]
	}
	return s
}

func (s *Service) mark(ctx context.Context, statement string, args ...any) error {
	return s.config.DB.Update(ctx, func(tx *sqlx.Tx) error {
		_, err := tx.ExecContext(ctx, statement, args...)
		return err
	})
}

// expire ends letters whose time is up, and forgets those that ended long ago. It
// writes only where there are some.
func (s *Service) expire(ctx context.Context, now time.Time) error {
	ms, old := now.UnixMilli(), now.Add(-rowsKept).UnixMilli()
	const late, gone = ` WHERE state IN ('waiting', 'sending') AND expires <= ?`, ` WHERE ended > 0 AND ended < ?`
	var some bool
	err := s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		return tx.GetContext(ctx, &some, `SELECT EXISTS (SELECT 1 FROM mail_outbox`+late+`) OR EXISTS (SELECT 1 FROM mail_outbox`+gone+`)`, ms, old)
	})
	if err != nil || !some {
		return err
	}
	return s.config.DB.Update(ctx, func(tx *sqlx.Tx) error {
		if _, err := tx.ExecContext(ctx, `UPDATE mail_outbox SET state = 'expired', body = '', ended = ?`+late, ms, ms); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, `DELETE FROM mail_outbox`+gone, old)
		return err
	})
}
