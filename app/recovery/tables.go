package recovery

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"

	"holdfast/backup/chain"
	"holdfast/data"
	"holdfast/data/system"
)

// The whole database is sealed; credentials need no seal of their own. Times are
// Unix milliseconds.
var migrations = []system.Migration{{Name: "targets and snapshots", SQL: `
CREATE TABLE targets (
	id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, url TEXT NOT NULL,
	access_key TEXT NOT NULL, secret_key TEXT NOT NULL,
	created INTEGER NOT NULL, created_by TEXT NOT NULL
) STRICT;
CREATE TABLE snapshots (
	store TEXT NOT NULL, target TEXT NOT NULL REFERENCES targets (id) ON DELETE CASCADE,
	sequence INTEGER NOT NULL, epoch TEXT NOT NULL, base INTEGER NOT NULL, time INTEGER NOT NULL,
	pages INTEGER NOT NULL, total INTEGER NOT NULL, files INTEGER NOT NULL, bytes INTEGER NOT NULL, objects INTEGER NOT NULL,
	incarnation TEXT NOT NULL, position INTEGER NOT NULL, manifest TEXT NOT NULL,
	PRIMARY KEY (store, target, sequence)
) STRICT, WITHOUT ROWID;
CREATE INDEX snapshots_time ON snapshots (store, time DESC);
CREATE TABLE shipping (
	store TEXT NOT NULL, target TEXT NOT NULL REFERENCES targets (id) ON DELETE CASCADE,
	error TEXT NOT NULL, time INTEGER NOT NULL,
	PRIMARY KEY (store, target)
) STRICT, WITHOUT ROWID;
`}, {Name: "scrubs", SQL: `
CREATE TABLE scrubs (store TEXT PRIMARY KEY, time INTEGER NOT NULL, findings INTEGER NOT NULL) STRICT, WITHOUT ROWID;
`}, {Name: "points of one target", SQL: `
CREATE INDEX snapshots_lane ON snapshots (store, target, time, bytes, pages);
`}, {Name: "continuous shipping", SQL: shipTables}}

// targetRow is a target as the table holds it.
type targetRow struct {
	ID        string `db:"id"`
	Name      string `db:"name"`
	URL       string `db:"url"`
	AccessKey string `db:"access_key"`
	SecretKey string `db:"secret_key"`
	Created   int64  `db:"created"`
	CreatedBy string `db:"created_by"`

	Region       string `db:"region"`
	Place        string `db:"place"`
	StorageClass string `db:"storage_class"`
	Health       string `db:"health"` // of the last try: "", healthy, failed
	Why          string `db:"why"`
	Tried        int64  `db:"tried"`
}

// snapshotRow is a snapshot that a target confirmed.
type snapshotRow struct {
	Store       string `db:"store"`
	Target      string `db:"target"` // its id
	Name        string `db:"name"`   // the target's, where joined
	Sequence    int64  `db:"sequence"`
	Epoch       string `db:"epoch"`
	Base        bool   `db:"base"`
	Time        int64  `db:"time"`
	Pages       int64  `db:"pages"`
	Total       int64  `db:"total"`
	Files       int64  `db:"files"`
	Bytes       int64  `db:"bytes"`
	Objects     int64  `db:"objects"`
	Incarnation string `db:"incarnation"`
	Position    int64  `db:"position"`
	Manifest    string `db:"manifest"`
}

func (r snapshotRow) at() time.Time { return time.UnixMilli(r.Time).UTC() }

func (r snapshotRow) position() data.Position {
	return data.Position{Incarnation: r.Incarnation, Sequence: r.Position}
}

func rowOf(key laneKey, r chain.Result) snapshotRow {
	return snapshotRow{
		Store: key.chain, Target: key.target, Sequence: r.Sequence, Epoch: r.Epoch, Base: r.Base, Time: r.Time.UnixMilli(),
		Pages: int64(r.Pages), Total: int64(r.Total), Files: int64(r.Files), Bytes: r.Bytes, Objects: int64(r.Objects),
		Incarnation: r.Position.Incarnation, Position: r.Position.Sequence, Manifest: r.Manifest.String(),
	}
}

func insertSnapshot(ctx context.Context, tx *sqlx.Tx, row snapshotRow) error {
	_, err := tx.NamedExecContext(ctx, `INSERT OR REPLACE INTO snapshots
		(store, target, sequence, epoch, base, time, pages, total, files, bytes, objects, incarnation, position, manifest)
		SELECT :store, id, :sequence, :epoch, :base, :time, :pages, :total, :files, :bytes, :objects, :incarnation, :position, :manifest
		FROM targets WHERE id = :target`, row)
	return err
}

// outcome keeps why the last Ship to a target failed ("" when it did not) and the
// state that the chain is in for that.
func (s *Service) outcome(ctx context.Context, key laneKey, state, failure string) error {
	ctx = context.WithoutCancel(ctx)
	return s.quietly(ctx, func(tx *sqlx.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT OR REPLACE INTO shipping (store, target, error, time, state)
			SELECT ?, id, ?, ?, ? FROM targets WHERE id = ?`, key.chain, failure, s.now().UnixMilli(), state, key.target)
		return err
	})
}

func (s *Service) targets(ctx context.Context) (rows []targetRow, err error) {
	err = s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		return tx.SelectContext(ctx, &rows, `SELECT * FROM targets ORDER BY name`)
	})
	if err != nil {
		return nil, fmt.Errorf("list targets: %w", err)
	}
	return rows, nil
}

func (s *Service) target(ctx context.Context, name string) (row targetRow, err error) {
	err = s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		return tx.GetContext(ctx, &row, `SELECT * FROM targets WHERE name = ?`, name)
	})
	if errors.Is(err, sql.ErrNoRows) {
		return row, unknownTarget(name)
	}
	if err != nil {
		return row, fmt.Errorf("read target: %w", err)
	}
	return row, nil
}

// newest is the newest snapshot of a store on each target that has one.
func (s *Service) newest(ctx context.Context, id data.StoreID) (map[string]snapshotRow, error) {
	return s.newestOf(ctx, id.String())
}

// newestOn is the newest sequence that this host shipped on a lane.
func (s *Service) newestOn(ctx context.Context, key laneKey) (int64, error) {
	newest, err := s.newestOf(ctx, key.chain)
	return newest[key.target].Sequence, err
}

func (s *Service) newestOf(ctx context.Context, name string) (map[string]snapshotRow, error) {
	var rows []snapshotRow
	if err := s.flush(ctx); err != nil {
		return nil, err
	}
	err := s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		return tx.SelectContext(ctx, &rows, `SELECT s.* FROM snapshots s WHERE s.store = ? AND s.sequence =
			(SELECT max(sequence) FROM snapshots WHERE store = s.store AND target = s.target)`, name)
	})
	if err != nil {
		return nil, fmt.Errorf("newest snapshots: %w", err)
	}
	byTarget := map[string]snapshotRow{}
	for _, r := range rows {
		byTarget[r.Target] = r
	}
	return byTarget, nil
}

// failures is why the last Ship to each target failed, by target id.
func (s *Service) failures(ctx context.Context, name string) (map[string]string, error) {
	var rows []struct {
		Target string `db:"target"`
		Error  string `db:"error"`
	}
	err := s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		return tx.SelectContext(ctx, &rows, `SELECT target, error FROM shipping WHERE store = ?`, name)
	})
	if err != nil {
		return nil, fmt.Errorf("read failures: %w", err)
	}
	byTarget := map[string]string{}
	for _, r := range rows {
		byTarget[r.Target] = r.Error
	}
	return byTarget, nil
}
