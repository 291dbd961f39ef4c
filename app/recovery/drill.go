package recovery

import (
	"context"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"

	"holdfast/backup/restore"
	"holdfast/data"
)

// Chain is what this host knows of a chain on one target: a store's, or that of a part of
// the appliance.
type Chain struct {
	Store      data.StoreID
	Own        string // the part of the appliance that is meant instead of a store
	Target     string // id
	TargetName string
	First      time.Time // of the oldest snapshot
	Newest     time.Time
	Sequence   int64         // of the newest
	Position   data.Position // that the newest holds at least
	// Lag is the age of the oldest commit that is not there yet; 0 without one.
	Lag time.Duration
}

// chainsQuery leaps from store to store: the table has a row for each snapshot, and
// there are many of each.
const chainsQuery = `WITH RECURSIVE stores (store) AS (
		SELECT CASE WHEN ?1 = '' THEN (SELECT min(store) FROM snapshots) ELSE ?1 END
		UNION ALL SELECT (SELECT min(s.store) FROM snapshots s WHERE s.store > stores.store) FROM stores WHERE stores.store IS NOT NULL AND ?2 = '')
	SELECT s.*, t.name, (SELECT min(f.time) FROM snapshots f INDEXED BY snapshots_lane WHERE f.store = s.store AND f.target = s.target) AS first
	FROM stores CROSS JOIN targets t CROSS JOIN snapshots s ON s.store = stores.store AND s.target = t.id
		AND s.sequence = (SELECT max(n.sequence) FROM snapshots n WHERE n.store = stores.store AND n.target = t.id)
	WHERE stores.store IS NOT NULL ORDER BY s.store, t.name`

// Chains lists all chains, or those of one name (a store's id, or a part of the
// appliance), by name and target.
func (s *Service) Chains(ctx context.Context, name string) ([]Chain, error) {
	var rows []struct {
		snapshotRow
		First int64 `db:"first"`
	}
	err := s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		return tx.SelectContext(ctx, &rows, chainsQuery, name, name)
	})
	if err != nil {
		return nil, fmt.Errorf("list chains: %w", err)
	}
	var out []Chain
	for _, r := range rows {
		key, own := laneKey{r.Store, r.Target}, ""
		id, ok := key.store()
		if !ok {
			own = r.Store
		}
		lag := s.courseOf(key).lag
		out = append(out, Chain{id, own, r.Target, r.Name, time.UnixMilli(r.First).UTC(), r.at(), r.Sequence, r.position(), lag})
	}
	return out, nil
}

// Source says how to read the chain of a name on a target, by its id, and that it may
// not end before what was shipped.
func (s *Service) Source(ctx context.Context, name, target string) (restore.Config, error) {
	rows, err := s.targets(ctx)
	if err != nil {
		return restore.Config{}, err
	}
	newest, err := s.newestOf(ctx, name)
	if err != nil {
		return restore.Config{}, err
	}
	for _, t := range rows {
		if t.ID != target {
			continue
		}
		place, err := s.open(t)
		return restore.Config{
			Source: place, Store: name, Keys: s.keysOf(name), Scratch: s.scratch, AtLeast: newest[target].Sequence,
		}, err
	}
	return restore.Config{}, fmt.Errorf("target %s: %w", target, data.ErrNotFound)
}

// keysOf are the keys to read a chain with.
func (s *Service) keysOf(name string) data.KeySource {
	if id, err := data.ParseStoreID(name); err == nil {
		return s.config.Archive(id)
	}
	return s.config.Own[name].Keys
}

// Explain words an error of a chain or a target for a client.
func (s *Service) Explain(err error) error { return s.explain(err) }

// Drills is what the room asks of who tries restores.
type Drills interface {
	// Good lists the snapshots of a store that drills restored from a target, by its
	// id, and found whole; oldest first.
	Good(ctx context.Context, store, target string) ([]int64, error)
	// Last gives the last drill of a store, or of an own chain by its name; nil if it
	// never had one.
	Last(ctx context.Context, store string) (*LastDrill, error)
}

// goodDrills asks for none where nobody drills.
func (s *Service) goodDrills(ctx context.Context, store, target string) ([]int64, error) {
	if s.config.Drills == nil {
		return nil, nil
	}
	return s.config.Drills.Good(ctx, store, target)
}
