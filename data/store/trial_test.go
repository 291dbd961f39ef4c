package store

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"

	"holdfast/data"
)

// tryCopy tries a copy of a store; change may alter its pages.
func tryCopy(t *testing.T, from *Store, change func(pages [][]byte), look func(*Store)) error {
	t.Helper()
	pages, err := from.image(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	change(pages)
	return from.pool.Try(t.Context(), func(ctx context.Context, target InstallTarget) error {
		err := target.Pages(ctx, uint32(len(pages)), func(n uint32, page []byte) error { copy(page, pages[n-1]); return nil })
		if err != nil {
			return err
		}
		files, err := from.Files().List(ctx, "", "", 1000)
		for _, f := range files {
			r, info, err := from.Files().Open(ctx, f.Name)
			if err != nil {
				return err
			}
			if err := errors.Join(target.File(ctx, info, r), r.Close()); err != nil {
				return err
			}
		}
		return err
	}, func(_ context.Context, s *Store) error { look(s); return nil })
}

func digestOf(t *testing.T, s *Store, collection string, content bool) Digest {
	t.Helper()
	d, err := s.Digest(t.Context(), collection, 8, content)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestTriedStoreHasTheSameDigests(t *testing.T) {
	s := newStore(t)
	addDocs(t, s)
	guest(s).upload(t, "doc", "d.txt", []byte("content"))
	for _, title := range []string{"a", "b", "c"} {
		guest(s).create(t, "items", map[string]any{"title": title})
	}
	items, docs := digestOf(t, s, "items", false), digestOf(t, s, "docs", false)
	if items.Records != 3 || docs.Files != 1 || items.At.Sequence == 0 {
		t.Fatalf("%+v %+v", items, docs)
	}
	looked := false
	err := tryCopy(t, s, func([][]byte) {}, func(c *Store) {
		looked = true
		if wrong, err := c.Integrity(t.Context()); err != nil || len(wrong) > 0 {
			t.Error(wrong, err)
		}
		if n, err := c.Probe(t.Context()); err != nil || n == 0 {
			t.Error(n, err)
		}
		if got := digestOf(t, c, "items", true); !equalDigest(got, items) {
			t.Errorf("items:\n%v\n%v", got, items)
		}
		if got := digestOf(t, c, "docs", true); !equalDigest(got, docs) {
			t.Errorf("docs:\n%v\n%v", got, docs)
		}
		if at, err := c.Position(t.Context()); err != nil || at != items.At {
			t.Error(at, err)
		}
	})
	if err != nil || !looked {
		t.Fatal(err)
	}
	left, err := os.ReadDir(s.pool.config.Dir)
	for _, e := range left {
		if strings.HasPrefix(e.Name(), scratchPrefix) {
			t.Error("left:", e.Name())
		}
	}
	if err != nil {
		t.Fatal(err)
	}
}

func equalDigest(a, b Digest) bool {
	for i := range a.Sums {
		if a.Sums[i] != b.Sums[i] {
			return false
		}
	}
	return a.Records == b.Records && a.Files == b.Files && a.Columns == b.Columns && a.At == b.At && len(a.Sums) == len(b.Sums)
}

// One changed letter in one record is one other bucket.
func TestDigestFindsAChangedRecord(t *testing.T) {
	s := newStore(t)
	id := guest(s).create(t, "items", map[string]any{"title": "unmistakable"})
	guest(s).create(t, "items", map[string]any{"title": "other"})
	want := digestOf(t, s, "items", false)
	err := tryCopy(t, s, func(pages [][]byte) {
		for _, p := range pages {
			if i := strings.Index(string(p), "unmistakable"); i > 0 {
				p[i] = 'U'
			}
		}
	}, func(c *Store) {
		got := digestOf(t, c, "items", true)
		for i := range want.Sums {
			if changed := got.Sums[i] != want.Sums[i]; changed != (i == BucketOf(id, 8)) {
				t.Errorf("bucket %d changed: %t", i, changed)
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestTouched(t *testing.T) {
	s := newStore(t)
	guest(s).create(t, "items", map[string]any{"title": "before"})
	at := digestOf(t, s, "items", false).At.Sequence
	id := guest(s).create(t, "items", map[string]any{"title": "after"})
	var got []string
	last, gapless, err := s.Touched(t.Context(), at, 0, func(_, record string) error { got = append(got, record); return nil })
	if err != nil || !gapless || last != at+1 || len(got) != 1 || got[0] != id {
		t.Error(got, last, gapless, err)
	}
	if last, gapless, err = s.Touched(t.Context(), last, 0, func(string, string) error { t.Error("called"); return nil }); err != nil || !gapless || last != at+1 {
		t.Error(last, gapless, err)
	}
}

func TestPeekOpensNothing(t *testing.T) {
	s := newStore(t)
	if found, release := s.pool.Peek(s.ID()); found != s {
		t.Error("an open store was not found")
	} else {
		release()
	}
	if found, _ := s.pool.Peek(data.StoreID{Tenant: "nobody", Environment: data.Prod}); found != nil {
		t.Error(found)
	}
}
