package restore

import (
	"context"
	"sync"
)

// window is how many objects are fetched ahead: with the one in use it bounds
// memory to about six times backup.MaxObject and its plaintext.
const window = 4

// stream hands out results in order while later ones are being fetched.
type stream[T any] struct {
	queue  chan chan outcome[T]
	cancel context.CancelFunc
	ctx    context.Context
	wg     sync.WaitGroup
}

type outcome[T any] struct {
	value T
	err   error
}

// ahead starts fetching n things. The stream must be closed.
func ahead[T any](ctx context.Context, n int, get func(ctx context.Context, i int) (T, error)) *stream[T] {
	s := &stream[T]{queue: make(chan chan outcome[T], window)}
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

// next waits for the following result.
func (s *stream[T]) next() (value T, err error) {
	select {
	case slot := <-s.queue:
		o := <-slot
		return o.value, o.err
	case <-s.ctx.Done():
		return value, s.ctx.Err()
	}
}

// close ends what is still being fetched and waits for it.
func (s *stream[T]) close() {
	s.cancel()
	s.wg.Wait()
}
