package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/pocketbase/dbx"
	"github.com/pocketbase/pocketbase/core"

	"holdfast/data"
)

// Incarnation is one life of the store. From is the sequence after which it
// began: its first change is From+1.
type Incarnation struct {
	ID     string    `json:"id"`
	Began  time.Time `json:"began"`
	Reason string    `json:"reason"` // "created" or "restored"
	From   int64     `json:"from"`
}

const feedSchema = `
CREATE TABLE IF NOT EXISTS _incarnations(
	id TEXT PRIMARY KEY, began INTEGER NOT NULL, reason TEXT NOT NULL, "from" INTEGER NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS _changes(
	seq INTEGER PRIMARY KEY, at INTEGER NOT NULL, actor TEXT NOT NULL, op TEXT NOT NULL,
	collection TEXT NOT NULL, record TEXT NOT NULL, fields TEXT NOT NULL) STRICT`

// createFeed makes the feed's tables where they are missing.
func createFeed(ctx context.Context, app core.App) error {
	for _, statement := range strings.Split(feedSchema, ";") {
		if _, err := execInner(ctx, app.NonconcurrentDB(), statement, nil); err != nil {
			return fmt.Errorf("create the change feed: %w", err)
		}
	}
	return nil
}

// beginIncarnation starts a new life of the store from its present sequence.
func beginIncarnation(ctx context.Context, app core.App, reason string, now time.Time) error {
	_, err := execInner(ctx, app.NonconcurrentDB(), `INSERT INTO _incarnations(id, began, reason, "from")
		SELECT {:id}, {:began}, {:reason}, coalesce(max(seq), 0) FROM _changes`,
		dbx.Params{"id": randomID(), "began": now.UnixMicro(), "reason": reason})
	if err != nil {
		return fmt.Errorf("begin an incarnation: %w", err)
	}
	return nil
}

// Incarnations lists the lives of the store, the oldest first.
func (s *Store) Incarnations(ctx context.Context) ([]Incarnation, error) {
	var rows []struct {
		ID     string `db:"id"`
		Began  int64  `db:"began"`
		Reason string `db:"reason"`
		From   int64  `db:"from"`
	}
	err := s.whole(func() error {
		return s.app.ConcurrentDB().NewQuery(`SELECT id, began, reason, "from" FROM _incarnations ORDER BY rowid`).
			WithContext(inner(ctx)).All(&rows)
	})
	if err != nil {
		return nil, fmt.Errorf("list incarnations of %s: %w", s.id, err)
	}
	out := make([]Incarnation, len(rows))
	for i, r := range rows {
		out[i] = Incarnation{r.ID, time.UnixMicro(r.Began).UTC(), r.Reason, r.From}
	}
	return out, nil
}

// livesSoFar is Incarnations, read once: a life begins as the first thing after a store
// is opened to be installed (see renew), never later.
func (s *Store) livesSoFar(ctx context.Context) ([]Incarnation, error) {
	if known := s.lives.Load(); known != nil {
		return *known, nil
	}
	lives, err := s.Incarnations(ctx)
	if err == nil {
		s.lives.Store(&lives)
	}
	return lives, err
}

// Position is the store's newest position that is on the disk; its sequence is 0
// before the first change.
func (s *Store) Position(ctx context.Context) (data.Position, error) {
	var row struct {
		ID  string        `db:"id"`
		Seq sql.NullInt64 `db:"seq"`
	}
	err := s.app.ConcurrentDB().NewQuery(`SELECT id, (SELECT max(seq) FROM _changes) AS seq
		FROM _incarnations ORDER BY rowid DESC LIMIT 1`).WithContext(inner(ctx)).One(&row)
	if err == nil {
		err = s.sync(ctx)
	}
	if err != nil {
		return data.Position{}, fmt.Errorf("position of %s: %w", s.id, err)
	}
	return data.Position{Incarnation: row.ID, Sequence: row.Seq.Int64}, nil
}

// Changes gives up to limit changes after a position, the oldest first; the zero
// position stands before the first change of the first life. It answers
// ErrLostPosition where the position is not of this store's history, a *PrunedError
// where what follows it is no longer in the feed.
func (s *Store) Changes(ctx context.Context, after data.Position, limit int) ([]data.Change, error) {
	lives, err := s.livesSoFar(ctx)
	if err != nil {
		return nil, err
	}
	if err := checkPosition(lives, after); err != nil {
		return nil, fmt.Errorf("changes of %s after %v: %w", s.id, after, err)
	}
	var rows []changeRow
	err = s.whole(func() error {
		return s.app.ConcurrentDB().NewQuery(`SELECT seq, at, actor, op, collection, record, fields FROM _changes
			WHERE seq > {:seq} ORDER BY seq LIMIT ` + strconv.Itoa(limit)). // bound, it would be planned anew each time
			Bind(dbx.Params{"seq": after.Sequence}).WithContext(inner(ctx)).All(&rows)
	})
	if errors.Is(err, sql.ErrNoRows) {
		err = nil
	}
	if err == nil {
		err = s.unpruned(lives, after.Sequence)
	}
	if err == nil && len(rows) > 0 {
		err = s.sync(ctx) // a follower that ran ahead of the disk would skip what takes its place
	}
	if err != nil {
		return nil, fmt.Errorf("changes of %s: %w", s.id, err)
	}
	out := make([]data.Change, len(rows))
	for i, r := range rows {
		out[i] = r.change(lives)
	}
	return out, nil
}

type changeRow struct {
	Seq        int64  `db:"seq"`
	At         int64  `db:"at"`
	Actor      string `db:"actor"`
	Op         string `db:"op"`
	Collection string `db:"collection"`
	Record     string `db:"record"`
	Fields     string `db:"fields"`
}

func (r changeRow) change(lives []Incarnation) data.Change {
	c := data.Change{
		Position:   data.Position{Incarnation: lifeOf(lives, r.Seq), Sequence: r.Seq},
		At:         time.UnixMicro(r.At).UTC(),
		Actor:      data.ParseActor(r.Actor),
		Op:         data.Op(r.Op),
		Collection: r.Collection,
		Record:     r.Record,
	}
	if fields := strings.TrimSuffix(r.Fields, ","); fields != "" {
		c.Fields = strings.Split(fields, ",")
	}
	return c
}

// lifeOf is the newest life that began before the sequence.
func lifeOf(lives []Incarnation, seq int64) string {
	for i := len(lives) - 1; i >= 0; i-- {
		if lives[i].From < seq {
			return lives[i].ID
		}
	}
	return ""
}

// checkPosition finds whether a position lies within the life it names.
func checkPosition(lives []Incarnation, p data.Position) error {
	if p == (data.Position{}) {
		return nil
	}
	for i, life := range lives {
		if life.ID != p.Incarnation {
			continue
		}
		if i+1 < len(lives) && p.Sequence > lives[i+1].From {
			return ErrLostPosition // a restore took these changes back
		}
		return nil
	}
	return ErrLostPosition
}
