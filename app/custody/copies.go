package custody

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jmoiron/sqlx"

	"holdfast/app/api"
	"holdfast/data"
	"holdfast/data/keys"
)

// copier keeps the copies off this host: after each change, and when it is asked.
type copier struct {
	config Config
	id     string

	wake  chan struct{}
	purge atomic.Bool
	round sync.Mutex // one round at a time; held while the root key is rotated
	stop  context.CancelFunc
	done  sync.WaitGroup
}

// copyRow is a target that copies are kept on.
type copyRow struct {
	Target  string `db:"target"` // its id
	Name    string `db:"name"`
	Added   int64  `db:"added"`
	AddedBy string `db:"added_by"`
	Seen    string `db:"seen"`
}

func (r copyRow) seen() (s seen) {
	_ = json.Unmarshal([]byte(r.Seen), &s) // only shown; the next visit sees anew
	return s
}

func newCopier(ctx context.Context, c Config) (*copier, error) {
	k := &copier{config: c, wake: make(chan struct{}, 1)}
	err := c.DB.Update(ctx, func(tx *sqlx.Tx) error {
		err := tx.GetContext(ctx, &k.id, `SELECT id FROM key_copies_id`)
		if !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		var b [8]byte
		_, _ = rand.Read(b[:])
		k.id = fmt.Sprintf("%x", b)
		_, err = tx.ExecContext(ctx, `INSERT INTO key_copies_id (id) VALUES (?)`, k.id)
		return err
	})
	return k, err
}

func (k *copier) start() {
	ctx, stop := context.WithCancel(context.Background())
	k.stop = stop
	k.config.Ring.OnChange(func() { k.kick(false) })
	k.kick(false)
	k.done.Go(func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-k.wake:
				k.logged(ctx, k.run(ctx, k.purge.Swap(false)))
			}
		}
	})
}

func (k *copier) logged(ctx context.Context, err error) {
	if err != nil && ctx.Err() == nil {
		k.config.Logger.ErrorContext(ctx, "the copies of the keys were not kept", "error", err)
	}
}

// kick has a round made soon; several kicks make one. With purge the older copies
// go, whatever their age.
func (k *copier) kick(purge bool) {
	if purge {
		k.purge.Store(true)
	}
	select {
	case k.wake <- struct{}{}:
	default: // a round that has not begun is waiting already
	}
}

func (k *copier) close() {
	k.stop()
	k.done.Wait()
}

// run visits every target. Its error is of the house alone; a target's is kept
// with the target.
func (k *copier) run(ctx context.Context, purge bool) error {
	k.round.Lock()
	defer k.round.Unlock()
	rows, err := k.rows(ctx)
	if err != nil || len(rows) == 0 {
		return err
	}
	for _, row := range rows {
		s := row.seen()
		s.Purge = s.Purge || purge
		if err := k.keep(ctx, row, k.visit(ctx, row.Target, s)); err != nil {
			return err
		}
	}
	return nil
}

// visit goes to one target and gives what was seen, failure included.
func (k *copier) visit(ctx context.Context, target string, s seen) seen {
	before := s.Error
	s.Error = ""
	if err := k.visitTarget(ctx, target, &s); err != nil {
		s.Error = err.Error()
		if s.Error != before && ctx.Err() == nil {
			k.config.Logger.ErrorContext(ctx, "a copy of the keys was not kept", "error", err)
		}
	}
	return s
}

func (k *copier) visitTarget(ctx context.Context, target string, s *seen) error {
	now := k.config.Clock().UTC()
	c, err := keys.ReadCopy(k.config.Dir, now)
	if err != nil {
		return err
	}
	t, err := k.target(ctx, func(t Target) bool { return t.ID == target })
	if err != nil {
		return err
	}
	store, err := t.Open()
	if err != nil {
		return err
	}
	v := &visit{config: k.config, id: k.id, store: store, copy: c, now: now}
	return v.run(ctx, s)
}

func (k *copier) target(ctx context.Context, is func(Target) bool) (Target, error) {
	all, err := k.config.Targets(ctx)
	if err != nil {
		return Target{}, err
	}
	for _, t := range all {
		if is(t) {
			return t, nil
		}
	}
	return Target{}, fmt.Errorf("the target was removed: %w", data.ErrNotFound)
}

func (k *copier) rows(ctx context.Context) (rows []copyRow, err error) {
	err = k.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		return tx.SelectContext(ctx, &rows, `SELECT * FROM key_copies ORDER BY name`)
	})
	if err != nil {
		return nil, fmt.Errorf("read where copies are kept: %w", err)
	}
	return rows, nil
}

// keep stores what was seen, if the target is still meant to have copies.
func (k *copier) keep(ctx context.Context, row copyRow, s seen) error {
	b, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return k.config.DB.Update(context.WithoutCancel(ctx), func(tx *sqlx.Tx) error {
		_, err := tx.ExecContext(ctx, `UPDATE key_copies SET seen = ? WHERE target = ?`, string(b), row.Target)
		return err
	})
}

// Flush brings every target up to date before it returns. What failed is in Held's
// and Status's account, not in the error.
func (s *Service) Flush(ctx context.Context) error {
	return s.copies.run(ctx, s.copies.purge.Swap(false))
}

// Purge removes all copies but the newest, whatever their age.
func (s *Service) Purge(ctx context.Context) error {
	if err := s.record(ctx, "keycopy.purge", "", api.OK, nil); err != nil {
		return err
	}
	return s.copies.run(ctx, true)
}

// KeepOn begins to keep copies on a target, and puts the first one there. A 409
// for a target that would lock them.
func (s *Service) KeepOn(ctx context.Context, name string) (CopyTarget, error) {
	s.copies.round.Lock()
	defer s.copies.round.Unlock()
	t, err := s.copies.target(ctx, func(t Target) bool { return t.Name == name })
	if err != nil {
		return CopyTarget{}, api.Errorf(404, "not-found", "There is no target %q.", name).Because(err)
	}
	found := s.copies.visit(ctx, t.ID, seen{})
	if found.Error != "" {
		return CopyTarget{}, api.Errorf(409, "copy-failed", "The copy could not be kept there: %s", found.Error)
	}
	row := copyRow{Target: t.ID, Name: t.Name, Added: s.now().UnixMilli(), AddedBy: data.ActorFrom(ctx).String(), Seen: "{}"}
	if err := s.record(ctx, "keycopy.add", name, api.OK, map[string]string{"url": t.URL}); err != nil {
		return CopyTarget{}, err
	}
	err = s.config.DB.Update(ctx, func(tx *sqlx.Tx) error {
		_, err := tx.NamedExecContext(ctx, `INSERT OR REPLACE INTO key_copies (target, name, added, added_by, seen)
			VALUES (:target, :name, :added, :added_by, :seen)`, row)
		return err
	})
	if err == nil {
		err = s.copies.keep(ctx, row, found)
	}
	return s.shownTarget(row, t.URL, found, digestNow(s.config, s.now())), err
}

// KeepOff ends the copies on a target and deletes those that are there. With
// leave they stay, and nothing removes them any more.
func (s *Service) KeepOff(ctx context.Context, name string, leave bool) error {
	s.copies.round.Lock()
	defer s.copies.round.Unlock()
	rows, err := s.copies.rows(ctx)
	if err != nil {
		return err
	}
	for _, row := range rows {
		if row.Name == name {
			return s.keepOff(ctx, row, leave)
		}
	}
	return api.Errorf(404, "not-found", "No copies are kept on %q.", name).Because(data.ErrNotFound)
}

func (s *Service) keepOff(ctx context.Context, row copyRow, leave bool) error {
	if !leave {
		if err := s.copies.empty(ctx, row.Target); err != nil {
			return api.Errorf(409, "copy-failed", "The copies there could not be deleted: %v. With leave=true they stay.", err).Because(err)
		}
	}
	if err := s.record(ctx, "keycopy.remove", row.Name, api.OK, map[string]string{"left": fmt.Sprint(leave)}); err != nil {
		return err
	}
	return s.config.DB.Update(ctx, func(tx *sqlx.Tx) error {
		_, err := tx.ExecContext(ctx, `DELETE FROM key_copies WHERE target = ?`, row.Target)
		return err
	})
}

// empty deletes every copy of this appliance on a target.
func (k *copier) empty(ctx context.Context, target string) error {
	t, err := k.target(ctx, func(t Target) bool { return t.ID == target })
	if err != nil {
		return err
	}
	store, err := t.Open()
	if err != nil {
		return err
	}
	held, err := Copies(ctx, store, k.id)
	if err != nil {
		return err
	}
	v := &visit{config: k.config, id: k.id, store: store}
	return v.remove(ctx, held)
}

func digestNow(c Config, now time.Time) string {
	copied, err := keys.ReadCopy(c.Dir, now)
	if err != nil {
		return ""
	}
	return digestOf(copied)
}
