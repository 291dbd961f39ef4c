package drill

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"

	"holdfast/app/api"
)

// Kinds of alarm.
const (
	alarmFailed  = "failed"
	alarmOverdue = "overdue"
	alarmGoals   = "goals"
)

// alarm raises or ends what a drill tells of its chain. Only the newest point
// counts: an older one that is damaged is in the history, and in its own finding.
func (d *drill) alarm(ctx context.Context, shown Drill) error {
	missed := shown.RTOMet != nil && !*shown.RTOMet || shown.RPOMet != nil && !*shown.RPOMet
	for kind, on := range map[string]bool{alarmFailed: !shown.OK, alarmGoals: shown.OK && missed} {
		if err := d.turnAlarm(ctx, d.chain, kind, on); err != nil {
			return err
		}
	}
	if !shown.OK {
		d.config.Logger.ErrorContext(ctx, "a drill failed: this store could not be restored as it should", "store", shown.Store, "name", shown.Name,
			"target", shown.Target, "drill", shown.ID, "finding", shown.Findings[0])
		return nil
	}
	return d.turnAlarm(ctx, d.chain, alarmOverdue, false)
}

// turnAlarm keeps since when an alarm is on.
func (s *Service) turnAlarm(ctx context.Context, c Chain, kind string, on bool) error {
	query, args := `DELETE FROM drill_alarms WHERE store = ? AND target = ? AND kind = ?`, []any{c.name(), c.Target, kind}
	if on {
		query = `INSERT OR IGNORE INTO drill_alarms (store, target, kind, since) VALUES (?, ?, ?, ?)`
		args = append(args, s.now().UnixMilli())
	}
	return s.config.DB.Update(context.WithoutCancel(ctx), func(tx *sqlx.Tx) error {
		_, err := tx.ExecContext(ctx, query, args...)
		return err
	})
}

// raiseOverdue says once that a drill is overdue: in the log, and in the audit log.
func (s *Service) raiseOverdue(ctx context.Context, st Standing) error {
	if st.alarms[alarmOverdue] {
		return nil
	}
	s.config.Logger.ErrorContext(ctx, "a drill is overdue: nobody knows whether this store can be restored", "store", st.Store, "name", st.Name,
		"target", st.Target, "due", st.Due.Format(time.RFC3339))
	err := s.config.Recorder.Record(ctx, api.Event{Action: "drill.overdue", Target: st.Name, Store: st.chain.log(), Outcome: api.Failed,
		Detail: map[string]string{"target": st.Target, "due": st.Due.Format(time.RFC3339)}})
	if err != nil {
		return err
	}
	return s.turnAlarm(ctx, st.chain, alarmOverdue, true)
}

// Finding is something that is not as it should be, with the way out of it.
type Finding struct {
	ID       string
	Severity string // critical, warning, info
	What     string
	Fix      string
}

// Findings lists what is wrong with drills: failed, overdue, goals that were missed.
func (s *Service) Findings(ctx context.Context) ([]Finding, error) {
	all, err := s.standings(ctx)
	if err != nil {
		return nil, err
	}
	var out []Finding
	for _, st := range all {
		out = append(out, st.findings()...)
	}
	return out, nil
}

func (st Standing) findings() (out []Finding) {
	add := func(id, severity, what, fix string, args ...any) {
		out = append(out, Finding{id, severity, fmt.Sprintf(what, args...), fix})
	}
	switch {
	case st.Last != nil && !st.Last.OK:
		add("drill-failed", "critical", "The last drill of %s from %s failed: %s", "Look at the drill's report, then verify the chain: holdfast snapshot verify "+st.Name+
			". If an object is damaged, ship anew to another target, and drill again: holdfast drill "+st.Name, st.Name, st.Target, st.Last.Findings[0])
	case st.Last != nil && st.Last.RTOMet != nil && !*st.Last.RTOMet:
		add("rto-missed", "warning", "The last drill of %s from %s took %.1f s; the goal is %.1f s.", "Set a goal that can be met, use a nearer target, or make the store smaller.",
			st.Name, st.Target, seconds(st.Last.RTO), seconds(st.Last.RTOGoal))
	case st.Last != nil && st.Last.RPOMet != nil && !*st.Last.RPOMet:
		add("rpo-missed", "warning", "When %s was drilled, %s lacked what was committed %.1f s before; the goal is %.1f s.", "Look why shipping lags: holdfast snapshot status "+st.Name,
			st.Name, st.Target, seconds(st.Last.RPO), seconds(st.Last.RPOGoal))
	}
	if st.Overdue {
		add("drill-overdue", "critical", "The drill of %s from %s was due on %s.", "holdfast drill "+st.Name, st.Name, st.Target, st.Due.Format("2006-01-02 15:04 MST"))
	}
	if st.EverySeconds == 0 {
		add("drill-off", "warning", "Drills of %s are turned off: nobody knows whether it can be restored.", "Set drill_every_days in its snapshot policy.", st.Name)
	}
	return out
}

func seconds(ms *int64) float64 {
	if ms == nil {
		return 0
	}
	return float64(*ms) / 1000
}

// Last gives a store's last drill, from whichever target; nil if it never had one.
func (s *Service) Last(ctx context.Context, store string) (*Drill, error) {
	var row drillRow
	err := s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		return tx.GetContext(ctx, &row, `SELECT * FROM drills WHERE store = ? ORDER BY started DESC LIMIT 1`, store)
	})
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("last drill of %s: %w", store, err)
	}
	d, err := row.drill()
	return &d, err
}

// Good lists the snapshots of a store that drills restored from a target and found
// whole, oldest first.
func (s *Service) Good(ctx context.Context, store, target string) (sequences []int64, err error) {
	err = s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		return tx.SelectContext(ctx, &sequences, `SELECT DISTINCT sequence FROM drills WHERE store = ? AND target = ? AND ok = 1 ORDER BY sequence`, store, target)
	})
	if err != nil {
		return nil, fmt.Errorf("good drills of %s: %w", store, err)
	}
	return sequences, nil
}
