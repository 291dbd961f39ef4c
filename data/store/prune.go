package store

import (
	"context"
	"database/sql"
	"fmt"
	"strconv"
	"time"

	"github.com/pocketbase/dbx"
	"github.com/pocketbase/pocketbase/core"

	"holdfast/data"
)

// The feed is there for who follows it, and is no history: that is the audit log,
// which has each change. What every follower has passed goes when it is old, but for
// the newest changes, of which there is always one: a sequence never comes twice.
const (
	defaultFeedAge = 30 * 24 * time.Hour
	defaultFeedMin = 10_000
	pruneBatch     = 1000            // changes that go in one transaction
	pruneLeast     = 100             // fewer are not worth a commit
	pruneFor       = 2 * time.Second // at a time; the rest goes the next hour
	prunedSetting  = "pruned"
)

// PrunedError answers who asks for changes that are no longer in the feed. What is
// left begins after To.
type PrunedError struct {
	To data.Position
}

func (e *PrunedError) Error() string {
	return fmt.Sprintf("the changes up to %d are no longer in the feed", e.To.Sequence)
}

// Floor is the sequence up to which the feed was pruned, 0 where it is whole.
func (s *Store) Floor() int64 { return s.floor.Load() }

// unpruned fails where changes after a sequence are gone. Ask after reading, too: they
// may have gone meanwhile.
func (s *Store) unpruned(lives []Incarnation, after int64) error {
	floor := s.floor.Load()
	if after >= floor {
		return nil
	}
	return &PrunedError{data.Position{Incarnation: lifeOf(lives, floor), Sequence: floor}}
}

// pruneFeed takes the oldest changes away, a batch at a time, and tells how many.
func (s *Store) pruneFeed(ctx context.Context, now time.Time) (gone int64, err error) {
	if s.pool.config.Followed == nil {
		return 0, nil
	}
	for end := time.Now().Add(pruneFor); ctx.Err() == nil && time.Now().Before(end); {
		n, err := s.pruneOnce(ctx, now)
		if gone += n; err != nil {
			return gone, fmt.Errorf("prune the feed of %s: %w", s.id, err)
		}
		if n < pruneBatch {
			break
		}
	}
	return gone, nil
}

func (s *Store) pruneOnce(ctx context.Context, now time.Time) (gone int64, err error) {
	first, to, err := s.prunable(ctx, now.Add(-s.pool.config.FeedAge))
	if err != nil || to < first+pruneLeast-1 {
		return 0, err
	}
	passed, err := s.passed(ctx)
	if err != nil {
		return 0, err
	}
	if to = min(to, passed); to < first {
		return 0, nil
	}
	return to - first + 1, s.pruneTo(ctx, to)
}

// prunable is the oldest stretch of changes that are all of before a time and not among
// the newest that stay.
func (s *Store) prunable(ctx context.Context, before time.Time) (first, to int64, err error) {
	var row struct {
		Oldest sql.NullInt64 `db:"oldest"`
		Last   sql.NullInt64 `db:"last_of"`
	}
	err = s.app.ConcurrentDB().NewQuery(`WITH batch AS (SELECT seq, at FROM _changes ORDER BY seq LIMIT ` + strconv.Itoa(pruneBatch) + `)
		SELECT min(seq) AS oldest, min(coalesce((SELECT min(seq) - 1 FROM batch WHERE at >= {:before}), max(seq)),
			(SELECT max(seq) FROM _changes) - {:least}) AS last_of FROM batch`).
		Bind(dbx.Params{"before": before.UnixMicro(), "least": max(1, s.pool.config.FeedMin)}).WithContext(inner(ctx)).One(&row)
	if err != nil || !row.Oldest.Valid {
		return 0, -1, err
	}
	return row.Oldest.Int64, row.Last.Int64, nil
}

// passed is what every follower has passed, 0 while one is still in an earlier life.
func (s *Store) passed(ctx context.Context) (int64, error) {
	now, err := s.Position(ctx)
	if err != nil {
		return 0, err
	}
	at, err := s.pool.config.Followed(ctx, s.id)
	if err != nil || at.Incarnation != now.Incarnation {
		return 0, err
	}
	return at.Sequence, nil
}

// pruneTo takes changes away and notes how far. Who is reading meanwhile learns of it
// from the floor, which rises first.
func (s *Store) pruneTo(ctx context.Context, to int64) error {
	before := s.floor.Swap(to)
	err := s.whole(func() error {
		return s.app.RunInTransaction(func(tx core.App) error {
			if _, err := execInner(ctx, tx.NonconcurrentDB(), `DELETE FROM _changes WHERE seq <= {:to}`, dbx.Params{"to": to}); err != nil {
				return err
			}
			_, err := execInner(ctx, tx.NonconcurrentDB(), `INSERT OR REPLACE INTO _hf_settings(name, value) VALUES ({:name}, {:value})`,
				dbx.Params{"name": prunedSetting, "value": strconv.FormatInt(to, 10)})
			return err
		})
	})
	if err != nil {
		s.floor.Store(before)
	}
	return err
}
