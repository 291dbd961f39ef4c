package app

import (
	"context"
	"net"
	"net/http"
	"sync"
	"time"

	"holdfast/app/api"
	"holdfast/data"
)

// Refusals of one credential at one place are recorded once a minute: a client
// that hammers a closed door must not fill the log.
const (
	refusalPause = time.Minute
	maxRefusals  = 10_000
)

// refusals puts what a tenant's host refused into that store's audit log.
type refusals struct {
	recorder api.Recorder
	now      func() time.Time
	mu       sync.Mutex
	last     map[string]time.Time
}

func newRefusals(r api.Recorder, now func() time.Time) *refusals {
	return &refusals{recorder: r, now: now, last: map[string]time.Time{}}
}

// credential records that a request's API key was not accepted. Nothing of the key
// is kept but where it came from.
func (f *refusals) credential(r *http.Request, id data.StoreID, reason error) error {
	p := api.AsProblem(reason)
	address, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		address = r.RemoteAddr
	}
	return f.record(r.Context(), address+" "+p.Code, api.Event{
		Action: "key.use", Target: r.URL.Path, Store: id.String(), Outcome: api.Refused,
		Detail: map[string]string{"code": p.Code, "address": address, "method": r.Method},
	})
}

// watch records a 403 before it is answered.
func (f *refusals) watch(w http.ResponseWriter, r *http.Request, id data.StoreID) http.ResponseWriter {
	return &watched{ResponseWriter: w, refused: func() error {
		return f.record(r.Context(), data.ActorFrom(r.Context()).String()+" "+r.Method+" "+r.URL.Path, api.Event{
			Action: "data.use", Target: r.URL.Path, Store: id.String(), Outcome: api.Refused,
			Detail: map[string]string{"method": r.Method},
		})
	}}
}

func (f *refusals) record(ctx context.Context, name string, e api.Event) error {
	if !f.due(e.Store + " " + name) {
		return nil
	}
	return f.recorder.Record(context.WithoutCancel(ctx), e)
}

// due says whether the pause since the last refusal of that name is over.
func (f *refusals) due(name string) bool {
	now := f.now()
	f.mu.Lock()
	defer f.mu.Unlock()
	if now.Sub(f.last[name]) < refusalPause {
		return false
	}
	if len(f.last) >= maxRefusals {
		f.shed(now)
	}
	f.last[name] = now
	return true
}

// shed forgets what is due again, and all if that frees nothing.
func (f *refusals) shed(now time.Time) {
	for name, at := range f.last {
		if now.Sub(at) >= refusalPause {
			delete(f.last, name)
		}
	}
	if len(f.last) >= maxRefusals {
		clear(f.last)
	}
}

// watched tells of a 403 before the client learns of it. When that cannot be
// recorded, the client gets a 503 instead.
type watched struct {
	http.ResponseWriter
	refused func() error
}

func (w *watched) WriteHeader(status int) {
	if status == http.StatusForbidden && w.refused() != nil {
		status = http.StatusServiceUnavailable
	}
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap lets http.ResponseController reach the connection.
func (w *watched) Unwrap() http.ResponseWriter { return w.ResponseWriter }
