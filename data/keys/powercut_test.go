package keys

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/data"
)

// inode is a file's content: as the process sees it, and as the disk has it.
type inode struct{ now, durable []byte }

// disk follows the steps of package keys and knows what a power cut would leave.
type disk struct {
	names, durable map[string]*inode
	replaced       map[string]*inode // what the last rename took the name from
	cut            func(op string)
}

func newDisk(t *testing.T, dir string) *disk {
	t.Helper()
	d := &disk{names: map[string]*inode{}, replaced: map[string]*inode{}, cut: func(string) {}}
	entries, err := os.ReadDir(dir)
	must(t, err)
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		must(t, err)
		d.names[e.Name()] = &inode{b, b}
	}
	d.durable = maps.Clone(d.names)
	return d
}

func (d *disk) see(s step) {
	name := filepath.Base(s.path)
	switch s.op {
	case "write":
		d.names[name] = &inode{now: s.content}
	case "sync":
		d.names[name].durable = d.names[name].now
	case "rename":
		to := filepath.Base(s.to)
		d.replaced[to] = d.names[to]
		d.names[to] = d.names[name]
		delete(d.names, name)
	case "sync-dir":
		d.durable = maps.Clone(d.names)
	case "shred":
		if old := d.replaced[name]; old != nil {
			old.now = make([]byte, len(old.now))
			old.durable = old.now
		}
	case "remove":
		delete(d.names, name)
	}
	d.cut(s.op)
}

// leave writes what is left to a folder of its own. A cut loses what was not
// synced; the names that were not may be there or not. A kill loses nothing.
func (d *disk) leave(t *testing.T, how string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "keys")
	must(t, os.Mkdir(dir, 0o700))
	names := d.names
	if how == "names lost" {
		names = d.durable
	}
	for name, node := range names {
		content := node.durable
		if how == "kill" {
			content = node.now
		}
		must(t, os.WriteFile(filepath.Join(dir, name), content, 0o600))
	}
	return dir
}

// history is what was acknowledged: each state is that one or, while a change is
// under way, the next.
type history struct {
	t        *testing.T
	disk     *disk
	ways     []Slot // any of them must open
	was, now map[Owner]State
	cuts     int
}

func (h *history) check(op string) {
	h.cuts++
	for _, how := range []string{"names lost", "names kept", "kill"} {
		dir := h.disk.leave(h.t, how)
		at := fmt.Sprintf("cut %d after %s, %s", h.cuts, op, how)
		slots, err := OpenSlots(filepath.Join(dir, SlotsFile))
		if err != nil {
			h.t.Fatalf("%s: %v", at, err)
		}
		root, err := slots.Unlock(h.ways...)
		if err != nil {
			h.t.Fatalf("%s: %v", at, err)
		}
		ring, err := OpenRing(dir, root)
		if err != nil {
			h.t.Fatalf("%s: %v", at, err)
		}
		h.compare(at, dir, root, ring)
	}
}

func (h *history) compare(at, dir string, root Root, ring *Ring) {
	for _, owner := range []Owner{acme, "beta/prod"} {
		got, err := ring.State(owner)
		if err != nil {
			got = ""
		}
		if got != h.was[owner] && got != h.now[owner] {
			h.t.Fatalf("%s: %s is %q, acknowledged is %q, under way %q", at, owner, got, h.was[owner], h.now[owner])
		}
		if got == Live {
			current(h.t, ring.Source(owner, Pages))
		}
	}
	previous, err := readRing(filepath.Join(dir, PreviousFile), root)
	if err != nil {
		h.t.Fatalf("%s: previous generation: %v", at, err)
	}
	if outlived(previous.records, ring.tombstones()) {
		h.t.Fatalf("%s: the previous generation holds a destroyed key", at)
	}
}

// do makes a change after which owner is in the state.
func (h *history) do(owner Owner, state State, change func() error) {
	h.t.Helper()
	if owner != "" {
		h.now[owner] = state
	}
	must(h.t, change())
	h.was = maps.Clone(h.now)
	h.check("the answer")
}

// A power cut, or a kill, after any single step of any change: slots and keyring
// open, what was acknowledged stands, what was destroyed stays so.
func TestPowerCutAtEachStep(t *testing.T) {
	rec, code := NewRecovery()
	path, keyFile, _ := newTestSlots(t, rec)
	dir := filepath.Dir(path)
	slots := openTestSlots(t, path)
	root, err := slots.Unlock(KeyFile(keyFile))
	must(t, err)
	ring, err := CreateRing(dir, root)
	must(t, err)
	must(t, ring.Add(System, Pages))

	h := &history{t: t, disk: newDisk(t, dir), ways: []Slot{KeyFile(keyFile), Recovery(code)}, was: map[Owner]State{}, now: map[Owner]State{}}
	h.disk.cut = h.check
	watch = func(s step) {
		if strings.HasPrefix(s.path, dir) {
			h.disk.see(s)
		}
	}
	t.Cleanup(func() { watch = func(step) {} })

	h.do(acme, Live, func() error { return ring.Add(acme, Pages) })
	h.do(acme, Live, func() error { return ring.Rotate(acme, Pages) })
	h.do(acme, Live, func() error { return ring.Drop(acme, Pages, 1) })
	h.do("beta/prod", Live, func() error { return ring.Add("beta/prod", Pages) })
	h.do("beta/prod", Parked, func() error { return ring.Park("beta/prod") })
	h.do("beta/prod", Live, func() error { return ring.Unpark("beta/prod") })
	h.do("beta/prod", Destroyed, func() error { return ring.Destroy("beta/prod") })
	second, text := NewRecovery()
	h.do("", "", func() error { _, err := slots.Add(ring.Root(), second); return err })
	h.do("", "", func() error { return slots.Remove(ring.Root(), slots.List()[1].ID) })
	h.ways = []Slot{KeyFile(keyFile), Recovery(text)}
	h.do("", "", func() error { _, err := slots.RotateRoot(ring, KeyFile(keyFile)); return err })
	h.do(acme, Destroyed, func() error { return ring.Destroy(acme) })
	t.Logf("%d cuts, each in three ways", h.cuts)
	if h.cuts < 100 {
		t.Errorf("only %d cuts", h.cuts)
	}
	_, _, err = ring.Source(acme, Pages).Current()
	wantErr(t, err, data.ErrDestroyed)
}
