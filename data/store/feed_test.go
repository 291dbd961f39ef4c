package store

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/pocketbase/pocketbase/core"

	"holdfast/data"
)

// after runs fn and gives the changes it left.
func after(t *testing.T, s *Store, fn func()) []string {
	t.Helper()
	at, err := s.Position(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	fn()
	lines, _ := feed(t, s, at)
	return lines
}

func wantFeed(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("feed:\n  %s\nwant:\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}

// signUp makes a user through REST and signs in.
func signUp(t *testing.T, s *Store) (caller, string) {
	t.Helper()
	users := collection(t, s, "users")
	open(users)
	save(t, s, users)
	g := guest(s)
	id := g.create(t, "users", map[string]any{"email": "u@example.com", "password": "1234567890", "passwordConfirm": "1234567890"})
	g.token, _ = g.must(t, 200, "POST", "/api/collections/users/auth-with-password",
		map[string]any{"identity": "u@example.com", "password": "1234567890"}).object(t)["token"].(string)
	return g, "user:users/" + id
}

func TestFeedThroughREST(t *testing.T) {
	s := newStore(t)
	user, name := signUp(t, s)
	var id string
	wantFeed(t, after(t, s, func() { id = user.create(t, "items", map[string]any{"title": "x"}) }), "create items by "+name)
	path := "/api/collections/items/records/" + id
	wantFeed(t, after(t, s, func() { user.must(t, 200, "PATCH", path, map[string]any{"title": "y", "score": 4}) }),
		"update items by "+name+" [title score updated]")
	wantFeed(t, after(t, s, func() { guest(s).must(t, 200, "PATCH", path, map[string]any{"score": 5}) }),
		"update items by guest [score updated]")
	key := keyCaller(s, "k1", Reach{Scope: Write})
	wantFeed(t, after(t, s, func() { key.must(t, 200, "PATCH", path, map[string]any{"active": true}) }),
		"update items by key:k1 [active updated]")
	wantFeed(t, after(t, s, func() { user.must(t, 204, "DELETE", path, nil) }), "delete items by "+name)
	wantFeed(t, after(t, s, func() { user.must(t, 404, "DELETE", path, nil) }))
}

func TestFeedCascades(t *testing.T) {
	s := newStore(t)
	user, name := signUp(t, s)
	id := user.create(t, "items", map[string]any{"title": "x"})
	user.create(t, "notes", map[string]any{"item": id})
	user.create(t, "notes", map[string]any{"soft": id})
	got := after(t, s, func() { user.must(t, 204, "DELETE", "/api/collections/items/records/"+id, nil) })
	slices.Sort(got)
	wantFeed(t, got, "delete items by "+name, "delete notes by "+name, "update notes by "+name+" [soft]")
}

func TestFeedOfBatch(t *testing.T) {
	s := newStore(t)
	user, name := signUp(t, s)
	user.create(t, "notes", map[string]any{"code": "taken"})
	post := func(collection string, body map[string]any) map[string]any {
		return map[string]any{"method": "POST", "url": "/api/collections/" + collection + "/records", "body": body}
	}
	batch := []any{post("items", map[string]any{"title": "1"}), post("notes", map[string]any{"text": "2"})}
	wantFeed(t, after(t, s, func() { user.must(t, 200, "POST", "/api/batch", map[string]any{"requests": batch}) }),
		"create items by "+name, "create notes by "+name)
	batch = append(batch, post("notes", map[string]any{"code": "taken"}))
	wantFeed(t, after(t, s, func() { user.must(t, 400, "POST", "/api/batch", map[string]any{"requests": batch}) }))
	upsert := map[string]any{"method": "PUT", "url": "/api/collections/items/records", "body": map[string]any{"title": "3"}}
	wantFeed(t, after(t, s, func() { user.must(t, 200, "POST", "/api/batch", map[string]any{"requests": []any{upsert}}) }),
		"create items by "+name)
}

func TestFeedOfSignInFlows(t *testing.T) {
	notUnderRace(t)
	s := newStore(t)
	user, name := signUp(t, s)
	id := strings.TrimPrefix(name, "user:users/")
	sign := map[string]any{"identity": "u@example.com", "password": "1234567890"}
	wantFeed(t, after(t, s, func() { guest(s).must(t, 200, "POST", "/api/collections/users/auth-with-password", sign) }),
		"update _authOrigins by guest [updated]")
	change := map[string]any{"password": "abcdefghij", "passwordConfirm": "abcdefghij", "oldPassword": "1234567890"}
	got := after(t, s, func() { user.must(t, 200, "PATCH", "/api/collections/users/records/"+id, change) })
	if !slices.Contains(got, "update users by "+name+" [password tokenKey updated]") {
		t.Error(got)
	}
	if len(got) != 2 || !strings.HasPrefix(got[1], "delete _authOrigins by "+name) {
		t.Error("the sign-in's origin goes with the password:", got)
	}
}

func TestFeedOfGoWritesAndSQL(t *testing.T) {
	s := newStore(t)
	items := collection(t, s, "items")
	write := func(app core.App) error {
		r := core.NewRecord(items)
		r.Set("title", "t")
		return app.Save(r)
	}
	wantFeed(t, after(t, s, func() {
		_ = s.app.RunInTransaction(func(tx core.App) error { _ = write(tx); return errors.New("undo") })
	}))
	wantFeed(t, after(t, s, func() {
		_ = s.app.RunInTransaction(func(tx core.App) error {
			_ = write(tx)
			_ = savepoint(tx, func() error { _ = write(tx); return errors.New("undo") })
			return nil
		})
	}), "create items by system")
	query := func(q string) error { _, err := s.app.DB().NewQuery(q).Execute(); return err }
	wantFeed(t, after(t, s, func() {
		if err := query("INSERT OR REPLACE INTO items(id, title) SELECT id, 'replaced' FROM items"); err != nil {
			t.Fatal(err)
		}
	}), "delete items by system", "create items by system")
	wantFeed(t, after(t, s, func() {
		if err := query("INSERT INTO items(id, title) VALUES ('a', '1'), ((SELECT id FROM items), '2')"); err == nil {
			t.Error("a duplicate id was taken")
		}
	}))
	wantFeed(t, after(t, s, func() {
		if err := query("DELETE FROM items"); err != nil {
			t.Fatal(err)
		}
	}), "delete items by system")
}

func TestFeedOfTruncate(t *testing.T) {
	s := newStore(t)
	id := guest(s).create(t, "items", map[string]any{"title": "x"})
	guest(s).create(t, "notes", map[string]any{"item": id})
	admin := keyCaller(s, "k2", Reach{Scope: Admin})
	got := after(t, s, func() { admin.must(t, 204, "DELETE", "/api/collections/items/truncate", nil) })
	slices.Sort(got)
	wantFeed(t, got, "delete items by key:k2", "delete notes by key:k2")
}

func TestFeedOfSchemaChanges(t *testing.T) {
	s := newStore(t)
	admin := keyCaller(s, "k3", Reach{Scope: Admin})
	guest(s).create(t, "items", map[string]any{"title": "x", "kind": "a"})
	made := after(t, s, func() {
		admin.must(t, 200, "POST", "/api/collections", map[string]any{"name": "extra", "type": "base",
			"fields": []any{map[string]any{"name": "v", "type": "text"}}})
	})
	wantFeed(t, made, "create _collections by key:k3")
	items := collection(t, s, "items")
	items.Name = "things"
	items.Fields.GetByName("kind").(*core.SelectField).MaxSelect = 3
	items.Fields.GetByName("title").SetName("heading")
	items.Fields.RemoveByName("body")
	got := after(t, s, func() { save(t, s, items) })
	wantFeed(t, got, "update _collections by system [name fields]", "rewritten things by system [body kind]")
	wantFeed(t, after(t, s, func() { guest(s).create(t, "things", map[string]any{"heading": "z"}) }), "create things by guest")
	wantFeed(t, after(t, s, func() { admin.must(t, 204, "DELETE", "/api/collections/extra", nil) }), "delete _collections by key:k3")
	settings := after(t, s, func() {
		admin.must(t, 200, "PATCH", "/api/settings", map[string]any{"meta": map[string]any{"appName": "New"}})
	})
	wantFeed(t, settings, "update _params by key:k3 [value]")
}

func TestFeedOfCollectionsImport(t *testing.T) {
	s := newStore(t)
	admin := keyCaller(s, "k4", Reach{Scope: Admin})
	got := after(t, s, func() {
		admin.must(t, 204, "PUT", "/api/collections/import", map[string]any{"collections": []any{
			map[string]any{"name": "brought", "type": "base", "fields": []any{map[string]any{"name": "v", "type": "text"}}},
		}})
	})
	wantFeed(t, got, "create _collections by key:k4")
	wantFeed(t, after(t, s, func() { admin.create(t, "brought", map[string]any{"v": "1"}) }), "create brought by key:k4")
}

// Import with deleteMissing removes what it does not name; the feed stays.
func TestCollectionsImportKeepsTheFeed(t *testing.T) {
	s := newStore(t)
	admin := keyCaller(s, "k5", Reach{Scope: Admin})
	admin.must(t, 204, "PUT", "/api/collections/import", map[string]any{"deleteMissing": true, "collections": []any{
		map[string]any{"name": "only", "type": "base", "fields": []any{map[string]any{"name": "v", "type": "text"}}},
	}})
	wantFeed(t, after(t, s, func() { admin.create(t, "only", map[string]any{"v": "1"}) }), "create only by key:k5")
}

func TestNobodyElseWritesTheFeed(t *testing.T) {
	s := newStore(t)
	guest(s).create(t, "items", map[string]any{"title": "x"})
	for _, q := range []string{
		"INSERT INTO _changes(at, actor, op, collection, record, fields) VALUES (1, 'x', 'create', 'c', 'r', '')",
		"UPDATE _changes SET actor = 'person:somebody'",
		"DELETE FROM _changes", "DROP TABLE _changes", "ALTER TABLE _changes RENAME TO x", "ALTER TABLE _changes ADD COLUMN x",
		"CREATE INDEX i ON _changes(at)", "SELECT * FROM _changes", "DELETE FROM _incarnations", "UPDATE _incarnations SET id = 'x'",
		"INSERT INTO _incarnations VALUES ('x', 1, 'x', 0)", "DROP TABLE _incarnations",
		"WITH x AS (SELECT 1) DELETE FROM _changes", "REPLACE INTO _changes(seq, at, actor, op, collection, record, fields) VALUES (1, 1, '', '', '', '', '')",
		"CREATE TRIGGER _hf_mine AFTER INSERT ON items BEGIN DELETE FROM _changes; END",
		"DROP TRIGGER " + quote(watch(collection(t, s, "items")).trigger("c")),
		"CREATE VIEW leak AS SELECT * FROM _changes; SELECT * FROM leak",
		"CREATE TEMP TRIGGER t AFTER INSERT ON items BEGIN SELECT 1; END",
		"UPDATE sqlite_schema SET sql = ''",
	} {
		_, writer := s.app.NonconcurrentDB().NewQuery(q).Execute()
		_, reader := s.app.ConcurrentDB().NewQuery(q).Execute()
		if writer == nil || reader == nil {
			t.Errorf("%s: writer %v, reader %v", q, writer, reader)
		}
	}
	wantFeed(t, after(t, s, func() { guest(s).create(t, "items", map[string]any{"title": "y"}) }), "create items by guest")
}

// A write whose change cannot be noted fails.
func TestNoChangeNoWrite(t *testing.T) {
	s := newStore(t)
	if _, err := execInner(t.Context(), s.app.NonconcurrentDB(), "ALTER TABLE _changes RENAME TO elsewhere", nil); err == nil {
		_, err = execInner(t.Context(), s.app.NonconcurrentDB(), "DROP TABLE elsewhere", nil)
		if err != nil {
			t.Fatal(err)
		}
	}
	guest(s).must(t, 400, "POST", "/api/collections/items/records", map[string]any{"title": "x"})
}

func TestTriggersAreMadeGoodAtOpen(t *testing.T) {
	s := newStore(t)
	for _, q := range []string{
		"DROP TRIGGER " + quote(watch(collection(t, s, "items")).trigger("u")),
		"CREATE TRIGGER stranger AFTER INSERT ON items BEGIN SELECT 1; END",
	} {
		if _, err := execInner(t.Context(), s.app.NonconcurrentDB(), q, nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := verifyTriggers(t.Context(), s.app); err != nil {
		t.Fatal(err)
	}
	id := guest(s).create(t, "items", nil)
	wantFeed(t, after(t, s, func() {
		guest(s).must(t, 200, "PATCH", "/api/collections/items/records/"+id, map[string]any{"score": 1})
	}),
		"update items by guest [score updated]")
	have, err := presentTriggers(t.Context(), s.app)
	if err != nil || have["stranger"] != "" {
		t.Error("a strange trigger stayed", err)
	}
}

func TestPositions(t *testing.T) {
	s := newStore(t)
	for i := range 5 {
		guest(s).create(t, "items", map[string]any{"title": fmt.Sprint(i)})
	}
	now, err := s.Position(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var seen int64
	for at := (data.Position{}); ; {
		page, err := s.Changes(t.Context(), at, 3)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range page {
			if c.Sequence <= seen || c.Incarnation != now.Incarnation || c.At.IsZero() || c.Record == "" {
				t.Fatalf("%+v after %d", c, seen)
			}
			seen, at = c.Sequence, c.Position
		}
		if len(page) == 0 {
			break
		}
	}
	if seen != now.Sequence {
		t.Error(seen, now)
	}
	_, err = s.Changes(t.Context(), data.Position{Incarnation: "another", Sequence: 1}, 1)
	if !errors.Is(err, ErrLostPosition) {
		t.Error(err)
	}
}

func TestLostPosition(t *testing.T) {
	lives := []Incarnation{{ID: "a"}, {ID: "b", From: 10}}
	for p, lost := range map[data.Position]bool{
		{}: false, {Incarnation: "a", Sequence: 10}: false, {Incarnation: "a", Sequence: 11}: true,
		{Incarnation: "b", Sequence: 11}: false, {Incarnation: "c", Sequence: 1}: true,
	} {
		if err := checkPosition(lives, p); (err != nil) != lost {
			t.Errorf("%v: %v", p, err)
		}
	}
	if lifeOf(lives, 10) != "a" || lifeOf(lives, 11) != "b" {
		t.Error("the wrong life")
	}
}

// The parent of a transaction is PocketBase's private affair: a version that
// keeps it elsewhere must be noticed here.
func TestParentOfTransaction(t *testing.T) {
	if parentErr != nil {
		t.Fatal(parentErr)
	}
	s := newStore(t)
	clone, done := s.borrow(func() data.Actor { return data.Actor{} })
	defer done()
	err := clone.RunInTransaction(func(tx core.App) error {
		if parentOf(tx.(*core.BaseApp)) != clone {
			t.Error("the parent is not the app that began the transaction")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestActorsAreForgotten(t *testing.T) {
	s := newStore(t)
	guest(s).create(t, "items", nil)
	s.actors.Range(func(any, any) bool { t.Error("a request's app is still known"); return false })
}

func TestStrictImportLeavesNothing(t *testing.T) {
	s := newStore(t)
	n := 0
	rows := func() (map[string]any, int, error) {
		if n++; n > 1200 {
			return nil, 0, io.EOF
		}
		if n == 1100 {
			return map[string]any{"score": "bad"}, n, nil
		}
		return map[string]any{"title": fmt.Sprint(n)}, n, nil
	}
	var result ImportResult
	wantFeed(t, after(t, s, func() {
		var err error
		result, err = s.Import(t.Context(), "items", ImportOptions{Strict: true}, rows, nil)
		if !errors.Is(err, ErrStrict) {
			t.Error(err)
		}
	}))
	if result.Created != 0 || result.Failed != 1 || result.Errors[0].Line != 1100 {
		t.Errorf("%+v", result)
	}
}
