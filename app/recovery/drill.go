package recovery

import (
	"context"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"

	"holdfast/backup/restore"
	"holdfast/data"
)

// Chain is what this host knows of a store's chain on one target.
type Chain struct {
	Store      data.StoreID
	Target     string // id
	TargetName string
	First      time.Time // of the oldest snapshot
	Newest     time.Time
	Sequence   int64         // of the newest
	Position   data.Position // that the newest holds at least
}

// Chains lists the chains of all tenants' stores, or of one, by store and target.
func (s *Service) Chains(ctx context.Context, id data.StoreID) ([]Chain, error) {
	var rows []struct {
		snapshotRow
		First int64 `db:"first"`
	}
	one := ""
	if id != (data.StoreID{}) {
		one = id.String()
	}
	err := s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		return tx.SelectContext(ctx, &rows, `SELECT s.*, t.name, g.first FROM snapshots s JOIN targets t ON t.id = s.target
			JOIN (SELECT store, target, max(sequence) AS newest, min(time) AS first FROM snapshots
				WHERE ? = '' OR store = ? GROUP BY store, target) g
			ON g.store = s.store AND g.target = s.target AND g.newest = s.sequence ORDER BY s.store, t.name`, one, one)
	})
	if err != nil {
		return nil, fmt.Errorf("list chains: %w", err)
	}
	var out []Chain
	for _, r := range rows {
		id, err := data.ParseStoreID(r.Store)
		if err != nil {
			continue // the appliance's own are no tenant's
		}
		out = append(out, Chain{id, r.Target, r.Name, time.UnixMilli(r.First).UTC(), r.at(), r.Sequence, r.position()})
	}
	return out, nil
}

// Source says how to read a store's chain on a target, by its id, and that it may
// not end before what was shipped.
func (s *Service) Source(ctx context.Context, id data.StoreID, target string) (restore.Config, error) {
	rows, err := s.targets(ctx)
	if err != nil {
		return restore.Config{}, err
	}
	newest, err := s.newest(ctx, id)
	if err != nil {
		return restore.Config{}, err
	}
	for _, t := range rows {
		if t.ID != target {
			continue
		}
		place, err := s.open(t)
		return restore.Config{
			Source: place, Store: id.String(), Keys: s.config.Archive(id), Scratch: s.scratch, AtLeast: newest[target].Sequence,
		}, err
	}
	return restore.Config{}, fmt.Errorf("target %s: %w", target, data.ErrNotFound)
}

// Explain words an error of a chain or a target for a client.
func (s *Service) Explain(err error) error { return s.explain(err) }
