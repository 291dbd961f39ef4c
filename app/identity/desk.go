package identity

import (
	"context"
	"sync"
	"time"
)

// Bounds of what is done after the answer.
const (
	deskQueue = 64
	deskTime  = time.Minute
)

// desk does things after the answer, one at a time, so that the answer's time says
// nothing of them. Its zero value is ready. It is safe for concurrent use.
type desk struct {
	mu     sync.Mutex
	queue  []func(context.Context)
	busy   bool
	closed bool
	work   sync.WaitGroup
}

// later does it soon. It says false, and drops it, when too much waits or the desk is
// closed.
func (d *desk) later(do func(context.Context)) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed || len(d.queue) >= deskQueue {
		return false
	}
	d.queue = append(d.queue, do)
	if !d.busy {
		d.busy = true
		d.work.Go(d.run)
	}
	return true
}

func (d *desk) run() {
	for {
		d.mu.Lock()
		if len(d.queue) == 0 {
			d.busy = false
			d.mu.Unlock()
			return
		}
		do := d.queue[0]
		d.queue = d.queue[1:]
		d.mu.Unlock()
		ctx, end := context.WithTimeout(context.Background(), deskTime)
		do(ctx)
		end()
	}
}

// close waits for what was begun or waits, and takes no more.
func (d *desk) close() {
	d.mu.Lock()
	d.closed = true
	d.mu.Unlock()
	d.work.Wait()
}
