package store

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"testing"

	"holdfast/data"
)

// image copies what a store holds now, to be built from later.
func imageToBuild(t *testing.T, s *Store) func(context.Context, string, InstallTarget) error {
	t.Helper()
	pages, err := s.image(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	list, err := s.Files().List(t.Context(), "", "", 1000)
	if err != nil {
		t.Fatal(err)
	}
	bodies := map[string][]byte{}
	for _, f := range list {
		r, _, err := s.Files().Open(t.Context(), f.Name)
		if err != nil {
			t.Fatal(err)
		}
		bodies[f.Name], err = io.ReadAll(r)
		if err = errors.Join(err, r.Close()); err != nil {
			t.Fatal(err)
		}
	}
	return func(ctx context.Context, _ string, target InstallTarget) error {
		err := target.Pages(ctx, uint32(len(pages)), func(n uint32, page []byte) error { copy(page, pages[n-1]); return nil })
		for _, f := range list {
			err = errors.Join(err, target.File(ctx, f, bytes.NewReader(bodies[f.Name])))
		}
		return err
	}
}

func nothing(context.Context, *Store) error { return nil }

func TestReplaceRevertAndDrop(t *testing.T) {
	s := newStore(t)
	p, id := s.pool, s.id
	addDocs(t, s)
	user, _ := signUp(t, s)
	path := guest(s).upload(t, "doc", "d.txt", []byte("before"))
	guest(s).create(t, "items", map[string]any{"title": "kept"})
	build := imageToBuild(t, s)
	then, err := s.Position(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	later := guest(s).create(t, "items", map[string]any{"title": "later"})
	s.Release()
	var seen data.Position
	err = p.Replace(t.Context(), id, build, func(ctx context.Context, old *Store) (err error) {
		seen, err = old.Position(ctx)
		return err
	})
	if err != nil || seen.Sequence <= then.Sequence {
		t.Fatal(seen, then, err)
	}
	n := acquire(t, p, id)
	guest(n).must(t, 404, "GET", "/api/collections/items/records/"+later, nil)
	guest(n).must(t, 200, "GET", path, nil)
	user.s = n
	if r := user.do("POST", "/api/collections/users/auth-refresh", nil); r.code != 401 {
		t.Error("a token outlives the replacement:", r.code)
	}
	if _, err := n.Changes(t.Context(), seen, 10); !errors.Is(err, ErrLostPosition) {
		t.Error("a follower is not told:", err)
	}
	if err := p.Replace(t.Context(), id, build, nothing); !errors.Is(err, data.ErrExists) || !p.Kept(id) {
		t.Error("replaced twice:", err)
	}
	guest(n).create(t, "items", map[string]any{"title": "of the second life"})
	n.Release()
	if err := p.Revert(t.Context(), id, nothing, nothing); err != nil || p.Kept(id) {
		t.Fatal(err)
	}
	n = acquire(t, p, id)
	guest(n).must(t, 200, "GET", "/api/collections/items/records/"+later, nil)
	lives, err := n.Incarnations(t.Context())
	if err != nil || len(lives) != 2 || lives[1].Reason != "reverted" || lives[1].From != seen.Sequence {
		t.Error(lives, err)
	}
	if err := p.Revert(t.Context(), id, nothing, nothing); !errors.Is(err, data.ErrNotFound) {
		t.Error("reverted twice:", err)
	}
	n.Release()
	if err := p.Replace(t.Context(), id, build, nothing); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(p.DropKept(id), p.DropKept(id)); err != nil || p.Kept(id) {
		t.Error(err)
	}
	wantFolders(t, p, 1)
}

func wantFolders(t *testing.T, p *Pool, n int) {
	t.Helper()
	left, err := os.ReadDir(p.config.Dir)
	if err != nil || len(left) != n {
		t.Error("left:", left, err)
	}
}

func TestFailedReplaceLeavesAllAsItWas(t *testing.T) {
	s := newStore(t)
	addDocs(t, s)
	kept := guest(s).create(t, "items", map[string]any{"title": "kept"})
	build, failure := imageToBuild(t, s), errors.New("no")
	p, id := s.pool, s.id
	s.Release()
	for name, err := range map[string]error{
		"build": p.Replace(t.Context(), id, func(context.Context, string, InstallTarget) error { return failure }, nothing),
		"last":  p.Replace(t.Context(), id, build, func(context.Context, *Store) error { return failure }),
	} {
		if !errors.Is(err, failure) || p.Kept(id) {
			t.Error(name, err)
		}
	}
	guest(acquire(t, p, id)).must(t, 200, "GET", "/api/collections/items/records/"+kept, nil)
	wantFolders(t, p, 1)
}

// A crash between any two renames of a swap leaves one whole store, at the next start.
func TestSwapsCutShort(t *testing.T) {
	for name, c := range map[string]struct {
		leave func(p *Pool, id data.StoreID) error
		kept  bool
	}{
		"on its way in":          {func(p *Pool, id data.StoreID) error { return os.Mkdir(p.onItsWay(nextPrefix, id), 0o700) }, false},
		"its place empty":        {func(p *Pool, id data.StoreID) error { return os.Rename(p.path(id), p.onItsWay(nextPrefix, id)) }, false},
		"on its way back":        {func(p *Pool, id data.StoreID) error { return os.Mkdir(p.onItsWay(backPrefix, id), 0o700) }, true},
		"back, its place empty":  {func(p *Pool, id data.StoreID) error { return os.Rename(p.path(id), p.onItsWay(backPrefix, id)) }, false},
		"in its place, old kept": {func(p *Pool, id data.StoreID) error { return os.Mkdir(p.keptPath(id), 0o700) }, true},
	} {
		s := newStore(t)
		p, id := s.pool, s.id
		s.Release()
		if err := errors.Join(p.Evict(t.Context(), id), c.leave(p, id)); err != nil {
			t.Fatal(name, err)
		}
		again, err := New(p.config)
		if err != nil {
			t.Fatal(name, err)
		}
		again.Close()
		if !exists(p.path(id)) || again.Kept(id) != c.kept {
			t.Errorf("%s: in place %v, kept %v", name, exists(p.path(id)), again.Kept(id))
		}
		wantFolders(t, p, 1)
	}
}

// What is done in a copy that is looked at reaches neither the living store nor its files.
func TestTryLeavesTheLivingAlone(t *testing.T) {
	s := newStore(t)
	addDocs(t, s)
	path := guest(s).upload(t, "doc", "d.txt", []byte("content"))
	id := guest(s).create(t, "items", map[string]any{"title": "kept"})
	build := imageToBuild(t, s)
	err := s.pool.Try(t.Context(), func(ctx context.Context, target InstallTarget) error { return build(ctx, "", target) }, func(ctx context.Context, c *Store) error {
		refs, err := c.Select(ctx, "items", id, "")
		if err != nil {
			return err
		}
		docs, err := c.Select(ctx, "docs", "", "id != ''")
		if err != nil {
			return err
		}
		n, err := c.Erase(ctx, append(refs, docs...))
		if n != 2 {
			t.Error("erased", n)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	guest(s).must(t, 200, "GET", path, nil)
	guest(s).must(t, 200, "GET", "/api/collections/items/records/"+id, nil)
	wantFolders(t, s.pool, 1)
}
