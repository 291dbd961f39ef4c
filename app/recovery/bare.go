package recovery

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jmoiron/sqlx"

	"holdfast/backup"
	"holdfast/backup/restore"
	"holdfast/data"
	"holdfast/data/store"
)

// Returned is a store that came back on a host that had lost it.
type Returned struct {
	Store    string        `json:"store"`
	Seq      int64         `json:"seq"`
	Time     time.Time     `json:"time" doc:"of the snapshot: what came after it is lost"`
	Position data.Position `json:"position"`
	Records  int64         `json:"records"`
	Bytes    int64         `json:"bytes" doc:"read from the target"`
	Erased   int           `json:"erased,omitempty"`
}

// Return brings a store back from a target, into its place and under its own keys, with
// the erasures that the ledger knows of. data.ErrExists where it is there already;
// backup.ErrNoSnapshot where the target has none; ErrCut.
func (s *Service) Return(ctx context.Context, id data.StoreID, from From) (Returned, error) {
	if !from.AcceptCut {
		if err := s.Uncut(ctx, from, id.String(), s.config.Archive(id)); err != nil {
			return Returned{}, err
		}
	}
	replay, err := s.replayOf(ctx, id)
	if err != nil {
		return Returned{}, err
	}
	b := &building{replay: replay, config: restore.Config{
		Source: from.Source, Store: id.String(), Keys: s.config.Archive(id), Scratch: s.scratch, Progress: from.Progress,
		Begin: s.roomFor, Resume: s.resume("bare-" + strings.ReplaceAll(id.String(), "/", "-")),
	}}
	b.look = b.count
	build := func(ctx context.Context, dir string, t store.InstallTarget) error {
		if err := s.freshKey(ctx, id); err != nil {
			return err
		}
		return b.build(ctx, dir, t)
	}
	if err := s.config.Stores.Return(ctx, id, build); err != nil {
		return Returned{}, err
	}
	return Returned{id.String(), b.got.Sequence, b.got.Time, b.got.Position, b.result.Records, b.got.Bytes, b.erased}, nil
}

// Claim notes what the targets hold of each chain, so that shipping goes on behind it
// in an epoch of its own: this host is the one that continues. Targets that cannot be
// read are named in the error; their chains have to be taken over later.
func (s *Service) Claim(ctx context.Context, stores []data.StoreID) error {
	targets, err := s.targets(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, t := range targets {
		source, err := s.open(t)
		for i := 0; err == nil && i < len(stores); i++ {
			err = s.claim(ctx, t, restore.Config{Source: source, Store: stores[i].String(), Keys: s.config.Archive(stores[i])})
		}
		for name, own := range s.config.Own {
			if err == nil {
				err = s.claim(ctx, t, restore.Config{Source: source, Store: name, Keys: own.Keys})
			}
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("target %s: %w", t.Name, err))
		}
	}
	return errors.Join(errs...)
}

func (s *Service) claim(ctx context.Context, t targetRow, c restore.Config) error {
	newest, err := backup.Newest(ctx, c.Source, c.Store)
	if err != nil || newest == 0 {
		return err
	}
	list, err := restore.List(ctx, c, newest-1, 1)
	if err != nil || len(list) == 0 {
		return err
	}
	last := list[0]
	row := snapshotRow{
		Store: c.Store, Target: t.ID, Sequence: newest, Epoch: last.Epoch, Time: last.Time.UnixMilli(),
		Pages: int64(last.Pages.Changed), Total: int64(last.Pages.Total), Files: int64(last.Files.Count),
		Incarnation: last.Position.Incarnation, Position: last.Position.Sequence,
	}
	return s.config.DB.Update(ctx, func(tx *sqlx.Tx) error {
		_, err := tx.NamedExecContext(ctx, `INSERT OR IGNORE INTO snapshots
			(store, target, sequence, epoch, base, time, pages, total, files, bytes, objects, incarnation, position, manifest) VALUES
			(:store, :target, :sequence, :epoch, :base, :time, :pages, :total, :files, :bytes, :objects, :incarnation, :position, :manifest)`, row)
		return err
	})
}
