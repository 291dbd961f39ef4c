package store

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pocketbase/dbx"

	"holdfast/data"
)

// pruned is a store whose feed is pruned when it is 30 days old, but for 100 changes.
type pruned struct {
	*Store
	t        *testing.T
	followed atomic.Pointer[data.Position]
	broken   atomic.Pointer[error]
}

func newPruned(t *testing.T) *pruned {
	p := &pruned{t: t}
	p.followed.Store(&data.Position{})
	p.Store = newStore(t, func(c *Config) {
		c.Clock = func() time.Time { return day(0) }
		c.FeedMin = 100
		c.Followed = func(context.Context, data.StoreID) (data.Position, error) {
			if err := p.broken.Load(); err != nil {
				return data.Position{}, *err
			}
			return *p.followed.Load(), nil
		}
	})
	return p
}

func day(n int) time.Time { return time.Unix(1_800_000_000, 0).Add(time.Duration(n) * 24 * time.Hour) }

// write leaves n changes of a day.
func (p *pruned) write(n int, at time.Time) (last int64) {
	p.t.Helper()
	_, err := execInner(p.t.Context(), p.app.NonconcurrentDB(), `WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < {:n})
		INSERT INTO _changes(at, actor, op, collection, record, fields) SELECT {:at}, 'system', 'create', 'pbc_1', 'r' || x, '' FROM n`,
		dbx.Params{"n": n, "at": at.UnixMicro()})
	if err != nil {
		p.t.Fatal(err)
	}
	return p.position().Sequence
}

func (p *pruned) position() data.Position {
	p.t.Helper()
	at, err := p.Position(p.t.Context())
	if err != nil {
		p.t.Fatal(err)
	}
	return at
}

func (p *pruned) at(seq int64) data.Position {
	return data.Position{Incarnation: p.position().Incarnation, Sequence: seq}
}

// prune prunes as of a day, with all followers at a sequence.
func (p *pruned) prune(now time.Time, followed data.Position, want int64) {
	p.t.Helper()
	newest := p.position()
	p.followed.Store(&followed)
	if _, err := p.pruneFeed(p.t.Context(), now); err != nil {
		p.t.Fatal(err)
	}
	if p.Floor() != want {
		p.t.Fatalf("pruned up to %d, want %d", p.Floor(), want)
	}
	if at := p.position(); at != newest {
		p.t.Fatalf("the newest position was %v, is %v", newest, at)
	}
}

// TestFeedIsPruned: only what is old, not among the newest, and passed by all; and who
// asks for it is told so.
func TestFeedIsPruned(t *testing.T) {
	p := newPruned(t)
	old := p.write(3000, day(0))
	newest := p.write(300, day(35))
	p.prune(day(40), data.Position{}, 0)
	p.prune(day(40), data.Position{Incarnation: "another", Sequence: old}, 0)
	p.prune(day(20), p.at(newest), 0)
	p.prune(day(40), p.at(old-1500), old-1500)
	p.prune(day(40), p.at(newest), old)
	p.prune(day(400), p.at(newest), newest-100)
	p.write(50, day(400))
	p.prune(day(800), p.at(newest), newest-100) // 50 are not worth a commit
	p.wantPruned(newest - 100)
}

// wantPruned asks for what is gone and for what is left.
func (p *pruned) wantPruned(floor int64) {
	t, ctx := p.t, p.t.Context()
	t.Helper()
	for _, at := range []data.Position{{}, p.at(1), p.at(floor - 1)} {
		_, err := p.Changes(ctx, at, 10)
		var gone *PrunedError
		if !errors.As(err, &gone) || gone.To != p.at(floor) {
			t.Errorf("after %v: %v", at, err)
		}
	}
	left, err := p.Changes(ctx, p.at(floor), 10)
	if err != nil || len(left) != 10 || left[0].Sequence != floor+1 {
		t.Errorf("%v, %v", left, err)
	}
	none := func(string, string) error { return nil }
	var gone *PrunedError
	if _, _, err := p.Touched(ctx, floor-1, 0, none); !errors.As(err, &gone) {
		t.Error(err)
	}
	if last, gapless, err := p.Touched(ctx, floor, 0, none); err != nil || !gapless || last != p.position().Sequence {
		t.Error(last, gapless, err)
	}
	if at, err := p.OldestBeyond(ctx, p.at(1)); err != nil || !at.Equal(left[0].At) {
		t.Error(at, err)
	}
}

// TestFloorOutlivesTheStore: pruned by the sweep, read again when the store is opened.
func TestFloorOutlivesTheStore(t *testing.T) {
	p := newPruned(t)
	p.write(100, day(0))
	newest := p.write(300, day(0))
	at := p.at(newest)
	p.followed.Store(&at)
	p.pool.Sweep(day(40))
	if p.Floor() != newest-100 {
		t.Fatalf("pruned up to %d, want %d", p.Floor(), newest-100)
	}
	pool := p.pool
	p.Release()
	if err := pool.Evict(t.Context(), acme); err != nil {
		t.Fatal(err)
	}
	p.Store = acquire(t, pool, acme)
	p.wantPruned(newest - 100)
}

// TestNothingIsPrunedUnasked: without followers that could be asked, or where they cannot
// tell.
func TestNothingIsPrunedUnasked(t *testing.T) {
	p := newPruned(t)
	newest := p.write(3000, day(0))
	broken := errors.New("the log cannot be read")
	p.broken.Store(&broken)
	if _, err := p.pruneFeed(t.Context(), day(40)); !errors.Is(err, broken) || p.Floor() != 0 {
		t.Error(err, p.Floor())
	}
	p.broken.Store(nil)
	p.pool.config.Followed = nil
	p.prune(day(40), p.at(newest), 0)
}
