package chain_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast/backup/chain"
)

// pointsAt makes points of times like "2026-01-31T10:00".
func pointsAt(t *testing.T, times string) (points []chain.Point) {
	t.Helper()
	for i, s := range strings.Fields(times) {
		at, err := time.Parse("2006-01-02T15:04", s)
		if err != nil {
			t.Fatal(err)
		}
		points = append(points, chain.Point{Sequence: int64(i + 1), Time: at})
	}
	return points
}

func TestPolicy(t *testing.T) {
	const day = "2026-01-31T09:10 2026-01-31T09:50 2026-01-31T10:00 2026-01-31T10:59 2026-01-31T12:00"
	const days = "2025-12-28T08:00 2025-12-29T08:00 2025-12-31T23:59 2026-01-01T00:00 2026-01-04T12:00 2026-01-05T00:00 2026-01-31T10:00"
	const years = "2022-06-01T00:00 2023-06-01T00:00 2023-12-31T23:59 2025-01-01T00:00 2026-01-31T10:00"
	for name, c := range map[string]struct {
		policy chain.Policy
		times  string
		want   []int64
	}{
		"last":                   {chain.Policy{Last: 2}, day, []int64{4, 5}},
		"more than there are":    {chain.Policy{Last: 9}, day, []int64{1, 2, 3, 4, 5}},
		"hourly":                 {chain.Policy{Hourly: 2}, day, []int64{4, 5}},
		"hours without any":      {chain.Policy{Hourly: 3}, day, []int64{2, 4, 5}},
		"all":                    {chain.Policy{All: 2*time.Hour + time.Minute}, day, []int64{4, 5}},
		"all, at its very bound": {chain.Policy{All: 2 * time.Hour}, day, []int64{5}},
		"daily":                  {chain.Policy{Daily: 2}, days, []int64{6, 7}},
		"weekly":                 {chain.Policy{Weekly: 3}, days, []int64{5, 6, 7}}, // 12-29 to 01-04 is one week
		"weekly, four":           {chain.Policy{Weekly: 4}, days, []int64{1, 5, 6, 7}},
		"monthly":                {chain.Policy{Monthly: 2}, days, []int64{3, 7}},
		"yearly":                 {chain.Policy{Yearly: 3}, years, []int64{3, 4, 5}},
		"together":               {chain.Policy{Last: 1, Hourly: 2, Yearly: 9}, day, []int64{4, 5}},
		"the newest, always":     {chain.Policy{All: time.Second}, day, []int64{5}},
		"none":                   {chain.Policy{Last: 3}, "", nil},
	} {
		t.Run(name, func(t *testing.T) {
			now := time.Date(2026, 1, 31, 12, 59, 0, 0, time.UTC)
			var got []int64
			for _, p := range c.policy.Keep(pointsAt(t, c.times), now) {
				got = append(got, p.Sequence)
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("kept %v, want %v", got, c.want)
			}
		})
	}
}

func TestPolicyValidate(t *testing.T) {
	for _, p := range []chain.Policy{{}, {Last: -1, Daily: 3}, {All: -time.Hour, Last: 1}} {
		if p.Validate() == nil {
			t.Errorf("%+v was taken", p)
		}
	}
	if err := (chain.Policy{Yearly: 1}).Validate(); err != nil {
		t.Error(err)
	}
}

// Pruning twice keeps what pruning once keeps, and what is kept later was kept before.
func TestPolicyIsStable(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	for range 200 {
		var points []chain.Point
		at := time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
		for i := range 60 {
			at = at.Add(time.Duration(rnd.Int64N(int64(40 * 24 * time.Hour))))
			points = append(points, chain.Point{Sequence: int64(i + 1), Time: at})
		}
		p := chain.Policy{Last: rnd.IntN(3), Hourly: rnd.IntN(3), Daily: rnd.IntN(9), Weekly: rnd.IntN(9), Monthly: rnd.IntN(9), Yearly: 1 + rnd.IntN(9)}
		once := p.Keep(points, at)
		if twice := p.Keep(once, at); fmt.Sprint(once) != fmt.Sprint(twice) {
			t.Fatalf("%+v: %v, then %v", p, once, twice)
		}
		before := p.Keep(p.Keep(points[:40], points[39].Time), at)
		if later := p.Keep(append(slices.Clone(before), points[40:]...), at); fmt.Sprint(later) != fmt.Sprint(once) {
			t.Fatalf("%+v: pruned on the way %v, at the end %v", p, later, once)
		}
	}
}
