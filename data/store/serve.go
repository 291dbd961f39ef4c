package store

import (
	"context"
	"net/http"
	"time"

	"github.com/pocketbase/pocketbase/core"

	"holdfast/data"
)

// requestTimeout bounds the reading of a request and the writing of its answer,
// as PocketBase's own server does. Event streams lift it for themselves.
const requestTimeout = 5 * time.Minute

// ServeHTTP serves PocketBase's REST API for paths under /api/ as the context's
// actor and within its reach. The caller holds the store by Acquire meanwhile.
func (s *Store) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	control := http.NewResponseController(w)
	deadline := time.Now().Add(requestTimeout)
	// A writer that knows no deadlines (a test's recorder) is no reason to refuse.
	_ = control.SetReadDeadline(deadline)
	_ = control.SetWriteDeadline(deadline)
	defer func() { _ = control.SetWriteDeadline(time.Time{}) }()
	if isStream(r) {
		s.serveStream(w, r)
		return
	}
	if r.URL.Path == "/api/oauth2-redirect" {
		w = &closingPage{ResponseWriter: w}
	}
	s.mux.ServeHTTP(s.faultless(w), r)
}

func isStream(r *http.Request) bool {
	return r.Method == http.MethodGet && r.URL.Path == "/api/realtime"
}

// serveStream runs an event stream until the client goes or the store closes. It
// counts apart from other requests: it holds back no eviction.
func (s *Store) serveStream(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(s.closing, cancel)()
	s.pool.streamBegins(s)
	defer s.pool.streamEnds(s)
	s.mux.ServeHTTP(w, r.WithContext(ctx))
}

// requestActor looks at the event only when something is written, since
// PocketBase authenticates after the gate.
func (s *Store) requestActor(ctx context.Context, e *core.RequestEvent) func() data.Actor {
	return func() data.Actor { return requestActor(ctx, e.Auth) }
}
