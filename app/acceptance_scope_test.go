package app_test

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// scoped is a tenant with an open and a hidden collection: notes point to
// secrets, and an auth collection and a view do so too.
type scoped struct {
	s      *server
	admin  *rest
	secret string // id of the hidden record
	note   string // id of the record that points to it
	file   string // path of the hidden record's file
}

func buildScoped(t *testing.T) *scoped {
	s := startServer(t)
	s.must("tenant", "create", "acme")
	w := &scoped{s: s, admin: s.tenant("acme", s.newKey("acme", "admin"))}
	made := decoded[struct{ ID string }](w.admin, w.admin.want(200, "POST", "/api/collections", map[string]any{"name": "secrets", "type": "base",
		"fields": []map[string]any{{"name": "text", "type": "text"}, {"name": "file", "type": "file", "maxSelect": 1}}}))
	w.admin.want(200, "POST", "/api/collections", map[string]any{"name": "notes", "type": "base",
		"fields": []map[string]any{{"name": "title", "type": "text"}, {"name": "secret", "type": "relation", "collectionId": made.ID, "maxSelect": 1}}})
	w.admin.want(200, "POST", "/api/collections", map[string]any{"name": "peek", "type": "view", "viewQuery": "SELECT id, text FROM secrets"})
	r, err := w.admin.upload("secrets", map[string]string{"text": canary("scope")}, "file", "hidden.txt", []byte(canary("scope")))
	if err != nil || r.status != 200 {
		t.Fatalf("%v %v", r, err)
	}
	hidden := decoded[paper](w.admin, r)
	w.secret, w.file = hidden.ID, hidden.path()
	w.note = recordID(w.admin.want(200, "POST", "/api/collections/notes/records", map[string]any{"title": "open", "secret": w.secret}))
	return w
}

// TestKeyOfOneCollection tries every way from a collection that a key may read
// to one that it may not.
func TestKeyOfOneCollection(t *testing.T) {
	t.Parallel()
	w := buildScoped(t)
	for _, scope := range []string{"read", "write", "admin"} {
		t.Run(scope, func(t *testing.T) {
			k := w.s.tenant("acme", w.s.newKey("acme", scope, "notes"))
			if n := get[page](k, records("notes")).TotalItems; n != 1 {
				t.Fatalf("its own collection has %d records", n)
			}
			w.learnsNothing(t, k)
			w.guessesNothing(t, k)
		})
	}
	if got := get[page](w.admin, records("secrets")); got.TotalItems != 1 {
		t.Errorf("the hidden collection has %d records now", got.TotalItems)
	}
}

func (w *scoped) learnsNothing(t *testing.T, k *rest) {
	t.Helper()
	for _, path := range []string{
		records("secrets"), "/api/collections/secrets/records/" + w.secret, records("peek"), w.file,
		records("notes", "expand", "secret"), "/api/collections/notes/records/" + w.note + "?expand=secret",
		records("notes", "fields", "*,expand.secret.text", "expand", "secret"),
		"/api/collections/secrets", "/api/collections/peek", "/api/collections",
	} {
		r := k.call("GET", path, nil)
		if strings.Contains(string(r.body), canaryMark) {
			t.Errorf("GET %s shows the hidden record: %v", path, r)
		}
		if !strings.Contains(path, "/notes/") && r.status == http.StatusOK && path != "/api/collections" {
			t.Errorf("GET %s is answered: %v", path, r)
		}
	}
	for _, r := range []reply{
		k.call("POST", "/api/collections/secrets/records", map[string]any{"text": "smuggled"}),
		k.call("DELETE", "/api/collections/secrets/records/"+w.secret, nil),
		k.call("POST", "/api/batch", map[string]any{"requests": []any{map[string]any{
			"method": "POST", "url": "/api/collections/secrets/records", "body": map[string]any{"text": "smuggled"}}}}),
	} {
		if r.status < 400 {
			t.Errorf("a write to the hidden collection is answered %v", r)
		}
	}
}

// guessesNothing asks yes-or-no questions about the hidden record through
// filters and sorts: a right guess and a wrong one must be answered alike.
func (w *scoped) guessesNothing(t *testing.T, k *rest) {
	t.Helper()
	for _, form := range []string{`secret.text ~ "%s"`, `@collection.secrets.text ?~ "%s"`, `secret.text:length > 0 && secret.text ~ "%s"`, `@collection.peek.text ?~ "%s"`} {
		right := k.call("GET", records("notes", "filter", fmt.Sprintf(form, canary("scope"))), nil)
		wrong := k.call("GET", records("notes", "filter", fmt.Sprintf(form, "never so")), nil)
		if right.status == 200 && string(right.body) != string(wrong.body) {
			t.Errorf("filter %s tells a right guess from a wrong one: %v", form, right)
		}
	}
	if r := k.call("GET", "/api/collections/notes/records?sort="+url.QueryEscape("secret.text"), nil); r.status == 200 && strings.Contains(string(r.body), canaryMark) {
		t.Errorf("sorting shows the hidden record: %v", r)
	}
}

// TestReadKeyCannotWrite tries every way to write with a key that may read all.
func TestReadKeyCannotWrite(t *testing.T) {
	t.Parallel()
	w := buildScoped(t)
	k := w.s.tenant("acme", w.s.newKey("acme", "read"))
	note := "/api/collections/notes/records/" + w.note
	for _, r := range []route{
		{"POST", "/api/collections/notes/records", map[string]any{"title": "x"}}, {"PATCH", note, map[string]any{"title": "x"}}, {"DELETE", note, nil},
		{"POST", "/api/collections", map[string]any{"name": "x", "type": "base"}}, {"PATCH", "/api/collections/notes", map[string]any{"listRule": ""}},
		{"DELETE", "/api/collections/notes", nil}, {"DELETE", "/api/collections/notes/truncate", nil}, {"PATCH", "/api/settings", map[string]any{}},
		{"PUT", "/api/collections/import", map[string]any{"collections": []any{}}},
		{"POST", "/api/batch", map[string]any{"requests": []any{map[string]any{"method": "DELETE", "url": note}}}},
	} {
		if got := k.call(r.method, r.path, r.body); got.status != 403 && got.status != 404 && got.status != 400 {
			t.Errorf("%s %s: %v", r.method, r.path, got)
		}
	}
	if got := get[page](w.admin, records("notes")); got.TotalItems != 1 || got.Items[0]["title"] != "open" {
		t.Errorf("the notes are %v now", got.Items)
	}
}

// TestRealtimeOfOneCollection subscribes to the hidden collection: no event of
// it arrives, while one of the open collection does; and a revoked key's stream ends.
func TestRealtimeOfOneCollection(t *testing.T) {
	t.Parallel()
	w := buildScoped(t)
	made := answer[struct{ ID, Key string }](w.s, "key", "create", "acme", "--name", "live", "--scope", "read", "--collections", "notes")
	k := w.s.tenant("acme", made.Key)
	events := subscribe(t, k, "notes/*")
	sneaky, _ := k.send("POST", "/api/realtime", map[string]any{"clientId": events.client, "subscriptions": []string{"notes/*", "secrets/*", "peek/*"}})
	if sneaky.status < 400 {
		t.Logf("subscribing to the hidden collection is answered %d", sneaky.status)
	} else {
		k.want(204, "POST", "/api/realtime", map[string]any{"clientId": events.client, "subscriptions": []string{"notes/*"}})
	}
	w.admin.want(200, "POST", "/api/collections/secrets/records", map[string]any{"text": canary("realtime")})
	w.admin.want(200, "POST", "/api/collections/notes/records", map[string]any{"title": "marker"})
	text := events.until(t, "marker")
	if strings.Contains(text, canaryMark) {
		t.Errorf("an event of the hidden collection arrived: %s", text)
	}
	w.s.must("key", "revoke", "acme", made.ID)
	select {
	case <-events.ended:
	case <-time.After(time.Minute):
		t.Error("the event stream of a revoked key goes on")
	}
	k.want(401, "GET", records("notes"), nil)
}

// stream is an open event stream.
type stream struct {
	client string
	lines  chan string
	ended  chan struct{}
}

func subscribe(t *testing.T, c *rest, topics ...string) *stream {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, "GET", c.base+"/api/realtime", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+c.key)
	resp, err := (&http.Client{Transport: c.http.Transport}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != 200 {
		t.Fatalf("realtime: %s", resp.Status)
	}
	e := &stream{lines: make(chan string, 1000), ended: make(chan struct{})}
	go func() {
		defer close(e.ended)
		defer resp.Body.Close()
		for scan := bufio.NewScanner(resp.Body); scan.Scan(); {
			e.lines <- scan.Text()
		}
	}()
	e.client = strings.TrimPrefix(e.until(t, "id:"), "id:")
	c.want(204, "POST", "/api/realtime", map[string]any{"clientId": e.client, "subscriptions": topics})
	return e
}

// until reads lines up to one that holds the words.
func (e *stream) until(t *testing.T, words string) (text string) {
	t.Helper()
	for limit := time.After(time.Minute); ; {
		select {
		case line := <-e.lines:
			if text += line; strings.Contains(line, words) {
				return text
			}
		case <-limit:
			t.Fatalf("no event with %q; got %s", words, text)
		}
	}
}
