package vault

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"

	"holdfast/data"
)

var bg = context.Background()

// raw changes what badger holds behind the vault's back, as one could who knows
// badger's key but not the values'.
func raw(t *testing.T, v *Vault, fn func(txn *badger.Txn) error) {
	t.Helper()
	must(t, v.db.Update(fn))
}

func sealedOf(t *testing.T, v *Vault, key string) (b []byte) {
	t.Helper()
	must(t, v.db.View(func(txn *badger.Txn) error {
		item, err := txn.Get([]byte(key))
		if err != nil {
			return err
		}
		b, err = item.ValueCopy(nil)
		return err
	}))
	return b
}

func TestChangedValueIsFound(t *testing.T) {
	v, _, _ := newTest(t)
	set(t, v, "a", "the value")
	good := sealedOf(t, v, "a")
	for i := range good {
		bad := bytes.Clone(good)
		bad[i] ^= 1 << (i % 8)
		raw(t, v, func(txn *badger.Txn) error { return txn.Set([]byte("a"), bad) })
		_, err := get(v, "a")
		if !errors.Is(err, data.ErrTampered) && !(i < 4 && (errors.Is(err, data.ErrNewer) || errors.Is(err, data.ErrNotFound))) {
			t.Fatalf("byte %d changed: %v", i, err)
		}
	}
	for _, bad := range [][]byte{{}, good[:len(good)-1], good[:39], append(bytes.Clone(good), 0)} {
		raw(t, v, func(txn *badger.Txn) error { return txn.Set([]byte("a"), bad) })
		_, err := get(v, "a")
		wantErr(t, err, data.ErrTampered)
		if !strings.Contains(err.Error(), `"a"`) {
			t.Errorf("does not name the key: %v", err)
		}
	}
}

func TestMovedValueIsFound(t *testing.T) {
	v, _, _ := newTest(t)
	set(t, v, "mine", "secret of mine")
	set(t, v.Sub("room"), "mine", "secret of the room")
	moved := sealedOf(t, v, "mine")
	for _, key := range []string{"yours", "room\x00mine", "mine2"} {
		raw(t, v, func(txn *badger.Txn) error { return txn.Set([]byte(key), moved) })
		_, err := get(v, key)
		wantErr(t, err, data.ErrTampered)
	}
	err := v.View(bg, func(tx *Tx) error {
		return tx.Walk(nil, nil, func(_, _ []byte) (bool, error) { return true, nil })
	})
	wantErr(t, err, data.ErrTampered)
}

// A session cannot be kept alive by changing the expiry that badger keeps in clear.
func TestChangedExpiryIsFound(t *testing.T) {
	v, _, _ := newTest(t)
	must(t, v.Update(bg, func(tx *Tx) error { return tx.SetTTL([]byte("s"), []byte("x"), time.Hour) }))
	good := sealedOf(t, v, "s")
	for _, expires := range []uint64{0, uint64(time.Now().Add(48 * time.Hour).Unix())} {
		raw(t, v, func(txn *badger.Txn) error {
			return txn.SetEntry(&badger.Entry{Key: []byte("s"), Value: good, ExpiresAt: expires})
		})
		_, err := get(v, "s")
		wantErr(t, err, data.ErrTampered)
	}
}

func TestWrongKey(t *testing.T) {
	v, dir, _ := newTest(t)
	set(t, v, "a", "x")
	must(t, v.Close())
	_, err := Open(dir, newTestKeys())
	wantErr(t, err, ErrWrongKey)
}

// Keys that are gone (parked, sealed) open nothing more, at once.
func TestSourceIsAskedEachTime(t *testing.T) {
	v, _, keys := newTest(t)
	set(t, v, "a", "x")
	wantValue(t, v, "a", "x")
	keys.err = data.ErrSealed
	_, err := get(v, "a")
	wantErr(t, err, data.ErrSealed)
	wantErr(t, v.Update(bg, func(tx *Tx) error { return tx.Set([]byte("b"), nil) }), data.ErrSealed)
}

func TestRotation(t *testing.T) {
	v, dir, keys := newTest(t)
	set(t, v, "old", "1")
	keys.rotate()
	set(t, v, "new", "2")
	if g := sealedOf(t, v, "new")[3]; g != 2 {
		t.Fatalf("sealed under generation %d", g)
	}
	must(t, v.Close())
	keys.rotate()
	v = openTest(t, dir, keys) // badger's own key goes from the first to the third
	wantValue(t, v, "old", "1")
	wantValue(t, v, "new", "2")
	must(t, v.Close())
	delete(keys.keys, 2)
	v = openTest(t, dir, keys)
	wantValue(t, v, "old", "1")
	if _, err := get(v, "new"); !errors.Is(err, data.ErrNotFound) {
		t.Fatalf("a value under a dropped generation: %v", err)
	}
}

func TestNewerFormatIsRefused(t *testing.T) {
	v, dir, keys := newTest(t)
	must(t, v.Update(bg, func(tx *Tx) error { return tx.Set(formatKey, []byte{7}) }))
	must(t, v.Close())
	_, err := Open(dir, keys)
	wantErr(t, err, data.ErrNewer)
	if !strings.Contains(err.Error(), "format 7") {
		t.Errorf("does not tell which: %v", err)
	}
}

// A sealed value as version 1 wrote it.
func TestGoldenValue(t *testing.T) {
	const golden = "testdata/v1.value"
	keys := &testKeys{keys: map[uint32][32]byte{}}
	for g := uint32(1); g <= 2; g++ {
		keys.keys[g], keys.last = [32]byte(bytes.Repeat([]byte{byte(g)}, 32)), g
	}
	s := newSealer(keys)
	if os.Getenv("HOLDFAST_WRITE_GOLDEN") != "" {
		b, err := s.seal([]byte("room\x00key"), []byte("golden value"), 1795305600)
		must(t, err)
		must(t, os.WriteFile(golden, b, 0o600))
	}
	b, err := os.ReadFile(golden)
	must(t, err)
	value, err := s.open([]byte("room\x00key"), b, 1795305600)
	must(t, err)
	if string(value) != "golden value" || b[0] != 1 || b[3] != 2 {
		t.Fatalf("value %q, head % x", value, b[:headSize])
	}
}

func FuzzOpenValue(f *testing.F) {
	golden, err := os.ReadFile("testdata/v1.value")
	must(f, err)
	f.Add(golden, []byte("room\x00key"), uint64(1795305600))
	f.Add([]byte{1, 0, 0, 1}, []byte(nil), uint64(0))
	keys := newTestKeys()
	s := newSealer(keys)
	f.Fuzz(func(t *testing.T, b, name []byte, expires uint64) {
		if _, err := s.open(name, b, expires); err == nil {
			t.Fatal("bytes that nobody sealed open")
		}
	})
}

// The parsers of badger's own files meet any bytes without a panic.
func FuzzManifest(f *testing.F) {
	f.Add([]byte{0, 0, 0, 0, 0, 0, 0, 0})
	f.Add([]byte{0, 0, 0, 9, 1, 2, 3, 4, 5})
	f.Fuzz(func(t *testing.T, b []byte) {
		if err := checkRecords(b); err != nil && !errors.Is(err, data.ErrTampered) {
			t.Fatalf("error %v", err)
		}
	})
}

// Sums whose seal is right may still be of another program.
func FuzzSums(f *testing.F) {
	keys := newTestKeys()
	s := newSealer(keys)
	f.Add([]byte(`{"key":"AAAA","files":[{"name":"MANIFEST","size":1,"tags":"AAAA"}]}`))
	f.Fuzz(func(t *testing.T, plain []byte) {
		sealed, err := s.seal(sumsName, plain, 0)
		must(t, err)
		if got, err := s.parseSums(sealed); err == nil && len(got.Key) != 32 {
			t.Fatalf("a key of %d bytes", len(got.Key))
		}
	})
}

func FuzzTableIndex(f *testing.F) {
	f.Add([]byte{1, 0, 0, 0, 1, 2, 0, 0, 0, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		if err := checkIndex(bytes.NewReader(b), int64(len(b))); err != nil && !errors.Is(err, data.ErrTampered) {
			t.Fatalf("error %v", err)
		}
	})
}

// The canary: neither keys' values nor names of the house's keys in clear.
func TestNothingReadableOnDisk(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	v, dir, keys := newTest(t)
	const canary = "CANARY-5b7e"
	big := canary + strings.Repeat("y", 100<<10)
	for i := range 300 {
		set(t, v, fmt.Sprintf("%s/%d", canary, i), canary+strings.Repeat("x", 400))
	}
	set(t, v, "big", big)
	noneContains(t, canary, dir, os.Getenv("TMPDIR"))
	must(t, v.Close())
	noneContains(t, canary, dir, os.Getenv("TMPDIR"))
	wantValue(t, openTest(t, dir, keys), "big", big)
}

func noneContains(t *testing.T, word string, dirs ...string) {
	t.Helper()
	for _, dir := range dirs {
		must(t, filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() {
				return err
			}
			b, err := os.ReadFile(path)
			if bytes.Contains(b, []byte(word)) {
				t.Errorf("%s contains %q", path, word)
			}
			return err
		}))
	}
}
