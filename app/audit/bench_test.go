package audit

import (
	"fmt"
	"sync/atomic"
	"testing"

	"holdfast/app/api"
)

// BenchmarkRecord: each entry is on disk before Record returns; those that wait at
// the same time share a commit.
func BenchmarkRecord(b *testing.B) {
	for _, callers := range []int{1, 16, 64} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			w := newWorld(b)
			e := api.Event{Action: "key.create", Target: "k3jd92mmx0a1abc", Outcome: api.OK, Detail: map[string]string{"name": "billing", "scope": "read"}}
			b.SetParallelism(callers)
			b.RunParallel(func(p *testing.PB) {
				for p.Next() {
					if err := w.Record(b.Context(), e); err != nil {
						b.Error(err)
						return
					}
				}
			})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "entries/s")
		})
	}
}

// BenchmarkFollow: changes that become leaves, read from a feed in memory.
func BenchmarkFollow(b *testing.B) {
	w := newWorld(b)
	feed := newFeed()
	w.feeds[acme] = feed
	feed.write(500)
	var done int64
	for b.Loop() {
		if _, err := w.CatchUp(b.Context(), acme); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		done += int64(len(feed.rows))
		last := feed.end()
		feed.rows = nil
		feed.lives[0].From = last
		feed.write(500)
		b.StartTimer()
	}
	b.ReportMetric(float64(done)/b.Elapsed().Seconds(), "changes/s")
}

func BenchmarkVerify(b *testing.B) {
	w := newWorld(b)
	feed := newFeed()
	w.feeds[acme] = feed
	feed.write(10_000)
	var entries atomic.Int64
	for b.Loop() {
		r, err := w.Verify(b.Context(), acme.String())
		if err != nil || !r.OK {
			b.Fatal(r.Problems, err)
		}
		entries.Add(r.Size)
	}
	b.ReportMetric(float64(entries.Load())/b.Elapsed().Seconds(), "entries/s")
}

func BenchmarkProveAndCheck(b *testing.B) {
	w := newWorld(b)
	feed := newFeed()
	w.feeds[acme] = feed
	feed.write(10_000)
	if _, err := w.CatchUp(b.Context(), acme); err != nil {
		b.Fatal(err)
	}
	for i := int64(0); b.Loop(); i++ {
		p, err := w.Prove(b.Context(), acme.String(), i*7919%10_000)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := p.Check(p.Keys[0]); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkList(b *testing.B) {
	w := newWorld(b)
	feed := newFeed()
	w.feeds[acme] = feed
	feed.write(10_000)
	if _, err := w.CatchUp(b.Context(), acme); err != nil {
		b.Fatal(err)
	}
	for name, q := range map[string]Query{"newest": {Limit: 50}, "search": {Limit: 50, Text: "000000042"}} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if got, _, err := w.List(b.Context(), acme.String(), q); err != nil || len(got) == 0 {
					b.Fatal(len(got), err)
				}
			}
		})
	}
}
