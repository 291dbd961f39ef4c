package store

import (
	"net/http"
	"strings"
	"testing"

	"github.com/pocketbase/pocketbase/core"
)

// keptAnswers is how many answers a store would give again.
func keptAnswers(s *Store) int {
	s.answers.mu.Lock()
	defer s.answers.mu.Unlock()
	if s.answers.epoch.Load() != s.answers.of {
		return 0
	}
	return len(s.answers.kept)
}

func TestAnswersAreGivenAgainUntilTheStoreChanges(t *testing.T) {
	s := newStore(t)
	g := guest(s)
	id := g.create(t, "items", map[string]any{"title": "one"})
	paths := []string{"/api/collections/items/records?sort=title", "/api/collections/items/records/" + id}
	for _, change := range []func(){
		func() { g.must(t, 200, "PATCH", recordsPath+"/"+id, map[string]any{"title": "two"}) },
		func() { g.create(t, "items", map[string]any{"title": "three"}) },
		func() { importRowAs(t, s, adminOf(s), map[string]any{"title": "four"}) },
		func() {
			g.must(t, 200, "POST", "/api/batch", map[string]any{"requests": []any{
				map[string]any{"method": "PATCH", "url": recordsPath + "/" + id, "body": map[string]any{"title": "five"}}}})
		},
		func() {
			if _, err := s.app.NonconcurrentDB().NewQuery("UPDATE items SET title = 'six'").Execute(); err != nil {
				t.Fatal(err)
			}
		},
		func() {
			rows, err := s.app.NonconcurrentDB().NewQuery("UPDATE items SET title = 'seven' RETURNING id").Rows()
			if err != nil {
				t.Fatal(err)
			}
			if !rows.Next() || rows.Close() != nil || rows.Err() != nil {
				t.Fatal("no row")
			}
		},
	} {
		for _, path := range paths {
			first := g.must(t, 200, "GET", path, nil)
			kept := keptAnswers(s)
			again := g.must(t, 200, "GET", path, nil)
			if kept == 0 || keptAnswers(s) != kept {
				t.Fatalf("%s: %d answers are kept, then %d", path, kept, keptAnswers(s))
			}
			if string(first.body) != string(again.body) || first.header.Get("Content-Type") != again.header.Get("Content-Type") || len(first.header) != len(again.header) {
				t.Errorf("%s and then %s", first.body, again.body)
			}
		}
		before := g.must(t, 200, "GET", paths[0], nil)
		change()
		for _, path := range paths {
			if r := g.must(t, 200, "GET", path, nil); string(r.body) == string(before.body) {
				t.Errorf("%s: still %s", path, r.body)
			}
		}
	}
}

// What one sees is never given to another.
func TestAnswersKeepToTheirCredential(t *testing.T) {
	s := newStore(t)
	item, _ := addHidden(t, s)
	one, _ := signUp(t, s)
	path := "/api/collections/items/records/" + item + "?expand=link"
	all, some := keyCaller(s, "all", Reach{Scope: Read}), keyCaller(s, "some", Reach{Scope: Read, Collections: []string{"items"}})
	none := keyCaller(s, "none", Reach{Scope: Read, Collections: []string{"notes"}})
	for range 2 {
		if r := all.must(t, 200, "GET", path, nil); !strings.Contains(string(r.body), "xyzzy") {
			t.Errorf("%s", r.body)
		}
		if r := some.must(t, 200, "GET", path, nil); strings.Contains(string(r.body), "xyzzy") {
			t.Errorf("%s", r.body)
		}
		none.must(t, 404, "GET", path, nil)
		mine := one.must(t, 200, "GET", "/api/collections/users/records", nil)
		others := guest(s).must(t, 200, "GET", "/api/collections/users/records", nil)
		if !strings.Contains(string(mine.body), "u@example.com") || strings.Contains(string(others.body), "u@example.com") {
			t.Errorf("mine %s, a guest's %s", mine.body, others.body)
		}
	}
}

// A rule that was changed counts at once, for lists that were answered just before too.
func TestAnswersKeepToRules(t *testing.T) {
	s := newStore(t)
	g, admin := guest(s), adminOf(s)
	g.create(t, "items", map[string]any{"title": "one"})
	g.must(t, 200, "GET", recordsPath, nil)
	admin.must(t, 200, "PATCH", "/api/collections/items", map[string]any{"listRule": nil})
	g.must(t, 403, "GET", recordsPath, nil)
	admin.must(t, 200, "PATCH", "/api/collections/items", map[string]any{"listRule": ""})
	for rule, want := range map[string]int{
		`title != "x"`: 1, `@request.auth.id = ""`: 1, `@request.query.a = "b"`: 1, `created < @now`: 0,
		`@request.headers.x_a != "b"`: 0, `strftime('%Y', created) > '2000'`: 0, `@request.method = "GET"`: 0,
	} {
		admin.must(t, 200, "PATCH", "/api/collections/items", map[string]any{"listRule": rule})
		g.must(t, 200, "GET", recordsPath+"?a=b", nil)
		if n := keptAnswers(s); n != want {
			t.Errorf("%s: %d answers are kept", rule, n)
		}
	}
}

func TestWhatChangesByItselfIsNotKept(t *testing.T) {
	s := newStore(t)
	g := guest(s)
	g.create(t, "items", map[string]any{"title": "one"})
	for _, query := range []string{"sort=@random", "filter=created%3C@now", "filter=strftime('%25Y','now')>'2000'", "filter=title='nothing'", "filter=(%40now>created)"} {
		if r := g.must(t, 200, "GET", recordsPath+"?"+query, nil); keptAnswers(s) != 0 {
			t.Errorf("%s: kept %s", query, r.body)
		}
	}
	g.must(t, 404, "GET", recordsPath+"/nothing", nil)
	g.must(t, 400, "GET", recordsPath+"?filter=(", nil)
	adminOf(s).must(t, 200, "POST", "/api/collections", map[string]any{"name": "v", "type": "view", "viewQuery": "SELECT id, random() AS r FROM items"})
	g.must(t, 200, "GET", recordsPath, nil)
	if n := keptAnswers(s); n != 0 {
		t.Errorf("%d answers are kept", n)
	}
	settings := s.app.Settings()
	settings.RateLimits = core.RateLimitsConfig{Enabled: true, Rules: []core.RateLimitRule{{Label: "items:list", MaxRequests: 2, Duration: 1000}}}
	save(t, s, settings)
	for _, code := range []int{200, 200, http.StatusTooManyRequests} {
		g.must(t, code, "GET", recordsPath, nil)
	}
}

func TestAnswersAreBounded(t *testing.T) {
	a := &answers{}
	large := make([]byte, maxAnswer)
	collections := []*core.Collection{{}}
	for i := range 3 * maxAnswers / maxAnswer {
		a.keep(0, strings.Repeat("k", i+1), answer{collections: collections, body: large})
		if a.weight() > maxAnswers {
			t.Fatalf("%d bytes", a.weight())
		}
	}
	a.keep(0, "larger", answer{collections: collections, body: make([]byte, maxAnswer+1)})
	if _, ok := a.find("larger", collections); ok {
		t.Error("a large answer is kept")
	}
	if _, ok := a.find("k", []*core.Collection{{}}); ok {
		t.Error("given under other rules")
	}
	done := a.committing()
	a.keep(1, "during", answer{collections: collections, body: large})
	if len(a.kept) != 0 {
		if _, ok := a.find("during", collections); ok {
			t.Error("kept during a commit")
		}
	}
	done()
	a.keep(0, "late", answer{collections: collections, body: large})
	if _, ok := a.find("late", collections); ok {
		t.Error("kept from before a commit")
	}
}
