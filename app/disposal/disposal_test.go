package disposal

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"holdfast/app/api"
	"holdfast/backup"
	"holdfast/data"
	"holdfast/data/keys"
	"holdfast/data/store"
)

func TestCertificateSaysWhatWasDestroyed(t *testing.T) {
	w := newWorld(t)
	w.target("offsite")
	w.held = []Copy{{Kind: "snapshots", Where: "offsite", Objects: 4, Note: "ciphertext"}}
	c := w.destroy()
	if c.Certified == nil || c.Certificate.Tenant != (Subject{acme.Tenant, "acme"}) || c.Certificate.Asked.By != "person:p" ||
		c.Certificate.CarriedOut.By != "system" || c.Certificate.How != "window" || c.Certificate.Revoked != (Revoked{2, 1}) || c.Targets != 1 {
		t.Errorf("%+v %+v", c, c.Certificate)
	}
	if s := c.Certificate.Stores; len(s) != 1 || len(s[0].Keys) != 3 || s[0].Bytes != 4096 || len(s[0].Keys[0].Fingerprint) != 32 {
		t.Errorf("stores %+v", s)
	}
	if len(c.Certificate.Copies) != 1 || len(c.Certificate.CannotPromise) == 0 {
		t.Errorf("copies %+v", c.Certificate.Copies)
	}
	if n := w.count(certified, c.ID); n != 1 {
		t.Errorf("%d audit entries", n)
	}
	if id, err := w.Destroyed(t.Context(), acme); id != c.ID || err != nil {
		t.Errorf("destroyed: %q %v", id, err)
	}
}

// TestNoCertificateWhileAKeyLives: it certifies what is, not what was meant.
func TestNoCertificateWhileAKeyLives(t *testing.T) {
	w := newWorld(t)
	w.must(w.Begin(t.Context(), w.order()))
	if err := w.Finish(t.Context(), acme.Tenant, "acme", Revoked{}); err == nil || w.only().Certified != nil {
		t.Errorf("finished: %v", err)
	}
}

// TestResumed breaks each step after the keys are gone, once; calling again ends
// with one certificate.
func TestResumed(t *testing.T) {
	broken := errors.New("broken")
	for _, step := range []string{"held", "sign", certified} {
		t.Run(step, func(t *testing.T) {
			w := newWorld(t)
			w.must(w.Begin(t.Context(), w.order()))
			w.must(w.Begin(t.Context(), w.order()))
			w.must(w.ring.Destroy(keys.Owner(acme.String())))
			w.fail[step] = broken
			if err := w.Finish(t.Context(), acme.Tenant, "acme", Revoked{}); !errors.Is(err, broken) {
				t.Fatalf("%v", err)
			}
			w.fail[step] = nil
			for range 2 {
				w.must(w.Finish(t.Context(), acme.Tenant, "acme", Revoked{}))
			}
			c := w.only()
			if c.Certified == nil || w.count(certified, c.ID) != 1 {
				t.Errorf("%+v, %d audit entries", c, w.count(certified, c.ID))
			}
		})
	}
}

// TestBeginMustBeWritten: what cannot be written down does not begin.
func TestBeginMustBeWritten(t *testing.T) {
	w := newWorld(t)
	w.must(w.db.Close())
	if err := w.Begin(t.Context(), w.order()); err == nil {
		t.Error("begun without a ledger")
	}
}

// TestOldFolderLearns: a data folder of before reads what it has forgotten.
func TestOldFolderLearns(t *testing.T) {
	w := newWorld(t)
	w.target("offsite")
	first := w.destroy()
	old := w.twin()
	old.back[acme.Tenant] = true
	w.must(old.CompareAll(t.Context()))
	w.must(old.Apply(t.Context()))
	if len(old.buried) != 1 {
		t.Errorf("buried %v", old.buried)
	}
	again := old.only()
	if again.ID != first.ID || again.SHA256 != first.SHA256 || again.Signature != first.Signature || old.count(certified, first.ID) != 1 {
		t.Errorf("%+v, want %+v", again, first)
	}
	w.must(old.Apply(t.Context()))
	if l, err := old.Ledger(t.Context()); err != nil || l.Entries != 2 || len(l.Missing) != 0 || l.Targets[0].Waiting != 0 {
		t.Errorf("ledger %+v %v", l, err)
	}
}

// TestTwoWriters: what was written on both sides of a fork is on both in the end.
func TestTwoWriters(t *testing.T) {
	w := newWorld(t)
	away := w.twin()
	w.target("offsite")
	w.destroy()
	other := data.StoreID{Tenant: "other0000000000", Environment: data.Prod}
	w.must(w.ring.Add(keys.Owner(other.String()), keys.Pages))
	w.must(w.ring.Destroy(keys.Owner(other.String())))
	w.must(away.Begin(t.Context(), Order{Tenant: other.Tenant, Slug: "other", Stores: []StoreSize{{ID: other}}}))
	w.must(away.Finish(t.Context(), other.Tenant, "other", Revoked{}))
	away.targets = w.targets
	for _, side := range []*world{away, w, away} {
		w.must(side.CompareAll(t.Context()))
		w.must(side.Apply(t.Context()))
	}
	for name, side := range map[string]*world{"one": w, "other": away} {
		l, err := side.Ledger(t.Context())
		if err != nil || l.Entries != 4 || len(l.Head) != 2 {
			t.Errorf("%s: %+v %v", name, l, err)
		}
		for _, id := range []data.StoreID{acme, other} {
			if gone, err := side.Destroyed(t.Context(), id); gone == "" || err != nil {
				t.Errorf("%s does not know of %s: %v", name, id, err)
			}
		}
	}
	third := data.StoreID{Tenant: "third0000000000", Environment: data.Prod}
	w.must(w.Begin(t.Context(), Order{Tenant: third.Tenant, Stores: []StoreSize{{ID: third}}}))
	if l, _ := w.Ledger(t.Context()); len(l.Head) != 1 {
		t.Errorf("the next entry does not join the two: %+v", l)
	}
}

// TestRotatedKey: who knows the older signing key alone accepts the newer one's
// entries, because the older one vouched for it.
func TestRotatedKey(t *testing.T) {
	w := newWorld(t)
	w.target("offsite")
	oldKey, err := w.ring.Source(keys.System, keys.AuditSigning).Generation(1)
	w.must(err)
	w.must(w.ring.Rotate(keys.System, keys.AuditSigning))
	w.destroy()
	old := w.twin()
	old.config.Signing = fixedKey(oldKey)
	old.back[acme.Tenant] = true
	w.must(old.CompareAll(t.Context()))
	if id, err := old.Destroyed(t.Context(), acme); id == "" || err != nil {
		t.Errorf("it does not know: %v", err)
	}
}

type fixedKey [32]byte

func (k fixedKey) Current() (uint32, [32]byte, error)          { return 1, k, nil }
func (k fixedKey) Generation(uint32) (key [32]byte, err error) { return k, nil }

// TestForeignAndDamagedObjects: another appliance's entries mean nothing here, a
// changed one is named and stops a restore, and the rest counts all the same.
func TestForeignAndDamagedObjects(t *testing.T) {
	w := newWorld(t)
	m := w.target("offsite")
	stranger := newWorld(t)
	stranger.targets = w.targets
	stranger.destroy()
	w.must(w.Consult(t.Context(), "offsite"))
	if id, _ := w.Destroyed(t.Context(), acme); id != "" {
		t.Error("a stranger's entry destroyed a store")
	}
	w.destroy()
	names := entriesOn(t, m)
	var ours string
	for _, n := range names {
		own, err := w.signers()
		w.must(err)
		if strings.HasPrefix(n, objectPrefix(own[0].name())) && strings.Contains(content(t, m, n), "kind destroy") {
			ours = n
		}
	}
	changed := strings.Replace(content(t, m, ours), acme.Tenant, "anybody00000000", 1)
	w.must(m.Delete(t.Context(), ours))
	w.must(m.Put(t.Context(), ours, strings.NewReader(changed), int64(len(changed)), backup.PutOptions{}))
	old := w.twin()
	var object *backup.ObjectError
	if err := old.Consult(t.Context(), "offsite"); !errors.As(err, &object) || object.Name != ours {
		t.Errorf("consult: %v", err)
	}
	l, err := old.Ledger(t.Context())
	if err != nil || l.Entries != 1 || len(l.Missing) != 1 || l.Targets[0].Error == "" {
		t.Errorf("ledger %+v %v", l, err)
	}
	if err := w.Consult(t.Context(), "offsite"); err != nil {
		t.Errorf("who has the entry needs no other: %v", err)
	}
}

func entriesOn(t *testing.T, m backup.ObjectStore) (names []string) {
	t.Helper()
	list, err := m.List(t.Context(), "ledger/", "", 100)
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range list {
		names = append(names, i.Name)
	}
	return names
}

func content(t *testing.T, m backup.ObjectStore, name string) string {
	t.Helper()
	r, err := m.Get(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(r)
	if err := errors.Join(err, r.Close()); err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// filled makes the store with some records and gives their ids.
func (w *world) filled(n int) (ids []string) {
	w.t.Helper()
	w.must(w.pool.Create(w.t.Context(), acme))
	w.with(func(st *store.Store) {
		w.must(st.CreateCollection(w.t.Context(), "people", []store.Field{{Name: "name", Type: "text"}}))
		i := 0
		_, err := st.Import(w.t.Context(), "people", store.ImportOptions{}, func() (map[string]any, int, error) {
			if i++; i > n {
				return nil, 0, io.EOF
			}
			return map[string]any{"name": fmt.Sprintf("person %02d", i)}, i, nil
		}, nil)
		w.must(err)
	})
	return w.ids()
}

func (w *world) with(fn func(*store.Store)) {
	w.t.Helper()
	st, err := w.pool.Acquire(w.t.Context(), acme)
	w.must(err)
	defer st.Release()
	fn(st)
}

func (w *world) ids() (ids []string) {
	w.t.Helper()
	w.with(func(st *store.Store) {
		w.must(st.IDs(w.t.Context(), "people", func(id string) error { ids = append(ids, id); return nil }))
	})
	return ids
}

func TestErase(t *testing.T) {
	w := newWorld(t)
	m := w.target("offsite")
	ids := w.filled(5)
	ctx := store.OnDuty(data.WithActor(t.Context(), data.Actor{Kind: data.Person, ID: "p"}))
	e, err := w.Erase(ctx, "acme", acme, NewErasure{Collection: "people", Record: ids[1], Reason: "case 7"})
	if err != nil || e.Records != 1 || e.By != "person:p" || e.Finished == nil || e.Targets != 1 {
		t.Fatalf("%+v %v", e, err)
	}
	if e, err = w.Erase(ctx, "acme", acme, NewErasure{Collection: "people", Filter: "id = '" + ids[0] + "' && name ~ 'person'"}); err != nil || e.Records != 1 {
		t.Fatalf("%+v %v", e, err)
	}
	if left := w.ids(); len(left) != 3 || slices.Contains(left, ids[1]) {
		t.Errorf("left %v", left)
	}
	for _, name := range entriesOn(t, m) {
		if text := content(t, m, name); strings.Contains(text, ids[1]) || strings.Contains(text, "case 7") {
			t.Errorf("off this host: %s", text)
		}
	}
	page, err := w.Erasures(t.Context(), acme, api.Paging{Page: 1, PerPage: 10})
	if err != nil || page.Total != 2 {
		t.Errorf("list %+v %v", page, err)
	}
	for name, n := range map[string]NewErasure{"nothing named": {Collection: "people"}, "both": {Collection: "people", Record: "x", Filter: "y"},
		"no record": {Collection: "people", Record: ids[1]}, "no match": {Collection: "people", Filter: "name = 'nobody'"}} {
		if _, err := w.Erase(ctx, "acme", acme, n); err == nil || api.AsProblem(err).Status >= 500 {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestReplay takes the erased out of a copy, whoever holds the copy, and leaves the
// rest; without the key that tells which, it refuses.
func TestReplay(t *testing.T) {
	w := newWorld(t)
	w.target("offsite")
	ids := w.filled(4)
	if fn, err := w.Replay(t.Context(), acme); fn != nil || err != nil {
		t.Errorf("nothing erased: %v", err)
	}
	_, err := w.Erase(t.Context(), "acme", acme, NewErasure{Collection: "people", Record: ids[2]})
	w.must(err)
	w.with(func(st *store.Store) { // as a restore has it: the record is back
		_, err := st.Import(t.Context(), "people", store.ImportOptions{}, once(map[string]any{"id": ids[2], "name": "back"}), nil)
		w.must(err)
	})
	fn, err := w.Replay(t.Context(), acme)
	w.must(err)
	w.with(func(st *store.Store) {
		if n, err := fn(t.Context(), st); n != 1 || err != nil {
			t.Errorf("replayed %d %v", n, err)
		}
	})
	if left := w.ids(); len(left) != 3 || slices.Contains(left, ids[2]) {
		t.Errorf("left %v", left)
	}
	w.config.Personal = func(data.StoreID) data.KeySource { return noKey{} }
	w.with(func(st *store.Store) {
		if _, err := fn(t.Context(), st); !errors.Is(err, data.ErrNotFound) {
			t.Errorf("without the key: %v", err)
		}
	})
}

type noKey struct{}

func (noKey) Current() (uint32, [32]byte, error)  { return 0, [32]byte{}, data.ErrNotFound }
func (noKey) Generation(uint32) ([32]byte, error) { return [32]byte{}, data.ErrNotFound }

func once(row map[string]any) func() (map[string]any, int, error) {
	done := false
	return func() (map[string]any, int, error) {
		if done {
			return nil, 0, io.EOF
		}
		done = true
		return row, 1, nil
	}
}

// TestErasureIsEnded: a crash between the ledger and the deletion, and an older copy
// of the store, end in the same way.
func TestErasureIsEnded(t *testing.T) {
	w := newWorld(t)
	w.target("offsite")
	ids := w.filled(3)
	cut := errors.New("cut")
	w.fail["erasure.create"] = cut
	if _, err := w.Erase(t.Context(), "acme", acme, NewErasure{Collection: "people", Record: ids[0]}); !errors.Is(err, cut) {
		t.Fatal(err)
	}
	if len(w.ids()) != 3 {
		t.Fatal("deleted before it was recorded")
	}
	w.must(w.Apply(t.Context()))
	if left := w.ids(); slices.Contains(left, ids[0]) || len(left) != 2 {
		t.Errorf("left %v", left)
	}
	page, err := w.Erasures(t.Context(), acme, api.Paging{Page: 1, PerPage: 10})
	if err != nil || page.Total != 1 || page.Items[0].Finished == nil || page.Items[0].Collection != "people" {
		t.Errorf("list %+v %v", page, err)
	}
	// Given the same id again, a record is another one.
	w.with(func(st *store.Store) {
		_, err := st.Import(context.Background(), "people", store.ImportOptions{}, once(map[string]any{"id": ids[0], "name": "new"}), nil)
		w.must(err)
	})
	w.must(w.Apply(t.Context()))
	if len(w.ids()) != 3 {
		t.Error("an erasure was carried out twice")
	}
}
