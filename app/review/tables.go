package review

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"

	"holdfast/data"
	"holdfast/data/system"
)

// Times are Unix milliseconds; 0 means never.
var migrations = []system.Migration{{Name: "reviews", SQL: `
CREATE TABLE reviews (
	id TEXT PRIMARY KEY,
	scope TEXT NOT NULL,                      -- 'appliance' or a tenant's id
	name TEXT NOT NULL,                       -- of the scope, as it was then
	cause TEXT NOT NULL,                      -- asked, schedule
	started INTEGER NOT NULL, started_by TEXT NOT NULL,
	due INTEGER NOT NULL,                     -- until then it is to be answered
	notice INTEGER NOT NULL,                  -- days from the notice until what is unanswered lapses
	noticed INTEGER NOT NULL DEFAULT 0,       -- when notice was given
	closed INTEGER NOT NULL DEFAULT 0,
	report TEXT NOT NULL DEFAULT '', signature TEXT NOT NULL DEFAULT '', vkey TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE INDEX reviews_scope ON reviews (scope, started DESC);
CREATE INDEX reviews_open ON reviews (closed, started);
CREATE TABLE review_items (
	id TEXT PRIMARY KEY,
	review TEXT NOT NULL REFERENCES reviews (id) ON DELETE CASCADE,
	kind TEXT NOT NULL, held TEXT NOT NULL, store TEXT NOT NULL, holder TEXT NOT NULL,
	name TEXT NOT NULL, detail TEXT NOT NULL, role TEXT NOT NULL,
	since INTEGER NOT NULL, until INTEGER NOT NULL, used INTEGER NOT NULL,
	decision TEXT NOT NULL DEFAULT '',        -- confirmed, revoked, lapsed, kept, gone
	note TEXT NOT NULL DEFAULT '',
	decided INTEGER NOT NULL DEFAULT 0, decided_by TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE INDEX review_items_review ON review_items (review, decision);
CREATE TABLE review_policy (
	one INTEGER PRIMARY KEY CHECK (one = 1),
	policy TEXT NOT NULL, updated INTEGER NOT NULL, updated_by TEXT NOT NULL
) STRICT;
CREATE TABLE idle_accounts (
	person TEXT PRIMARY KEY,
	name TEXT NOT NULL,
	since INTEGER NOT NULL,                   -- last use
	warned INTEGER NOT NULL,
	kept INTEGER NOT NULL DEFAULT 0           -- when it was not closed, being the last owner's
) STRICT, WITHOUT ROWID;
`}, {Name: "idle keys", SQL: `
CREATE TABLE idle_keys (
	key TEXT PRIMARY KEY,                     -- id
	since INTEGER NOT NULL,                   -- last use
	warned INTEGER NOT NULL                   -- later by the time in which the appliance did not run
) STRICT, WITHOUT ROWID;
CREATE TABLE idle_swept (
	one INTEGER PRIMARY KEY CHECK (one = 1),
	swept INTEGER NOT NULL                    -- when something idle was last looked at, to the hour
) STRICT;
`}}

type reviewRow struct {
	ID        string `db:"id"`
	Scope     string `db:"scope"`
	Name      string `db:"name"`
	Cause     string `db:"cause"`
	Started   int64  `db:"started"`
	StartedBy string `db:"started_by"`
	Due       int64  `db:"due"`
	Notice    int64  `db:"notice"`
	Noticed   int64  `db:"noticed"`
	Closed    int64  `db:"closed"`
	Report    string `db:"report"`
	Signature string `db:"signature"`
	VKey      string `db:"vkey"`
}

// ends is when what is unanswered lapses: days after the notice, whenever that was
// given, so that nobody loses anything while the server was off.
func (r reviewRow) ends() time.Time {
	from := r.Noticed
	if from == 0 {
		from = r.Due
	}
	return timeOf(from).Add(time.Duration(r.Notice) * day)
}

type itemRow struct {
	ID        string `db:"id"`
	Review    string `db:"review"`
	Kind      string `db:"kind"`
	Held      string `db:"held"`
	Store     string `db:"store"`
	Holder    string `db:"holder"`
	Name      string `db:"name"`
	Detail    string `db:"detail"`
	Role      string `db:"role"`
	Since     int64  `db:"since"`
	Until     int64  `db:"until"`
	Used      int64  `db:"used"`
	Decision  string `db:"decision"`
	Note      string `db:"note"`
	Decided   int64  `db:"decided"`
	DecidedBy string `db:"decided_by"`
}

func (r itemRow) item() Item {
	return Item{
		ID: r.ID, Kind: r.Kind, Held: r.Held, Store: r.Store, Holder: r.Holder, Name: r.Name, Detail: r.Detail, Role: r.Role, Since: timeOf(r.Since),
		Until: moment(r.Until), Used: moment(r.Used), Decision: r.Decision, Note: r.Note, Decided: moment(r.Decided), DecidedBy: r.DecidedBy,
	}
}

func (r itemRow) held() Held {
	h := Held{Kind: r.Kind, ID: r.Held, Store: r.Store, Name: r.Name, Detail: r.Detail, Role: r.Role}
	if r.Holder != "" {
		h.Holder = data.ParseActor(r.Holder)
	}
	return h
}

const day = 24 * time.Hour

func timeOf(ms int64) time.Time { return time.UnixMilli(ms).UTC() }

func moment(ms int64) *time.Time {
	if ms == 0 {
		return nil
	}
	t := timeOf(ms)
	return &t
}

func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

// row finds a review. data.ErrNotFound.
func (s *Service) row(ctx context.Context, id string) (r reviewRow, err error) {
	err = s.config.DB.View(ctx, func(tx *sqlx.Tx) error { return tx.GetContext(ctx, &r, `SELECT * FROM reviews WHERE id = ?`, id) })
	if errors.Is(err, sql.ErrNoRows) {
		err = data.ErrNotFound
	}
	if err != nil {
		return r, fmt.Errorf("review %s: %w", id, err)
	}
	return r, nil
}

// items are those of a review: what waits first, then by kind and name.
func (s *Service) items(ctx context.Context, review string) (rows []itemRow, err error) {
	err = s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		return tx.SelectContext(ctx, &rows, `SELECT * FROM review_items WHERE review = ? ORDER BY kind, lower(name), role, id`, review)
	})
	if err != nil {
		return nil, fmt.Errorf("items of review %s: %w", review, err)
	}
	return rows, nil
}

// itemOf finds an item of a review. data.ErrNotFound.
func (s *Service) itemOf(ctx context.Context, review, id string) (r itemRow, err error) {
	err = s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		return tx.GetContext(ctx, &r, `SELECT * FROM review_items WHERE id = ? AND review = ?`, id, review)
	})
	if errors.Is(err, sql.ErrNoRows) {
		err = data.ErrNotFound
	}
	return r, err
}

func (s *Service) setNoticed(ctx context.Context, id string, at time.Time) error {
	return s.config.DB.Update(ctx, func(tx *sqlx.Tx) error {
		_, err := tx.ExecContext(ctx, `UPDATE reviews SET noticed = ? WHERE id = ?`, millis(at), id)
		return err
	})
}
