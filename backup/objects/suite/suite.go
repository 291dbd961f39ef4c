// Package suite is what every object store must pass.
package suite

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"holdfast/backup"
	"holdfast/backup/objects"
	"holdfast/data"
)

// Run tests the stores that open returns, an empty one at each call.
func Run(t *testing.T, open func(t *testing.T) backup.ObjectStore) {
	for name, test := range map[string]func(*testing.T, backup.ObjectStore){
		"RoundTrip":   roundTrip,
		"Missing":     missing,
		"Conditional": conditional,
		"Race":        race,
		"List":        list,
		"Names":       names,
		"ShortBody":   shortBody,
		"Cancelled":   cancelled,
		"Probe":       probe,
	} {
		t.Run(name, func(t *testing.T) { test(t, open(t)) })
	}
}

func put(s backup.ObjectStore, name, body string, o backup.PutOptions) error {
	return s.Put(context.Background(), name, strings.NewReader(body), int64(len(body)), o)
}

func mustPut(t *testing.T, s backup.ObjectStore, name, body string) {
	t.Helper()
	if err := put(s, name, body, backup.PutOptions{}); err != nil {
		t.Fatal(err)
	}
}

func get(t *testing.T, s backup.ObjectStore, name string) []byte {
	t.Helper()
	r, err := s.Get(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close() //nolint:errcheck // only read
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func roundTrip(t *testing.T, s backup.ObjectStore) {
	for _, size := range []int{0, 1, 4096, 9 << 20} {
		name, body := fmt.Sprintf("t/a/%d", size), bytes.Repeat([]byte{7}, size)
		if err := s.Put(t.Context(), name, bytes.NewReader(body), int64(size), backup.PutOptions{IfNoneMatch: true}); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(get(t, s, name), body) {
			t.Errorf("%d bytes came back changed", size)
		}
		info, err := s.Stat(t.Context(), name)
		if err != nil || info.Size != int64(size) || info.Name != name || info.Modified.IsZero() {
			t.Errorf("stat = %+v, %v", info, err)
		}
	}
}

func missing(t *testing.T, s backup.ObjectStore) {
	if _, err := s.Get(t.Context(), "no/such"); !errors.Is(err, data.ErrNotFound) {
		t.Errorf("get: %v", err)
	}
	if _, err := s.Stat(t.Context(), "no/such"); !errors.Is(err, data.ErrNotFound) {
		t.Errorf("stat: %v", err)
	}
	if err := s.Delete(t.Context(), "no/such"); err != nil {
		t.Errorf("delete: %v", err)
	}
	mustPut(t, s, "a/b", "x")
	if err := s.Delete(t.Context(), "a/b"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Stat(t.Context(), "a/b"); !errors.Is(err, data.ErrNotFound) {
		t.Errorf("deleted, stat: %v", err)
	}
}

func conditional(t *testing.T, s backup.ObjectStore) {
	mustPut(t, s, "c/1", "first")
	if err := put(s, "c/1", "second", backup.PutOptions{IfNoneMatch: true}); !errors.Is(err, data.ErrExists) {
		t.Errorf("conditional put on a taken name: %v", err)
	}
	if got := get(t, s, "c/1"); string(got) != "first" {
		t.Errorf("a refused put left %q", got)
	}
	mustPut(t, s, "c/1", "third")
	if got := get(t, s, "c/1"); string(got) != "third" {
		t.Errorf("an unconditional put left %q", got)
	}
}

// race has many writers create one name: exactly one may win.
func race(t *testing.T, s backup.ObjectStore) {
	var wins atomic.Int32
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			err := put(s, "race/1", fmt.Sprint(i), backup.PutOptions{IfNoneMatch: true})
			if err == nil {
				wins.Add(1)
			} else if !errors.Is(err, data.ErrExists) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if wins.Load() != 1 {
		t.Errorf("%d writers won", wins.Load())
	}
}

func list(t *testing.T, s backup.ObjectStore) {
	all := []string{"l/a", "l/a-b", "l/a/b", "l/a/c", "l/ab", "l/b/1/x", "l/b/2", "m/1"}
	// "l/a" and "l/a/b" cannot both be in a folder; no chain has such names.
	all = slices.DeleteFunc(all, func(n string) bool { return n == "l/a" })
	for _, name := range all {
		mustPut(t, s, name, name)
	}
	for _, c := range []struct {
		prefix, after string
		limit         int
		want          []string
	}{
		{"", "", 100, all},
		{"l/", "", 100, all[:6]},
		{"l/a", "", 100, all[:4]},
		{"l/a/", "", 100, all[1:3]},
		{"l/b/1/x", "", 2, all[4:5]},
		{"l/", "l/a/b", 2, all[2:4]},
		{"l/", "l/b", 100, all[4:6]},
		{"l/", "l/b/1/x", 100, all[5:6]},
		{"l/", "z", 100, nil},
		{"none/", "", 100, nil},
	} {
		got, err := s.List(t.Context(), c.prefix, c.after, c.limit)
		if err != nil || !slices.Equal(namesOf(got), c.want) {
			t.Errorf("list %q after %q = %v, %v; want %v", c.prefix, c.after, namesOf(got), err, c.want)
		}
	}
}

func namesOf(list []backup.Info) (out []string) {
	for _, i := range list {
		out = append(out, i.Name)
	}
	return out
}

func names(t *testing.T, s backup.ObjectStore) {
	for _, name := range []string{"", "/abs", "a//b", "a/../b", "..", "a/.", "a b", "a\\b", "a\nb", "ü", strings.Repeat("n", 1000)} {
		if err := put(s, name, "x", backup.PutOptions{}); err == nil {
			t.Errorf("name %q was taken", name)
		}
	}
}

func shortBody(t *testing.T, s backup.ObjectStore) {
	err := s.Put(t.Context(), "short/1", strings.NewReader("abc"), 10, backup.PutOptions{})
	if err == nil {
		t.Error("a body shorter than its size was taken")
	}
	if _, err := s.Stat(t.Context(), "short/1"); !errors.Is(err, data.ErrNotFound) {
		t.Errorf("a torn object is there: %v", err)
	}
}

func cancelled(t *testing.T, s backup.ObjectStore) {
	mustPut(t, s, "x/1", "x")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, statErr := s.Stat(ctx, "x/1")
	_, getErr := s.Get(ctx, "x/1")
	_, listErr := s.List(ctx, "x/", "", 10)
	for _, err := range []error{statErr, getErr, listErr} {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("with an ended context: %v", err)
		}
	}
}

func probe(t *testing.T, s backup.ObjectStore) {
	if err := objects.Probe(t.Context(), s); err != nil {
		t.Error(err)
	}
	if left, err := s.List(t.Context(), "", "", 10); err != nil || len(left) != 0 {
		t.Errorf("the probe left %v, %v", left, err)
	}
}
