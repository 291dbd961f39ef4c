package api

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"

	"holdfast/data"
)

// Pair marks a route that takes keys or whole data out of the host, or opens a way to: where
// the appliance asks for two persons, the request of one waits for another's approval.
type Pair struct {
	Action string                   // "slot.add": what lists and the log call it
	Title  string                   // "Add a way to open the root key"
	When   func(*http.Request) bool // which requests; nil: all of them
}

// Asking is what somebody asks to do, in the form in which another approves it. Two
// requests with one digest ask for the same; secrets are no part of it.
type Asking struct {
	Action, Title string
	Permission    Permission
	Tenant        string   // its id, "" where the route is about none
	Facts         []Fact   // what the approver reads: all that was asked for
	Secrets       []string // fields that are given only when it is carried out
	Digest        string   // SHA-256 of all of it and of who asks, in hex
}

// Fact is one thing that a request says, by the field's name.
type Fact struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// ErrTwoPersons says that somebody else has to approve; the request is good when repeated
// after that.
var ErrTwoPersons = errors.New("another person has to approve this")

// Pairer lets requests of routes with a Pair through. It is safe for concurrent use.
type Pairer interface {
	// Pair is asked after permission and assurance. nil lets the request through; then
	// done, unless it is nil, is told how the handler ended. An error is a Problem that
	// says who has to approve, or one that kept Pair from knowing.
	Pair(ctx context.Context, a Asking) (done func(context.Context, error), err error)
}

// paired asks for the second person, and gives what to tell the end of the handler.
func (rt *Router) paired(r *http.Request, route Route, scope Scope) (func(context.Context, error), error) {
	p := route.Pair
	if p == nil || rt.config.Pairer == nil || p.When != nil && !p.When(r) {
		return nil, nil
	}
	a, err := asking(r, route, scope)
	if err != nil {
		return nil, err
	}
	return rt.config.Pairer.Pair(r.Context(), a)
}

// asked is what the digest is of. The version is a part of it: a digest of another form is
// another request.
type asked struct {
	Version int             `json:"version"`
	Actor   string          `json:"actor"`
	Action  string          `json:"action"`
	Method  string          `json:"method"`
	Path    string          `json:"path"`
	Query   string          `json:"query"`
	Tenant  string          `json:"tenant"` // a slug may mean another tenant tomorrow
	Body    json.RawMessage `json:"body"`
}

func asking(r *http.Request, route Route, scope Scope) (a Asking, err error) {
	a = Asking{Action: route.Pair.Action, Title: route.Pair.Title, Permission: route.Permission, Tenant: scope.Tenant}
	body, err := bodyWithoutSecrets(r, route.Request)
	if err != nil {
		return a, err
	}
	query := r.URL.Query()
	canonical, err := json.Marshal(asked{1, data.ActorFrom(r.Context()).String(), a.Action, r.Method, r.URL.Path, query.Encode(), scope.Tenant, body})
	if err != nil {
		return a, err
	}
	sum := sha256.Sum256(canonical)
	a.Digest, a.Secrets = hex.EncodeToString(sum[:]), []string{}
	if route.Request != nil {
		a.Secrets = secretNames(reflect.TypeOf(route.Request))
	}
	a.Facts, err = facts(r, route.Path, query, body)
	return a, err
}

// bodyWithoutSecrets reads the body as the handler will, gives it back to the handler, and
// writes it anew in one form: fields in the order of their type, secrets left out.
func bodyWithoutSecrets(r *http.Request, of any) (json.RawMessage, error) {
	if of == nil {
		return json.RawMessage("{}"), nil
	}
	raw, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, fmt.Errorf("read the body: %w", err)
	}
	into := reflect.New(reflect.TypeOf(of))
	again := *r // its own body; the handler reads the request's
	again.Body = io.NopCloser(bytes.NewReader(raw))
	r.Body = io.NopCloser(bytes.NewReader(raw))
	if err := Read(&again, into.Interface()); err != nil {
		return nil, err
	}
	withoutSecrets(into.Elem())
	return json.Marshal(into.Interface())
}

// withoutSecrets empties the fields with the tag `secret:"true"`.
func withoutSecrets(v reflect.Value) {
	if v.Kind() != reflect.Struct {
		return
	}
	for i := range v.NumField() {
		switch f := v.Type().Field(i); {
		case f.Tag.Get("secret") == "true":
			v.Field(i).SetZero()
		case f.Anonymous:
			withoutSecrets(v.Field(i))
		}
	}
}

func secretNames(t reflect.Type) []string {
	names := []string{}
	if t.Kind() != reflect.Struct {
		return names
	}
	for f := range t.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Tag.Get("secret") == "true":
			names = append(names, name)
		case f.Anonymous:
			names = append(names, secretNames(f.Type)...)
		}
	}
	return names
}

// facts are the names in the path, the query, and the fields of the body.
func facts(r *http.Request, pattern string, query url.Values, body json.RawMessage) ([]Fact, error) {
	out := []Fact{}
	for part := range strings.SplitSeq(pattern, "/") {
		if name, ok := strings.CutPrefix(part, "{"); ok {
			name = strings.TrimSuffix(name, "}")
			out = append(out, Fact{name, r.PathValue(name)})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(query)) {
		out = append(out, Fact{name, strings.Join(query[name], ", ")})
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(body, &fields); err != nil {
		return nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		out = append(out, Fact{name, plain(fields[name])})
	}
	return out, nil
}

// plain is a text without its quotes, and anything else as JSON.
func plain(raw json.RawMessage) string {
	var text string
	if json.Unmarshal(raw, &text) == nil {
		return text
	}
	return string(raw)
}
