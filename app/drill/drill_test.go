package drill

import (
	"context"
	"strings"
	"testing"
	"time"

	"holdfast/data"
	"holdfast/data/store"
)

type signerFunc func(string) (string, string)

func (f signerFunc) SignNote(_ context.Context, text string) (string, string, error) {
	signature, key := f(text)
	return signature, key, nil
}

func TestGoals(t *testing.T) {
	yes, no := true, false
	for _, c := range []struct {
		ms, goal int64
		restored bool
		want     *bool
	}{{100, 0, true, nil}, {100, 100, true, &yes}, {101, 100, true, &no}, {-1, 100, true, nil}, {-1, 100, false, &no}, {1, 100, false, &no}} {
		got := met(c.ms, c.goal, c.restored)
		if (got == nil) != (c.want == nil) || got != nil && *got != *c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
}

func TestWhenADrillIsDue(t *testing.T) {
	now := goldenTime
	day := 24 * time.Hour
	c := Chain{Store: data.StoreID{Tenant: "acme", Environment: data.Prod}, Target: "t", First: now.Add(-30 * day)}
	p := Policy{Every: 7 * day}
	began := func(age time.Duration, ok bool) *drillRow {
		r := goldenRow()
		r.Started, r.OK, r.Findings = now.Add(-age).UnixMilli(), ok, `["broken"]`
		return &r
	}
	for name, k := range map[string]struct {
		policy  Policy
		last    *drillRow
		good    time.Duration
		due     bool
		overdue bool
	}{
		"never":            {p, nil, 0, true, true},
		"yesterday":        {p, began(day, true), day, false, false},
		"a week ago":       {p, began(7*day, true), 7 * day, true, false},
		"failed yesterday": {p, began(day, false), 8 * day, false, false},
		"failing for long": {p, began(day, false), 9 * day, false, true},
		"off":              {Policy{}, nil, 0, false, false},
	} {
		good := int64(0)
		if k.good > 0 {
			good = now.Add(-k.good).UnixMilli()
		}
		st, err := standingOf(c, "acme", k.policy, k.last, good, now)
		if err != nil {
			t.Fatal(err)
		}
		if due := len(dueOf([]Standing{st}, now)) == 1; due != k.due || st.Overdue != k.overdue {
			t.Errorf("%s: due %t, overdue %t", name, due, st.Overdue)
		}
	}
}

// All chains get their turn within the shortest period, a few at each tick.
func TestDrillsAreSpread(t *testing.T) {
	var all []Standing
	for i := range 5000 {
		due := goldenTime.Add(-time.Duration(i) * time.Minute)
		all = append(all, Standing{EverySeconds: 7 * 24 * 3600, Due: &due})
	}
	due := dueOf(all, goldenTime)
	if len(due) != 5 || !due[0].Due.Equal(goldenTime.Add(-4999*time.Minute)) {
		t.Errorf("%d at once, first due %v", len(due), due[0].Due)
	}
}

func TestMoves(t *testing.T) {
	m := moves{}
	m.add("a", "r1")
	m.add("a", "r1")
	m.add("b", "r1")
	m.add("b", "")
	m.add("b", "r2")
	const n = 16
	a, b, c := m.bitmap("a", n), m.bitmap("b", n), m.bitmap("c", n)
	for i := range n {
		w := witness{Moved: a}
		if w.moved(i) != (i == store.BucketOf("r1", n)) {
			t.Errorf("bucket %d", i)
		}
		if w.Moved = b; !w.moved(i) {
			t.Errorf("a whole collection moved, but not bucket %d", i)
		}
		if w.Moved = c; w.moved(i) {
			t.Errorf("nothing moved, but bucket %d", i)
		}
	}
	if m.schema() {
		t.Error("no collection changed")
	}
}

func TestBuckets(t *testing.T) {
	for records, want := range map[int64]int{0: 1, 15: 1, 16: 1, 31: 1, 32: 2, 47: 2, 48: 4, 1 << 40: maxBuckets} {
		if got := bucketsFor(records); got != want {
			t.Errorf("%d records: %d buckets", records, got)
		}
	}
}

// What a bucket says counts unless it was touched in between.
func TestSums(t *testing.T) {
	w := witness{Name: "items", Sums: make([]byte, 2*store.DigestSize), Moved: []byte{0}, Records: 5, At: 9}
	d := store.Digest{Name: "items", Sums: make([][store.DigestSize]byte, 2), Counts: []int64{3, 2}, Records: 5}
	var same comparison
	same.sums(d, w, []byte{0})
	if same.compared != 5 || len(same.findings) > 0 {
		t.Errorf("%+v", same)
	}
	d.Sums[1][0] = 1
	var changed comparison
	changed.sums(d, w, []byte{0})
	if len(changed.findings) != 1 || !strings.Contains(changed.findings[0], "1 of 2 groups") {
		t.Errorf("%+v", changed)
	}
	var touched comparison
	touched.sums(d, w, []byte{2})
	if touched.compared != 3 || len(touched.findings) > 0 {
		t.Errorf("%+v", touched)
	}
	d.Sums[1][0], d.Records = 0, 4
	var fewer comparison
	fewer.sums(d, w, []byte{0})
	if len(fewer.findings) != 1 {
		t.Errorf("%+v", fewer)
	}
}

// A witness counts for points behind it, and for those before it back to where it
// knows what moved; never for another life.
func TestWhichWitness(t *testing.T) {
	lives := []store.Incarnation{{ID: "one"}, {ID: "two", From: 50}}
	list := []witness{
		{Incarnation: "two", Since: 90, At: 100, Until: 101}, {Incarnation: "two", Since: 60, At: 70, Until: 70},
		{Incarnation: "one", Since: 40, At: 55, Until: 55}, {Incarnation: "one", Since: 20, At: 30, Until: 30}, {Incarnation: "three", Since: 1, At: 1, Until: 1},
	}
	for at, want := range map[int64]int64{200: 100, 101: 100, 100: 100, 95: 70, 80: 70, 65: 30, 40: 30, 25: 30, 10: 0} {
		r := restored{at: data.Position{Incarnation: "two", Sequence: at}, lives: lives}
		got := int64(0)
		if w := r.pick(list); w != nil {
			got = w.At
		}
		if got != want {
			t.Errorf("point %d: witness at %d, want %d", at, got, want)
		}
	}
}
