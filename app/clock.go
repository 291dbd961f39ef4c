package app

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// clock drives every schedule of the house with one goroutine: no room keeps a
// ticker of its own, and nothing wakes between due times.
type clock struct {
	now    func() time.Time
	logger *slog.Logger
	jobs   []*job
	stop   context.CancelFunc
	done   sync.WaitGroup
}

// job is work that is due again a period after it ended.
type job struct {
	name   string
	period time.Duration
	due    time.Time
	run    func(context.Context, time.Time) error
}

func newClock(now func() time.Time, logger *slog.Logger) *clock {
	return &clock{now: now, logger: logger}
}

// every adds work; call it before start.
func (c *clock) every(period time.Duration, name string, run func(context.Context, time.Time) error) {
	c.jobs = append(c.jobs, &job{name: name, period: period, due: c.now().Add(period), run: run})
}

func (c *clock) start() {
	ctx, stop := context.WithCancel(context.Background())
	c.stop = stop
	c.done.Go(func() { c.loop(ctx) })
}

func (c *clock) loop(ctx context.Context) {
	for len(c.jobs) > 0 {
		next := c.next()
		select {
		case <-ctx.Done():
			return
		case <-time.After(min(next.due.Sub(c.now()), longestWait)):
		}
		if !next.due.After(c.now()) {
			c.tick(ctx, next)
		}
	}
}

func (c *clock) next() *job {
	next := c.jobs[0]
	for _, j := range c.jobs[1:] {
		if j.due.Before(next.due) {
			next = j
		}
	}
	return next
}

func (c *clock) tick(ctx context.Context, j *job) {
	if err := j.run(ctx, c.now()); err != nil && ctx.Err() == nil {
		c.logger.Error("scheduled work failed", "work", j.name, "error", err)
	}
	j.due = c.now().Add(j.period)
}

func (c *clock) close() {
	if c.stop != nil {
		c.stop()
		c.done.Wait()
	}
}
