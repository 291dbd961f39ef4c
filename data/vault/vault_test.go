package vault

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"holdfast/data"
)

// testKeys is a key source held in memory.
type testKeys struct {
	mu   sync.Mutex
	keys map[uint32][32]byte
	last uint32
	err  error
}

func newTestKeys() *testKeys {
	k := &testKeys{keys: map[uint32][32]byte{}}
	k.rotate()
	return k
}

func (k *testKeys) rotate() {
	var key [32]byte
	_, _ = rand.Read(key[:])
	k.mu.Lock()
	defer k.mu.Unlock()
	k.last++
	k.keys[k.last] = key
}

func (k *testKeys) Current() (uint32, [32]byte, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.last, k.keys[k.last], k.err
}

func (k *testKeys) Generation(g uint32) ([32]byte, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if key, ok := k.keys[g]; ok || k.err != nil {
		return key, k.err
	}
	return [32]byte{}, data.ErrNotFound
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantErr(t testing.TB, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("got error %v, want %v", err, want)
	}
}

func openTest(t testing.TB, dir string, keys data.KeySource) *Vault {
	t.Helper()
	v, err := Open(dir, keys)
	must(t, err)
	t.Cleanup(func() { _ = v.Close() })
	return v
}

func newTest(t testing.TB) (*Vault, string, *testKeys) {
	t.Helper()
	dir, keys := filepath.Join(t.TempDir(), "vault"), newTestKeys()
	return openTest(t, dir, keys), dir, keys
}

func set(t testing.TB, v *Vault, key, value string) {
	t.Helper()
	must(t, v.Update(context.Background(), func(tx *Tx) error { return tx.Set([]byte(key), []byte(value)) }))
}

func get(v *Vault, key string) (value string, err error) {
	err = v.View(context.Background(), func(tx *Tx) error {
		b, err := tx.Get([]byte(key))
		value = string(b)
		return err
	})
	return value, err
}

func wantValue(t testing.TB, v *Vault, key, want string) {
	t.Helper()
	got, err := get(v, key)
	must(t, err)
	if got != want {
		t.Fatalf("%s holds %q, want %q", key, got, want)
	}
}

func TestValuesSurviveReopen(t *testing.T) {
	v, dir, keys := newTest(t)
	set(t, v, "a", "one")
	set(t, v, "empty", "")
	big := string(bytes.Repeat([]byte("big"), MaxValue/3))
	set(t, v, "big", big)
	_, err := Open(dir, keys)
	wantErr(t, err, data.ErrBusy)
	must(t, v.Close())
	_, err = get(v, "a")
	wantErr(t, err, data.ErrSealed)
	v = openTest(t, dir, keys)
	wantValue(t, v, "a", "one")
	wantValue(t, v, "empty", "")
	wantValue(t, v, "big", big)
	_, err = get(v, "b")
	wantErr(t, err, data.ErrNotFound)
}

func TestSubsCannotMeet(t *testing.T) {
	v, _, _ := newTest(t)
	a, ab := v.Sub("a"), v.Sub("ab")
	set(t, a, "b\x00k", "of a")
	set(t, ab, "k", "of ab")
	set(t, a.Sub("b"), "k", "of a.b")
	wantValue(t, a, "b\x00k", "of a.b") // a part of a part is within it
	wantValue(t, ab, "k", "of ab")
	if keys := walk(t, ab, "", ""); fmt.Sprint(keys) != "[k=of ab]" {
		t.Fatalf("ab holds %v", keys)
	}
	must(t, ab.Close())
	wantValue(t, ab, "k", "of ab")
}

func walk(t testing.TB, v *Vault, prefix, start string) (seen []string) {
	t.Helper()
	must(t, v.View(context.Background(), func(tx *Tx) error {
		return tx.Walk([]byte(prefix), []byte(start), func(k, value []byte) (bool, error) {
			seen = append(seen, string(k)+"="+string(value))
			return len(seen) < 5, nil
		})
	}))
	return seen
}

func TestWalk(t *testing.T) {
	v, _, _ := newTest(t)
	v = v.Sub("room")
	for i := range 9 {
		set(t, v, fmt.Sprintf("x/%d", i), fmt.Sprint(i))
	}
	set(t, v, "w", "before")
	set(t, v, "y", "after")
	for _, c := range []struct{ prefix, start, want string }{
		{"x/", "", "[x/0=0 x/1=1 x/2=2 x/3=3 x/4=4]"},
		{"x/", "x/6", "[x/6=6 x/7=7 x/8=8]"},
		{"x/", "x/55", "[x/6=6 x/7=7 x/8=8]"},
		{"z", "", "[]"},
		{"", "x/8", "[x/8=8 y=after]"},
	} {
		if got := fmt.Sprint(walk(t, v, c.prefix, c.start)); got != c.want {
			t.Errorf("walk %q from %q: %s, want %s", c.prefix, c.start, got, c.want)
		}
	}
}

func TestUpdateIsAllOrNothing(t *testing.T) {
	v, _, _ := newTest(t)
	boom := errors.New("boom")
	err := v.Update(context.Background(), func(tx *Tx) error {
		must(t, tx.Set([]byte("a"), []byte("1")))
		return boom
	})
	wantErr(t, err, boom)
	_, err = get(v, "a")
	wantErr(t, err, data.ErrNotFound)
	ctx, cancel := context.WithCancel(context.Background())
	err = v.Update(ctx, func(tx *Tx) error {
		cancel()
		return tx.Set([]byte("a"), []byte("1"))
	})
	wantErr(t, err, context.Canceled)
	_, err = get(v, "a")
	wantErr(t, err, data.ErrNotFound)
	err = v.View(context.Background(), func(tx *Tx) error { return tx.Set([]byte("a"), nil) })
	wantErr(t, err, ErrReadOnly)
	err = v.Update(context.Background(), func(tx *Tx) error { return tx.Set([]byte("a"), make([]byte, MaxValue+1)) })
	wantErr(t, err, ErrTooBig)
	err = v.Update(context.Background(), func(tx *Tx) error {
		for i := range 100 {
			if err := tx.Set([]byte{byte(i)}, make([]byte, 30<<10)); err != nil {
				return err
			}
		}
		return nil
	})
	wantErr(t, err, ErrTooBig)
}

func TestConflictsAreRetried(t *testing.T) {
	v, _, _ := newTest(t)
	set(t, v, "n", "\x00\x00")
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 25 {
				err := v.Update(context.Background(), func(tx *Tx) error {
					b, err := tx.Get([]byte("n"))
					if err != nil {
						return err
					}
					n := int(b[0])<<8 + int(b[1]) + 1
					return tx.Set([]byte("n"), []byte{byte(n >> 8), byte(n)})
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	wantValue(t, v, "n", "\x00\xc8")
}

func TestTTL(t *testing.T) {
	v, _, _ := newTest(t)
	ctx := context.Background()
	must(t, v.Update(ctx, func(tx *Tx) error {
		must(t, tx.SetTTL([]byte("hour"), []byte("x"), time.Hour))
		must(t, tx.Set([]byte("gone"), []byte("x")))
		return nil
	}))
	wantValue(t, v, "hour", "x")
	must(t, v.Update(ctx, func(tx *Tx) error { return tx.SetTTL([]byte("gone"), []byte("x"), -time.Second) }))
	_, err := get(v, "gone")
	wantErr(t, err, data.ErrNotFound)
	past := uint64(time.Now().Add(-time.Minute).Unix())
	must(t, v.Update(ctx, func(tx *Tx) error { return tx.set([]byte("past"), []byte("x"), past) }))
	_, err = get(v, "past")
	wantErr(t, err, data.ErrNotFound)
	if seen := walk(t, v, "", "a"); fmt.Sprint(seen) != "[hour=x]" {
		t.Errorf("a walk meets %v", seen)
	}
}
