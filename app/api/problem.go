package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"syscall"

	"holdfast/data"
)

// FieldError is one thing wrong with one field of a request. Field is the
// path in JSON ("collections.0").
type FieldError struct {
	Field   string `json:"field"`
	Message string `json:"message"`
}

// Problem is an error as a client reads it (RFC 9457). Code is stable and made for
// programs; Detail is for people. What caused it is for the log alone.
type Problem struct {
	Type   string       `json:"type"`
	Title  string       `json:"title"`
	Status int          `json:"status"`
	Detail string       `json:"detail,omitempty"`
	Code   string       `json:"code"`
	Errors []FieldError `json:"errors,omitempty"`

	cause  error
	header http.Header
}

// Errorf makes a problem whose detail the client reads: keep internals out of it,
// give them to Because.
func Errorf(status int, code, format string, args ...any) *Problem {
	return &Problem{
		Type: "about:blank", Title: http.StatusText(status), Status: status,
		Code: code, Detail: fmt.Sprintf(format, args...),
	}
}

// Invalid is a 422 with what is wrong with each field.
func Invalid(fields ...FieldError) *Problem {
	p := Errorf(http.StatusUnprocessableEntity, "invalid", "%s", summary(fields))
	p.Errors = fields
	return p
}

// InvalidField is Invalid for one field.
func InvalidField(field, format string, args ...any) *Problem {
	return Invalid(FieldError{field, fmt.Sprintf(format, args...)})
}

func summary(fields []FieldError) string {
	parts := make([]string, len(fields))
	for i, f := range fields {
		parts[i] = f.Field + ": " + f.Message
	}
	return strings.Join(parts, "; ")
}

// Because gives the cause, which errors.Is sees and the log keeps; the client
// never reads it.
func (p *Problem) Because(err error) *Problem { p.cause = err; return p }

// WithHeader adds a header to the answer, such as Retry-After.
func (p *Problem) WithHeader(name, value string) *Problem {
	if p.header == nil {
		p.header = http.Header{}
	}
	p.header.Set(name, value)
	return p
}

func (p *Problem) Error() string {
	if p.cause != nil {
		return fmt.Sprintf("%s: %s: %v", p.Code, p.Detail, p.cause)
	}
	return p.Code + ": " + p.Detail
}

// Unwrap gives the cause.
func (p *Problem) Unwrap() error { return p.cause }

// known maps the house's errors to what the client reads. The first that matches
// wins. This is the one place where an error becomes a status.
var known = []struct {
	err    error
	status int
	code   string
	detail string
}{
	{ErrUnauthenticated, http.StatusUnauthorized, "unauthenticated", "Sign in, or send a valid key."},
	{ErrStepUp, http.StatusForbidden, "step-up-required",
		"Confirm that it is you: show a factor again, then repeat the request."},
	{ErrForbidden, http.StatusForbidden, "forbidden", "You are not allowed to do this here."},
	{data.ErrSealed, http.StatusServiceUnavailable, "sealed",
		"The appliance is sealed. Unseal it with POST /api/v1/unseal and a passphrase or the recovery key."},
	{data.ErrParked, http.StatusGone, "parked", "The tenant is deleted. Within the undelete window, undelete it first."},
	{data.ErrDestroyed, http.StatusGone, "destroyed", "The keys were destroyed; the data cannot be read again."},
	{data.ErrTampered, http.StatusInternalServerError, "tampered",
		"Stored bytes failed authentication: they were changed on disk. Nothing of them is served."},
	{data.ErrNewer, http.StatusInternalServerError, "newer", "Stored data was written by a newer version of Holdfast."},
	{data.ErrBusy, http.StatusConflict, "busy", "It is in use. Try again."},
	{data.ErrExists, http.StatusConflict, "exists", "It exists already."},
	{data.ErrNotFound, http.StatusNotFound, "not-found", "There is nothing here under that name."},
	{syscall.ENOSPC, http.StatusInsufficientStorage, "disk-full", "The disk is full. Nothing was stored."},
	{os.ErrDeadlineExceeded, http.StatusRequestTimeout, "timeout", "The request came too slowly."},
	{context.DeadlineExceeded, http.StatusGatewayTimeout, "timeout", "It took too long."},
	{context.Canceled, http.StatusServiceUnavailable, "cancelled", "It was cancelled."},
}

// AsProblem turns any error into what the client may read; an error that is not
// known becomes a 500 that tells nothing of the inside.
func AsProblem(err error) *Problem {
	var p *Problem
	if errors.As(err, &p) {
		return p
	}
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return Errorf(http.StatusRequestEntityTooLarge, "too-large",
			"The body is longer than %d bytes.", tooLarge.Limit).Because(err)
	}
	for _, k := range known {
		if errors.Is(err, k.err) {
			return Errorf(k.status, k.code, "%s", k.detail).Because(err)
		}
	}
	return Errorf(http.StatusInternalServerError, "internal", "Something failed inside. The log has the reason.").Because(err)
}

// WriteProblem answers with the problem that err is.
func WriteProblem(w http.ResponseWriter, err error) {
	p := AsProblem(err)
	h := w.Header()
	for name, values := range p.header {
		h[name] = values
	}
	h.Set("Content-Type", "application/problem+json")
	h.Set("Cache-Control", "no-store")
	h.Del("Content-Length")
	if p.Status == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", `Bearer realm="holdfast"`)
	}
	w.WriteHeader(p.Status)
	// The client may be gone: there is nobody left to tell.
	_ = json.NewEncoder(w).Encode(p)
}
