package store

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/pocketbase/dbx"

	"holdfast/data/cryptfs"
)

// Durability says when a store's write is acknowledged. Whatever it is, followers
// of the feed and snapshots get only what is on the disk.
type Durability string

const (
	// Full is when it is on the disk. Writes at the same time share a sync.
	Full Durability = "full"
	// Relaxed is when the operating system has it: a power cut may take the newest
	// writes back, the end of the process does not. PocketBase's own default.
	Relaxed Durability = "relaxed"
)

const ownSettingsSchema = `CREATE TABLE IF NOT EXISTS _hf_settings(name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT`

const durabilitySetting = "durability"

// Durability is the store's present one.
func (s *Store) Durability() Durability {
	if s.relaxed.Load() {
		return Relaxed
	}
	return Full
}

// SetDurability changes it from now on, for good: the setting lies in the store
// and goes with its snapshots. It answers ErrInvalid for one that is not known.
func (s *Store) SetDurability(ctx context.Context, d Durability) error {
	if d != Full && d != Relaxed {
		return fmt.Errorf("durability %q of %s: %w: full or relaxed", d, s.id, ErrInvalid)
	}
	_, err := execInner(ctx, s.app.NonconcurrentDB(), `INSERT INTO _hf_settings(name, value) VALUES ({:name}, {:value})
		ON CONFLICT(name) DO UPDATE SET value = excluded.value`, dbx.Params{"name": durabilitySetting, "value": string(d)})
	if err == nil {
		err = s.sync(ctx) // what was written relaxed is not, from now on
	}
	if err != nil {
		return fmt.Errorf("durability of %s: %w", s.id, err)
	}
	s.relaxed.Store(d == Relaxed)
	return nil
}

// loadOwnSettings reads what Holdfast keeps of the store in the store.
func (s *Store) loadOwnSettings(ctx context.Context) error {
	if _, err := execInner(ctx, s.app.NonconcurrentDB(), ownSettingsSchema, nil); err != nil {
		return fmt.Errorf("make the store's settings: %w", err)
	}
	var rows []struct {
		Name  string `db:"name"`
		Value string `db:"value"`
	}
	err := s.app.ConcurrentDB().NewQuery("SELECT name, value FROM _hf_settings").WithContext(inner(ctx)).All(&rows)
	for _, r := range rows {
		switch r.Name {
		case durabilitySetting:
			s.relaxed.Store(Durability(r.Value) == Relaxed)
		case prunedSetting:
			var floor int64
			floor, err = strconv.ParseInt(r.Value, 10, 64)
			s.floor.Store(floor)
		}
	}
	if err != nil {
		return fmt.Errorf("read the store's settings: %w", err)
	}
	return nil
}

// settle is what a write waits for before it is acknowledged.
func (s *Store) settle(ctx context.Context) error {
	if s.relaxed.Load() {
		return nil
	}
	return s.sync(ctx)
}

// sync returns when every commit made before is on the disk. When that fails,
// nobody knows what the disk holds: everybody who shares the sync is told, and the
// store is opened anew, which writes the log once more.
func (s *Store) sync(ctx context.Context) error {
	err := s.disk.SyncLog(ctx, dataFile)
	if errors.Is(err, cryptfs.ErrLogBroken) {
		s.pool.retire(s)
	}
	return err
}

// retire closes a store as soon as its requests have ended; who comes meanwhile
// waits and opens it anew.
func (p *Pool) retire(s *Store) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if e := p.stores[s.id]; e != nil && e.store == s && e.beginClosing() {
		p.config.Logger.Error("a sync failed: the store is opened anew", "store", s.id.String())
		go p.finishClosing(s.id, e)
	}
}
