package custody

import (
	"bytes"
	"context"
	"errors"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/backup"
	"holdfast/backup/objects"
	"holdfast/backup/objects/gateway"
	"holdfast/data"
	"holdfast/data/keys"
)

// keepOn begins copies on a new target.
func (w *world) keepOn(name string, s backup.ObjectStore) {
	w.t.Helper()
	w.target(name, s)
	t, err := w.KeepOn(w.ctx(), name)
	w.must(err)
	if t.State != "current" || t.Newest == nil {
		w.t.Fatalf("target %+v", t)
	}
}

func (w *world) copyTarget(name string) (found CopyTarget) {
	w.t.Helper()
	for _, t := range w.status().Copies.Targets {
		if t.Target == name {
			found = t
		}
	}
	return found
}

func TestCopyAfterEachChange(t *testing.T) {
	w := newWorld(t)
	if !w.has("no-copy") {
		t.Error("nobody is told that there is no copy")
	}
	s := newFaulty()
	w.keepOn("far", s)
	if w.has("no-copy") || len(s.names(t)) != 1 {
		t.Errorf("objects %v", s.names(t))
	}
	for i, change := range []func() error{
		func() error { return w.ring.Add("t2/prod", keys.Pages) },
		func() error { return w.ring.Destroy("t2/prod") },
		func() error { _, err := w.Recovery(w.ctx()); return err },
	} {
		w.clock.pass(time.Minute)
		w.must(change())
		w.must(w.Flush(w.ctx()))
		got := w.copyTarget("far")
		if got.State != "current" || len(got.Held) != i+2 || got.Newest.Serial != w.ring.Serial() {
			t.Fatalf("change %d: %+v", i, got)
		}
	}
	w.must(w.Flush(w.ctx())) // nothing changed: nothing is written
	if n := len(s.names(t)); n != 4 {
		t.Errorf("%d objects", n)
	}
	for _, name := range s.names(t) {
		if !strings.HasPrefix(name, "keyring/"+w.status().Copies.ID+"/") {
			t.Errorf("%s lies outside of its own folder", name)
		}
	}
}

// The copier follows a change by itself.
func TestCopyFollowsByItself(t *testing.T) {
	w := newWorld(t)
	dir := t.TempDir()
	w.keepOn("disk", objects.NewDir(dir))
	w.clock.pass(time.Second)
	w.must(w.ring.Add("t2/prod", keys.Pages))
	deadline := time.After(time.Minute)
	for len(w.copyTarget("disk").Held) != 2 {
		select {
		case <-deadline:
			t.Fatalf("no second copy: %+v", w.copyTarget("disk"))
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func TestHorizonIsEnforced(t *testing.T) {
	w := newWorld(t)
	s := newFaulty()
	w.keepOn("far", s)
	first := s.names(t)[0]
	w.clock.pass(30 * 24 * time.Hour)
	w.must(w.ring.Add("t2/prod", keys.Pages))
	destroyed := w.clock.Now()
	w.must(w.Flush(w.ctx()))
	held := w.copyTarget("far").Held
	// However old: its end is counted from when another took its place.
	if len(held) != 2 || held[0].Name != first || !held[0].Until.Equal(destroyed.Add(DefaultHorizon)) || held[1].Until != nil {
		t.Fatalf("held %+v", held)
	}
	remaining, err := w.Remaining(w.ctx(), destroyed)
	w.must(err)
	if len(remaining) != 1 || remaining[0].Name != first || remaining[0].Target != "far" {
		t.Errorf("remaining %+v", remaining)
	}
	w.clock.pass(DefaultHorizon - time.Millisecond)
	w.must(w.Flush(w.ctx()))
	if n := len(s.names(t)); n != 2 {
		t.Fatalf("%d objects before the horizon", n)
	}
	w.clock.pass(time.Millisecond)
	w.must(w.Flush(w.ctx()))
	if names := s.names(t); len(names) != 1 || names[0] == first {
		t.Errorf("objects past the horizon: %v", names)
	}
	if got := w.copyTarget("far"); len(got.Held) != 1 || got.State != "current" {
		t.Errorf("target %+v", got)
	}
}

// What a removed slot or an old root key opens must not lie about.
func TestOldCopiesGoWithTheirSlots(t *testing.T) {
	w := newWorld(t)
	s := newFaulty()
	w.keepOn("far", s)
	for i, change := range []func() error{
		func() error { return w.Remove(w.ctx(), w.slotOf("key-file").ID, true) },
		func() error { _, err := w.RotateRoot(w.ctx(), RootOrder{}); return err },
		func() error { return w.Purge(w.ctx()) },
	} {
		w.clock.pass(time.Minute)
		w.must(w.ring.Add(keys.Owner("x"+string(rune('a'+i))), keys.Pages))
		w.must(w.Flush(w.ctx()))
		w.clock.pass(time.Minute)
		w.must(change())
		w.must(w.Flush(w.ctx()))
		if n := len(s.names(t)); n != 1 {
			t.Errorf("change %d: %d objects", i, n)
		}
	}
}

func TestMostHeldIsBounded(t *testing.T) {
	w := newWorld(t)
	s := newFaulty()
	w.keepOn("far", s)
	for i := range mostHeld + 5 {
		w.clock.pass(time.Second)
		w.must(w.ring.Add(keys.Owner("x"+string(rune('a'+i))), keys.Pages))
		w.must(w.Flush(w.ctx()))
	}
	if n := len(s.names(t)); n != mostHeld {
		t.Errorf("%d objects", n)
	}
}

// A target that says it deleted and did not is named, and asked again.
func TestDeletionIsVerified(t *testing.T) {
	w := newWorld(t)
	s := newFaulty()
	w.keepOn("far", s)
	s.set(func(f *faulty) { f.keepsAll = true })
	w.clock.pass(time.Minute)
	w.must(w.ring.Add("t2/prod", keys.Pages))
	w.must(w.Purge(w.ctx()))
	got := w.copyTarget("far")
	if got.State != "failed" || !strings.Contains(got.Error, "which was deleted") || !w.has("copy-failed") || len(got.Held) != 2 {
		t.Fatalf("target %+v", got)
	}
	s.set(func(f *faulty) { f.keepsAll = false })
	w.must(w.Flush(w.ctx())) // the purge was not forgotten
	if got := w.copyTarget("far"); got.State != "current" || len(s.names(t)) != 1 {
		t.Errorf("target %+v", got)
	}
}

func TestTargetThatFails(t *testing.T) {
	w := newWorld(t)
	s := newFaulty()
	w.keepOn("far", s)
	s.set(func(f *faulty) { f.fail = objects.ErrRefused })
	w.clock.pass(time.Minute)
	w.must(w.ring.Add("t2/prod", keys.Pages))
	w.must(w.Flush(w.ctx()))
	if got := w.copyTarget("far"); got.State != "failed" || !strings.Contains(got.Error, "refused") {
		t.Errorf("target %+v", got)
	}
	s.set(func(f *faulty) { f.fail = nil })
	w.open() // a restart tries at once
	w.must(w.Flush(w.ctx()))
	if got := w.copyTarget("far"); got.State != "current" || got.Newest.Serial != w.ring.Serial() {
		t.Errorf("target %+v", got)
	}
}

// A copy that rots on the target is found when it is read back.
func TestRottenCopyIsReplaced(t *testing.T) {
	w := newWorld(t)
	dir := t.TempDir()
	w.keepOn("disk", objects.NewDir(dir))
	path := filepath.Join(dir, filepath.FromSlash(w.copyTarget("disk").Newest.Name))
	b, err := os.ReadFile(path)
	w.must(err)
	b[len(b)/2] ^= 1
	w.must(os.WriteFile(path, b, 0o600))
	w.clock.pass(readAgain + time.Minute)
	w.must(w.Flush(w.ctx()))
	store := objects.NewDir(dir)
	c, _, err := Newest(t.Context(), store, "")
	w.must(err)
	if c.Serial != w.ring.Serial() {
		t.Errorf("copy of serial %d", c.Serial)
	}
}

func TestClockSetBack(t *testing.T) {
	w := newWorld(t)
	s := newFaulty()
	w.keepOn("far", s)
	w.clock.pass(-48 * time.Hour)
	w.must(w.ring.Add("t2/prod", keys.Pages))
	w.must(w.Flush(w.ctx()))
	w.must(w.Flush(w.ctx()))
	got := w.copyTarget("far")
	if got.State != "current" || len(got.Held) != 2 || got.Newest.Serial != w.ring.Serial() {
		t.Errorf("target %+v", got)
	}
}

func TestBucketsThatKeepWhatIsDeleted(t *testing.T) {
	w := newWorld(t)
	var kept atomic.Pointer[objects.Keeps] // the service asks in the background
	kept.Store(&objects.Keeps{Versions: true})
	w.config.Kept = func(context.Context, backup.ObjectStore) (objects.Keeps, error) { return *kept.Load(), nil }
	w.open()
	w.keepOn("versioned", newFaulty())
	if !w.has("copy-versioned") {
		t.Errorf("findings %+v", w.status().Findings)
	}
	kept.Store(&objects.Keeps{Locked: true})
	locked := newFaulty()
	w.target("locked", locked)
	_, err := w.KeepOn(w.ctx(), "locked")
	w.wantProblem(err, "copy-failed")
	if len(locked.names(t)) != 0 {
		t.Error("a copy was put under a lock")
	}
	_, err = w.KeepOn(w.ctx(), "nowhere")
	w.wantProblem(err, "not-found")
}

func TestKeepOff(t *testing.T) {
	w := newWorld(t)
	s := newFaulty()
	w.keepOn("far", s)
	w.wantProblem(w.KeepOff(w.ctx(), "nowhere", false), "not-found")
	s.set(func(f *faulty) { f.keepsAll = true })
	w.wantProblem(w.KeepOff(w.ctx(), "far", false), "copy-failed")
	s.set(func(f *faulty) { f.keepsAll = false })
	w.must(w.KeepOff(w.ctx(), "far", false))
	if len(s.names(t)) != 0 || !w.has("no-copy") {
		t.Errorf("objects %v", s.names(t))
	}
	w.keepOn("other", newFaulty())
	w.must(w.KeepOff(w.ctx(), "other", true))
}

// The copies hold nothing that opens without a slot's secret, and with one they
// bring a bare folder back.
func TestBareFolderComesBack(t *testing.T) {
	w := newWorld(t)
	s := newFaulty()
	w.keepOn("far", s)
	_, key, err := w.ring.Source(acme, keys.Pages).Current()
	w.must(err)
	for _, name := range s.names(t) {
		b, err := read(t.Context(), s, name)
		w.must(err)
		if bytes.Contains(b, key[:]) {
			t.Error("a key in clear")
		}
	}
	c, held, err := Newest(t.Context(), s, "")
	w.must(err)
	if held.ID != w.status().Copies.ID {
		t.Errorf("held %+v", held)
	}
	bare := filepath.Join(t.TempDir(), "keys")
	_, err = c.Restore(bare, keys.Passphrase([]byte("not this one, no")))
	w.want(err, keys.ErrWrongKey)
	ring, err := c.Restore(bare, keys.Recovery(w.code))
	w.must(err)
	if _, got, err := ring.Source(acme, keys.Pages).Current(); err != nil || got != key {
		t.Errorf("another key: %v", err)
	}
}

func TestNewestAsksWhich(t *testing.T) {
	w := newWorld(t)
	s := newFaulty()
	_, _, err := Newest(t.Context(), s, "")
	w.want(err, data.ErrNotFound)
	w.keepOn("far", s)
	other := newWorld(t)
	other.keepOn("far", s)
	if _, _, err = Newest(t.Context(), s, ""); err == nil || !strings.Contains(err.Error(), other.status().Copies.ID) {
		t.Errorf("error %v", err)
	}
	_, held, err := Newest(t.Context(), s, w.status().Copies.ID)
	w.must(err)
	if held.ID != w.status().Copies.ID {
		t.Errorf("held %+v", held)
	}
}

func TestOtherObjectsAreLeftAlone(t *testing.T) {
	w := newWorld(t)
	s := newFaulty()
	for _, name := range []string{"keyring/readme", "keyring/0123456789abcdef/20261122T061621.123Z-1-0123456789abcdef.keys", "chains/x"} {
		w.must(s.Put(t.Context(), name, strings.NewReader("x"), 1, backup.PutOptions{}))
	}
	w.keepOn("far", s)
	w.must(w.Purge(w.ctx()))
	w.must(w.KeepOff(w.ctx(), "far", false))
	if n := len(s.names(t)); n != 3 {
		t.Errorf("objects %v", s.names(t))
	}
}

func TestCopiesOnARealBucket(t *testing.T) {
	server := gateway.Start(t)
	w := newWorld(t)
	s, err := objects.Open(server.URL("deep/prefix"), server.Credentials)
	w.must(err)
	w.keepOn("bucket", s)
	w.clock.pass(time.Minute)
	w.must(w.ring.Add("t2/prod", keys.Pages))
	w.must(w.Flush(w.ctx()))
	w.clock.pass(DefaultHorizon)
	w.must(w.Flush(w.ctx()))
	if got := w.copyTarget("bucket"); got.State != "current" || len(got.Held) != 1 {
		t.Errorf("target %+v", got)
	}
	c, _, err := Newest(t.Context(), s, "")
	w.must(err)
	if c.Serial != w.ring.Serial() {
		t.Errorf("serial %d", c.Serial)
	}
}

func FuzzCopyName(f *testing.F) {
	f.Add("keyring/0123456789abcdef/20261122T061621.123Z-1-0123456789abcdef.keys")
	f.Fuzz(func(t *testing.T, name string) {
		h, ok := parseName(name)
		if ok && (h.Name != name || h.Made.IsZero() && !strings.Contains(name, "00010101")) {
			t.Fatalf("%+v", h)
		}
	})
}

var errTarget = errors.New("target")

func TestTargetsCannotBeListed(t *testing.T) {
	w := newWorld(t)
	w.keepOn("far", newFaulty())
	w.config.Targets = func(context.Context) ([]Target, error) { return nil, errTarget }
	w.open()
	_, err := w.Status(w.ctx())
	w.want(err, errTarget)
	w.config.Targets = func(context.Context) ([]Target, error) { return nil, nil } // the target was removed
	w.open()
	w.must(w.Flush(w.ctx()))
	if got := w.copyTarget("far"); got.State != "failed" || !strings.Contains(got.Error, "removed") {
		t.Errorf("target %+v", got)
	}
}

// TestCopiesAreApprovedForTheTargetItself: one added anew under the name is another.
func TestCopiesAreApprovedForTheTargetItself(t *testing.T) {
	w := newWorld(t)
	w.target("far", objects.NewMemory())
	r := httptest.NewRequestWithContext(w.ctx(), "DELETE", "/", nil)
	r.SetPathValue("target", "far")
	id, err := w.meansTarget(r, []byte(`{"target":"far"}`))
	w.must(err)
	none, err := w.meansKept(r, nil)
	w.must(err)
	_, err = w.KeepOn(w.ctx(), "far")
	w.must(err)
	kept, err := w.meansKept(r, nil)
	w.must(err)
	if id != "id-far" || none != "" || kept != id {
		t.Errorf("means %q, %q, %q", id, none, kept)
	}
	_, err = w.meansTarget(r, []byte(`{"target":"away"}`))
	w.want(err, data.ErrNotFound)
}
