package review

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"

	"holdfast/app/api"
	"holdfast/data"
)

// idleKeyRow is a key that was warned of.
type idleKeyRow struct {
	Key    string `db:"key"`
	Since  int64  `db:"since"`
	Warned int64  `db:"warned"`
}

// keyWarn is for how many days before its end a key is warned of.
func (p Policy) keyWarn() int { return min(p.Warn, p.UnusedKeys/2) }

// closes is when the key is disabled: the period after its last use, and no sooner
// than the warning promised.
func (r idleKeyRow) closes(p Policy) time.Time {
	at, promised := timeOf(r.Since).Add(time.Duration(p.UnusedKeys)*day), timeOf(r.Warned).Add(time.Duration(p.keyWarn())*day)
	if promised.After(at) {
		return promised
	}
	return at
}

// idleKeyRows are the keys that were warned of, by id.
func (s *Service) idleKeyRows(ctx context.Context) (map[string]idleKeyRow, error) {
	var rows []idleKeyRow
	err := s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		return tx.SelectContext(ctx, &rows, `SELECT * FROM idle_keys`)
	})
	found := map[string]idleKeyRow{}
	for _, r := range rows {
		found[r.Key] = r
	}
	return found, err
}

// idleSince is the last that is known of a key's use.
func (h Held) idleSince() time.Time {
	if h.Used.After(h.Since) {
		return h.Used
	}
	return h.Since
}

// scope is that of a key: its store's tenant, or the appliance.
func (h Held) scope() string {
	if id, err := data.ParseStoreID(h.Store); err == nil {
		return id.Tenant
	}
	return Appliance
}

// sweepKeys warns of keys that nobody uses, and disables them later.
func (s *Service) sweepKeys(ctx context.Context, p Policy, scopes []Scope) error {
	var unused []Held
	var err error
	if p.UnusedKeys > 0 {
		if unused, err = s.config.Accounts.UnusedKeys(ctx, s.now().Add(-time.Duration(p.UnusedKeys-p.keyWarn())*day)); err != nil {
			return fmt.Errorf("unused keys: %w", err)
		}
	}
	warned, err := s.idleKeyRows(ctx)
	if err != nil {
		return err
	}
	fresh := map[string][]idleKeyRow{} // by scope
	for _, k := range unused {
		row, known := warned[k.ID]
		delete(warned, k.ID)
		if known && row.Since == millis(k.idleSince()) {
			err = errors.Join(err, s.closeKey(ctx, p, k, row))
			continue
		}
		row, e := s.warnKey(ctx, p, k)
		if err = errors.Join(err, e); e == nil {
			fresh[k.scope()] = append(fresh[k.scope()], row)
		}
	}
	for id := range warned { // in use again, or ended
		err = errors.Join(err, s.forgetKey(ctx, id))
	}
	s.tellOfKeys(ctx, p, scopes, fresh)
	return err
}

// warnKey enters it into the log that its owners read.
func (s *Service) warnKey(ctx context.Context, p Policy, k Held) (idleKeyRow, error) {
	row := idleKeyRow{Key: k.ID, Since: millis(k.idleSince()), Warned: millis(s.now())}
	err := s.config.Recorder.Record(ctx, api.Event{Action: "key.idle", Target: k.ID, Store: k.Store, Outcome: api.OK,
		Detail: map[string]string{"name": k.Name, "since": k.idleSince().Format(time.RFC3339), "disabled_on": row.closes(p).Format(time.RFC3339)}})
	if err != nil {
		return row, fmt.Errorf("record key.idle: %w", err)
	}
	return row, s.config.DB.Update(ctx, func(tx *sqlx.Tx) error {
		_, err := tx.NamedExecContext(ctx, `INSERT OR REPLACE INTO idle_keys (key, since, warned) VALUES (:key, :since, :warned)`, row)
		return err
	})
}

// tellOfKeys sends one notice for a scope, however many keys it has.
func (s *Service) tellOfKeys(ctx context.Context, p Policy, scopes []Scope, fresh map[string][]idleKeyRow) {
	for _, scope := range scopes {
		rows := fresh[scope.ID]
		if len(rows) == 0 {
			continue
		}
		first := rows[0].closes(p)
		for _, r := range rows {
			if at := r.closes(p); at.Before(first) {
				first = at
			}
		}
		s.tell(ctx, Notice{Kind: NoticeIdleKeys, Scope: scope.ID, Name: scope.Name, Waiting: len(rows), Until: first})
	}
}

func (s *Service) closeKey(ctx context.Context, p Policy, k Held, row idleKeyRow) error {
	if s.now().Before(row.closes(p)) {
		return nil
	}
	err := s.config.Accounts.DisableKey(ctx, k, fmt.Sprintf("not used for %d days", p.UnusedKeys))
	if err != nil {
		return err
	}
	return s.forgetKey(ctx, k.ID)
}

func (s *Service) forgetKey(ctx context.Context, id string) error {
	return s.config.DB.Update(ctx, func(tx *sqlx.Tx) error {
		_, err := tx.ExecContext(ctx, `DELETE FROM idle_keys WHERE key = ?`, id)
		return err
	})
}

// restart is how long nothing was swept when the appliance did not run; sweeps come
// every few minutes. tick is how precisely the last one is remembered.
const (
	restart = day
	tick    = time.Hour
)

// leaveOut lengthens the grace of accounts and keys by the time in which the
// appliance did not run: nobody could have used them then. It writes only while
// something was warned of, once an hour.
func (s *Service) leaveOut(ctx context.Context) error {
	now := millis(s.now())
	var swept int64
	var any bool
	err := s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		return errors.Join(tx.GetContext(ctx, &swept, `SELECT coalesce(max(swept), 0) FROM idle_swept`),
			tx.GetContext(ctx, &any, `SELECT EXISTS (SELECT 1 FROM idle_accounts) OR EXISTS (SELECT 1 FROM idle_keys)`))
	})
	if age := now - swept; err != nil || !any || age >= 0 && age < tick.Milliseconds() {
		return err
	}
	return s.config.DB.Update(ctx, func(tx *sqlx.Tx) error {
		for _, table := range []string{"idle_accounts", "idle_keys"} {
			if _, err := tx.ExecContext(ctx, `UPDATE `+table+` SET warned = warned + ? - max(warned, ?) WHERE ? - max(warned, ?) > ?`,
				now, swept, now, swept, restart.Milliseconds()); err != nil {
				return err
			}
		}
		_, err := tx.ExecContext(ctx, `INSERT OR REPLACE INTO idle_swept (one, swept) VALUES (1, ?)`, now)
		return err
	})
}
