package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"holdfast/data"
)

type pairBody struct {
	Place      *string `json:"place,omitempty"`
	Kind       string  `json:"kind,omitempty"`
	Passphrase string  `json:"passphrase,omitempty" secret:"later"`
	SecretKey  *string `json:"secretKey,omitempty" secret:"true"`
	Key        string  `json:"key,omitempty" secret:"true"`
}

// pairs keeps what was asked, and lets nobody through.
type pairs struct {
	asked []Asking
	means string // the id of the thing
}

func (p *pairs) Pair(_ context.Context, a Asking) (func(context.Context, error), error) {
	p.asked = append(p.asked, a)
	return nil, ErrTwoPersons
}

// pairServer gives the answer to a PATCH, and what was asked with it.
func pairServer(t *testing.T) func(target, body string) (int, Asking) {
	t.Helper()
	return (&pairs{means: "id-1"}).server(t)
}

func (p *pairs) server(t *testing.T) func(target, body string) (int, Asking) {
	t.Helper()
	rt, err := NewRouter(Config{
		Authenticate: func(*http.Request) (data.Actor, error) { return data.Actor{Kind: data.Person, ID: "ada"}, nil },
		Authorizer:   allowAll{}, Recorder: noLog{}, Pairer: p,
	})
	if err != nil {
		t.Fatal(err)
	}
	err = rt.Add(Route{
		Method: "PATCH", Path: "/things/{name}", Permission: TargetManage, Request: pairBody{}, Query: []Param{{Name: "sure"}},
		Pair: &Pair{Action: "thing.set", Title: "Set a thing", Means: func(r *http.Request, body json.RawMessage) (string, error) {
			if p.means == "" {
				return "x", data.ErrNotFound
			}
			return p.means + string(body), nil
		}},
		Handler: func(w http.ResponseWriter, _ *http.Request) error { return NoContent(w) },
	})
	if err != nil {
		t.Fatal(err)
	}
	return func(target, body string) (int, Asking) {
		p.asked = []Asking{{}}
		r := httptest.NewRequest("PATCH", target, strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		rt.Handler().ServeHTTP(w, r)
		return w.Code, p.asked[len(p.asked)-1]
	}
}

type allowAll struct{}

func (allowAll) Authorize(context.Context, data.Actor, Permission, Scope) error { return nil }

type noLog struct{}

func (noLog) Record(context.Context, Event) error { return nil }

// TestSecretsThatAreGivenAreApproved: a credential that nobody spoke of does not ride on
// the approval of something else; what it is, stays out.
func TestSecretsThatAreGivenAreApproved(t *testing.T) {
	ask := pairServer(t)
	_, plain := ask("/things/x", `{"place":"here"}`)
	seen := map[string]string{plain.Digest: "none"}
	for _, body := range []string{`{"place":"here","secretKey":"hunter2"}`, `{"place":"here","key":"hunter2"}`, `{"place":"here","secretKey":"","key":"hunter2"}`} {
		_, a := ask("/things/x", body)
		if other, ok := seen[a.Digest]; ok {
			t.Errorf("%s is the same request as %s", body, other)
		}
		seen[a.Digest] = body
		if text := fmt.Sprint(a); !strings.Contains(text, "given}") || strings.Contains(text, "hunter2") {
			t.Errorf("asked: %s", text)
		}
	}
	_, given := ask("/things/x", `{"place":"here","secretKey":"one"}`)
	_, again := ask("/things/x", `{"place":"here","secretKey":"two"}`)
	if given.Digest != again.Digest || fmt.Sprint(given.Facts) != "[{name x} {place here} {secretKey given}]" || fmt.Sprint(given.Secrets) != "[passphrase secretKey]" {
		t.Errorf("asked %+v and %+v", given, again)
	}
	_, later := ask("/things/x", `{"place":"here","passphrase":"hunter2"}`)
	if later.Digest != plain.Digest {
		t.Error("what is given later is another request")
	}
}

// TestAnApprovalIsForWhatTheNameMeant: another thing of that name is another request.
func TestAnApprovalIsForWhatTheNameMeant(t *testing.T) {
	p := &pairs{means: "id-1"}
	ask := p.server(t)
	_, first := ask("/things/x", `{}`)
	_, again := ask("/things/x", `{}`)
	p.means = "id-2"
	_, other := ask("/things/x", `{}`)
	p.means = ""
	_, none := ask("/things/x", `{}`)
	if first.Digest == "" || first.Digest != again.Digest || other.Digest == first.Digest || none.Digest == "" || none.Digest == first.Digest {
		t.Errorf("digests %s %s %s %s", first.Digest, again.Digest, other.Digest, none.Digest)
	}
}

// TestQueryThatMeansNothingIsRefused: it would be a line of what the approver reads.
func TestQueryThatMeansNothingIsRefused(t *testing.T) {
	ask := pairServer(t)
	for _, query := range []string{"kind=shares", "sure=1&sure=2", "sure=1;x=2", "sure=%zz", "=x", "Sure=1"} {
		if code, a := ask("/things/x?"+query, `{}`); code < 400 || code >= 500 || a.Digest != "" {
			t.Errorf("%s: %d, asked %+v", query, code, a)
		}
	}
	if _, a := ask("/things/x?sure=1", `{}`); fmt.Sprint(a.Facts) != "[{name x} {sure 1}]" {
		t.Errorf("asked %+v", a)
	}
}

// TestFactsAreOneLine: no value makes a line of its own, hides, or looks like two.
func TestFactsAreOneLine(t *testing.T) {
	ask := pairServer(t)
	for _, c := range [][3]string{
		{"/things/x%0A%20%20%20%20kind:%20shares", `{}`, `[{name "x\n    kind: shares"}]`},
		{"/things/x?sure=%1b%5b2J", `{}`, `[{name x} {sure "\x1b[2J"}]`},
		{"/things/x", `{"kind":"a; kind: b"}`, `[{name x} {kind "a; kind: b"}]`},
		{"/things/x", "{\"kind\":\"a\u202eb\"}", `[{name x} {kind "a\u202eb"}]`},
		{"/things/x", `{"kind":"s3://b/p?region=eu-1","place":"Überlingen 2"}`, `[{name x} {kind s3://b/p?region=eu-1} {place Überlingen 2}]`},
	} {
		if _, a := ask(c[0], c[1]); fmt.Sprint(a.Facts) != c[2] {
			t.Errorf("%s %s: %s", c[0], c[1], fmt.Sprint(a.Facts))
		}
	}
}
