package recovery

import (
	"context"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"

	"holdfast/app/api"
	"holdfast/data"
)

// Snapshot is one point that can be restored.
type Snapshot struct {
	Store    string        `json:"store"`
	Target   string        `json:"target"`
	Seq      int64         `json:"seq"`
	Time     time.Time     `json:"time"`
	Kind     string        `json:"kind" enum:"base,segment"`
	Pages    int64         `json:"pages" doc:"pages shipped"`
	Bytes    int64         `json:"bytes" doc:"as stored on the target"`
	Files    int64         `json:"files" doc:"files of the store at that point"`
	Position data.Position `json:"position" doc:"the snapshot holds at least everything up to it"`
}

// Status is how far a store is on each target.
type Status struct {
	Targets []TargetStatus `json:"targets"`
}

// TargetStatus is how far a store is on one target.
type TargetStatus struct {
	Target     string     `json:"target"`
	Seq        int64      `json:"seq" doc:"newest snapshot; 0 without one"`
	Time       *time.Time `json:"time,omitempty"`
	DirtyPages int        `json:"dirtyPages" doc:"pages that the next snapshot would look at"`
	LagSeconds float64    `json:"lagSeconds" doc:"age of the oldest change that is not there yet"`
	Error      string     `json:"error,omitempty" doc:"why the last attempt failed"`

	Lag         float64 `json:"lag_seconds" doc:"age of the oldest change that is not there yet"`
	State       string  `json:"state" enum:"current,behind,absent,fenced,paused"`
	Why         string  `json:"why,omitempty" doc:"what the state comes from"`
	StagedBytes int64   `json:"staged_bytes" doc:"waits on this host's disk for the target"`
	Region      string  `json:"region"`
	Place       string  `json:"place"`
	Health      string  `json:"health" enum:"unknown,healthy,failed"`
}

// List gives the snapshots of a store, newest first.
func (s *Service) List(ctx context.Context, id data.StoreID, p api.Paging) (api.Page[Snapshot], error) {
	var rows []snapshotRow
	var total int
	err := s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		if err := tx.GetContext(ctx, &total, `SELECT count(*) FROM snapshots WHERE store = ?`, id.String()); err != nil {
			return err
		}
		return tx.SelectContext(ctx, &rows, `SELECT s.*, t.name FROM snapshots s JOIN targets t ON t.id = s.target
			WHERE s.store = ? ORDER BY s.time DESC, t.name, s.sequence DESC LIMIT ? OFFSET ?`, id.String(), p.PerPage, p.Offset())
	})
	if err != nil {
		return api.Page[Snapshot]{}, fmt.Errorf("list snapshots: %w", err)
	}
	items := make([]Snapshot, len(rows))
	for i, r := range rows {
		items[i] = Snapshot{r.Store, r.Name, r.Sequence, r.at(), kind(r.Base), r.Pages, r.Bytes, r.Files, r.position()}
	}
	return api.NewPage(items, p, total), nil
}

// Status tells how far a store is on each target. It opens a live store.
func (s *Service) Status(ctx context.Context, slug, environment string) (Status, error) {
	r, err := s.named(ctx, slug, environment)
	if err != nil {
		return Status{}, err
	}
	targets, err := s.targets(ctx)
	if err != nil {
		return Status{}, err
	}
	newest, err := s.newestOf(ctx, r.chain())
	if err != nil {
		return Status{}, err
	}
	failures, err := s.failures(ctx, r.chain())
	if err != nil {
		return Status{}, err
	}
	status := Status{Targets: []TargetStatus{}}
	for _, t := range targets {
		one := TargetStatus{Target: t.Name, Error: failures[t.ID]}
		if row, ok := newest[t.ID]; ok {
			at := row.at()
			one.Seq, one.Time = row.Sequence, &at
		}
		if err := s.behind(ctx, r, t, newest[t.ID], &one); err != nil {
			return Status{}, err
		}
		s.along(laneKey{r.chain(), t.ID}, t, &one)
		status.Targets = append(status.Targets, one)
	}
	return status, nil
}

// behind fills in what a live store has that the target has not.
func (s *Service) behind(ctx context.Context, r ref, t targetRow, newest snapshotRow, one *TargetStatus) error {
	course := s.courseOf(laneKey{r.chain(), t.ID})
	if r.closed != nil || r.own != "" || s.ships.running() && course.state == stateCurrent && course.lag == 0 {
		return nil // it need not be opened to know
	}
	st, err := s.config.Stores.Acquire(ctx, r.id)
	if err != nil {
		return err
	}
	defer st.Release()
	now, err := st.Position(ctx)
	if err != nil || now == newest.position() {
		return err
	}
	one.DirtyPages = st.PagesFor(t.ID).Dirty()
	since, err := st.OldestBeyond(ctx, newest.position())
	if err != nil || since.IsZero() {
		return err
	}
	one.LagSeconds = max(0, s.now().Sub(since).Seconds())
	return nil
}

// along fills in what shipping knows.
func (s *Service) along(key laneKey, t targetRow, one *TargetStatus) {
	course := s.courseOf(key)
	one.Lag = max(one.LagSeconds, course.lag.Seconds())
	one.LagSeconds = one.Lag
	one.State, one.Why, one.StagedBytes = course.state, course.why, s.stagedBytes(key)
	one.Region, one.Place, one.Health = t.Region, t.Place, t.shown().Health
}
