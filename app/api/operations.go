package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/jmoiron/sqlx"

	"holdfast/data"
	"holdfast/data/system"
)

// Database is what operations need of data/system.
type Database interface {
	Migrate(ctx context.Context, room string, ms []system.Migration) error
	Update(ctx context.Context, fn func(*sqlx.Tx) error) error
	View(ctx context.Context, fn func(*sqlx.Tx) error) error
}

// OperationsConfig is what Operations need.
type OperationsConfig struct {
	DB       Database         // required
	Recorder Recorder         // of who cancelled what; nil: nothing is recorded
	Clock    func() time.Time // nil: time.Now
	Logger   *slog.Logger     // nil: discarded
	Keep     time.Duration    // how long one is kept after its end; default 90 days
	// Quoting are the kinds whose results and errors may quote records of their store:
	// they are shown to who may read these.
	Quoting []string
}

// Operations runs and remembers long actions. It is safe for concurrent use.
type Operations struct {
	config OperationsConfig
	mu     sync.Mutex
	live   map[string]*Progress
	closed bool
	work   sync.WaitGroup
}

// NewOperations brings the table up to date and marks what an earlier process left running as interrupted.
func NewOperations(ctx context.Context, c OperationsConfig) (*Operations, error) {
	if c.Clock == nil {
		c.Clock = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Keep <= 0 {
		c.Keep = 90 * 24 * time.Hour
	}
	if err := c.DB.Migrate(ctx, "operations", operationMigrations); err != nil {
		return nil, fmt.Errorf("open operations: %w", err)
	}
	o := &Operations{config: c, live: map[string]*Progress{}}
	err := c.DB.Update(ctx, func(tx *sqlx.Tx) error {
		_, err := tx.ExecContext(ctx, `UPDATE operations SET state = ?, updated = ? WHERE state = ?`,
			Interrupted, c.Clock().UnixMilli(), Running)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("open operations: %w", err)
	}
	return o, nil
}

// Start stores the operation and runs it in the background as the context's
// actor; the request may end before it. What run returns becomes the
// result as JSON, or the error as a Problem. ErrDraining after Close.
func (o *Operations) Start(ctx context.Context, kind, target, store string,
	run func(ctx context.Context, p *Progress) (result any, err error),
) (Operation, error) {
	now := o.config.Clock().UTC().Truncate(time.Millisecond)
	op := Operation{
		ID: system.NewID(), Kind: kind, Target: target, Store: store, State: Running,
		Actor: data.ActorFrom(ctx).String(), Created: now, Updated: now,
	}
	runCtx, p, err := o.admit(ctx, op)
	if err != nil {
		return Operation{}, err
	}
	if err := o.insert(ctx, op); err != nil {
		o.forget(op.ID)
		o.work.Done()
		return Operation{}, fmt.Errorf("start operation: %w", err)
	}
	go o.run(runCtx, p, run)
	return op, nil
}

// Continue runs an operation that was interrupted, under its own id, as the context's
// actor. data.ErrNotFound; a 409 problem for one that ended otherwise or runs.
func (o *Operations) Continue(ctx context.Context, id string, run func(ctx context.Context, p *Progress) (result any, err error)) (Operation, error) {
	op, err := o.Get(ctx, id)
	if err != nil {
		return op, err
	}
	if op.State != Interrupted {
		return op, Errorf(409, "ended", "The operation cannot be continued: it is %s.", op.State)
	}
	op.State, op.Error, op.Updated = Running, nil, o.config.Clock().UTC()
	runCtx, p, err := o.admit(ctx, op)
	if err != nil {
		return op, err
	}
	if err := o.update(ctx, op); err != nil {
		o.forget(op.ID)
		o.work.Done()
		return op, fmt.Errorf("continue operation: %w", err)
	}
	go o.run(runCtx, p, run)
	return op, nil
}

// admit counts the operation as live, unless Close was called.
func (o *Operations) admit(ctx context.Context, op Operation) (context.Context, *Progress, error) {
	runCtx, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		cancel(nil)
		return nil, nil, Errorf(503, "draining", "The appliance is shutting down.").Because(ErrDraining)
	}
	p := &Progress{
		op: op, cancel: cancel, save: o.saveProgress, clock: o.config.Clock,
		saved: op.Created, ended: make(chan struct{}),
	}
	o.live[op.ID] = p
	o.work.Add(1)
	return runCtx, p, nil
}

func (o *Operations) forget(id string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if p := o.live[id]; p != nil {
		p.cancel(nil)
		close(p.ended)
		delete(o.live, id)
	}
}

func (o *Operations) run(ctx context.Context, p *Progress, run func(context.Context, *Progress) (any, error)) {
	defer o.work.Done()
	defer o.forget(p.ID())
	result, err := guarded(ctx, p, run)
	op := o.finished(ctx, p, result, err)
	if err := o.update(context.WithoutCancel(ctx), op); err != nil {
		o.config.Logger.ErrorContext(ctx, "an operation's end was not stored", "operation", op.ID, "error", err)
	}
}

// guarded keeps a panic inside the operation.
func guarded(ctx context.Context, p *Progress, run func(context.Context, *Progress) (any, error)) (result any, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("%w: %v\n%s", errPanicked, v, stack())
		}
	}()
	return run(ctx, p)
}

// finished is the operation with its end filled in.
func (o *Operations) finished(ctx context.Context, p *Progress, result any, err error) Operation {
	op := p.Operation()
	op.Updated = o.config.Clock().UTC()
	if err == nil {
		op.State = Done
		op.Result, err = json.Marshal(result)
	}
	if err == nil {
		return op
	}
	op.State, op.Result = OpFailed, nil
	if cause := context.Cause(ctx); cause != nil && errors.Is(err, context.Canceled) {
		op.State = Interrupted
		if errors.Is(cause, errCancelled) {
			op.State = Cancelled
		}
	}
	op.Error = AsProblem(err)
	if op.State == OpFailed {
		o.config.Logger.ErrorContext(ctx, "an operation failed", "operation", op.ID, "kind", op.Kind, "error", err)
	}
	return op
}

var errCancelled = errors.New("cancelled by request")

// Cancel asks a running operation to stop; its state changes when it has.
// ErrNotFound without such an operation, a 409 problem when it has ended.
func (o *Operations) Cancel(ctx context.Context, id string) error {
	o.mu.Lock()
	p := o.live[id]
	o.mu.Unlock()
	if p != nil {
		p.cancel(errCancelled)
		return nil
	}
	if _, err := o.Get(ctx, id); err != nil {
		return err
	}
	return Errorf(409, "ended", "The operation has ended already.")
}

// Close interrupts what runs and waits for its end.
func (o *Operations) Close() error {
	o.mu.Lock()
	o.closed = true
	for _, p := range o.live {
		p.cancel(ErrDraining)
	}
	o.mu.Unlock()
	o.work.Wait()
	return nil
}

// Wait returns the operation when it has ended, or the context's error.
func (o *Operations) Wait(ctx context.Context, id string) (Operation, error) {
	o.mu.Lock()
	p := o.live[id]
	o.mu.Unlock()
	if p != nil {
		if err := p.wait(ctx); err != nil {
			return Operation{}, err
		}
	}
	return o.Get(ctx, id)
}
