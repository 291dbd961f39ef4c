package store

import (
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"holdfast/data"
)

// turningKeys rotates all keys of all stores at once.
type turningKeys struct{ newest atomic.Uint32 }

func (k *turningKeys) Pages(id data.StoreID) data.KeySource {
	return turningKey{k, "pages " + id.String()}
}
func (k *turningKeys) Files(id data.StoreID) data.KeySource {
	return turningKey{k, "files " + id.String()}
}

type turningKey struct {
	*turningKeys
	seed string
}

func (k turningKey) Current() (uint32, [32]byte, error) {
	g := k.newest.Load()
	key, err := k.Generation(g)
	return g, key, err
}

func (k turningKey) Generation(g uint32) ([32]byte, error) {
	if g == 0 || g > k.newest.Load() {
		return [32]byte{}, data.ErrNotFound
	}
	return sha256.Sum256(fmt.Append(nil, k.seed, g)), nil
}

// TestRekey seals a store anew while it is in use: both databases and the files.
func TestRekey(t *testing.T) {
	ctx, keys := context.Background(), &turningKeys{}
	keys.newest.Store(1)
	s := newStore(t, func(c *Config) { c.Keys = keys })
	before := s.Pages().Dirty()
	if _, err := s.Files().Put(ctx, data.FileInfo{Name: "c/r/f"}, strings.NewReader("content")); err != nil {
		t.Fatal(err)
	}
	keys.newest.Store(2)
	for range 2 { // the second has nothing to do
		if err := s.RekeyPages(ctx, func(int64, int64) {}); err != nil {
			t.Fatal(err)
		}
		if err := s.pool.RekeyFiles(ctx, s.id, nil); err != nil {
			t.Fatal(err)
		}
	}
	pages, err := s.PageGenerations(ctx)
	if err != nil || !slices.Equal(pages, []uint32{2}) {
		t.Fatal(pages, err)
	}
	files, err := s.pool.FileGenerations(ctx, s.id)
	if err != nil || !slices.Equal(files, []uint32{2}) {
		t.Fatal(files, err)
	}
	if dirty := s.Pages().Dirty(); dirty != before {
		t.Errorf("%d dirty pages, %d before", dirty, before)
	}
	seals, err := s.Seals()
	if err != nil || len(seals) == 0 || seals[0].Generation != 2 || len(s.pool.Spent()) != 0 {
		t.Fatal(seals, err)
	}
	if seen, err := s.Scrub(ctx, nil, Expected{}, nil); err != nil || len(seen.Findings) != 0 || seen.Files != 2 || seen.Pages == 0 {
		t.Fatalf("%+v, %v", seen, err)
	}
}
