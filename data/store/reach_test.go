package store

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/pocketbase/pocketbase/core"

	"holdfast/data"
)

// addHidden makes a collection that keys for items shall learn nothing of, tied
// to items from both sides, and a view over it.
func addHidden(t testing.TB, s *Store) (item, hidden string) {
	t.Helper()
	items := collection(t, s, "items")
	secret := core.NewBaseCollection("hidden")
	open(secret)
	secret.Fields.Add(&core.TextField{Name: "word"}, &core.RelationField{Name: "item", CollectionId: items.Id, MaxSelect: 1})
	save(t, s, secret)
	items.Fields.Add(&core.RelationField{Name: "link", CollectionId: secret.Id, MaxSelect: 1})
	save(t, s, items)
	view := core.NewViewCollection("glance")
	rule := ""
	view.ListRule, view.ViewRule = &rule, &rule
	view.ViewQuery = "SELECT id, word FROM hidden"
	save(t, s, view)
	hidden = guest(s).create(t, "hidden", map[string]any{"word": "xyzzy"})
	item = guest(s).create(t, "items", map[string]any{"title": "t", "link": hidden})
	guest(s).must(t, 200, "PATCH", "/api/collections/hidden/records/"+hidden, map[string]any{"item": item})
	return item, hidden
}

func TestKeyForOneCollectionLearnsNothingOfAnother(t *testing.T) {
	s := newStore(t)
	item, hidden := addHidden(t, s)
	hiddenID := collection(t, s, "hidden").Id
	key := keyCaller(s, "k", Reach{Scope: Read, Collections: []string{"items"}})
	all := keyCaller(s, "all", Reach{Scope: Read})

	if r := all.must(t, 200, "GET", "/api/collections/items/records?expand=link,hidden_via_item", nil); strings.Count(string(r.body), "xyzzy") != 2 {
		t.Fatal("the test shows nothing: a key for all does not see it either:", string(r.body))
	}
	for _, q := range []string{"", "expand=link", "expand=hidden_via_item", "expand=link.item.link", "expand=hidden(item)"} {
		r := key.must(t, 200, "GET", "/api/collections/items/records?"+q, nil)
		if strings.Contains(string(r.body), "xyzzy") || strings.Contains(string(r.body), `"word"`) {
			t.Errorf("%s: %s", q, r.body)
		}
	}
	r := key.must(t, 200, "GET", "/api/collections/items/records/"+item+"?expand=link,hidden_via_item", nil)
	if strings.Contains(string(r.body), "xyzzy") {
		t.Error("view expands:", string(r.body))
	}
	for _, q := range []string{
		"filter=" + url.QueryEscape("link.word='xyzzy'"), "filter=" + url.QueryEscape("link.word='nothing'"),
		"filter=" + url.QueryEscape("@collection.hidden.word?='xyzzy'"), "filter=" + url.QueryEscape("@collection.hidden:a.word?='xyzzy'"),
		"filter=" + url.QueryEscape("hidden_via_item.word?='xyzzy'"), "filter=" + url.QueryEscape("@collection.glance.word?='xyzzy'"),
		"sort=link.word", "sort=hidden_via_item.word", "sort=@collection.hidden.word",
	} {
		yes := key.do("GET", "/api/collections/items/records?"+q, nil)
		if yes.code != 400 {
			t.Errorf("%s: %d %s", q, yes.code, yes.body)
		}
	}
	for _, c := range []string{"hidden", hiddenID, "glance", "notes", "users", "_superusers", "_otps", "_externalAuths"} {
		unknown := key.do("GET", "/api/collections/nothere/records", nil)
		r := key.do("GET", "/api/collections/"+c+"/records", nil)
		if r.code != unknown.code || string(r.body) != string(unknown.body) {
			t.Errorf("%s: %d %s", c, r.code, r.body)
		}
	}
	if r := key.do("GET", "/api/collections/hidden/records/"+hidden, nil); r.code != 404 {
		t.Error(r.code)
	}
	for _, path := range []string{"/api/collections", "/api/collections/items", "/api/collections/hidden", "/api/settings"} {
		key.must(t, 403, "GET", path, nil)
	}
}

func TestViewInReach(t *testing.T) {
	s := newStore(t)
	addHidden(t, s)
	key := keyCaller(s, "k", Reach{Scope: Read, Collections: []string{"glance"}})
	if r := key.must(t, 200, "GET", "/api/collections/glance/records", nil); !strings.Contains(string(r.body), "xyzzy") {
		t.Error(string(r.body))
	}
	key.must(t, 404, "GET", "/api/collections/hidden/records", nil)
}

func TestSystemCollectionsAreInNoKeysReach(t *testing.T) {
	s := newStore(t)
	for _, scope := range []Scope{Read, Write, Admin} {
		key := keyCaller(s, "k", Reach{Scope: scope})
		for _, c := range []string{"_superusers", "_otps", "_mfas", "_externalAuths", "_authOrigins"} {
			if r := key.do("GET", "/api/collections/"+c+"/records", nil); r.code == 200 {
				t.Errorf("scope %d reads %s", scope, c)
			}
		}
	}
}

func TestReadKeyCannotWrite(t *testing.T) {
	s := newStore(t)
	id := guest(s).create(t, "items", map[string]any{"title": "t"})
	key := keyCaller(s, "k", Reach{Scope: Read})
	post := map[string]any{"requests": []any{map[string]any{"method": "POST", "url": "/api/collections/items/records", "body": map[string]any{}}}}
	wantFeed(t, after(t, s, func() {
		key.must(t, 403, "POST", "/api/collections/items/records", map[string]any{"title": "x"})
		key.must(t, 403, "PATCH", "/api/collections/items/records/"+id, map[string]any{"title": "x"})
		key.must(t, 403, "DELETE", "/api/collections/items/records/"+id, nil)
		key.must(t, 403, "POST", "/api/batch", post)
		key.must(t, 403, "DELETE", "/api/collections/items/truncate", nil)
		key.must(t, 403, "PATCH", "/api/settings", map[string]any{})
	}))
	write := keyCaller(s, "w", Reach{Scope: Write})
	write.must(t, 403, "DELETE", "/api/collections/items/truncate", nil)
	write.must(t, 403, "POST", "/api/collections", map[string]any{"name": "n", "type": "base"})
	write.must(t, 403, "GET", "/api/settings", nil)
}

// A key stands above the API rules, where a guest is refused.
func TestKeyStandsAboveRules(t *testing.T) {
	s := newStore(t)
	items := collection(t, s, "items")
	items.ListRule, items.CreateRule = nil, nil
	save(t, s, items)
	guest(s).must(t, 403, "GET", "/api/collections/items/records", nil)
	key := keyCaller(s, "k", Reach{Scope: Write, Collections: []string{items.Id}})
	key.create(t, "items", map[string]any{"title": "t"})
	if n := key.must(t, 200, "GET", "/api/collections/items/records", nil).object(t)["totalItems"]; n != 1.0 {
		t.Error(n)
	}
}

func TestBatchKeepsToReach(t *testing.T) {
	s := newStore(t)
	id, hidden := addHidden(t, s)
	key := keyCaller(s, "k", Reach{Scope: Write, Collections: []string{"items"}})
	request := func(method, path string, body map[string]any) map[string]any {
		return map[string]any{"requests": []any{
			map[string]any{"method": "POST", "url": "/api/collections/items/records", "body": map[string]any{"title": "b"}},
			map[string]any{"method": method, "url": "/api/collections/" + path, "body": body},
		}}
	}
	wantFeed(t, after(t, s, func() {
		key.must(t, 400, "POST", "/api/batch", request("POST", "hidden/records", map[string]any{"word": "x"}))
		key.must(t, 400, "POST", "/api/batch", request("PATCH", "hidden/records/"+hidden, map[string]any{"word": "x"}))
		key.must(t, 400, "POST", "/api/batch", request("DELETE", "hidden/records/"+hidden, nil))
		key.must(t, 400, "POST", "/api/batch", request("PUT", "hidden/records", map[string]any{"id": hidden, "word": "x"}))
	}))
	wantFeed(t, after(t, s, func() {
		key.must(t, 200, "POST", "/api/batch", request("POST", "items/records", map[string]any{"title": "c"}))
	}), "create items by key:k", "create items by key:k")
	r := key.must(t, 200, "POST", "/api/batch", request("PATCH", "items/records/"+id+"?expand=link", map[string]any{"link": hidden}))
	if strings.Contains(string(r.body), "xyzzy") {
		t.Error("a batch expands:", string(r.body))
	}
}

// stream is an open event stream.
type stream struct {
	t     testing.TB
	lines chan string
	id    string
}

// listen opens an event stream over a real connection.
func listen(t testing.TB, s *Store, ctx context.Context) *stream {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		inner, cancel := context.WithCancel(ctx)
		defer context.AfterFunc(r.Context(), cancel)()
		defer cancel()
		if _, err := s.pool.Acquire(ctx, s.id); err != nil {
			t.Error(err)
		}
		defer s.Release()
		s.ServeHTTP(w, r.WithContext(inner))
	}))
	client := &http.Client{Transport: &http.Transport{}}
	res, err := client.Get(server.URL + "/api/realtime")
	if err != nil {
		t.Fatal(err)
	}
	st := &stream{t: t, lines: make(chan string, 100)}
	go func() {
		defer close(st.lines)
		for scan := bufio.NewScanner(res.Body); scan.Scan(); {
			st.lines <- scan.Text()
		}
	}()
	t.Cleanup(func() { res.Body.Close(); server.CloseClientConnections(); server.Close() })
	var hello struct{ ClientID string }
	if err := json.Unmarshal([]byte(strings.TrimPrefix(st.line("data:"), "data:")), &hello); err != nil {
		t.Fatal(err)
	}
	st.id = hello.ClientID
	return st
}

// line waits for a line that begins so; "" when the stream ended.
func (st *stream) line(prefix string) string {
	st.t.Helper()
	for {
		select {
		case l, ok := <-st.lines:
			if !ok || strings.HasPrefix(l, prefix) {
				return l
			}
		case <-time.After(time.Minute):
			st.t.Fatal("nothing on the stream")
		}
	}
}

func subscription(st *stream, topics ...string) map[string]any {
	return map[string]any{"clientId": st.id, "subscriptions": topics}
}

func topic(name string, query map[string]string) string {
	options, _ := json.Marshal(map[string]any{"query": query})
	return name + "?options=" + url.QueryEscape(string(options))
}

// subscribe calls from the address of the test's streams.
func (c caller) subscribe(t testing.TB, code int, body map[string]any) {
	t.Helper()
	raw, _ := json.Marshal(body)
	req := httptest.NewRequest("POST", "/api/realtime", strings.NewReader(string(raw))).WithContext(c.ctx)
	req.Header.Set("Content-Type", "application/json")
	req.RemoteAddr = "127.0.0.1:1"
	w := httptest.NewRecorder()
	c.s.ServeHTTP(w, req)
	if w.Code != code {
		t.Fatalf("subscribe %v: %d %s", body["subscriptions"], w.Code, w.Body)
	}
}

func TestStreamsKeepToReach(t *testing.T) {
	s := newStore(t)
	_, hidden := addHidden(t, s)
	key := keyCaller(s, "k", Reach{Scope: Read, Collections: []string{"items"}})
	st := listen(t, s, context.Background())
	for _, forbidden := range []string{
		"hidden/*", "hidden", "hidden/" + hidden, "glance/*", "_superusers/*", "nothere/*",
		topic("items/*", map[string]string{"expand": "link"}),
		topic("items/*", map[string]string{"filter": "link.word='xyzzy'"}),
		topic("items/*", map[string]string{"filter": "@collection.hidden.word?='xyzzy'"}),
	} {
		key.subscribe(t, 403, subscription(st, "items/*", forbidden))
	}
	key.subscribe(t, 204, subscription(st, topic("items/*", map[string]string{"filter": "title~'seen'"})))
	guest(s).create(t, "hidden", map[string]any{"word": "unseen"})
	guest(s).create(t, "items", map[string]any{"title": "not this"})
	guest(s).create(t, "items", map[string]any{"title": "seen", "link": hidden})
	if got := st.line("data:"); !strings.Contains(got, `"title":"seen"`) || strings.Contains(got, "xyzzy") {
		t.Error(got)
	}
	other := keyCaller(s, "k2", Reach{Scope: Read})
	other.subscribe(t, 403, subscription(st, "items/*"))
}

func TestRevokedKeysStreamEnds(t *testing.T) {
	s := newStore(t)
	mine, others := listen(t, s, context.Background()), listen(t, s, context.Background())
	keyCaller(s, "k", Reach{Scope: Read}).subscribe(t, 204, subscription(mine, "items/*"))
	keyCaller(s, "k2", Reach{Scope: Read}).subscribe(t, 204, subscription(others, "items/*"))
	s.pool.Disconnect(acme, data.Actor{Kind: data.Key, ID: "k"})
	for {
		if l := mine.line(""); l == "" {
			if _, more := <-mine.lines; !more {
				break
			}
		}
	}
	guest(s).create(t, "items", map[string]any{"title": "still here"})
	if got := others.line("data:"); !strings.Contains(got, "still here") {
		t.Error(got)
	}
}

func TestPublicReachIsPocketBasesRules(t *testing.T) {
	s := newStore(t)
	items := collection(t, s, "items")
	items.ListRule = nil
	save(t, s, items)
	guest(s).must(t, 403, "GET", "/api/collections/items/records", nil)
	for _, path := range []string{"/api/collections", "/api/settings", "/api/collections/items"} {
		if r := guest(s).do("GET", path, nil); r.code != 401 {
			t.Error(path, r.code)
		}
	}
}

func TestExportOfHiddenFieldsKeepsSecretsIn(t *testing.T) {
	s := newStore(t)
	signUp(t, s)
	err := s.Export(t.Context(), "users", func(r map[string]any) error {
		if r["email"] != "u@example.com" || r["password"] != nil || r["tokenKey"] != nil {
			return fmt.Errorf("exported %v", r)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// The calls of Go keep to a key's reach as the routes do.
func TestCallsKeepToReach(t *testing.T) {
	s := newStore(t)
	none := func() (map[string]any, int, error) { return nil, 0, io.EOF }
	take := func(map[string]any) error { return nil }
	ctx := keyCaller(s, "k", Reach{Scope: Read, Collections: []string{"items"}}).ctx
	if err := s.Export(ctx, "items", take); err != nil {
		t.Error(err)
	}
	if err := s.Export(ctx, "notes", take); !errors.Is(err, data.ErrNotFound) {
		t.Error("exported:", err)
	}
	if _, err := s.Import(ctx, "items", ImportOptions{}, none, nil); !errors.Is(err, ErrReach) {
		t.Error("imported:", err)
	}
	if err := s.CreateCollection(ctx, "more", nil); !errors.Is(err, ErrReach) {
		t.Error("created:", err)
	}
	if all, err := s.Collections(ctx); err != nil || len(all) != 1 {
		t.Error("listed:", all, err)
	}
	if err := s.Export(WithReach(t.Context(), Reach{}), "items", take); !errors.Is(err, ErrReach) {
		t.Error("a guest exported:", err)
	}
}
