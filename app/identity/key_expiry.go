package identity

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/jmoiron/sqlx"

	"holdfast/app/api"
	"holdfast/data"
)

const day = 24 * time.Hour

// warnDays are how long before its end a key is warned of.
var warnDays = []int{3, 14}

// warning is the smallest of warnDays that the key's end is within; 0 for none. A
// key that was made for a few days only is not warned of from its birth.
func (r keyRow) warning(now time.Time) int {
	if r.Successor != "" || r.ended(now) != nil {
		return 0
	}
	left, life := fromMillis(r.Expires).Sub(now), time.Duration(r.Expires-r.Created)*time.Millisecond
	for _, days := range warnDays {
		if left <= time.Duration(days)*day && life >= 2*time.Duration(days)*day {
			return days
		}
	}
	return 0
}

// endingKeys are those that end soon and that nothing follows, the first to end first.
func (s *Service) endingKeys(ctx context.Context) (ending []keyRow, err error) {
	var rows []keyRow
	now := s.now()
	err = s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		return tx.SelectContext(ctx, &rows, `SELECT `+keyColumns+` FROM api_keys WHERE revoked = 0 AND disabled = 0 AND successor = ''
			AND expires > ? AND expires <= ? ORDER BY expires, id`, millis(now), millis(now.Add(time.Duration(warnDays[len(warnDays)-1])*day)))
	})
	if err != nil {
		return nil, fmt.Errorf("find keys that end: %w", err)
	}
	for _, r := range rows {
		if r.warning(now) > 0 {
			ending = append(ending, r)
		}
	}
	return ending, nil
}

// warnOfKeys enters into the log, once for each of warnDays, that a key will end.
func (s *Service) warnOfKeys(ctx context.Context) error {
	rows, err := s.endingKeys(ctx)
	for _, r := range rows {
		days := r.warning(s.now())
		if r.Warned != 0 && r.Warned <= days {
			continue
		}
		e := s.recordIn(ctx, r.Store, "key.expires-soon", r.ID, api.OK,
			map[string]string{"name": r.Name, "expires": fromMillis(r.Expires).Format(time.RFC3339), "days": strconv.Itoa(days)})
		if e == nil {
			e = s.changeKey(ctx, r.Store, r.ID, `warned = ?`, `revoked = 0`, days)
		}
		err = errors.Join(err, e)
	}
	return err
}

// sweepKeys warns of keys once an hour.
func (s *Service) sweepKeys(ctx context.Context) error {
	now := millis(s.now())
	if last := s.warned.Load(); now-last < time.Hour.Milliseconds() && now >= last {
		return nil
	}
	s.warned.Store(now)
	return s.warnOfKeys(ctx)
}

// HeldKey is a key with the store that it is of; "" is the control plane.
type HeldKey struct {
	Store string
	Key
}

// EndingKeys are the keys that end within two weeks and that nothing follows, the
// first to end first; Key.Warning says within how many days.
func (s *Service) EndingKeys(ctx context.Context) ([]HeldKey, error) {
	rows, err := s.endingKeys(ctx)
	if err != nil {
		return nil, err
	}
	return s.held(rows)
}

func (s *Service) held(rows []keyRow) (out []HeldKey, err error) {
	for _, r := range rows {
		k, e := s.shown(r)
		out, err = append(out, HeldKey{Store: r.Store, Key: k}), errors.Join(err, e)
	}
	return out, err
}

// LiveKeys are the keys that hold now: of the control plane with Appliance, else of a
// tenant's stores.
func (s *Service) LiveKeys(ctx context.Context, scope string) ([]HeldKey, error) {
	if scope == Appliance {
		return s.liveKeys(ctx, `store = ''`)
	}
	return s.liveKeys(ctx, `substr(store, 1, length(?) + 1) = ? || '/'`, scope, scope)
}

func (s *Service) liveKeys(ctx context.Context, where string, args ...any) ([]HeldKey, error) {
	var rows []keyRow
	err := s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		return tx.SelectContext(ctx, &rows, `SELECT `+keyColumns+` FROM api_keys WHERE revoked = 0 AND disabled = 0 AND expires > ? AND `+where+
			` ORDER BY store, name, id`, append([]any{millis(s.now())}, args...)...)
	})
	if err != nil {
		return nil, fmt.Errorf("list live keys: %w", err)
	}
	return s.held(rows)
}

// UnusedKeys are the keys that hold and that nobody has used since; a key that was
// never used counts from when it was made, or enabled again.
func (s *Service) UnusedKeys(ctx context.Context, since time.Time) ([]HeldKey, error) {
	if err := s.saveLastUsed(ctx); err != nil { // what memory knows counts
		return nil, err
	}
	return s.liveKeys(ctx, `max(created, enabled, last_used) < ?`, millis(since))
}

// DisableKey takes a key out of use until somebody enables it. data.ErrNotFound for
// one that does not hold. Store is "" for the control plane.
func (s *Service) DisableKey(ctx context.Context, store, id, why string) error {
	if err := s.changeKey(ctx, store, id, `disabled = ?`, `revoked = 0 AND disabled = 0`, millis(s.now())); err != nil {
		return fmt.Errorf("disable key: %w", err)
	}
	s.cutOff(store, id)
	return s.recordIn(ctx, store, "key.disable", id, api.OK, map[string]string{"why": why})
}

// EnableKey brings a disabled key back. data.ErrNotFound when there is no such key,
// or it is not disabled.
func (s *Service) EnableKey(ctx context.Context, store, id string) error {
	row, err := s.keyOf(ctx, store, id)
	if err == nil && row.state(s.now()) != keyDisabled {
		err = data.ErrNotFound
	}
	if err != nil {
		return fmt.Errorf("enable key: %w", err)
	}
	if err := s.recordIn(ctx, store, "key.enable", id, api.OK, nil); err != nil {
		return err
	}
	return s.changeKey(ctx, store, id, `disabled = 0, enabled = ?, warned = 0`, `revoked = 0 AND disabled <> 0`, millis(s.now()))
}

// RevokeHeldKey is RevokeKey for any key.
func (s *Service) RevokeHeldKey(ctx context.Context, store, id string) error {
	return s.revokeKey(ctx, store, id)
}
