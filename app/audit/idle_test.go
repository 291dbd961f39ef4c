package audit

import (
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"holdfast/data"
	"holdfast/data/store"
)

// TestOpeningAndClosingNudgesNobody: a store that commits by being opened or closed
// would be woken by its own follower again and again.
func TestOpeningAndClosingNudgesNobody(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "x")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	var commits atomic.Int64
	pool, err := store.New(store.Config{Dir: dir, Keys: fixedStoreKeys{}, OnCommit: func(data.StoreID) { commits.Add(1) }})
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	if err := pool.Create(t.Context(), acme); err != nil {
		t.Fatal(err)
	}
	for round := range 3 {
		before := commits.Load()
		s, err := pool.Acquire(t.Context(), acme)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Position(t.Context()); err != nil {
			t.Fatal(err)
		}
		s.Release()
		if err := pool.Evict(t.Context(), acme); err != nil {
			t.Fatal(err)
		}
		if n := commits.Load() - before; n != 0 && round > 0 {
			t.Errorf("opening and closing committed %d times", n)
		}
	}
}
