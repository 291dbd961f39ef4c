package recovery

import (
	"context"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"

	"holdfast/backup/chain"
)

// rowsLate is how long confirmed snapshots wait to be written down together.
const rowsLate = time.Second

// confirmed takes note of a snapshot that a target has; the chain may tell of it
// more than once. It is written down with the next ones: until then the chain's
// own journal remembers it.
func (s *Service) confirmed(key laneKey, r chain.Result) {
	p := &s.ships
	p.mu.Lock()
	defer p.mu.Unlock()
	row := rowOf(key, r)
	p.rows = append(p.rows, row)
	p.course(key).newest = row
	p.course(key).unmerged = true
	p.writeSoon()
}

// writeSoon has what is to be written down written together; mu is held.
func (p *ships) writeSoon() {
	if !p.on || p.writing != nil {
		return
	}
	p.writing = time.AfterFunc(rowsLate, func() {
		if err := p.s.flush(p.ctx); err != nil && p.ctx.Err() == nil {
			p.s.config.Logger.Error("snapshots could not be written down", "error", err)
		}
	})
}

// flush writes the confirmed snapshots down.
func (s *Service) flush(ctx context.Context) error {
	p := &s.ships
	p.flushing.Lock()
	defer p.flushing.Unlock()
	p.mu.Lock()
	rows, cleared := p.rows, p.cleared
	p.rows, p.cleared, p.writing = nil, nil, stopped(p.writing)
	p.mu.Unlock()
	if len(rows)+len(cleared) == 0 {
		return nil
	}
	err := s.quietly(ctx, func(tx *sqlx.Tx) error {
		for _, row := range rows {
			if err := insertSnapshot(ctx, tx, row); err != nil {
				return err
			}
		}
		for _, key := range cleared {
			if _, err := tx.ExecContext(ctx, `DELETE FROM unshipped WHERE store = ? AND target = ?`, key.chain, key.target); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		p.mu.Lock()
		p.rows, p.cleared = append(rows, p.rows...), append(cleared, p.cleared...)
		p.mu.Unlock()
		return fmt.Errorf("write snapshots down: %w", err)
	}
	return nil
}

func stopped(t *time.Timer) *time.Timer {
	if t != nil {
		t.Stop()
	}
	return nil
}

// quietly writes what shipping remembers of itself. Such a commit alone is no
// reason to ship the system database: that would be one for the next.
func (s *Service) quietly(ctx context.Context, fn func(*sqlx.Tx) error) error {
	err := s.config.DB.Update(ctx, func(tx *sqlx.Tx) error {
		err := fn(tx)
		s.ships.quiet.Store(err == nil) // the next commit is this one: there is one writer
		return err
	})
	if err != nil && s.ships.quiet.Swap(false) {
		s.NudgeOwn(SystemChain)
	}
	return err
}

// NudgeOwn tells of a commit to a part of the appliance. It does not block.
func (s *Service) NudgeOwn(name string) {
	if name == SystemChain && s.ships.quiet.CompareAndSwap(true, false) {
		return
	}
	if _, ok := s.config.Own[name]; ok {
		s.ships.nudge(name, s.now())
	}
}

// thinning is how the table forgets: of what is older, the last of each step stays.
var thinning = []struct{ older, step time.Duration }{{time.Hour, time.Minute}, {2 * day, time.Hour}}

// thin drops rows of old snapshots. They are on the targets all the same: a
// restore to a moment asks there.
func (s *Service) thin(ctx context.Context, now time.Time) error {
	return s.quietly(ctx, func(tx *sqlx.Tx) error {
		for _, t := range thinning {
			_, err := tx.ExecContext(ctx, `DELETE FROM snapshots WHERE time < ?1 AND base = 0 AND EXISTS (
				SELECT 1 FROM snapshots later WHERE later.store = snapshots.store AND later.target = snapshots.target
				AND later.sequence > snapshots.sequence AND later.base = 0 AND later.time / ?2 = snapshots.time / ?2)`,
				now.Add(-t.older).UnixMilli(), t.step.Milliseconds())
			if err != nil {
				return err
			}
		}
		return nil
	})
}
