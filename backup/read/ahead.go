package read

import (
	"context"
	"sync"
)

// window is how many objects are fetched ahead: with the one in use it bounds
// memory to about six times backup.MaxObject and its plaintext.
const window = 4

// Stream hands out results in order while later ones are being fetched.
type Stream[T any] struct {
	queue  chan chan outcome[T]
	cancel context.CancelFunc
	ctx    context.Context
	wg     sync.WaitGroup
}

type outcome[T any] struct {
	value T
	err   error
}

// Ahead starts fetching n things. The stream must be closed.
func Ahead[T any](ctx context.Context, n int, get func(ctx context.Context, i int) (T, error)) *Stream[T] {
	s := &Stream[T]{queue: make(chan chan outcome[T], window)}
	s.ctx, s.cancel = context.WithCancel(ctx)
	s.wg.Go(func() {
		for i := range n {
			slot := make(chan outcome[T], 1)
			select {
			case s.queue <- slot:
			case <-s.ctx.Done():
				return
			}
			s.wg.Go(func() {
				v, err := get(s.ctx, i)
				slot <- outcome[T]{v, err}
			})
		}
	})
	return s
}

// Next waits for the following result.
func (s *Stream[T]) Next() (value T, err error) {
	select {
	case slot := <-s.queue:
		o := <-slot
		return o.value, o.err
	case <-s.ctx.Done():
		return value, s.ctx.Err()
	}
}

// Close ends what is still being fetched and waits for it.
func (s *Stream[T]) Close() {
	s.cancel()
	s.wg.Wait()
}
