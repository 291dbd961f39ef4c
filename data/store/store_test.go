package store

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/pocketbase/pocketbase/core"

	"holdfast/data"
)

// testKeys derives each store's keys from its name.
type testKeys struct{}

type testKey [32]byte

func (k testKey) Current() (uint32, [32]byte, error)          { return 1, k, nil }
func (k testKey) Generation(uint32) (key [32]byte, err error) { return k, nil }

func (testKeys) Pages(id data.StoreID) data.KeySource {
	return testKey(sha256.Sum256([]byte("pages " + id.String())))
}
func (testKeys) Files(id data.StoreID) data.KeySource {
	return testKey(sha256.Sum256([]byte("files " + id.String())))
}

var acme = data.StoreID{Tenant: "acme00000000000", Environment: data.Prod}

func newPool(t testing.TB, change ...func(*Config)) *Pool {
	t.Helper()
	c := Config{Dir: t.TempDir(), Keys: testKeys{}}
	for _, f := range change {
		f(&c)
	}
	p, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// newStore gives an open store with a collection items (open to everybody) and
// a collection notes whose records lean on items.
func newStore(t testing.TB, change ...func(*Config)) *Store {
	t.Helper()
	p := newPool(t, change...)
	if err := p.Create(t.Context(), acme); err != nil {
		t.Fatal(err)
	}
	s := acquire(t, p, acme)
	addItems(t, s)
	return s
}

func acquire(t testing.TB, p *Pool, id data.StoreID) *Store {
	t.Helper()
	s, err := p.Acquire(context.Background(), id)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Release)
	return s
}

func open(c *core.Collection) {
	rule := ""
	c.ListRule, c.ViewRule, c.CreateRule, c.UpdateRule, c.DeleteRule = &rule, &rule, &rule, &rule, &rule
}

func addItems(t testing.TB, s *Store) {
	t.Helper()
	items := core.NewBaseCollection("items")
	open(items)
	items.Fields.Add(
		&core.TextField{Name: "title"}, &core.TextField{Name: "body"}, &core.NumberField{Name: "score"}, &core.BoolField{Name: "active"},
		&core.SelectField{Name: "kind", Values: []string{"a", "b", "c"}, MaxSelect: 1}, &core.JSONField{Name: "meta"},
		&core.DateField{Name: "day"},
		&core.AutodateField{Name: "created", OnCreate: true}, &core.AutodateField{Name: "updated", OnCreate: true, OnUpdate: true},
	)
	save(t, s, items)
	notes := core.NewBaseCollection("notes")
	open(notes)
	notes.Fields.Add(
		&core.TextField{Name: "text"}, &core.TextField{Name: "code"},
		&core.RelationField{Name: "item", CollectionId: items.Id, CascadeDelete: true, MaxSelect: 1},
		&core.RelationField{Name: "soft", CollectionId: items.Id, MaxSelect: 1},
	)
	notes.AddIndex("idx_notes_code", true, "code", "code != ''")
	save(t, s, notes)
}

func save(t testing.TB, s *Store, m core.Model) {
	t.Helper()
	if err := s.app.Save(m); err != nil {
		t.Fatal(err)
	}
}

func collection(t testing.TB, s *Store, name string) *core.Collection {
	t.Helper()
	c, err := s.app.FindCollectionByNameOrId(name)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// reply is what a request got.
type reply struct {
	code   int
	header http.Header
	body   []byte
}

func (r reply) object(t testing.TB) map[string]any {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal(r.body, &m); err != nil {
		t.Fatalf("%v: %s", err, r.body)
	}
	return m
}

// caller sends requests as somebody.
type caller struct {
	s     *Store
	ctx   context.Context
	token string
}

func guest(s *Store) caller { return caller{s: s, ctx: context.Background()} }

// keyCaller calls as a key of that reach, whose collections are given by name.
func keyCaller(s *Store, name string, reach Reach) caller {
	for i, name := range reach.Collections {
		if c, err := s.app.FindCachedCollectionByNameOrId(name); err == nil {
			reach.Collections[i] = c.Id
		}
	}
	ctx := data.WithActor(context.Background(), data.Actor{Kind: data.Key, ID: name})
	return caller{s: s, ctx: WithReach(ctx, reach)}
}

func (c caller) do(method, path string, body any) reply {
	var r io.Reader
	kind := "application/json"
	switch b := body.(type) {
	case nil:
	case form:
		r, kind = b.body, b.kind
	default:
		raw, _ := json.Marshal(b)
		r = bytes.NewReader(raw)
	}
	req := httptest.NewRequest(method, path, r).WithContext(c.ctx)
	req.Header.Set("Content-Type", kind)
	if c.token != "" {
		req.Header.Set("Authorization", c.token)
	}
	w := httptest.NewRecorder()
	c.s.ServeHTTP(w, req)
	return reply{w.Code, w.Header(), w.Body.Bytes()}
}

type form struct {
	body io.Reader
	kind string
}

func (c caller) must(t testing.TB, code int, method, path string, body any) reply {
	t.Helper()
	r := c.do(method, path, body)
	if r.code != code {
		t.Fatalf("%s %s: %d %s", method, path, r.code, r.body)
	}
	return r
}

func (c caller) create(t testing.TB, collection string, body map[string]any) string {
	t.Helper()
	id, _ := c.must(t, 200, "POST", "/api/collections/"+collection+"/records", body).object(t)["id"].(string)
	return id
}

// feed reads the changes after a position as short lines, and the new position.
func feed(t testing.TB, s *Store, after data.Position) ([]string, data.Position) {
	t.Helper()
	changes, err := s.Changes(t.Context(), after, 10_000)
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]string{}
	all, err := s.app.FindAllCollections()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range all {
		names[c.Id] = c.Name
	}
	var out []string
	for _, c := range changes {
		name := names[c.Collection]
		if name == "" {
			name = c.Collection
		}
		line := string(c.Op) + " " + name + " by " + c.Actor.String()
		if len(c.Fields) > 0 {
			line += " [" + strings.Join(c.Fields, " ") + "]"
		}
		out = append(out, line)
		after = c.Position
	}
	return out, after
}

func TestStoreLifecycle(t *testing.T) {
	p := newPool(t)
	ctx := t.Context()
	if _, err := p.Acquire(ctx, acme); !errors.Is(err, data.ErrNotFound) {
		t.Fatal("acquired what was never made:", err)
	}
	if err := p.Create(ctx, acme); err != nil {
		t.Fatal(err)
	}
	if err := p.Create(ctx, acme); !errors.Is(err, data.ErrExists) {
		t.Fatal("made twice:", err)
	}
	s, err := p.Acquire(ctx, acme)
	if err != nil {
		t.Fatal(err)
	}
	first, err := s.Position(ctx)
	if err != nil || first.Incarnation == "" {
		t.Fatal(first, err)
	}
	addItems(t, s)
	id := guest(s).create(t, "items", map[string]any{"title": "one"})
	s.Release()
	if err := p.Evict(ctx, acme); err != nil {
		t.Fatal(err)
	}
	if n := p.OpenCount(); n != 0 {
		t.Fatal("still open:", n)
	}
	s = acquire(t, p, acme)
	guest(s).must(t, 200, "GET", "/api/collections/items/records/"+id, nil)
	second, err := s.Position(ctx)
	if err != nil || second.Incarnation != first.Incarnation || second.Sequence <= first.Sequence {
		t.Fatal(first, second, err)
	}
}

func TestImportAndExport(t *testing.T) {
	s := newStore(t)
	rows := []map[string]any{
		{"title": "a", "score": "1.5", "active": "true", "day": "2024-02-29", "meta": `{"x":1}`},
		{"title": "b", "score": "many"},
		{"title": "c", "kind": "z"},
		{"title": "d", "kind": "b", "created": "2020-01-02 03:04:05.000Z"},
	}
	ctx := OnDuty(data.WithActor(t.Context(), data.Actor{Kind: data.Person, ID: "p1"}))
	_, at := feed(t, s, data.Position{})
	n := 0
	result, err := s.Import(ctx, "items", ImportOptions{}, func() (map[string]any, int, error) {
		if n == len(rows) {
			return nil, 0, io.EOF
		}
		n++
		return rows[n-1], n, nil
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if result.Read != 4 || result.Created != 2 || result.Failed != 2 || result.Errors[0].Line != 2 || result.Errors[1].Line != 3 {
		t.Fatalf("%+v", result)
	}
	changes, _ := feed(t, s, at)
	if len(changes) != 2 || changes[0] != "create items by person:p1" {
		t.Fatal(changes)
	}
	var got []map[string]any
	if err := s.Export(ctx, "items", func(r map[string]any) error { got = append(got, r); return nil }); err != nil {
		t.Fatal(err)
	}
	raw, _ := json.Marshal(got)
	for _, want := range []string{`"score":1.5`, `"active":true`, `"day":"2024-02-29 00:00:00.000Z"`, `"meta":{"x":1}`, `"created":"2020-01-02 03:04:05.000Z"`} {
		if !strings.Contains(string(raw), want) {
			t.Errorf("no %s in %s", want, raw)
		}
	}
}

// image is an open store's pages.
func (s *Store) image(ctx context.Context) ([][]byte, error) { return imageOf(ctx, s.pages) }
