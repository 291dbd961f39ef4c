package store

import (
	"log"
	"log/slog"
	"net/http"

	"github.com/pocketbase/dbx"
)

// takeProcess claims what PocketBase uses of the process: http.DefaultClient; the log
// package's logger, to which it prints models when a write to its own log fails (what
// it prints may be a tenant's data, so only its length is noted); and a name among its
// query builder's dialects, for its transactions know their builder by that alone.
func takeProcess(l *slog.Logger) {
	outbound.mu.Lock()
	if http.DefaultClient.Transport != outbound {
		http.DefaultClient.Transport = outbound
	}
	if dbx.BuilderFuncMap[dialect] == nil {
		dbx.BuilderFuncMap[dialect] = newBuilder
	}
	outbound.mu.Unlock()
	log.SetFlags(0)
	log.SetOutput(&silenced{l})
}

type silenced struct{ logger *slog.Logger }

func (s *silenced) Write(p []byte) (int, error) {
	s.logger.Warn("a library printed to the process log; its text is withheld", "bytes", len(p))
	return len(p), nil
}
