package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http/httptest"
	"os"
	"strings"
	"syscall"
	"testing"

	"holdfast/data"
)

type sample struct {
	Name  string   `json:"name"`
	Count int      `json:"count"`
	List  []string `json:"list"`
	Inner struct {
		Flag bool `json:"flag"`
	} `json:"inner"`
}

func readSample(contentType, body string) error {
	r := httptest.NewRequest("POST", "/", strings.NewReader(body))
	r.Header.Set("Content-Type", contentType)
	var v sample
	return Read(r, &v)
}

func TestReadSaysWhatIsWrong(t *testing.T) {
	for body, want := range map[string]string{
		`{"name":"a","count":2}`:      "",
		``:                            "",
		`{"nam":"a"}`:                 "422 nam: is not a known field",
		`{"count":"2"}`:               "422 count: is a string, want integer",
		`{"name":5}`:                  "422 name: is a number, want string",
		`{"inner":{"flag":"x"}}`:      "422 inner.flag: is a string, want boolean",
		`{"list":"x"}`:                "422 list: is a string, want array",
		`{"inner":[]}`:                "422 inner: is a array, want object",
		`{"name":"a"} {}`:             "400 The body is not one JSON value.",
		`{"name":"a"`:                 "400 The body ends too early.",
		`{name}`:                      "400 The body is not JSON (at byte 2).",
		`{"name":"a"}` + "\n \t":      "",
		`{"count":99999999999999999}`: "",
	} {
		got := ""
		if err := readSample("application/json; charset=utf-8", body); err != nil {
			p := AsProblem(err)
			got = fmt.Sprintf("%d %s", p.Status, p.Detail)
		}
		if got != want {
			t.Errorf("%s: got %q, want %q", body, got, want)
		}
	}
}

func TestReadWantsJSON(t *testing.T) {
	for _, contentType := range []string{"", "text/plain", "application/x-www-form-urlencoded", "application/json-patch+json", "x/;;"} {
		if p := AsProblem(readSample(contentType, `{}`)); p.Status != 415 {
			t.Errorf("%q: got %d", contentType, p.Status)
		}
	}
}

func FuzzRead(f *testing.F) {
	for _, s := range []string{`{}`, `{"name":1}`, `{"list":[1]}`, `[`, `{"inner":{"flag":3}}`, "\x00", `{"a":`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, body string) {
		if err := readSample("application/json", body); err != nil {
			if p := AsProblem(err); p.Status < 400 || p.Status > 499 {
				t.Fatalf("%q: %v became %d", body, err, p.Status)
			}
		}
	})
}

func TestEachKnownErrorHasItsStatus(t *testing.T) {
	for want, err := range map[string]error{
		"401 unauthenticated": ErrUnauthenticated,
		"403 forbidden":       ErrForbidden,
		"404 not-found":       data.ErrNotFound,
		"409 exists":          data.ErrExists,
		"409 busy":            data.ErrBusy,
		"410 parked":          data.ErrParked,
		"410 destroyed":       data.ErrDestroyed,
		"500 tampered":        data.ErrTampered,
		"500 newer":           data.ErrNewer,
		"503 sealed":          data.ErrSealed,
		"507 disk-full":       &os.PathError{Op: "write", Path: "/secret/place", Err: syscall.ENOSPC},
		"504 timeout":         context.DeadlineExceeded,
		"408 timeout":         os.ErrDeadlineExceeded,
		"500 internal":        errors.New("at /secret/place"),
		"418 tea":             Errorf(418, "tea", "short and stout"),
		"422 invalid":         InvalidField("a", "is %s", "wrong"),
	} {
		p := AsProblem(fmt.Errorf("while at /secret/place: %w", err))
		if got := fmt.Sprintf("%d %s", p.Status, p.Code); got != want {
			t.Errorf("%v: got %s, want %s", err, got, want)
		}
		out, _ := json.Marshal(p)
		if strings.Contains(string(out), "secret") {
			t.Errorf("%s tells of the inside: %s", want, out)
		}
		if !errors.Is(p, err) && p != err {
			t.Errorf("%s lost its cause", want)
		}
	}
}

func TestProblemOnTheWire(t *testing.T) {
	w := httptest.NewRecorder()
	WriteProblem(w, Invalid(FieldError{"slug", "is taken"}, FieldError{"name", "is empty"}).WithHeader("Retry-After", "3"))
	want := `{"type":"about:blank","title":"Unprocessable Entity","status":422,"detail":"slug: is taken; name: is empty",` +
		`"code":"invalid","errors":[{"field":"slug","message":"is taken"},{"field":"name","message":"is empty"}]}`
	equal(t, "body", strings.TrimSpace(w.Body.String()), want)
	equal(t, "header", w.Header().Get("Retry-After"), "3")
	w = httptest.NewRecorder()
	WriteProblem(w, ErrUnauthenticated)
	equal(t, "challenge", w.Header().Get("WWW-Authenticate"), `Bearer realm="holdfast"`)
}

func TestReadPage(t *testing.T) {
	for query, want := range map[string]string{
		"":                              "{1 50  } <nil>",
		"page=3&perPage=20":             "{3 20  } <nil>",
		"perPage=5000":                  "{1 200  } <nil>",
		"sort=-name&filter=a":           "{1 50 -name a} <nil>",
		"page=0":                        "{0 0  } invalid: page: want a whole number from 1",
		"perPage=x":                     "{0 0  } invalid: perPage: want a whole number from 1",
		"page=99999999999999999999":     "{0 0  } invalid: page: want a whole number from 1",
		"page=9223372036854775807":      "{2147483648 50  } <nil>",
		"page=2147483648&perPage=50000": "{2147483648 200  } <nil>",
	} {
		p, err := ReadPage(httptest.NewRequest("GET", "/?"+query, nil))
		if got := fmt.Sprint(p, " ", err); got != want {
			t.Errorf("%s: got %q, want %q", query, got, want)
		}
		if p.Page > 0 && p.Offset() < 0 {
			t.Errorf("%s: offset %d", query, p.Offset())
		}
	}
}

func TestCut(t *testing.T) {
	all := []int{1, 2, 3, 4, 5}
	for _, c := range []struct {
		page Paging
		want string
	}{
		{Paging{Page: 1, PerPage: 2}, `{"items":[1,2],"page":1,"perPage":2,"totalItems":5}`},
		{Paging{Page: 3, PerPage: 2}, `{"items":[5],"page":3,"perPage":2,"totalItems":5}`},
		{Paging{Page: 9, PerPage: 2}, `{"items":[],"page":9,"perPage":2,"totalItems":5}`},
	} {
		out, err := json.Marshal(Cut(all, c.page))
		must(t, err)
		equal(t, "page", string(out), c.want)
	}
	out, _ := json.Marshal(NewPage[int](nil, Paging{Page: 1, PerPage: 2}, 0))
	equal(t, "no items", string(out), `{"items":[],"page":1,"perPage":2,"totalItems":0}`)
}
