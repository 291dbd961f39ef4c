package chain

import (
	"fmt"
	"slices"
	"time"
)

// Policy says which points of a chain are kept. A point that any rule wants is
// kept; the zero policy is refused, since it would keep nothing. Hours, days,
// weeks (ISO 8601), months and years are those of UTC.
type Policy struct {
	All     time.Duration // every point that is younger
	Last    int           // the last so many
	Hourly  int           // the last point of each of the last so many hours that have any
	Daily   int
	Weekly  int
	Monthly int
	Yearly  int
}

// Point is a moment that a chain can be brought back to.
type Point struct {
	Sequence int64
	Time     time.Time
}

// Validate refuses negative numbers and a policy that keeps nothing.
func (p Policy) Validate() error {
	counts := []int{p.Last, p.Hourly, p.Daily, p.Weekly, p.Monthly, p.Yearly}
	if p.All < 0 || slices.Min(counts) < 0 {
		return fmt.Errorf("retention policy: negative")
	}
	if p.All == 0 && slices.Max(counts) == 0 {
		return fmt.Errorf("retention policy: it keeps nothing")
	}
	return nil
}

// Keep returns the points that the policy keeps, of a list in ascending order.
// The newest is always kept.
func (p Policy) Keep(points []Point, now time.Time) []Point {
	rules := p.rules()
	var kept []Point
	for i, pt := range slices.Backward(points) {
		keep := i == len(points)-1 || now.Sub(pt.Time) < p.All
		for j := range rules {
			keep = rules[j].wants(pt.Time) || keep
		}
		if keep {
			kept = append(kept, pt)
		}
	}
	slices.Reverse(kept)
	return kept
}

// rule keeps the newest point of each of its last periods.
type rule struct {
	left   int
	period func(time.Time) int64 // names a stretch of time; ever rising
	last   int64
	any    bool
}

func (r *rule) wants(t time.Time) bool {
	period := r.period(t.UTC())
	if r.left == 0 || r.any && period == r.last {
		return false
	}
	r.left, r.last, r.any = r.left-1, period, true
	return true
}

func (p Policy) rules() []rule {
	var each int64
	every := func(time.Time) int64 { each++; return each }
	return []rule{
		{left: p.Last, period: every},
		{left: p.Hourly, period: func(t time.Time) int64 { return t.Unix() / 3600 }},
		{left: p.Daily, period: func(t time.Time) int64 { return t.Unix() / 86400 }},
		{left: p.Weekly, period: func(t time.Time) int64 { y, w := t.ISOWeek(); return int64(y*100 + w) }},
		{left: p.Monthly, period: func(t time.Time) int64 { return int64(t.Year()*100 + int(t.Month())) }},
		{left: p.Yearly, period: func(t time.Time) int64 { return int64(t.Year()) }},
	}
}
