package vault

import (
	"context"
	"fmt"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"
)

func wantGenerations(t testing.TB, v *Vault, want ...uint32) {
	t.Helper()
	got, err := v.Generations(context.Background())
	if err != nil || !slices.Equal(got, want) {
		t.Fatalf("generations %v, %v; want %v", got, err, want)
	}
}

// TestRekey seals anew beside writers; then the old key can go, once badger's own
// encryption has followed at the next start.
func TestRekey(t *testing.T) {
	ctx, dir, keys := context.Background(), filepath.Join(t.TempDir(), "vault"), newTestKeys()
	v, err := Open(dir, keys)
	must(t, err)
	a, counter := v.Sub("a"), v.Sub("counter")
	value := strings.Repeat("v", 3000)
	for i := range 40 {
		must(t, a.Update(ctx, func(tx *Tx) error {
			for j := range 20 {
				if err := tx.SetTTL(fmt.Appendf(nil, "%d/%d", i, j), []byte(value), time.Hour); err != nil {
					return err
				}
			}
			return nil
		}))
	}
	must(t, a.Update(ctx, func(tx *Tx) error { return tx.Set([]byte("big"), []byte(strings.Repeat("b", MaxValue))) }))
	var stop atomic.Bool
	var wg sync.WaitGroup
	writes := 0
	wg.Go(func() {
		for !stop.Load() {
			if err := counter.Update(ctx, func(tx *Tx) error { return tx.Set([]byte("n"), fmt.Append(nil, writes+1)) }); err != nil {
				t.Error(err)
				return
			}
			writes++
		}
	})
	keys.rotate()
	var done, total int64
	must(t, v.Rekey(ctx, func(d, n int64) { done, total = d, n }))
	stop.Store(true)
	wg.Wait()
	if done != total || total < 801 {
		t.Fatalf("%d of %d", done, total)
	}
	wantGenerations(t, v, 1, 2) // badger's own
	must(t, v.Close())
	v, err = Open(dir, keys)
	must(t, err)
	wantGenerations(t, v, 2)
	keys.mu.Lock()
	delete(keys.keys, 1)
	keys.mu.Unlock()
	must(t, v.Close())
	v, err = Open(dir, keys)
	must(t, err)
	defer v.Close()
	n := 0
	must(t, v.Sub("a").View(ctx, func(tx *Tx) error {
		return tx.Walk(nil, nil, func(key, got []byte) (bool, error) {
			if string(key) != "big" && string(got) != value {
				t.Errorf("%s holds %d bytes", key, len(got))
			}
			n++
			return true, nil
		})
	}))
	if n != 801 {
		t.Fatalf("%d values", n)
	}
	must(t, v.Sub("counter").View(ctx, func(tx *Tx) error {
		got, err := tx.Get([]byte("n"))
		if err == nil && string(got) != fmt.Sprint(writes) {
			t.Errorf("counter %s, %d writes", got, writes)
		}
		return err
	}))
	expiring := 0
	must(t, v.View(ctx, func(tx *Tx) error {
		return tx.walk([]byte("a\x00"), nil, func(_ []byte, item *badger.Item) (bool, error) {
			if item.ExpiresAt() != 0 {
				expiring++
			}
			return true, nil
		}, false)
	}))
	if expiring != 800 {
		t.Fatalf("%d values expire still", expiring)
	}
}

// TestRekeyWaitsForUpdates: a transaction that sealed under the old key commits
// before its values are looked for.
func TestRekeyWaitsForUpdates(t *testing.T) {
	ctx, keys := context.Background(), newTestKeys()
	v, err := Open(filepath.Join(t.TempDir(), "vault"), keys)
	must(t, err)
	defer v.Close()
	sealed, rekeyed := make(chan bool), make(chan error)
	go func() {
		<-sealed
		keys.rotate()
		rekeyed <- v.Rekey(ctx, nil)
	}()
	must(t, v.Update(ctx, func(tx *Tx) error {
		err := tx.Set([]byte("k"), []byte("under the old key"))
		close(sealed)
		for waiting := false; !waiting; runtime.Gosched() { // until Rekey waits
			v.state.updates.mu.Lock()
			waiting = v.state.updates.epoch > 0
			v.state.updates.mu.Unlock()
		}
		return err
	}))
	must(t, <-rekeyed)
	must(t, v.View(ctx, func(tx *Tx) error {
		item, err := tx.txn.Get([]byte("k"))
		if err != nil {
			return err
		}
		if g, err := generationOf(item); err != nil || g != 2 {
			t.Errorf("generation %d, %v", g, err)
		}
		return nil
	}))
}
