package store

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	"holdfast/data"
)

// copyInto installs one store's pages and files as another store.
func copyInto(t *testing.T, from *Store, to data.StoreID) error {
	t.Helper()
	pages, err := from.image(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return from.pool.Install(t.Context(), to, func(ctx context.Context, _ string, target InstallTarget) error {
		err := target.Pages(ctx, uint32(len(pages)), func(n uint32, page []byte) error { copy(page, pages[n-1]); return nil })
		if err != nil {
			return err
		}
		files, err := from.Files().List(ctx, "", "", 1000)
		if err != nil {
			return err
		}
		for _, f := range files {
			r, info, err := from.Files().Open(ctx, f.Name)
			if err != nil {
				return err
			}
			err = errors.Join(target.File(ctx, info, r), r.Close())
			if err != nil {
				return err
			}
		}
		return nil
	})
}

func TestInstallAsAnotherStore(t *testing.T) {
	s := newStore(t)
	addDocs(t, s)
	user, _ := signUp(t, s)
	studioOf(t, s, "p1")
	path := guest(s).upload(t, "doc", "d.txt", []byte("content"))
	id := guest(s).create(t, "items", map[string]any{"title": "kept"})
	old, err := s.Position(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := copyInto(t, s, acme); !errors.Is(err, data.ErrExists) {
		t.Fatal("installed over a store:", err)
	}
	to := data.StoreID{Tenant: "other0000000000", Environment: data.Prod}
	if err := copyInto(t, s, to); err != nil {
		t.Fatal(err)
	}
	n := acquire(t, s.pool, to)
	if got := guest(n).must(t, 200, "GET", "/api/collections/items/records/"+id, nil).object(t); got["title"] != "kept" {
		t.Error(got)
	}
	if r := guest(n).must(t, 200, "GET", path, nil); !bytes.Equal(r.body, []byte("content")) {
		t.Error("file:", string(r.body))
	}
	newLifeOf(t, n, old)
	noSessionsIn(t, n, user)
}

func newLifeOf(t *testing.T, n *Store, old data.Position) {
	t.Helper()
	lives, err := n.Incarnations(t.Context())
	if err != nil || len(lives) != 2 || lives[0].ID != old.Incarnation || lives[1].Reason != "restored" || lives[1].From != old.Sequence {
		t.Fatal(lives, err)
	}
	now, err := n.Position(t.Context())
	if err != nil || now.Incarnation != lives[1].ID {
		t.Error(now, err)
	}
	changes, err := n.Changes(t.Context(), old, 1000)
	if err != nil || len(changes) == 0 || changes[0].Incarnation != lives[1].ID {
		t.Error("what the installation changed is not of the new life:", changes, err)
	}
}

func noSessionsIn(t *testing.T, n *Store, user caller) {
	t.Helper()
	for _, table := range sessionTables {
		if c, err := n.app.CountRecords(table); err != nil || c != 0 {
			t.Error(table, c, err)
		}
	}
	user.s = n
	if r := user.do("POST", "/api/collections/users/auth-refresh", nil); r.code != 401 {
		t.Error("the original's token is accepted:", r.code, string(r.body))
	}
	guest(n).must(t, 200, "POST", "/api/collections/users/auth-with-password", map[string]any{"identity": "u@example.com", "password": "1234567890"})
}

func TestFailedInstallLeavesNothing(t *testing.T) {
	p := newPool(t)
	failure := errors.New("no such snapshot")
	for name, build := range map[string]func(context.Context, string, InstallTarget) error{
		"build fails": func(context.Context, string, InstallTarget) error { return failure },
		"pages fail": func(ctx context.Context, _ string, to InstallTarget) error {
			return to.Pages(ctx, 9, func(n uint32, _ []byte) error {
				if n == 5 {
					return failure
				}
				return nil
			})
		},
		"not a database": func(ctx context.Context, _ string, to InstallTarget) error {
			return to.Pages(ctx, 3, func(_ uint32, page []byte) error { copy(page, strings.Repeat("x", 100)); return nil })
		},
		"file fails": func(ctx context.Context, _ string, to InstallTarget) error {
			return to.File(ctx, data.FileInfo{Name: "a/b/c"}, io.MultiReader(strings.NewReader("x"), brokenReader{failure}))
		},
	} {
		if err := p.Install(t.Context(), acme, build); err == nil {
			t.Error(name, "installed")
		}
		left, err := os.ReadDir(p.config.Dir)
		if err != nil || len(left) != 0 {
			t.Error(name, "left", left, err)
		}
	}
	if err := p.Create(t.Context(), acme); err != nil {
		t.Error(err)
	}
}

type brokenReader struct{ err error }

func (b brokenReader) Read([]byte) (int, error) { return 0, b.err }

func TestScratchOfACrashIsCleared(t *testing.T) {
	p := newPool(t)
	dir, err := p.scratch()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := New(p.config); err != nil {
		t.Fatal(err)
	}
	if exists(dir) {
		t.Error("the scratch folder of a crashed installation stays")
	}
}

func TestNewStoreBeginsAtItsOwnSecrets(t *testing.T) {
	s := newStore(t)
	changes, err := s.Changes(t.Context(), data.Position{}, 10)
	if err != nil || len(changes) == 0 || changes[0].Sequence != 1 || changes[0].Incarnation == "" {
		t.Fatal(changes, err)
	}
}
