package edge

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"holdfast/app/api"
)

// A request may take as long as it needs while it moves. What stands still, or
// drips, is ended: that holds for uploads and downloads of any size, where a
// deadline for the whole would be too short for one and too long for another.
const (
	stall     = 30 * time.Second // a read or write that takes longer is ended
	slowest   = 1 << 10          // bytes a second that a body must come with, beyond the stall
	renewals  = 30               // deadlines are pushed out when this part of the stall has gone
	leftover  = 5 * time.Second  // for the part of a body that nobody wanted
	writePart = 256 << 10        // bytes written under one deadline
)

// paced puts deadlines on everything a handler reads and writes, cuts event streams
// on drain, and keeps panics from killing more than their request.
func (e *Edge) paced(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithCancel(r.Context())
		defer cancel()
		r = r.WithContext(ctx)
		control := http.NewResponseController(w)
		out := &pacedWriter{
			ResponseWriter: w, control: control, stall: e.stall, multiplexed: r.ProtoMajor > 1,
			asStream: func() func() { return e.streams.add(cancel) },
		}
		defer out.finish()
		in := newPacedBody(r, control, e.stall)
		defer in.finish()
		if in.pacing {
			r.Body = in
		}
		defer e.recovered(out, r)
		next.ServeHTTP(out, r)
	})
}

func (e *Edge) recovered(w *pacedWriter, r *http.Request) {
	p := recover()
	if p == nil {
		return
	}
	if p != http.ErrAbortHandler {
		e.config.Logger.ErrorContext(r.Context(), "panic behind the edge",
			"host", r.Host, "path", r.URL.Path, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
		if !w.wrote {
			api.WriteProblem(w, fmt.Errorf("panic: %v", p))
			return
		}
	}
	panic(http.ErrAbortHandler)
}

// pacedBody reads a request's body under deadlines.
type pacedBody struct {
	io.ReadCloser
	control *http.ResponseController
	stall   time.Duration
	pacing  bool
	owed    time.Time // when the slowest pace allowed has run out
	set     time.Time
	ended   bool
}

func newPacedBody(r *http.Request, c *http.ResponseController, stall time.Duration) *pacedBody {
	return &pacedBody{
		ReadCloser: r.Body, control: c, stall: stall, owed: time.Now().Add(stall),
		pacing: r.Body != nil && r.Body != http.NoBody && r.ContentLength != 0,
	}
}

func (b *pacedBody) Read(p []byte) (int, error) {
	if now := time.Now(); now.Sub(b.set) >= b.stall/renewals {
		b.set = now
		_ = b.control.SetReadDeadline(b.deadline(now)) // a recorder in a test has none
	}
	n, err := b.ReadCloser.Read(p)
	b.earn(n, time.Now())
	if err != nil {
		b.end(time.Time{}) // a deadline left behind would cancel the handler's context
	}
	return n, err
}

// savings is how many stalls of time a burst can save up: it buys no hours of
// trickling.
const savings = 10

// earn grants the time that n bytes take at the slowest pace.
func (b *pacedBody) earn(n int, now time.Time) {
	b.owed = b.owed.Add(time.Duration(n) * time.Second / slowest)
	if most := now.Add(savings * b.stall); b.owed.After(most) {
		b.owed = most
	}
}

// deadline is the earlier of the stall's and of what the slowest pace allows.
func (b *pacedBody) deadline(now time.Time) time.Time {
	if soon := now.Add(b.stall); soon.Before(b.owed) {
		return soon
	}
	return b.owed
}

func (b *pacedBody) end(deadline time.Time) {
	if !b.ended {
		b.ended = true
		_ = b.control.SetReadDeadline(deadline)
	}
}

// finish leaves little time for a body that the handler did not read to its end.
func (b *pacedBody) finish() {
	if b.pacing {
		b.end(time.Now().Add(leftover))
	}
}

// pacedWriter writes an answer under deadlines.
type pacedWriter struct {
	http.ResponseWriter
	control  *http.ResponseController
	stall    time.Duration
	asStream func() (forget func()) // tells the edge that this is an event stream
	forget   func()
	// multiplexed (HTTP/2): a deadline that passes ends the stream even when nothing
	// is being written, so it must not be left behind.
	multiplexed bool
	wrote       bool
	set         time.Time
}

func (w *pacedWriter) WriteHeader(status int) {
	if status >= http.StatusOK && !w.wrote {
		w.wrote = true
		if strings.HasPrefix(w.Header().Get("Content-Type"), "text/event-stream") {
			w.forget = w.asStream()
		}
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *pacedWriter) Write(p []byte) (total int, err error) {
	if !w.wrote {
		w.WriteHeader(http.StatusOK)
	}
	for {
		part := p[:min(len(p), writePart)]
		w.allow()
		n, err := w.ResponseWriter.Write(part)
		total += n
		if p = p[len(part):]; err != nil || len(p) == 0 {
			w.rest()
			return total, err
		}
	}
}

// allow gives the next write its time.
func (w *pacedWriter) allow() {
	if now := time.Now(); now.Sub(w.set) >= w.stall/renewals {
		w.set = now
		_ = w.control.SetWriteDeadline(now.Add(w.stall)) // a recorder in a test has none
	}
}

// rest lifts the deadline between writes where it would do harm: an event stream
// may be silent for long.
func (w *pacedWriter) rest() {
	if w.forget != nil || w.multiplexed {
		w.set = time.Time{}
		_ = w.control.SetWriteDeadline(time.Time{})
	}
}

// Flush sends what is buffered.
func (w *pacedWriter) Flush() {
	_ = w.FlushError() // the next write has the same error
}

// FlushError is what http.ResponseController calls.
func (w *pacedWriter) FlushError() error {
	if !w.wrote {
		w.WriteHeader(http.StatusOK)
	}
	w.allow()
	defer w.rest()
	return w.control.Flush()
}

// Unwrap lets http.ResponseController reach the connection.
func (w *pacedWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// finish gives the server time to send the rest.
func (w *pacedWriter) finish() {
	if w.forget != nil {
		w.forget()
	}
	_ = w.control.SetWriteDeadline(time.Now().Add(w.stall))
}

// streams are the event streams that are open: on drain they would never end of
// themselves.
type streams struct {
	mu     sync.Mutex
	next   int
	open   map[int]context.CancelFunc
	closed bool
}

func newStreams() *streams { return &streams{open: map[int]context.CancelFunc{}} }

func (s *streams) add(cancel context.CancelFunc) (forget func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		cancel()
		return func() {}
	}
	s.next++
	n := s.next
	s.open[n] = cancel
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.open, n)
	}
}

func (s *streams) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for _, cancel := range s.open {
		cancel()
	}
}
