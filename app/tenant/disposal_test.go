package tenant

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"holdfast/data"
	"holdfast/data/keys"
)

// ledger is a Disposal that fails where it is told to.
type ledger struct {
	w        *world
	begun    []Destruction
	finished []string
	fail     map[string]error
	gone     map[data.StoreID]bool
}

func (l *ledger) Begin(_ context.Context, d Destruction) error {
	if l.fail["begin"] == nil {
		l.begun = append(l.begun, d)
	}
	return l.fail["begin"]
}

func (l *ledger) Finish(_ context.Context, tenant, _ string, stores []data.StoreID) error {
	for _, id := range stores {
		if state, err := l.w.ring.State(keys.Owner(id.String())); err == nil && state != keys.Destroyed {
			l.w.t.Errorf("certified while the keys of %s are %s", id, state)
		}
	}
	if l.fail["finish"] == nil {
		l.finished = append(l.finished, tenant)
	}
	return l.fail["finish"]
}

func (l *ledger) Destroyed(_ context.Context, id data.StoreID) (bool, error) { return l.gone[id], nil }

func newLedger(w *world) *ledger {
	l := &ledger{w: w, fail: map[string]error{}, gone: map[data.StoreID]bool{}}
	w.disposal, w.config.Disposal = l, l
	return l
}

func TestNothingIsDestroyedWithoutTheLedger(t *testing.T) {
	w := newWorld(t)
	l := newLedger(w)
	w.create("acme")
	id, _ := w.Store(t.Context(), "acme", data.Prod)
	l.fail["begin"] = errors.New("no ledger")
	if _, err := w.Delete(t.Context(), "acme", true); !errors.Is(err, l.fail["begin"]) {
		t.Errorf("got %v", err)
	}
	if state, err := w.ring.State(keys.Owner(id.String())); err != nil || state != keys.Live {
		t.Errorf("keys are %v, %v", state, err)
	}
	if got, err := w.Get(t.Context(), "acme"); err != nil || got.State != Live {
		t.Errorf("%+v %v", got, err)
	}
}

// TestCertificateIsTriedAgain: a destruction is not over before it is certified.
func TestCertificateIsTriedAgain(t *testing.T) {
	w := newWorld(t)
	l := newLedger(w)
	first := w.create("acme")
	_, err := w.CreateEnvironment(t.Context(), "acme", data.Test)
	w.must(err)
	ctx := data.WithActor(t.Context(), data.Actor{Kind: data.Person, ID: "owner"})
	_, err = w.Delete(ctx, "acme", false)
	w.must(err)
	w.clock.pass(UndeleteWindow)
	l.fail["finish"] = errors.New("no disk")
	if err := w.Sweep(t.Context(), w.clock.now()); !errors.Is(err, l.fail["finish"]) {
		t.Errorf("got %v", err)
	}
	if d := l.begun[0]; d.AskedBy != "person:owner" || d.AtOnce || len(d.Stores) != 2 || d.Stores[0].Bytes == 0 {
		t.Errorf("begun %+v", d)
	}
	w.shut()
	w.open()
	if len(l.finished) != 0 {
		t.Error("certified before all rooms were open")
	}
	delete(l.fail, "finish")
	for range 2 {
		w.must(w.Sweep(t.Context(), w.clock.now()))
	}
	if len(l.finished) != 1 || l.finished[0] != first.ID || len(l.begun) != 1 {
		t.Errorf("begun %d times, finished %v", len(l.begun), l.finished)
	}
	if _, err := os.Lstat(filepath.Join(w.stores(), first.ID)); err == nil {
		t.Error("the tenant's own folder is left")
	}
}

// TestBury destroys what came back: a living tenant, keys alone, a folder alone.
func TestBury(t *testing.T) {
	w := newWorld(t)
	l := newLedger(w)
	made := w.create("acme")
	id, _ := w.Store(t.Context(), "acme", data.Prod)
	unknown := data.StoreID{Tenant: "unknown00000000", Environment: data.Prod}
	if found, err := w.Bury(t.Context(), unknown.Tenant, []data.StoreID{unknown}); found || err != nil {
		t.Errorf("nothing there: %v %v", found, err)
	}
	bury := func(what string, id data.StoreID) {
		t.Helper()
		if found, err := w.Bury(t.Context(), id.Tenant, []data.StoreID{id}); !found || err != nil {
			t.Errorf("%s: %v %v", what, found, err)
		}
		if found, err := w.Bury(t.Context(), id.Tenant, []data.StoreID{id}); found || err != nil {
			t.Errorf("%s, again: %v %v", what, found, err)
		}
	}
	bury("a living tenant", id)
	w.wantDestroyed("acme", id)
	if len(l.finished) != 1 || l.finished[0] != made.ID {
		t.Errorf("finished %v", l.finished)
	}
	w.must(w.ring.Add(keys.Owner(unknown.String()), keys.Pages))
	bury("keys alone", unknown)
	w.must(os.MkdirAll(filepath.Join(w.stores(), id.Tenant, id.Environment), 0o700))
	bury("a folder alone", id)
}

func TestDestroyedStoreIsNotMadeAgain(t *testing.T) {
	w := newWorld(t)
	l := newLedger(w)
	made := w.create("acme")
	l.gone[data.StoreID{Tenant: made.ID, Environment: data.Dev}] = true
	_, err := w.CreateEnvironment(t.Context(), "acme", data.Dev)
	wantErr(t, err, data.ErrDestroyed)
}
