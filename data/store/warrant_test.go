package store

import (
	"context"
	"errors"
	"io"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/data"
)

var beta = data.StoreID{Tenant: "beta00000000000", Environment: data.Prod}

func wardenOf(t *testing.T, p *Pool) *Warden {
	t.Helper()
	w, err := p.Warden()
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// ways are all calls that give or take records, and the level that each needs.
func ways(s *Store) map[string]struct {
	level Level
	call  func(context.Context) error
} {
	type way = struct {
		level Level
		call  func(context.Context) error
	}
	serve := func(method, path string, reach *Reach) func(context.Context) error {
		return func(ctx context.Context) error {
			if reach != nil {
				ctx = WithReach(ctx, *reach)
			}
			w := httptest.NewRecorder()
			s.ServeHTTP(w, httptest.NewRequest(method, path, strings.NewReader(`{}`)).WithContext(ctx))
			if w.Code == 403 {
				return ErrWarrant
			}
			return nil
		}
	}
	rows := func() (map[string]any, int, error) { return nil, 0, io.EOF }
	file := func(ctx context.Context) error {
		_, err := s.Files().Put(ctx, data.FileInfo{Name: "a/b/c.txt"}, strings.NewReader("x"))
		return err
	}
	return map[string]way{
		"list by rules":    {See, serve("GET", "/api/collections/items/records", nil)},
		"list as a reader": {See, serve("GET", "/api/collections/items/records", &Reach{Scope: Read})},
		"make a record":    {Change, serve("POST", "/api/collections/items/records", &Reach{Scope: Write})},
		"read the schema":  {Manage, serve("GET", "/api/collections", &Reach{Scope: Admin})},
		"export": {See, func(ctx context.Context) error {
			return s.Export(ctx, "items", func(map[string]any) error { return nil })
		}},
		"ids":           {See, func(ctx context.Context) error { return s.IDs(ctx, "items", func(string) error { return nil }) }},
		"list files":    {See, func(ctx context.Context) error { _, err := s.Files().List(ctx, "", "", 1); return err }},
		"open a file":   {See, func(ctx context.Context) error { _, _, err := s.Files().Open(ctx, "none"); return ifWarrant(err) }},
		"put a file":    {Change, file},
		"delete a file": {Change, func(ctx context.Context) error { return ifWarrant(s.Files().Delete(ctx, "none")) }},
		"import": {Change, func(ctx context.Context) error {
			_, err := s.Import(ctx, "items", ImportOptions{}, rows, nil)
			return err
		}},
		"make a collection": {Change, func(ctx context.Context) error { return ifWarrant(s.CreateCollection(ctx, "items", nil)) }},
		"select":            {Change, func(ctx context.Context) error { _, err := s.Select(ctx, "items", "", "title = 'x'"); return err }},
		"erase":             {Change, func(ctx context.Context) error { _, err := s.Erase(ctx, nil); return err }},
		"take":              {Change, func(ctx context.Context) error { _, err := s.Take(ctx, s, nil, TakeOptions{}); return ifWarrant(err) }},
		"studio":            {Manage, func(ctx context.Context) error { _, err := s.StudioToken(ctx, data.ActorFrom(ctx)); return err }},
	}
}

// ifWarrant leaves out what failed for another reason.
func ifWarrant(err error) error {
	if errors.Is(err, ErrWarrant) {
		return err
	}
	return nil
}

// TestNobodyHasRecordsWithoutAWarrant: whoever forgets to ask for a permission has none
// to show, and gets nothing.
func TestNobodyHasRecordsWithoutAWarrant(t *testing.T) {
	s := newStore(t)
	warden := wardenOf(t, s.pool)
	ada := data.Actor{Kind: data.Person, ID: "ada"}
	for name, way := range ways(s) {
		for _, actor := range []data.Actor{ada, {Kind: data.Host, ID: "0"}, {Kind: data.Hook, ID: "h"}, {Kind: data.Key, ID: "of the control plane"}} {
			ctx := data.WithActor(t.Context(), actor)
			refused := func(why string, ctx context.Context) {
				t.Helper()
				if actor.Kind == data.Key && strings.Contains("list as a reader make a record read the schema", name) {
					return // comes with a reach, which only the tenant's host gives
				}
				if err := way.call(ctx); !errors.Is(err, ErrWarrant) {
					t.Errorf("%s by %s with %s: %v", name, actor, why, err)
				}
			}
			full := Warrant{Store: acme, Actor: actor, Level: Manage}
			with := func(change func(*Warrant)) context.Context {
				w := full
				change(&w)
				return warden.Issue(ctx, w)
			}
			refused("nothing", ctx)
			refused("a warrant that nobody issued", WithWarrant(ctx, full))
			refused("another pool's", (&Warden{s.pool}).Issue(ctx, full))
			refused("another store's", with(func(w *Warrant) { w.Store = beta }))
			refused("another environment's", with(func(w *Warrant) { w.Store.Environment = data.Test }))
			refused("somebody else's", with(func(w *Warrant) { w.Actor.ID = "bob" }))
			refused("one that is over", with(func(w *Warrant) { w.Until = time.Now().Add(-time.Millisecond) }))
			refused("one for less", with(func(w *Warrant) { w.Level = way.level - 1 }))
			if err := way.call(with(func(w *Warrant) { w.Level = way.level })); err != nil {
				t.Errorf("%s by %s with a warrant: %v", name, actor, err)
			}
		}
		if err := way.call(data.WithActor(t.Context(), data.Actor{Kind: data.Guest})); name != "list by rules" && !errors.Is(err, ErrWarrant) {
			t.Errorf("%s by a guest: %v", name, err)
		}
		if err := way.call(OnDuty(data.WithActor(t.Context(), ada))); err != nil {
			t.Errorf("%s on duty: %v", name, err)
		}
	}
}

func TestThereIsOneWarden(t *testing.T) {
	p := newPool(t)
	wardenOf(t, p)
	if _, err := p.Warden(); err == nil {
		t.Error("there is a second one")
	}
}

// TestWhatIsNotNotedIsNotGiven: each use is told before anything is given.
func TestWhatIsNotNotedIsNotGiven(t *testing.T) {
	s := newStore(t)
	made(t, s, "items", map[string]any{"title": "secret"})
	ada := data.Actor{Kind: data.Person, ID: "ada"}
	var uses []Use
	broken := errors.New("the log is full")
	fail := error(nil)
	ctx := wardenOf(t, s.pool).Issue(data.WithActor(t.Context(), ada), Warrant{Store: acme, Actor: ada, Level: See,
		Note: func(_ context.Context, u Use) error { uses = append(uses, u); return fail }})
	list := func() *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		r := httptest.NewRequest("GET", "/api/collections/items/records?filter=title!=''", nil)
		s.ServeHTTP(w, r.WithContext(WithReach(ctx, Reach{Scope: Read})))
		return w
	}
	if w := list(); w.Code != 200 || !strings.Contains(w.Body.String(), "secret") {
		t.Fatal(w.Code, w.Body)
	}
	list() // given again from memory: noted all the same
	if len(uses) != 2 || uses[0].Name != "items" || !strings.Contains(uses[0].Query, "title") {
		t.Errorf("uses %+v", uses)
	}
	fail = broken
	if w := list(); w.Code == 200 || strings.Contains(w.Body.String(), "secret") {
		t.Error("given without a note:", w.Code, w.Body)
	}
	given := 0
	if err := s.Export(ctx, "items", func(map[string]any) error { given++; return nil }); !errors.Is(err, broken) || given != 0 {
		t.Error("exported without a note:", given, err)
	}
}

// TestWarrantEndsALongExport: it is looked at with each page.
func TestWarrantEndsALongExport(t *testing.T) {
	var passed atomic.Int64
	begin := time.Now()
	s := newStore(t, func(c *Config) { c.Clock = func() time.Time { return begin.Add(time.Duration(passed.Load())) } })
	n := 0
	_, err := s.Import(t.Context(), "items", ImportOptions{}, func() (map[string]any, int, error) {
		if n++; n > exportPage+1 {
			return nil, 0, io.EOF
		}
		return map[string]any{"title": "x"}, n, nil
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	ada := data.Actor{Kind: data.Person, ID: "ada"}
	ctx := wardenOf(t, s.pool).Issue(data.WithActor(t.Context(), ada), Warrant{Store: acme, Actor: ada, Level: See, Until: begin.Add(time.Hour)})
	given := 0
	err = s.Export(ctx, "items", func(map[string]any) error {
		given++
		passed.Add(int64(time.Minute))
		return nil
	})
	if !errors.Is(err, ErrWarrant) || given != exportPage {
		t.Error(given, err)
	}
}
