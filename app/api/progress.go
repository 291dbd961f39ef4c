package api

import (
	"context"
	"sync"
	"time"
)

// saveEvery bounds how often progress is written to the table.
const saveEvery = 2 * time.Second

// Progress is how a running operation tells how far it is. It is safe for
// concurrent use, and cheap: readers see it from memory.
type Progress struct {
	cancel context.CancelCauseFunc
	save   func(context.Context, Operation)
	clock  func() time.Time
	ended  chan struct{}

	mu    sync.Mutex
	op    Operation
	saved time.Time
}

// ID is the operation's id.
func (p *Progress) ID() string { return p.op.ID }

// Set tells how much is done; total 0 means unknown. Now and then it is stored.
func (p *Progress) Set(ctx context.Context, done, total int64, unit, text string) {
	p.mu.Lock()
	p.op.Progress.Done, p.op.Progress.Total, p.op.Progress.Unit, p.op.Progress.Text = done, total, unit, text
	now := p.clock()
	due := now.Sub(p.saved) >= saveEvery
	if due {
		p.saved, p.op.Updated = now, now.UTC()
	}
	op := p.op
	p.mu.Unlock()
	if due {
		p.save(ctx, op)
	}
}

// Pace tells how fast it goes, in units per second, and the time left; zeros mean
// unknown.
func (p *Progress) Pace(perSecond float64, left time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.op.Progress.PerSecond, p.op.Progress.SecondsLeft = perSecond, left.Seconds()
}

// Operation is the operation as it stands in memory.
func (p *Progress) Operation() Operation {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.op
}

// wait returns when the operation's end is stored.
func (p *Progress) wait(ctx context.Context) error {
	select {
	case <-p.ended:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
