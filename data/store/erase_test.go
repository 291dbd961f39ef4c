package store

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/pocketbase/pocketbase/core"

	"holdfast/data"
)

// made saves a record of a collection and gives its ref.
func made(t *testing.T, s *Store, name string, values map[string]any) RecordRef {
	t.Helper()
	r := core.NewRecord(collection(t, s, name))
	r.Load(values)
	save(t, s, r)
	return RecordRef{r.Collection().Id, r.Id}
}

func TestEraseTakesWhatGoesWithARecord(t *testing.T) {
	s := newStore(t)
	item := made(t, s, "items", map[string]any{"title": "one", "body": strings.Repeat("canary-of-the-person ", 200)})
	other := made(t, s, "items", map[string]any{"title": "two"})
	note := made(t, s, "notes", map[string]any{"item": item.ID, "soft": other.ID})
	soft := made(t, s, "notes", map[string]any{"soft": item.ID})
	if _, err := s.Files().Put(t.Context(), data.FileInfo{Name: item.Collection + "/" + item.ID + "/a.txt"}, strings.NewReader("x")); err != nil {
		t.Fatal(err)
	}
	refs, err := s.Select(t.Context(), "items", item.ID, "")
	if err != nil || len(refs) != 2 || !slices.Contains(refs, item) || !slices.Contains(refs, note) {
		t.Fatalf("select: %v %v", refs, err)
	}
	if n, err := s.Erase(OnDuty(data.WithActor(t.Context(), data.Actor{Kind: data.Person, ID: "p"})), refs); n == 0 || err != nil {
		t.Fatalf("erase: %d %v", n, err)
	}
	var left []string
	for _, c := range []string{item.Collection, note.Collection} {
		if err := s.IDs(t.Context(), c, func(id string) error { left = append(left, id); return nil }); err != nil {
			t.Fatal(err)
		}
	}
	if want := []string{other.ID, soft.ID}; !slices.Equal(left, want) {
		t.Errorf("left %v, want %v", left, want)
	}
	if files, err := s.Files().List(t.Context(), "", "", 10); len(files) != 0 || err != nil {
		t.Errorf("files %v %v", files, err)
	}
	if n, err := s.Erase(t.Context(), refs); n != 0 || err != nil {
		t.Errorf("again: %d %v", n, err)
	}
	if pages, err := s.image(t.Context()); err != nil || bytes.Contains(bytes.Join(pages, nil), []byte("canary-of-the-person canary")) {
		t.Errorf("the database still has the text (%v)", err)
	}
	if changes, _ := feed(t, s, data.Position{}); !strings.Contains(strings.Join(changes, "\n"), "person:p") {
		t.Errorf("no change of the person who erased: %v", changes)
	}
}

// TestEraseForcesARequiredReference: who selects is told; a replay must not stop.
func TestEraseForcesARequiredReference(t *testing.T) {
	s := newStore(t)
	strict := core.NewBaseCollection("strict")
	strict.Fields.Add(&core.RelationField{Name: "item", CollectionId: collection(t, s, "items").Id, Required: true, MaxSelect: 1})
	save(t, s, strict)
	item := made(t, s, "items", map[string]any{"title": "one"})
	made(t, s, "strict", map[string]any{"item": item.ID})
	if _, err := s.Select(t.Context(), "items", item.ID, ""); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "strict") {
		t.Errorf("select: %v", err)
	}
	if n, err := s.Erase(t.Context(), []RecordRef{item, {"gone", "x"}}); n != 1 || err != nil {
		t.Errorf("erase: %d %v", n, err)
	}
	if _, err := s.app.FindRecordById("items", item.ID); err == nil {
		t.Error("it is still there")
	}
}

func TestSelectRefuses(t *testing.T) {
	s := newStore(t)
	made(t, s, "items", map[string]any{"title": "one"})
	for name, c := range map[string]struct {
		collection, id, filter string
		want                   error
	}{
		"no collection": {"nothing", "x", "", data.ErrNotFound},
		"no record":     {"items", "x", "", data.ErrNotFound},
		"bad filter":    {"items", "", "title ===", ErrInvalid},
		"PocketBase's":  {"_superusers", "x", "", ErrInvalid},
	} {
		if _, err := s.Select(t.Context(), c.collection, c.id, c.filter); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if refs, err := s.Select(t.Context(), "items", "", "title = 'one'"); len(refs) != 1 || err != nil {
		t.Errorf("filter: %v %v", refs, err)
	}
}

func TestAmendedBeforeItTakesItsPlace(t *testing.T) {
	s := newStore(t)
	item := made(t, s, "items", map[string]any{"title": "one"})
	to := data.StoreID{Tenant: "copy00000000000", Environment: data.Prod}
	failing := errors.New("amend failed")
	install := func(amend func(context.Context, *Store) error) error {
		pages, err := s.image(t.Context())
		if err != nil {
			return err
		}
		return s.pool.Install(t.Context(), to, func(ctx context.Context, _ string, target InstallTarget) error {
			target.Amend(amend)
			for _, id := range []string{item.ID, "another"} {
				if err := target.File(ctx, data.FileInfo{Name: item.Collection + "/" + id + "/a.txt"}, strings.NewReader("x")); err != nil {
					return err
				}
			}
			return target.Pages(ctx, uint32(len(pages)), func(n uint32, page []byte) error { copy(page, pages[n-1]); return nil })
		})
	}
	if err := install(func(context.Context, *Store) error { return failing }); !errors.Is(err, failing) || exists(s.pool.path(to)) {
		t.Errorf("a failed amendment: %v", err)
	}
	err := install(func(ctx context.Context, c *Store) error { _, err := c.Erase(ctx, []RecordRef{item}); return err })
	if err != nil {
		t.Fatal(err)
	}
	amended := acquire(t, s.pool, to)
	if _, err := amended.app.FindRecordById("items", item.ID); err == nil {
		t.Error("the amended store has what was erased")
	}
	if files, err := amended.Files().List(t.Context(), "", "", 10); err != nil || len(files) != 1 || strings.Contains(files[0].Name, item.ID) {
		t.Errorf("files of the amended store: %v %v", files, err)
	}
}
