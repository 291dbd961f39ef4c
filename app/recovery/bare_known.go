package recovery

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"holdfast/backup"
	"holdfast/backup/read"
	"holdfast/backup/restore"
	"holdfast/data"
)

// ErrCut means that a chain on a target is not the one that this host, by what its
// system database remembers, shipped there: it ends earlier, or others stand in its
// place.
var ErrCut = errors.New("the chain on the target is not the one that was shipped there")

// From is where a bare host reads from.
type From struct {
	Source    backup.ObjectStore
	URL       string // of the target
	AcceptCut bool   // take a chain that ErrCut would refuse
	Progress  func(done, of int64)
}

// Uncut holds a chain on the target against what the system database remembers of it:
// ErrCut where it is not that one, and nothing where the database knows no target of
// this URL or shipped nothing there.
func (s *Service) Uncut(ctx context.Context, from From, chain string, keys data.KeySource) error {
	row, err := s.shippedTo(ctx, from.URL, chain)
	if err != nil || row.Sequence == 0 {
		return err
	}
	newest, err := backup.Newest(ctx, from.Source, chain)
	if err != nil {
		return fmt.Errorf("chain of %s: %w", chain, err)
	}
	if newest < row.Sequence {
		return fmt.Errorf("%w: snapshot %d of %s was shipped, taken at %s; the chain ends at %d", ErrCut, row.Sequence, chain, row.at().Format(time.RFC3339), newest)
	}
	return s.sameManifest(ctx, from, row, keys)
}

// End is where a store's chain on the target ends, by its own word: the newest point and
// what that holds at least. backup.ErrNoSnapshot where there is none.
func (s *Service) End(ctx context.Context, from From, id data.StoreID) (time.Time, data.Position, error) {
	newest, err := backup.Newest(ctx, from.Source, id.String())
	if err == nil && newest == 0 {
		err = backup.ErrNoSnapshot
	}
	if err != nil {
		return time.Time{}, data.Position{}, fmt.Errorf("chain of %s: %w", id, err)
	}
	list, err := restore.List(ctx, restore.Config{Source: from.Source, Store: id.String(), Keys: s.config.Archive(id)}, newest-1, 1)
	if err == nil && len(list) == 0 {
		err = backup.ErrNoSnapshot
	}
	if err != nil {
		return time.Time{}, data.Position{}, fmt.Errorf("chain of %s: %w", id, err)
	}
	return list[0].Time, list[0].Position, nil
}

// sameManifest looks whether the newest manifest that is known is still the one that was
// put there. A prune may have taken it.
func (s *Service) sameManifest(ctx context.Context, from From, row snapshotRow, keys data.KeySource) error {
	name := backup.ManifestName(row.Store, row.Sequence)
	object, err := backup.Fetch(ctx, from.Source, name, backup.MaxObject)
	switch {
	case errors.Is(err, data.ErrNotFound):
		return prunedOrCut(ctx, from, row, keys)
	case err != nil:
		return fmt.Errorf("chain of %s: %w", row.Store, err)
	}
	if hash := backup.Hash(sha256.Sum256(object)); row.Manifest != "" && hash.String() != row.Manifest {
		return fmt.Errorf("%w: %s is not the manifest that was put there, taken at %s", ErrCut, name, row.at().Format(time.RFC3339))
	}
	return nil
}

func prunedOrCut(ctx context.Context, from From, row snapshotRow, keys data.KeySource) error {
	r, err := read.New(from.Source, row.Store, keys)
	if err != nil {
		return err
	}
	ledger, err := r.Ledger(ctx)
	if err != nil || row.Sequence <= ledger.Horizon() {
		return err
	}
	return fmt.Errorf("%w: %s is missing", ErrCut, backup.ManifestName(row.Store, row.Sequence))
}

// shippedTo is the newest snapshot of a chain that is known to be on the target of a
// URL; the zero row where there is none.
func (s *Service) shippedTo(ctx context.Context, url, chain string) (snapshotRow, error) {
	t, err := s.TargetAt(ctx, url)
	if err != nil || t.ID == "" {
		return snapshotRow{}, err
	}
	newest, err := s.newestOf(ctx, chain)
	return newest[t.ID], err
}

// TargetAt finds the target of a URL, whatever options the URL has; the zero one where
// there is none.
func (s *Service) TargetAt(ctx context.Context, url string) (found Place, err error) {
	targets, err := s.targets(ctx)
	for _, t := range targets {
		if bare(t.URL) == bare(url) {
			found = Place{ID: t.ID, Name: t.Name, URL: t.URL}
		}
	}
	return found, err
}
