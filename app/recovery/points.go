package recovery

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/jmoiron/sqlx"

	"holdfast/app/api"
	"holdfast/data"
)

// Bounds of how many points one answer has.
const (
	defaultPoints = 400
	maxPoints     = 2000
)

// Points are the moments of a store that can be restored, of all targets
// together, thinned for a picture of them.
type Points struct {
	First       *time.Time `json:"first,omitempty" doc:"the oldest moment that can be restored; absent without a snapshot"`
	Last        *time.Time `json:"last,omitempty" doc:"the newest moment that can be restored"`
	StepSeconds float64    `json:"step_seconds" doc:"of each target at most one point in so many seconds is told; 0: all of them"`
	Points      []Point    `json:"points" doc:"oldest first; every moment between two points is restored as the one before it"`
	Lives       []Life     `json:"lives" doc:"of the whole history, oldest first; one where the store was never restored in place"`
}

// Point is one moment that can be restored, on the targets that have it.
type Point struct {
	Time      time.Time `json:"time"`
	Sequence  int64     `json:"sequence" doc:"number of the snapshot on the first of the targets"`
	Targets   []string  `json:"targets"`
	Bytes     int64     `json:"bytes" doc:"shipped to one target for this and the points that it stands for"`
	Pages     int64     `json:"pages" doc:"shipped to one target for this and the points that it stands for"`
	Files     int64     `json:"files" doc:"files of the store at that moment"`
	Snapshots int64     `json:"snapshots" doc:"how many points it stands for on one target"`
	Position  int64     `json:"position" doc:"of the change feed; the point holds at least everything up to it"`
	Life      string    `json:"incarnation" doc:"the life of the store that the position is of: a restore in place begins one, and so does its undo"`
	NewLife   bool      `json:"new_life" doc:"of the points told, the first one of this life; those before it can be restored all the same"`
	Kind      string    `json:"kind" enum:"second,minute,hour,day,base" doc:"what it is the last of; base: a whole image"`
	Drilled   bool      `json:"drilled" doc:"a drill restored it and found it whole"`
}

// Stretch is which points are asked for.
type Stretch struct {
	From, Until time.Time // zero: from the first, until the last
	Limit       int       // 1 to 2,000
}

func readStretch(q url.Values) (Stretch, error) {
	st := Stretch{Limit: defaultPoints}
	for name, at := range map[string]*time.Time{"from": &st.From, "until": &st.Until} {
		text := q.Get(name)
		if text == "" {
			continue
		}
		t, err := time.Parse(time.RFC3339, text)
		if err != nil {
			return st, api.InvalidField(name, "%q is not a moment like 2026-01-31T12:00:00Z", text)
		}
		*at = t
	}
	if text := q.Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			return st, api.InvalidField("limit", "want a whole number from 1")
		}
		st.Limit = min(n, maxPoints)
	}
	return st, nil
}

// pointRow is the newest snapshot of one step on one target, with the sums of that step.
type pointRow struct {
	snapshotRow
	Next  *int64 `db:"next"` // when the one after it was taken
	Count int64  `db:"count"`
	Size  int64  `db:"size"`
	Moved int64  `db:"moved"`
}

// Points gives the moments of a store between two times, thinned to a limit.
// The newest and the oldest of the stretch are always among them.
func (s *Service) Points(ctx context.Context, id data.StoreID, st Stretch) (Points, error) {
	answer := Points{Points: []Point{}, Lives: []Life{}}
	err := s.config.DB.View(ctx, func(tx *sqlx.Tx) error {
		var ends struct{ First, Last *int64 }
		err := tx.GetContext(ctx, &ends, `SELECT (SELECT time FROM snapshots WHERE store = ?1 ORDER BY time LIMIT 1) AS first,
			(SELECT time FROM snapshots WHERE store = ?1 ORDER BY time DESC LIMIT 1) AS last`, id.String())
		if err != nil || ends.First == nil {
			return err
		}
		answer.First, answer.Last = moment(*ends.First), moment(*ends.Last)
		if answer.Lives, err = livesOf(ctx, tx, id.String()); err != nil {
			return err
		}
		from, until := within(st, *ends.First, *ends.Last)
		return answer.read(ctx, tx, id.String(), from, until, st.Limit)
	})
	markLives(answer.Points)
	if err == nil {
		err = s.markDrilled(ctx, id.String(), answer.Points)
	}
	if err != nil {
		return Points{}, fmt.Errorf("points of %s: %w", id, err)
	}
	return answer, nil
}

// markDrilled marks the points that stand for a snapshot which a drill found whole.
func (s *Service) markDrilled(ctx context.Context, store string, points []Point) error {
	targets, err := s.targets(ctx)
	if err != nil {
		return err
	}
	for _, t := range targets {
		good, err := s.goodDrills(ctx, store, t.ID)
		if err != nil {
			return err
		}
		for i, p := range points {
			if p.Targets[0] != t.Name {
				continue // its number is of another target
			}
			stands := func(sequence int64) bool { return sequence > p.Sequence-p.Snapshots && sequence <= p.Sequence }
			points[i].Drilled = p.Drilled || slices.ContainsFunc(good, stands)
		}
	}
	return nil
}

func moment(ms int64) *time.Time {
	t := time.UnixMilli(ms).UTC()
	return &t
}

// within cuts a stretch to what there is.
func within(st Stretch, first, last int64) (from, until int64) {
	from, until = first, last
	if !st.From.IsZero() {
		from = max(from, st.From.UnixMilli())
	}
	if !st.Until.IsZero() {
		until = min(until, st.Until.UnixMilli())
	}
	return from, until
}

func (p *Points) read(ctx context.Context, tx *sqlx.Tx, store string, from, until int64, limit int) error {
	var targets []string
	if err := tx.SelectContext(ctx, &targets, `SELECT id FROM targets ORDER BY name`); err != nil {
		return err
	}
	if limit == 1 {
		return p.newest(ctx, tx, store, from, until, targets)
	}
	each := max(2, limit/max(1, len(targets)))
	step, err := stepOf(ctx, tx, store, from, until, each, targets)
	if err != nil {
		return err
	}
	var rows []pointRow
	for _, target := range targets {
		lane, err := laneOf(ctx, tx, store, target, from, until, step)
		if err != nil {
			return err
		}
		rows = append(rows, lane...)
	}
	if step > 1 {
		p.StepSeconds = float64(step) / 1000
	}
	p.Points = cut(merge(rows, max(step, sameMoment)), limit)
	return nil
}

// newest reads the one point that a moment is restored as, which stands for itself alone.
func (p *Points) newest(ctx context.Context, tx *sqlx.Tx, store string, from, until int64, targets []string) error {
	var at *int64
	err := tx.GetContext(ctx, &at, `SELECT max(time) FROM snapshots WHERE store = ? AND time BETWEEN ? AND ?`, store, from, until)
	if err != nil || at == nil {
		return err
	}
	var rows []pointRow
	for _, target := range targets {
		lane, err := laneOf(ctx, tx, store, target, max(from, *at-sameMoment), *at, 1)
		if err != nil {
			return err
		}
		rows = append(rows, lane...)
	}
	p.Points = cut(merge(rows, sameMoment), 1)
	return nil
}

// steps are what points may be thinned to, in seconds; beyond them, whole weeks.
var steps = []int64{1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 604800}

// stepOf is the width in milliseconds of a step with at most one point in it; 1
// where no target has more points than it may tell.
func stepOf(ctx context.Context, tx *sqlx.Tx, store string, from, until int64, each int, targets []string) (int64, error) {
	fits := true
	for _, target := range targets {
		var n int
		err := tx.GetContext(ctx, &n, `SELECT count(*) FROM
			(SELECT 1 FROM snapshots WHERE store = ? AND target = ? AND time BETWEEN ? AND ? LIMIT ?)`, store, target, from, until, each+1)
		if err != nil {
			return 0, err
		}
		fits = fits && n <= each
	}
	if fits {
		return 1, nil
	}
	for _, seconds := range steps {
		if (until-from)/(seconds*1000)+2 <= int64(each) {
			return seconds * 1000, nil
		}
	}
	const week = 604_800_000
	return week * ((until-from)/week/int64(each) + 1), nil
}

// laneOf is what one target has, the newest of each step. The index is named: by
// the primary key, whose first columns are the same, each row would cost a scan. Steps are counted from
// the beginning of Unix time, so that the same ones are told when a reader moves on.
func laneOf(ctx context.Context, tx *sqlx.Tx, store, target string, from, until, step int64) (rows []pointRow, err error) {
	err = tx.SelectContext(ctx, &rows, `SELECT s.*, t.name, g.count, g.size, g.moved,
		(SELECT min(n.time) FROM snapshots n INDEXED BY snapshots_lane WHERE n.store = s.store AND n.target = s.target AND n.time > s.time) AS next
		FROM (SELECT max(time) AS time, count(*) AS count, sum(bytes) AS size, sum(pages) AS moved FROM snapshots INDEXED BY snapshots_lane
			WHERE store = ?1 AND target = ?2 AND time BETWEEN ?3 AND ?4 GROUP BY time / ?5) g
		CROSS JOIN snapshots s INDEXED BY snapshots_lane ON s.store = ?1 AND s.target = ?2 AND s.time = g.time
		JOIN targets t ON t.id = s.target ORDER BY s.time, s.sequence`, store, target, from, until, step)
	return rows, err
}

// sameMoment in milliseconds: targets are served one after another in one tick.
const sameMoment = 2000

// merge makes one point of what several targets have of the same state.
func merge(rows []pointRow, step int64) []Point {
	slices.SortStableFunc(rows, func(a, b pointRow) int { return cmp.Compare(a.Time, b.Time) })
	points, last := []Point{}, []pointRow{}
	for _, r := range rows {
		at := len(points) - 1
		for at >= 0 && r.Time-last[at].Time < step && (last[at].position() != r.position() || slices.Contains(points[at].Targets, r.Name)) {
			at--
		}
		if at < 0 || r.Time-last[at].Time >= step {
			points, last = append(points, r.point()), append(last, r)
			continue
		}
		// Restored at the later of the two moments, either target gives this state.
		p := &points[at]
		p.Time, p.Targets = r.at(), append(p.Targets, r.Name)
		p.Bytes, p.Pages, p.Snapshots = max(p.Bytes, r.Size), max(p.Pages, r.Moved), max(p.Snapshots, r.Count)
	}
	slices.SortStableFunc(points, func(a, b Point) int { return a.Time.Compare(b.Time) })
	return points
}

// markLives marks where a restore in place, or its undo, began a life. Before the first
// of the points nothing is known, so it is not marked.
func markLives(points []Point) {
	seen := map[string]bool{}
	for i := range points {
		points[i].NewLife = i > 0 && !seen[points[i].Life]
		seen[points[i].Life] = true
	}
}

func (r pointRow) point() Point {
	return Point{
		Time: r.at(), Sequence: r.Sequence, Targets: []string{r.Name}, Bytes: r.Size, Pages: r.Moved, Files: r.Files,
		Snapshots: r.Count, Position: r.Position, Life: r.Incarnation, Kind: r.kind(),
	}
}

// kind is the longest window whose last snapshot this is; of the newest one that
// is not known yet.
func (r pointRow) kind() string {
	if r.Base {
		return "base"
	}
	if r.Next != nil {
		next := time.UnixMilli(*r.Next)
		for _, w := range []struct {
			long time.Duration
			kind string
		}{{24 * time.Hour, "day"}, {time.Hour, "hour"}, {time.Minute, "minute"}} {
			if !r.at().Truncate(w.long).Equal(next.Truncate(w.long).UTC()) {
				return w.kind
			}
		}
	}
	return "second"
}

// cut keeps the newest and, where there is room for it, the oldest.
func cut(points []Point, limit int) []Point {
	over := len(points) - limit
	if over <= 0 {
		return points
	}
	if limit == 1 {
		return points[over:]
	}
	return slices.Concat(points[:1], points[over+1:])
}

func (s *Service) servePoints(w http.ResponseWriter, r *http.Request) error {
	st, err := readStretch(r.URL.Query())
	if err != nil {
		return err
	}
	found, err := s.find(r.Context(), r.PathValue("slug"), r.PathValue("env"))
	if err != nil {
		return err
	}
	points, err := s.Points(r.Context(), found.id, st)
	if err != nil {
		return err
	}
	return api.Respond(w, http.StatusOK, points)
}

func (s *Service) pointRoute() api.Route {
	return api.Route{
		Method: "GET", Path: "/api/v1/stores/{slug}/{env}/snapshots/points", Permission: api.SnapshotRead, Scope: s.scope,
		Summary: "The moments that can be restored, of all targets together, thinned",
		Query: []api.Param{
			{Name: "from", Summary: "none before it", Example: time.Time{}}, {Name: "until", Summary: "none after it", Example: time.Time{}},
			{Name: "limit", Summary: "at most so many, up to 2,000; 400 where it is not given", Example: defaultPoints},
		},
		Response: Points{}, Handler: s.servePoints,
	}
}
