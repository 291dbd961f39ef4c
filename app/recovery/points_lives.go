package recovery

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/jmoiron/sqlx"
)

// Life is one life of a store, as far as snapshots of it are remembered: a restore in
// place begins one, and so does its undo.
type Life struct {
	Incarnation string     `json:"incarnation"`
	First       time.Time  `json:"first" doc:"its oldest point; it ends where the next life begins"`
	Last        time.Time  `json:"last" doc:"its newest point"`
	Snapshots   int64      `json:"snapshots" doc:"of it, on all targets together"`
	Began       string     `json:"began,omitempty" enum:"restore,undo" doc:"how, where that is known; the first life began with the store"`
	Restore     string     `json:"restore,omitempty" doc:"id of the restore that began it, or whose undo did"`
	BackTo      *time.Time `json:"back_to,omitempty" doc:"the point that it began as, if a restore began it; what an undo puts back goes on from the end of the life before that restore"`
}

// livesOf reads the lives of a store, oldest first.
func livesOf(ctx context.Context, tx *sqlx.Tx, store string) ([]Life, error) {
	var rows []struct {
		Incarnation string
		First, Last int64
		Count       int64
	}
	err := tx.SelectContext(ctx, &rows, `SELECT incarnation, min(time) AS first, max(time) AS last, count(*) AS count
		FROM snapshots WHERE store = ? GROUP BY incarnation ORDER BY first`, store)
	if err != nil {
		return nil, err
	}
	lives := make([]Life, len(rows))
	for i, r := range rows {
		lives[i] = Life{Incarnation: r.Incarnation, First: *moment(r.First), Last: *moment(r.Last), Snapshots: r.Count}
	}
	if len(lives) < 2 {
		return lives, nil
	}
	turns, err := turnsOf(ctx, tx, store)
	attribute(lives, turns)
	return lives, err
}

// turn is what began a life.
type turn struct {
	at time.Time // of a restore: before its life's first point; of an undo: about then
	Life
}

// turnsOf lists the restores in place of a store, and their undos.
func turnsOf(ctx context.Context, tx *sqlx.Tx, store string) (turns []turn, err error) {
	var rows []restoreRow
	err = tx.SelectContext(ctx, &rows, `SELECT * FROM restores WHERE store = ? AND kind = 'in_place' AND state NOT IN ('running', 'failed')`, store)
	for _, row := range rows {
		shown, err := row.shown()
		if err != nil {
			return nil, err
		}
		began := turn{at: shown.Created, Life: Life{Began: "restore", Restore: shown.ID}}
		if shown.Result != nil {
			began.BackTo = &shown.Result.Time
		}
		turns = append(turns, began)
		if shown.State == restoreUndone {
			turns = append(turns, turn{at: shown.Changed, Life: Life{Began: "undo", Restore: shown.ID}})
		}
	}
	slices.SortFunc(turns, func(a, b turn) int { return cmp.Or(a.at.Compare(b.at), cmp.Compare(a.Began, b.Began)) })
	return turns, err
}

// attribute gives each life but the first the last turn before its first point that no
// earlier life has; else the one that was noted just after it.
func attribute(lives []Life, turns []turn) {
	for i := 1; i < len(lives); i++ {
		from := &lives[i]
		n := before(turns, from.First)
		if n == 0 {
			n = min(1, before(turns, from.First.Add(sameMoment*time.Millisecond)))
		}
		if n > 0 {
			from.Began, from.Restore, from.BackTo = turns[n-1].Began, turns[n-1].Restore, turns[n-1].BackTo
			turns = turns[n:]
		}
	}
}

// before counts the turns up to a moment.
func before(turns []turn, at time.Time) (n int) {
	for n < len(turns) && !turns[n].at.After(at) {
		n++
	}
	return n
}
