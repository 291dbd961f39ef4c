package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"syscall"

	"github.com/ncruces/go-sqlite3"

	"holdfast/data"
)

// PocketBase's query builder loses the error of a read that fails half way: what
// it gives then looks like a shorter list. So the disk is asked: when it failed
// while work was done, the work failed.

// whole runs work and fails with the disk's error when the disk failed meanwhile.
// Another request's failure may be taken for this one's; it is the same disk.
func (s *Store) whole(work func() error) error {
	before := s.failed()
	err := work()
	if failure := s.failed().since(before); failure != nil {
		return errors.Join(err, fmt.Errorf("store %s: %w", s.id, failure))
	}
	return err
}

// nearlyFull is how many free bytes count as none: SQLite's I/O error does not
// always tell that it was for want of room.
const nearlyFull = 256 << 10

// toldWhy adds to an error of opening what the disk knows of it.
func (s *Store) toldWhy(err error) error {
	if _, failure := s.disk.Failures(); failure != nil {
		err = errors.Join(err, failure)
	}
	if errors.Is(err, sqlite3.IOERR) && diskFull(s.dir) {
		err = errors.Join(err, syscall.ENOSPC)
	}
	return err
}

// faultless holds an answer back until its first byte: if the disk failed by
// then, an error goes out in its place.
type faultless struct {
	http.ResponseWriter
	store   *Store
	before  failed
	begun   bool
	refused bool
}

func (s *Store) faultless(w http.ResponseWriter) *faultless {
	before := s.failed()
	return &faultless{ResponseWriter: w, store: s, before: before}
}

// WriteHeader sends the status, or an error of ours in its place.
func (f *faultless) WriteHeader(status int) {
	if f.begun {
		return
	}
	if status < http.StatusOK {
		f.ResponseWriter.WriteHeader(status)
		return
	}
	f.begun = true
	if failure := f.store.failed().since(f.before); failure != nil {
		f.refuse(failure)
		return
	}
	f.ResponseWriter.WriteHeader(status)
}

// Write drops what belongs to an answer that was replaced.
func (f *faultless) Write(p []byte) (int, error) {
	f.WriteHeader(http.StatusOK)
	if f.refused {
		return len(p), nil
	}
	return f.ResponseWriter.Write(p)
}

// Unwrap lets http.ResponseController reach the connection.
func (f *faultless) Unwrap() http.ResponseWriter { return f.ResponseWriter }

func (f *faultless) refuse(failure error) {
	f.refused = true
	f.store.pool.config.Logger.Error("the disk failed under a store", "store", f.store.id.String(), "error", failure)
	status, message := http.StatusInternalServerError, "The store could not be read or written."
	switch {
	case errors.Is(failure, syscall.ENOSPC):
		status, message = http.StatusInsufficientStorage, "The disk is full: nothing was written."
	case errors.Is(failure, data.ErrTampered):
		message = "Stored data did not authenticate: it was changed on the disk."
	}
	h := f.Header()
	for _, name := range []string{"Content-Length", "Content-Encoding", "ETag", "Last-Modified", "Content-Range", "Accept-Ranges"} {
		h.Del(name)
	}
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	f.ResponseWriter.WriteHeader(status)
	// The shape of PocketBase's own errors. A client that went away needs no answer.
	_ = json.NewEncoder(f.ResponseWriter).Encode(map[string]any{"status": status, "message": message, "data": map[string]any{}})
}
