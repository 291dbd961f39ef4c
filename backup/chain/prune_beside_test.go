package chain_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/backup"
	"holdfast/backup/chain"
	"holdfast/backup/objects"
	"holdfast/data"
)

var errLost = errors.New("the answer was lost")

// hooked is a target on which something happens in the middle of requests.
type hooked struct {
	backup.ObjectStore
	put    func(name string) // before it
	list   func(prefix string)
	putt   func(name string) error // after it
	delete func(name string) error // after it
}

func (h *hooked) Put(ctx context.Context, name string, body io.Reader, size int64, o backup.PutOptions) error {
	if h.put != nil {
		h.put(name)
	}
	err := h.ObjectStore.Put(ctx, name, body, size, o)
	if err == nil && h.putt != nil {
		err = h.putt(name)
	}
	return err
}

func (h *hooked) List(ctx context.Context, prefix, after string, limit int) ([]backup.Info, error) {
	if h.list != nil {
		h.list(prefix)
	}
	return h.ObjectStore.List(ctx, prefix, after, limit)
}

func (h *hooked) Delete(ctx context.Context, name string) error {
	err := h.ObjectStore.Delete(ctx, name)
	if err == nil && h.delete != nil {
		err = h.delete(name)
	}
	return err
}

// once runs something the first time that a name has a part.
func once(part string, fn func()) func(string) {
	var done atomic.Bool
	return func(name string) {
		if strings.Contains(name, part) && done.CompareAndSwap(false, true) {
			fn()
		}
	}
}

var lastOnly = chain.Policy{Last: 1}

// replacing is a chain whose only file changed twice.
func replacing(t *testing.T) (*rig, *hooked) {
	t.Helper()
	h := &hooked{ObjectStore: objects.NewMemory()}
	r := newRig(t, h)
	for _, content := range []string{"first", "second", "third"} {
		r.write(1, content)
		r.files.Set("f", content)
		r.ship()
	}
	r.now = r.now.Add(48 * time.Hour)
	return r, h
}

func (r *rig) kept() {
	r.t.Helper()
	r.verified()
	r.same()
}

// dropping is one whose first contents a prune condemns.
func dropping(t *testing.T) (*rig, *hooked) {
	t.Helper()
	r, h := replacing(t)
	r.chain.Anew(errLost)
	for _, text := range []string{"4", "5"} {
		r.write(1, text)
		r.ship()
	}
	r.now = r.now.Add(48 * time.Hour)
	return r, h
}

// A sweep that was interrupted comes again, while a snapshot puts content anew that
// it had deleted already.
func TestSweepTwice(t *testing.T) {
	r, h := dropping(t)
	k := r.keeper()
	r.prune(k, lastOnly, 5)
	r.now = r.now.Add(chain.MinGrace)
	h.delete = func(name string) error {
		if strings.Contains(name, "/files/") {
			return errLost
		}
		return nil
	}
	o := chain.PruneOrder{Policy: lastOnly, Verified: 5, Grace: chain.MinGrace}
	if _, err := k.Prune(t.Context(), o); !errors.Is(err, errLost) {
		t.Fatal(err)
	}
	h.delete = nil
	h.put = once("/tree/", func() { r.prune(k, lastOnly, 5) })
	r.files.Set("g", "first")
	r.ship()
	r.kept()
}

// A prune is so slow, or sleeps, that its grace would be over when its word comes. A
// snapshot that began before refers to what it condemns.
func TestLateWord(t *testing.T) {
	for _, where := range []string{"/files/", "/prune/"} {
		t.Run(strings.Trim(where, "/"), func(t *testing.T) {
			r, h := dropping(t)
			k := r.keeper()
			reached, resume, shipped := make(chan bool), make(chan bool), make(chan error, 1)
			slow := once(where, func() {
				r.now = r.now.Add(chain.MinGrace)
				r.files.Set("g", "first")
				h.put = once("/tree/", func() { close(reached); <-resume })
				go func() {
					_, err := r.chain.Ship(context.WithoutCancel(t.Context()), r.pages, r.files, data.Position{Incarnation: "i", Sequence: 9})
					shipped <- err
				}()
				<-reached
			})
			if h.put = slow; where == "/files/" {
				h.put, h.list = nil, slow
			}
			o := chain.PruneOrder{Policy: lastOnly, Verified: 5, Grace: chain.MinGrace}
			if _, err := k.Prune(t.Context(), o); err != nil && !strings.Contains(err.Error(), "took too long") {
				t.Fatal(err)
			}
			r.prune(k, lastOnly, 5)
			close(resume)
			if err := <-shipped; err != nil {
				t.Fatal(err)
			}
			r.kept()
			for range 4 {
				r.now = r.now.Add(chain.MinGrace)
				r.prune(k, lastOnly, 6)
				r.kept()
			}
		})
	}
}

// succeeded has another host go on with the chain, and prune all that it does not
// need itself.
func succeeded(t *testing.T, a *rig) *rig {
	t.Helper()
	b := newRig(t, a.target)
	b.now = a.now
	for _, text := range []string{"x", "y", "z"} {
		b.write(1, text)
		b.ship()
	}
	b.sweptOnce()
	return b
}

func (r *rig) sweptOnce() {
	r.t.Helper()
	k := r.keeper()
	r.now = r.now.Add(48 * time.Hour)
	for range 2 {
		r.prune(k, lastOnly, r.chain.Status().Sequence)
		r.now = r.now.Add(chain.MinGrace)
	}
}

func (r *rig) fenced() {
	r.t.Helper()
	if res, err := r.chain.Ship(r.t.Context(), r.pages, r.files, data.Position{Incarnation: "i", Sequence: 99}); !errors.Is(err, backup.ErrFenced) {
		r.t.Fatalf("the replaced host shipped %d: %v", res.Sequence, err)
	}
}

// The newest manifest of a host that was replaced is gone.
func TestReplacedManifestPruned(t *testing.T) {
	a, _ := replacing(t)
	b := succeeded(t, a)
	a.now = b.now
	a.open()
	a.write(1, "stale")
	a.fenced()
	b.shipsOn()
	b.verified()
}

// What a replaced host has staged refers to content that was condemned.
func TestReplacedContentPruned(t *testing.T) {
	a, h := replacing(t)
	h.putt = func(name string) error {
		if strings.Contains(name, "/tree/") {
			return errLost
		}
		return nil
	}
	a.files.Set("f", "stale")
	if _, err := a.chain.Ship(t.Context(), a.pages, a.files, data.Position{Incarnation: "i", Sequence: 9}); !errors.Is(err, errLost) {
		t.Fatal(err)
	}
	h.putt = nil
	b := succeeded(t, a)
	a.now = b.now
	a.fenced()
	b.shipsOn()
	b.verified()
}

// A base takes so long that the manifest whose place it is to have was put by another
// host and pruned.
func TestPlacePruned(t *testing.T) {
	a, h := replacing(t)
	a.write(1, "4")
	b := newRig(t, a.target)
	b.now = a.now
	b.write(1, "b")
	h.put = once("/pages/", func() {
		a.ship() // no base: its manifest goes
		a.chain.Anew(errLost)
		for range 3 {
			a.write(1, a.now.String())
			a.ship()
			a.chain.Anew(errLost)
		}
		a.sweptOnce()
		b.now = a.now
	})
	b.fenced()
	a.shipsOn()
	a.verified()
}

// A snapshot whose answer was lost and whose parts were damaged is no other host's.
func TestOwnManifestIsNoFence(t *testing.T) {
	r, h := replacing(t)
	h.putt = func(name string) error {
		if strings.Contains(name, "/manifest/") {
			return errLost
		}
		return nil
	}
	var part string
	h.put = func(name string) {
		if strings.Contains(name, "/pages/") {
			part = name
		}
	}
	r.write(1, "fourth")
	if _, err := r.chain.Ship(t.Context(), r.pages, r.files, data.Position{Incarnation: "i", Sequence: 9}); !errors.Is(err, errLost) {
		t.Fatal(err)
	}
	h.put, h.putt = nil, nil
	putEmpty(t, h, part)
	r.open()
	if res := r.ship(); !res.Base || res.Sequence != 5 {
		t.Errorf("%+v", res)
	}
	r.same()
}
