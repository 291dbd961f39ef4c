package store

import (
	"context"
	"errors"
	"testing"

	"github.com/pocketbase/pocketbase/core"

	"holdfast/data"
)

// addTree makes a collection whose records refer to each other.
func addTree(t *testing.T, s *Store) {
	t.Helper()
	c := core.NewBaseCollection("nodes")
	open(c)
	c.Fields.Add(&core.TextField{Name: "title"})
	save(t, s, c)
	c.Fields.Add(&core.RelationField{Name: "parent", CollectionId: c.Id, MaxSelect: 1})
	save(t, s, c)
}

// past has fn look at what the store was when build was made.
func past(t *testing.T, s *Store, build func(context.Context, string, InstallTarget) error, fn func(ctx context.Context, then *Store)) {
	t.Helper()
	err := s.pool.Try(t.Context(), func(ctx context.Context, target InstallTarget) error { return build(ctx, "", target) },
		func(ctx context.Context, then *Store) error { fn(ctx, then); return nil })
	if err != nil {
		t.Fatal(err)
	}
}

func TestTakeRecordsOutOfThePast(t *testing.T) {
	s := newStore(t)
	addDocs(t, s)
	addTree(t, s)
	child := "0000000000child"
	parent := guest(s).create(t, "nodes", map[string]any{"id": "zzzzzzzzzparent", "title": "parent"})
	guest(s).create(t, "nodes", map[string]any{"id": child, "title": "child", "parent": parent})
	path := guest(s).upload(t, "doc", "d.txt", []byte("content"))
	gone := guest(s).create(t, "items", map[string]any{"title": "gone"})
	changed := guest(s).create(t, "items", map[string]any{"title": "then"})
	same := guest(s).create(t, "items", map[string]any{"title": "same"})
	build := imageToBuild(t, s)
	guest(s).must(t, 204, "DELETE", "/api/collections/items/records/"+gone, nil)
	guest(s).must(t, 200, "PATCH", "/api/collections/items/records/"+changed, map[string]any{"title": "now"})
	fresh := guest(s).create(t, "items", map[string]any{"title": "fresh"})
	for _, name := range []string{"nodes", "docs"} {
		c, err := s.app.FindCollectionByNameOrId(name)
		if err == nil {
			err = s.app.Delete(c)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the deleted collection's files are gone", func() bool { // PocketBase does it in its own time
		left, err := s.Files().List(t.Context(), "", "", 1)
		return err == nil && len(left) == 0
	})
	all := []Wanted{{Collection: "items"}, {Collection: "nodes"}, {Collection: "docs"}}
	before, _ := s.Position(t.Context())
	past(t, s, build, func(ctx context.Context, then *Store) {
		differences, err := s.Compare(ctx, then)
		if err != nil || len(differences) < 3 {
			t.Fatal(differences, err)
		}
		if _, err := s.Take(ctx, then, all, TakeOptions{Conflict: Refuse}); !errors.Is(err, ErrConflict) {
			t.Error("refuse:", err)
		}
		dry, err := s.Take(ctx, then, all, TakeOptions{Conflict: Overwrite, Dry: true})
		if err != nil || dry[0].Added != 1 || dry[0].Changed != 1 || dry[0].Same != 1 || !dry[1].Made || dry[2].Files != 1 {
			t.Errorf("dry: %+v %v", dry, err)
		}
		if now, _ := s.Position(ctx); now != before {
			t.Error("something was written:", now)
		}
		ctx = OnDuty(data.WithActor(ctx, data.Actor{Kind: data.Person, ID: "p1"}))
		got, err := s.Take(ctx, then, all, TakeOptions{Conflict: Overwrite})
		if err != nil || got[0].Added != 1 || got[0].Changed != 1 || got[1].Added != 2 || got[2].Files != 1 {
			t.Errorf("taken: %+v %v", got, err)
		}
		if _, err := s.Take(ctx, then, []Wanted{{"items", []string{"nonesuch"}}}, TakeOptions{}); !errors.Is(err, data.ErrNotFound) {
			t.Error(err)
		}
	})
	for id, title := range map[string]string{gone: "gone", changed: "then", same: "same", fresh: "fresh"} {
		if got := guest(s).must(t, 200, "GET", "/api/collections/items/records/"+id, nil).object(t); got["title"] != title {
			t.Error(title, got)
		}
	}
	if got := guest(s).must(t, 200, "GET", "/api/collections/nodes/records/"+child, nil).object(t); got["parent"] != parent {
		t.Error(got)
	}
	if r := guest(s).must(t, 200, "GET", path, nil); string(r.body) != "content" {
		t.Error(string(r.body))
	}
	changes, err := s.Changes(t.Context(), before, 100)
	if err != nil || len(changes) < 5 || changes[len(changes)-1].Actor.ID != "p1" {
		t.Error("the feed does not tell:", changes, err)
	}
}
