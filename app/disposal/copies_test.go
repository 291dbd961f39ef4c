package disposal

import (
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast/app/api"
	"holdfast/data"
	"holdfast/data/keys"
	"holdfast/data/store"
)

func storeNamed(name string) data.StoreID {
	return data.StoreID{Tenant: name + strings.Repeat("0", 15-len(name)), Environment: data.Prod}
}

// copied makes a store that has the same records, as a restore of the source does.
func (w *world) copied(name string, source data.StoreID, ids []string) data.StoreID {
	w.t.Helper()
	id, ctx := storeNamed(name), w.t.Context()
	w.must(w.ring.Add(keys.Owner(id.String()), keys.Pages, keys.Files, keys.Personal))
	w.must(w.Copied(ctx, id, source, time.Time{}))
	w.now = w.now.Add(time.Second)
	w.must(w.pool.Create(ctx, id))
	w.at(id, func(st *store.Store) {
		w.must(st.CreateCollection(ctx, "people", []store.Field{{Name: "name", Type: "text"}}))
		rest := ids
		_, err := st.Import(ctx, "people", store.ImportOptions{}, func() (map[string]any, int, error) {
			if len(rest) == 0 {
				return nil, 0, io.EOF
			}
			row := map[string]any{"id": rest[0], "name": "copied"}
			rest = rest[1:]
			return row, len(ids) - len(rest), nil
		}, nil)
		w.must(err)
	})
	return id
}

func (w *world) at(id data.StoreID, fn func(*store.Store)) {
	w.t.Helper()
	st, err := w.pool.Acquire(w.t.Context(), id)
	w.must(err)
	defer st.Release()
	fn(st)
}

func (w *world) idsAt(id data.StoreID) (ids []string) {
	w.t.Helper()
	w.at(id, func(st *store.Store) {
		w.must(st.IDs(w.t.Context(), "people", func(id string) error { ids = append(ids, id); return nil }))
	})
	return ids
}

// TestErasureReachesCopies: what is erased goes from every store that was made of a
// snapshot of this one, and of those; where it does not, the answer says what is left
// to do.
func TestErasureReachesCopies(t *testing.T) {
	w := newWorld(t)
	w.target("offsite")
	ids := w.filled(4)
	beta := w.copied("beta", acme, ids)
	gamma := w.copied("gamma", beta, ids[:2]) // made when the third was there no more
	w.barred = w.copied("delta", acme, ids)
	parked := w.copied("parked", acme, ids)
	w.must(w.Copied(t.Context(), storeNamed("never"), acme, w.now)) // its restore failed
	w.must(w.pool.Evict(t.Context(), parked))
	w.must(w.ring.Park(keys.Owner(parked.String())))
	ctx := store.OnDuty(data.WithActor(t.Context(), data.Actor{Kind: data.Person, ID: "p"}))
	e, err := w.Erase(ctx, "acme", acme, NewErasure{Collection: "people", Record: ids[2]})
	w.must(err)
	got := map[string]CopyErasure{}
	for _, c := range e.Copies {
		got[c.Name] = c
	}
	if len(got) != 4 || got["beta/prod"].State != CopyErased || got["beta/prod"].Records != 1 || got["gamma/prod"].State != CopyErased ||
		got["gamma/prod"].Records != 0 || got["parked/prod"].State != CopyParked {
		t.Fatalf("%+v", e.Copies)
	}
	if c := got["delta/prod"]; c.State != CopyRefused || !strings.Contains(c.Fix, "holdfast erase delta/prod people "+ids[2]) {
		t.Errorf("%+v", c)
	}
	if left := w.idsAt(beta); len(left) != 3 || slices.Contains(left, ids[2]) || len(w.idsAt(gamma)) != 2 || len(w.idsAt(w.barred)) != 4 {
		t.Errorf("left %v", left)
	}
	w.must(w.ring.Unpark(keys.Owner(parked.String())))
	w.must(w.Sweep(t.Context(), w.now))
	if left := w.idsAt(parked); len(left) != 3 || slices.Contains(left, ids[2]) {
		t.Errorf("after it was undeleted: %v", left)
	}
	page, err := w.Erasures(t.Context(), acme, api.Paging{Page: 1, PerPage: 10})
	if err != nil || page.Total != 1 || len(page.Items[0].Copies) != 3 {
		t.Errorf("%+v %v", page, err)
	}
	page, err = w.Erasures(t.Context(), gamma, api.Paging{Page: 1, PerPage: 10})
	if err != nil || page.Total != 1 || page.Items[0].Origin != e.ID || page.Items[0].Finished == nil {
		t.Errorf("%+v %v", page, err)
	}
	fn, err := w.Replay(t.Context(), gamma) // a snapshot of the copy may have it
	if err != nil || fn == nil {
		t.Error("a restore of the copy knows nothing of it", err)
	}
}

// TestCopiesAreOnlyNamed: who asks for it gets the names alone.
func TestCopiesAreOnlyNamed(t *testing.T) {
	w := newWorld(t)
	ids := w.filled(2)
	beta := w.copied("beta", acme, ids)
	e, err := w.Erase(t.Context(), "acme", acme, NewErasure{Collection: "people", Record: ids[0], Copies: "name"})
	if err != nil || len(e.Copies) != 1 || e.Copies[0].State != CopyNamed || e.Copies[0].Fix == "" || len(w.idsAt(beta)) != 2 {
		t.Fatalf("%+v %v", e, err)
	}
	if _, err := w.Erase(t.Context(), "acme", acme, NewErasure{Collection: "people", Record: ids[1], Copies: "all"}); err == nil {
		t.Error("an unknown way")
	}
}

// TestErasedWhileCopied: what is erased while a copy is being made is taken out of it
// when it is there.
func TestErasedWhileCopied(t *testing.T) {
	w := newWorld(t)
	ids := w.filled(2)
	_, err := w.Erase(t.Context(), "acme", acme, NewErasure{Collection: "people", Record: ids[0]})
	w.must(err)
	beta := w.copied("beta", acme, ids)
	w.must(w.CopyLive(t.Context(), beta, acme))
	if left := w.idsAt(beta); len(left) != 1 || left[0] != ids[1] {
		t.Errorf("left %v", left)
	}
}

// TestCertificateNamesCopies: a copy outlives its source, and the certificate says so.
func TestCertificateNamesCopies(t *testing.T) {
	w := newWorld(t)
	w.copied("beta", acme, nil)
	c := w.destroy().Certificate
	if len(c.Copies) != 1 || c.Copies[0].Kind != "store" || c.Copies[0].Where != "beta/prod" || !c.Copies[0].Readable {
		t.Errorf("%+v", c.Copies)
	}
}
