package drill

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"

	"holdfast/data"
	"holdfast/data/system"
)

// Times are Unix milliseconds. -1 as rto_ms or rpo_ms: it could not be measured.
var migrations = []system.Migration{{Name: "drills, witnesses, reports", SQL: `
CREATE TABLE drills (
	id TEXT PRIMARY KEY, store TEXT NOT NULL, name TEXT NOT NULL, target TEXT NOT NULL, target_name TEXT NOT NULL,
	sequence INTEGER NOT NULL, incarnation TEXT NOT NULL, position INTEGER NOT NULL, point INTEGER NOT NULL,
	started INTEGER NOT NULL, ended INTEGER NOT NULL, ok INTEGER NOT NULL,
	rto_ms INTEGER NOT NULL, rpo_ms INTEGER NOT NULL, rto_goal_ms INTEGER NOT NULL, rpo_goal_ms INTEGER NOT NULL,
	bytes INTEGER NOT NULL, pages INTEGER NOT NULL, records INTEGER NOT NULL, files INTEGER NOT NULL, compared INTEGER NOT NULL,
	checks TEXT NOT NULL, findings TEXT NOT NULL, cause TEXT NOT NULL, actor TEXT NOT NULL,
	report TEXT NOT NULL, signature TEXT NOT NULL, vkey TEXT NOT NULL
) STRICT;
CREATE INDEX drills_chain ON drills (store, target, started DESC);
CREATE INDEX drills_started ON drills (started DESC, id);
CREATE TABLE witnesses (
	store TEXT NOT NULL, collection TEXT NOT NULL, time INTEGER NOT NULL, name TEXT NOT NULL,
	incarnation TEXT NOT NULL, since INTEGER NOT NULL, at INTEGER NOT NULL, until INTEGER NOT NULL,
	records INTEGER NOT NULL, files INTEGER NOT NULL, columns TEXT NOT NULL, sums BLOB NOT NULL, moved BLOB NOT NULL,
	PRIMARY KEY (store, collection, time)
) STRICT, WITHOUT ROWID;
CREATE TABLE added_up (store TEXT PRIMARY KEY, incarnation TEXT NOT NULL, sequence INTEGER NOT NULL, time INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE drill_alarms (
	store TEXT NOT NULL, target TEXT NOT NULL, kind TEXT NOT NULL, since INTEGER NOT NULL,
	PRIMARY KEY (store, target, kind)
) STRICT, WITHOUT ROWID;
CREATE TABLE drill_reports (
	id TEXT PRIMARY KEY, made INTEGER NOT NULL, made_by TEXT NOT NULL, start INTEGER NOT NULL, until INTEGER NOT NULL,
	drills INTEGER NOT NULL, report TEXT NOT NULL, signature TEXT NOT NULL, vkey TEXT NOT NULL
) STRICT;
CREATE INDEX drill_reports_made ON drill_reports (made DESC, id);
`}}

type drillRow struct {
	ID          string `db:"id"`
	Store       string `db:"store"`
	Name        string `db:"name"`
	Target      string `db:"target"`
	TargetName  string `db:"target_name"`
	Sequence    int64  `db:"sequence"`
	Incarnation string `db:"incarnation"`
	Position    int64  `db:"position"`
	Point       int64  `db:"point"`
	Started     int64  `db:"started"`
	Ended       int64  `db:"ended"`
	OK          bool   `db:"ok"`
	RTO         int64  `db:"rto_ms"`
	RPO         int64  `db:"rpo_ms"`
	RTOGoal     int64  `db:"rto_goal_ms"`
	RPOGoal     int64  `db:"rpo_goal_ms"`
	Bytes       int64  `db:"bytes"`
	Pages       int64  `db:"pages"`
	Records     int64  `db:"records"`
	Files       int64  `db:"files"`
	Compared    int64  `db:"compared"`
	Checks      string `db:"checks"`
	Findings    string `db:"findings"`
	Cause       string `db:"cause"`
	Actor       string `db:"actor"`
	Report      string `db:"report"`
	Signature   string `db:"signature"`
	VKey        string `db:"vkey"`
}

// Drill is one drill as it is kept and reported. Durations are in milliseconds.
type Drill struct {
	ID       string        `json:"id"`
	Store    string        `json:"store"`
	Name     string        `json:"name" doc:"of the store: slug or slug/env, as it was then"`
	Target   string        `json:"target"`
	Sequence int64         `json:"sequence" doc:"of the snapshot that was restored; 0: none could be"`
	Position data.Position `json:"position" doc:"of the change feed in what was restored"`
	Point    *time.Time    `json:"point" doc:"when the snapshot was taken"`
	Started  time.Time     `json:"started"`
	Ended    time.Time     `json:"ended"`
	OK       bool          `json:"ok" doc:"it was restored and every check passed; goals are told apart"`
	RTO      *int64        `json:"rto_ms" doc:"from the beginning of the drill to a store that PocketBase has answered from; null: it did not come to that"`
	RPO      *int64        `json:"rpo_ms" doc:"age of the oldest commit that the newest point on the target did not hold; 0: it held all; null: not known"`
	RTOGoal  *int64        `json:"rto_goal_ms"`
	RPOGoal  *int64        `json:"rpo_goal_ms"`
	RTOMet   *bool         `json:"rto_met" doc:"null without a goal"`
	RPOMet   *bool         `json:"rpo_met" doc:"null without a goal, or when it is not known"`
	Bytes    int64         `json:"bytes" doc:"read from the target"`
	Pages    int64         `json:"pages"`
	Records  int64         `json:"records" doc:"of the tenant's own collections"`
	Files    int64         `json:"files" doc:"read and hashed"`
	Compared int64         `json:"compared" doc:"of the records: held to digests that were recorded independently"`
	Checks   []Check       `json:"checks"`
	Findings []string      `json:"findings"`
	Cause    string        `json:"cause" enum:"asked,schedule"`
	Actor    string        `json:"actor"`
}

// Check is one thing that a drill looked at.
type Check struct {
	Name  string `json:"name" enum:"chain,checksum,integrity,probe,feed,records,files,log"`
	State string `json:"state" enum:"passed,failed,skipped"`
	Text  string `json:"text"`
}

func (r drillRow) drill() (Drill, error) {
	d := Drill{
		ID: r.ID, Store: r.Store, Name: r.Name, Target: r.TargetName, Sequence: r.Sequence,
		Position: data.Position{Incarnation: r.Incarnation, Sequence: r.Position}, Started: timeOf(r.Started), Ended: timeOf(r.Ended), OK: r.OK,
		RTO: known(r.RTO), RPO: known(r.RPO), RTOGoal: goal(r.RTOGoal), RPOGoal: goal(r.RPOGoal),
		Bytes: r.Bytes, Pages: r.Pages, Records: r.Records, Files: r.Files, Compared: r.Compared, Cause: r.Cause, Actor: r.Actor,
	}
	d.RTOMet, d.RPOMet = met(r.RTO, r.RTOGoal, r.OK), met(r.RPO, r.RPOGoal, true)
	if r.Point != 0 {
		at := timeOf(r.Point)
		d.Point = &at
	}
	return d, errors.Join(json.Unmarshal([]byte(r.Checks), &d.Checks), json.Unmarshal([]byte(r.Findings), &d.Findings))
}

func timeOf(ms int64) time.Time { return time.UnixMilli(ms).UTC() }

func known(ms int64) *int64 {
	if ms < 0 {
		return nil
	}
	return &ms
}

func goal(ms int64) *int64 {
	if ms <= 0 {
		return nil
	}
	return &ms
}

// met compares what was measured with a goal. What was not restored in time, or not
// at all, has not met it.
func met(ms, goal int64, restored bool) *bool {
	if goal <= 0 || ms < 0 && restored {
		return nil
	}
	ok := restored && ms <= goal
	return &ok
}

func (s *Service) insert(ctx context.Context, r drillRow) error {
	err := s.config.DB.Update(context.WithoutCancel(ctx), func(tx *sqlx.Tx) error {
		_, err := tx.NamedExecContext(ctx, `INSERT INTO drills VALUES (:id, :store, :name, :target, :target_name, :sequence, :incarnation, :position, :point,
			:started, :ended, :ok, :rto_ms, :rpo_ms, :rto_goal_ms, :rpo_goal_ms, :bytes, :pages, :records, :files, :compared,
			:checks, :findings, :cause, :actor, :report, :signature, :vkey)`, r)
		return err
	})
	if err != nil {
		return fmt.Errorf("keep a drill: %w", err)
	}
	return nil
}

// row finds a drill. data.ErrNotFound.
func (s *Service) row(ctx context.Context, id string) (r drillRow, err error) {
	err = s.config.DB.View(ctx, func(tx *sqlx.Tx) error { return tx.GetContext(ctx, &r, `SELECT * FROM drills WHERE id = ?`, id) })
	if errors.Is(err, sql.ErrNoRows) {
		err = data.ErrNotFound
	}
	if err != nil {
		return r, fmt.Errorf("drill %s: %w", id, err)
	}
	return r, nil
}
