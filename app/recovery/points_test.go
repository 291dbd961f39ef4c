package recovery

import (
	"fmt"
	"net/url"
	"slices"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// shipped puts snapshots into the table as if a target had confirmed them, one for
// each moment; the position grows with time, so that targets agree on it.
func (w *world) shipped(slug, target string, moments ...time.Time) {
	w.t.Helper()
	row, err := w.target(w.t.Context(), target)
	w.must(err)
	store := w.tenants[slug].id.String()
	w.must(w.db.Update(w.t.Context(), func(tx *sqlx.Tx) error {
		for i, at := range moments {
			_, err := tx.ExecContext(w.t.Context(), `INSERT INTO snapshots
				(store, target, sequence, epoch, base, time, pages, total, files, bytes, objects, incarnation, position, manifest)
				VALUES (?, ?, ?, 'e', ?, ?, 3, 9, 2, 100, 1, 'life', ?, '')`,
				store, row.ID, i+1, i == 0, at.UnixMilli(), at.Truncate(time.Second).Unix())
			if err != nil {
				return err
			}
		}
		return nil
	}))
}

// seconds are moments from noon on, a second apart.
func seconds(n int) []time.Time {
	all := make([]time.Time, n)
	for i := range all {
		all[i] = noon.Add(time.Duration(i) * time.Second)
	}
	return all
}

func (w *world) points(slug string, query url.Values) (p Points) {
	w.t.Helper()
	w.call("GET", "/stores/"+slug+"/prod/snapshots/points?"+query.Encode(), "", 200, &p)
	return p
}

func newShipped(t *testing.T) *world {
	w := newWorld(t)
	w.tenant("acme", 1)
	w.folder("one")
	return w
}

func TestPointsOfNothing(t *testing.T) {
	w := newShipped(t)
	if p := w.points("acme", nil); p.First != nil || p.Last != nil || p.Points == nil || p.Lives == nil || len(p.Points)+len(p.Lives) > 0 {
		t.Fatalf("%+v", p)
	}
}

func TestPointsWhole(t *testing.T) {
	w := newShipped(t)
	w.shipped("acme", "one", noon, noon.Add(3*time.Second), noon.Add(time.Minute), noon.Add(time.Hour), noon.Add(24*time.Hour), noon.Add(24*time.Hour+time.Second))
	p := w.points("acme", nil)
	var kinds []string
	for _, point := range p.Points {
		kinds = append(kinds, point.Kind)
	}
	if want := []string{"base", "minute", "hour", "day", "second", "second"}; !slices.Equal(kinds, want) {
		t.Errorf("%v, want %v", kinds, want)
	}
	if !p.First.Equal(noon) || !p.Last.Equal(noon.Add(24*time.Hour+time.Second)) || p.StepSeconds != 0 {
		t.Errorf("%+v", p)
	}
	if len(p.Lives) != 1 || p.Lives[0].Incarnation != "life" || p.Lives[0].Snapshots != 6 || !p.Lives[0].First.Equal(*p.First) || !p.Lives[0].Last.Equal(*p.Last) {
		t.Errorf("lives: %+v", p.Lives)
	}
	if one := p.Points[1]; one.Sequence != 2 || one.Bytes != 100 || one.Pages != 3 || one.Files != 2 || one.Snapshots != 1 {
		t.Errorf("%+v", one)
	}
}

func TestPointsAreThinned(t *testing.T) {
	w := newShipped(t)
	w.shipped("acme", "one", seconds(3000)...)
	last := noon.Add(2999 * time.Second)
	p := w.points("acme", url.Values{"limit": {"100"}})
	if n := len(p.Points); n > 100 || n < 40 {
		t.Errorf("%d points", n)
	}
	if p.StepSeconds != 60 || !p.Points[len(p.Points)-1].Time.Equal(last) || !p.Last.Equal(last) {
		t.Errorf("step %v, ends %v", p.StepSeconds, p.Points[len(p.Points)-1].Time)
	}
	var sum, count int64
	for _, point := range p.Points {
		sum, count = sum+point.Bytes, count+point.Snapshots
	}
	if sum != 300_000 || count != 3000 {
		t.Errorf("%d bytes of %d snapshots", sum, count)
	}
	at := noon.Add(1234*time.Second + 500*time.Millisecond)
	near := w.points("acme", url.Values{"until": {at.Format(time.RFC3339Nano)}, "limit": {"1"}})
	if len(near.Points) != 1 || !near.Points[0].Time.Equal(noon.Add(1234*time.Second)) || near.Points[0].Bytes != 100 {
		t.Errorf("the point of a moment: %+v", near.Points)
	}
	few := w.points("acme", url.Values{"from": {noon.Add(10 * time.Second).Format(time.RFC3339)}, "until": {noon.Add(20 * time.Second).Format(time.RFC3339)}})
	if len(few.Points) != 11 || few.StepSeconds != 0 || !few.First.Equal(noon) {
		t.Errorf("%+v", few)
	}
}

// What two targets got in one tick is one point; what one of them has alone is another.
func TestPointsOfTwoTargets(t *testing.T) {
	w := newShipped(t)
	w.folder("two")
	later := func(s float64) time.Time { return noon.Add(time.Duration(s * float64(time.Second))) }
	w.shipped("acme", "one", noon, later(10), later(20))
	w.shipped("acme", "two", later(0.3), later(20.4))
	p := w.points("acme", nil)
	var got []string
	for _, point := range p.Points {
		got = append(got, fmt.Sprintf("%v%v", point.Time.Sub(noon), point.Targets))
	}
	if want := []string{"300ms[one two]", "10s[one]", "20.4s[one two]"}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestPointsBadInput(t *testing.T) {
	w := newShipped(t)
	for _, query := range []string{"from=yesterday", "until=1", "limit=0", "limit=many"} {
		w.call("GET", "/stores/acme/prod/snapshots/points?"+query, "", 422, nil)
	}
	w.call("GET", "/stores/nobody/prod/snapshots/points", "", 404, nil)
	backwards := url.Values{"from": {noon.Add(time.Hour).Format(time.RFC3339)}, "until": {noon.Format(time.RFC3339)}}
	w.shipped("acme", "one", seconds(3)...)
	if p := w.points("acme", backwards); len(p.Points) != 0 || p.Last == nil {
		t.Errorf("%+v", p)
	}
}
