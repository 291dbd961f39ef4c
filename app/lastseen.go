package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"holdfast/app/api"
	"holdfast/data"
	"holdfast/data/vault"
)

// A clock that was set back lets what has expired live again and what was written
// seem to come from the future, so the newest time that was seen is kept, and a
// start or a tick before it is said and entered in the log. It is not undone: the
// clock may have been wrong before.
const (
	lastSeenEvery = 5 * time.Minute
	setBackSlack  = 2 * time.Minute // what time services correct without ado
)

// lastSeen keeps the newest time seen, in the vault.
type lastSeen struct {
	vault  *vault.Vault
	record func(context.Context, api.Event) error
}

var (
	lastSeenKey = []byte("newest")
	setBackKey  = []byte("setback") // when the clock was last found to be behind
)

// note compares the clock with the newest time seen and keeps the newer one. It
// fails where the clock is behind by more than the slack.
func (l lastSeen) note(ctx context.Context, now time.Time) error {
	newest, err := l.newest(ctx)
	if err != nil {
		return err
	}
	if behind := newest.Sub(now); behind > setBackSlack {
		return errors.Join(l.tell(ctx, newest, behind), l.keep(ctx, now), l.set(ctx, setBackKey, now))
	}
	if now.After(newest) {
		return l.keep(ctx, now)
	}
	return nil
}

func (l lastSeen) tell(ctx context.Context, newest time.Time, behind time.Duration) error {
	err := fmt.Errorf("the clock is %s behind the newest time seen (%s): expired keys, sessions and windows count from the new time; check the host's time service",
		behind.Round(time.Second), newest.UTC().Format(time.RFC3339))
	return errors.Join(err, l.record(ctx, api.Event{
		Action: "clock.setback", Target: "clock", Outcome: api.OK,
		Detail: map[string]string{"newest": newest.UTC().Format(time.RFC3339), "behind": behind.Round(time.Second).String()},
	}))
}

func (l lastSeen) newest(ctx context.Context) (time.Time, error) { return l.get(ctx, lastSeenKey) }

// setBack is when the clock was last found to be behind; zero if it never was.
func (l lastSeen) setBack(ctx context.Context) (time.Time, error) { return l.get(ctx, setBackKey) }

func (l lastSeen) get(ctx context.Context, key []byte) (t time.Time, err error) {
	err = l.vault.View(ctx, func(tx *vault.Tx) error {
		b, err := tx.Get(key)
		if errors.Is(err, data.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		return json.Unmarshal(b, &t)
	})
	return t, err
}

func (l lastSeen) keep(ctx context.Context, t time.Time) error { return l.set(ctx, lastSeenKey, t) }

func (l lastSeen) set(ctx context.Context, key []byte, t time.Time) error {
	b, err := json.Marshal(t.UTC())
	if err != nil {
		return err
	}
	return l.vault.Update(vault.Quietly(ctx), func(tx *vault.Tx) error { return tx.Set(key, b) })
}
