package restore_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"holdfast/backup"
	"holdfast/backup/backuptest"
	"holdfast/backup/chain"
	"holdfast/backup/objects"
	"holdfast/backup/restore"
	"holdfast/data"
)

const (
	store = "abcdefghijklmno/prod"
	other = "ponmlkjihgfedcb/prod"
)

// shipped is a chain of four snapshots with pages, tree and content in each.
func shipped(t testing.TB, name string, keys data.KeySource) *objects.Memory {
	t.Helper()
	target := objects.NewMemory()
	c, err := chain.New(chain.Config{Target: target, Store: name, Keys: keys, Staging: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	pages, files := backuptest.NewPages(), backuptest.NewFiles()
	for i := range 4 {
		for pgno := range uint32(5) {
			pages.Write(pgno+1, fmt.Appendf(nil, "%s page %d of snapshot %d", name, pgno, i))
		}
		files.Set(fmt.Sprintf("f/%d", i), fmt.Sprintf("%s file %d", name, i))
		if _, err := c.Ship(t.Context(), pages, files, data.Position{Incarnation: "i", Sequence: int64(i)}); err != nil {
			t.Fatal(err)
		}
	}
	return target
}

func config(target backup.ObjectStore, keys data.KeySource, t testing.TB) restore.Config {
	return restore.Config{Source: target, Store: store, Keys: keys, Scratch: t.TempDir()}
}

// hall is a chain and what an attacker with the run of the bucket may use.
type hall struct {
	t      *testing.T
	keys   *backuptest.Keys
	target *objects.Memory
	alien  *objects.Memory // another store's chain, same keys
	names  []string
}

func newHall(t *testing.T) *hall {
	keys := backuptest.NewKeys("seed")
	h := &hall{t: t, keys: keys, target: shipped(t, store, keys), alien: shipped(t, other, keys)}
	list, err := h.target.List(t.Context(), "", "", 1000)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range list {
		h.names = append(h.names, o.Name)
	}
	return h
}

func read(t testing.TB, s backup.ObjectStore, name string) []byte {
	t.Helper()
	b, err := backup.Fetch(t.Context(), s, name, backup.MaxObject)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (h *hall) write(name string, body []byte) {
	h.t.Helper()
	if err := h.target.Put(h.t.Context(), name, bytes.NewReader(body), int64(len(body)), backup.PutOptions{}); err != nil {
		h.t.Fatal(err)
	}
}

// blamed wants verify and restore to find the damage and name the object.
func (h *hall) blamed(name string) {
	h.t.Helper()
	rep, err := restore.Verify(h.t.Context(), config(h.target, h.keys, h.t))
	if err != nil {
		h.t.Fatalf("%s: verify could not run: %v", name, err)
	}
	if rep.OK || !slices.ContainsFunc(rep.Problems, func(p restore.Problem) bool { return p.Object == name }) {
		h.t.Errorf("verify does not name %s: %v", name, rep.Problems)
	}
	_, err = restore.Run(h.t.Context(), config(h.target, h.keys, h.t), backuptest.NewCopied())
	var object *backup.ObjectError
	if !errors.As(err, &object) || object.Name != name {
		h.t.Errorf("restore does not name %s: %v", name, err)
	}
}

// each hurts one object after the other, and mends it again.
func (h *hall) each(hurt func(name string, body []byte)) {
	for _, name := range h.names {
		body := read(h.t, h.target, name)
		hurt(name, bytes.Clone(body))
		h.blamed(name)
		h.write(name, body)
	}
}

func TestFlipped(t *testing.T) {
	h := newHall(t)
	for _, at := range []func(int) int{
		func(int) int { return 0 },       // magic
		func(int) int { return 9 },       // kind
		func(int) int { return 15 },      // generation
		func(int) int { return 31 },      // sequence
		func(int) int { return 50 },      // predecessor
		func(int) int { return 80 },      // salt
		func(n int) int { return n / 2 }, // content
		func(n int) int { return n - 1 }, // tag or signature
	} {
		h.each(func(name string, b []byte) { b[at(len(b))] ^= 1; h.write(name, b) })
	}
}

func TestTruncated(t *testing.T) {
	h := newHall(t)
	for _, keep := range []func(int) int{
		func(int) int { return 0 }, func(int) int { return 40 }, func(int) int { return 100 }, func(n int) int { return n - 1 },
	} {
		h.each(func(name string, b []byte) { h.write(name, b[:keep(len(b))]) })
	}
	h.each(func(name string, b []byte) { h.write(name, append(b, 0)) })
}

func TestDropped(t *testing.T) {
	h := newHall(t)
	newest := backup.ManifestName(store, 4)
	for _, name := range h.names {
		if name == newest { // nobody can miss it who does not know of it
			continue
		}
		body := read(t, h.target, name)
		if err := h.target.Delete(t.Context(), name); err != nil {
			t.Fatal(err)
		}
		h.blamed(name)
		h.write(name, body)
	}
}

// Who knows what was shipped misses the end of the chain, too.
func TestCutEnd(t *testing.T) {
	h := newHall(t)
	name := backup.ManifestName(store, 4)
	if err := h.target.Delete(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	c := config(h.target, h.keys, t)
	c.AtLeast = 4
	rep, err := restore.Verify(t.Context(), c)
	if err != nil || rep.OK || rep.Problems[0].Object != name {
		t.Errorf("verify: %+v, %v", rep, err)
	}
	_, err = restore.Run(t.Context(), c, backuptest.NewCopied())
	if !errors.Is(err, backup.ErrNoSnapshot) || !strings.Contains(err.Error(), name) {
		t.Errorf("restore: %v", err)
	}
}

// Objects of one kind in each other's place.
func TestSwapped(t *testing.T) {
	h := newHall(t)
	for i, a := range h.names {
		for _, b := range h.names[i+1:] {
			if kindOf(a) != kindOf(b) {
				continue
			}
			bodyA, bodyB := read(t, h.target, a), read(t, h.target, b)
			h.write(a, bodyB)
			h.blamed(a)
			h.write(a, bodyA)
			h.write(b, bodyA)
			h.blamed(b)
			h.write(b, bodyB)
		}
	}
}

func kindOf(name string) string { return strings.Split(name, "/")[3] }

// Objects of another store under the same keys, in the place of ours.
func TestForeign(t *testing.T) {
	h := newHall(t)
	list, err := h.alien.List(t.Context(), "", "", 1000)
	if err != nil {
		t.Fatal(err)
	}
	for _, alien := range list {
		body := read(t, h.alien, alien.Name)
		for _, name := range h.names {
			if kindOf(name) == kindOf(alien.Name) {
				ours := read(t, h.target, name)
				h.write(name, body)
				h.blamed(name)
				h.write(name, ours)
			}
		}
	}
}

// An old manifest under a new name, and a whole old chain in the place of a new.
func TestOldManifest(t *testing.T) {
	h := newHall(t)
	h.write(backup.ManifestName(store, 5), read(t, h.target, backup.ManifestName(store, 4)))
	h.blamed(backup.ManifestName(store, 5))
	if err := h.target.Delete(t.Context(), backup.ManifestName(store, 5)); err != nil {
		t.Fatal(err)
	}
	older := shipped(t, store, h.keys) // the same store, an epoch of its own
	h.write(backup.ManifestName(store, 3), read(t, older, backup.ManifestName(store, 3)))
	rep, err := restore.Verify(t.Context(), config(h.target, h.keys, t))
	if err != nil || rep.OK || rep.Problems[0].Object != backup.ManifestName(store, 3) {
		t.Errorf("verify: %+v, %v", rep.Problems, err)
	}
	_, err = restore.Run(t.Context(), config(h.target, h.keys, t), backuptest.NewCopied())
	if !errors.Is(err, data.ErrTampered) {
		t.Errorf("restore: %v", err)
	}
}

// A stranger's objects beside ours are reported, and do no harm.
func TestLeftover(t *testing.T) {
	h := newHall(t)
	name := backup.Prefix(store) + "pages/0000000000000009-0102030405060708-00000000"
	h.write(name, []byte("whatever"))
	rep, err := restore.Verify(t.Context(), config(h.target, h.keys, t))
	if err != nil || !rep.OK || !slices.Equal(rep.Leftover, []string{name}) {
		t.Errorf("%+v, %v", rep, err)
	}
}

func TestWrongKeys(t *testing.T) {
	h := newHall(t)
	h.keys = backuptest.NewKeys("another seed")
	rep, err := restore.Verify(t.Context(), config(h.target, h.keys, t))
	if err != nil || rep.OK {
		t.Errorf("verify: %+v, %v", rep, err)
	}
	if _, err := restore.Run(t.Context(), config(h.target, h.keys, t), backuptest.NewCopied()); !errors.Is(err, data.ErrTampered) {
		t.Errorf("restore: %v", err)
	}
}

// A sink must take everything it is given.
func TestCarelessSink(t *testing.T) {
	h := newHall(t)
	for name, sink := range map[string]restore.Sink{"pages": lazyPages{backuptest.NewCopied()}, "file": lazyFile{backuptest.NewCopied()}} {
		if _, err := restore.Run(t.Context(), config(h.target, h.keys, t), sink); err == nil {
			t.Errorf("%s: a restore of half of it passed", name)
		}
	}
}

type lazyPages struct{ *backuptest.Copied }

func (lazyPages) Pages(_ context.Context, _ uint32, next func(uint32, []byte) error) error {
	return next(1, make([]byte, data.PageSize))
}

type lazyFile struct{ *backuptest.Copied }

func (lazyFile) File(context.Context, data.FileInfo, io.Reader) error { return nil }
