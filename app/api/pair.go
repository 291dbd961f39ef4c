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
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"holdfast/data"
)

// Pair marks a route that takes keys or whole data out of the host, or opens a way to: where
// the appliance asks for two persons, the request of one waits for another's approval.
type Pair struct {
	Action string                   // "slot.add": what lists and the log call it
	Title  string                   // "Add a way to open the root key"
	When   func(*http.Request) bool // which requests; nil: all of them
	// Means gives the id of what the names in the path and the body mean now, so that an
	// approval is not good for another thing of that name; nil where they are ids, or the
	// scope's tenant is all. data.ErrNotFound for what is not there.
	Means func(r *http.Request, body json.RawMessage) (string, error)
}

// Asking is what somebody asks to do, in the form in which another approves it. Two
// requests with one digest ask for the same; secrets are no part of it.
type Asking struct {
	Action, Title string
	Permission    Permission
	Tenant        string   // its id, "" where the route is about none
	Facts         []Fact   // what the approver reads: all that was asked for
	Secrets       []string // fields whose values are given only when it is carried out
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
	if p == nil {
		return nil, nil
	}
	if err := onlyDeclared(r, route.Query); err != nil {
		return nil, err
	}
	if rt.config.Pairer == nil || p.When != nil && !p.When(r) {
		return nil, nil
	}
	a, err := asking(r, route, scope)
	if err != nil {
		return nil, err
	}
	return rt.config.Pairer.Pair(r.Context(), a)
}

// onlyDeclared refuses query parameters that the route does not know, or knows once: whoever
// approves reads them, and nothing may stand there that means nothing.
func onlyDeclared(r *http.Request, known []Param) error {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return Errorf(http.StatusBadRequest, "malformed", "The query of the address is malformed.").Because(err)
	}
	for _, name := range slices.Sorted(maps.Keys(query)) {
		switch {
		case !slices.ContainsFunc(known, func(p Param) bool { return p.Name == name }):
			return InvalidField(name, "is no parameter of this address")
		case len(query[name]) > 1:
			return InvalidField(name, "is given more than once")
		}
	}
	return nil
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
	Means   string          `json:"means"`
	Given   []string        `json:"given"` // secrets: that they are given, not what they are
}

func asking(r *http.Request, route Route, scope Scope) (a Asking, err error) {
	a = Asking{Action: route.Pair.Action, Title: route.Pair.Title, Permission: route.Permission, Tenant: scope.Tenant}
	body, kept, err := bodyWithoutSecrets(r, route.Request)
	if err != nil {
		return a, err
	}
	means, err := route.Pair.means(r, body)
	if err != nil {
		return a, err
	}
	query := r.URL.Query()
	canonical, err := json.Marshal(asked{2, data.ActorFrom(r.Context()).String(), a.Action, r.Method, r.URL.Path, query.Encode(), scope.Tenant, body, means, kept.given})
	if err != nil {
		return a, err
	}
	sum := sha256.Sum256(canonical)
	a.Digest, a.Secrets = hex.EncodeToString(sum[:]), append(kept.later, kept.given...)
	a.Facts, err = facts(r, route.Path, query, body)
	for _, name := range kept.given {
		a.Facts = append(a.Facts, Fact{name, "given"})
	}
	return a, err
}

func (p *Pair) means(r *http.Request, body json.RawMessage) (string, error) {
	if p.Means == nil {
		return "", nil
	}
	id, err := p.Means(r, body)
	if errors.Is(err, data.ErrNotFound) { // the handler says so; what is made later is another
		return "", nil
	}
	return id, err
}

// bodyWithoutSecrets reads the body as the handler will, gives it back to the handler, and
// writes it anew in one form: fields in the order of their type, secrets left out.
func bodyWithoutSecrets(r *http.Request, of any) (json.RawMessage, keptBack, error) {
	kept := keptBack{[]string{}, []string{}}
	if of == nil {
		return json.RawMessage("{}"), kept, nil
	}
	raw, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, kept, fmt.Errorf("read the body: %w", err)
	}
	into := reflect.New(reflect.TypeOf(of))
	again := *r // its own body; the handler reads the request's
	again.Body = io.NopCloser(bytes.NewReader(raw))
	r.Body = io.NopCloser(bytes.NewReader(raw))
	if err := Read(&again, into.Interface()); err != nil {
		return nil, kept, err
	}
	kept.take(into.Elem())
	raw, err = json.Marshal(into.Interface())
	return raw, kept, err
}

// keptBack names the fields whose values nobody approves.
type keptBack struct {
	given []string // secret:"true" and in this body: that it is given is approved
	later []string // secret:"later": the other fields say whether it is needed
}

// take empties the fields with the tag `secret`, and notes which they were. Whether a
// secret is given is a part of what is asked for, since one that nobody spoke of could
// replace a team's; but not of one with "later", which may be left out when asking.
func (k *keptBack) take(v reflect.Value) {
	if v.Kind() != reflect.Struct {
		return
	}
	for i := range v.NumField() {
		f := v.Type().Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch tag := f.Tag.Get("secret"); {
		case tag == "later":
			k.later = append(k.later, name)
			v.Field(i).SetZero()
		case tag != "":
			if !v.Field(i).IsZero() {
				k.given = append(k.given, name)
			}
			v.Field(i).SetZero()
		case f.Anonymous:
			k.take(v.Field(i))
		}
	}
}

// facts are the names in the path, the query, and the fields of the body. All names are
// the route's own: who asks chooses values only.
func facts(r *http.Request, pattern string, query url.Values, body json.RawMessage) ([]Fact, error) {
	out := []Fact{}
	for part := range strings.SplitSeq(pattern, "/") {
		if name, ok := strings.CutPrefix(part, "{"); ok {
			name = strings.TrimSuffix(name, "}")
			out = append(out, Fact{name, oneLine(r.PathValue(name))})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(query)) {
		out = append(out, Fact{name, oneLine(query.Get(name))})
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(body, &fields); err != nil {
		return nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		out = append(out, Fact{name, oneLine(plain(fields[name]))})
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

// oneLine quotes what would not show as it is, or could look like more than one fact, in
// a letter, a list or the log.
func oneLine(value string) string {
	unseen := func(r rune) bool { return !unicode.IsPrint(r) }
	if !utf8.ValidString(value) || strings.ContainsFunc(value, unseen) || strings.ContainsAny(value, ";,") || strings.Contains(value, ": ") {
		return strconv.Quote(value)
	}
	return value
}
