package tenant

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"

	"holdfast/data"
	"holdfast/data/keys"
)

// again ends the process in words only: everything is closed and opened anew.
func (w *world) again() {
	w.t.Helper()
	w.shut()
	w.open()
}

// half makes a tenant as a crash leaves it: reserved, and as far as the steps go.
func (w *world) half(slug string, adopted bool, steps int) row {
	w.t.Helper()
	r, err := w.reserve(w.t.Context(), slug, slug, "", adopted)
	w.must(err)
	id := r.store(data.Prod)
	if steps > 0 {
		w.must(w.ring.Add(keys.Owner(id.String()), purposes...))
	}
	if steps > 1 {
		w.must(w.pool.Create(w.t.Context(), id))
	}
	return r
}

func TestHalfMadeTenantsAreFinished(t *testing.T) {
	for steps := range 3 {
		w := newWorld(t)
		r := w.half("acme", false, steps)
		_, err := w.Get(t.Context(), "acme")
		wantErr(t, err, data.ErrNotFound) // nobody was told of it
		_, err = w.Resolve(t.Context(), "acme", data.Prod)
		wantErr(t, err, data.ErrNotFound)
		w.again()
		id, err := w.Resolve(t.Context(), "acme", data.Prod)
		w.must(err)
		st, err := w.pool.Acquire(t.Context(), id)
		w.must(err)
		st.Release()
		if id.Tenant != r.ID || w.log.actors[len(w.log.actors)-1] != "system" {
			t.Errorf("%d steps: got %v, %v", steps, id, w.log.actors)
		}
	}
}

// TestHalfMadeTenantKeepsForWhomItIs: one that was made for somebody else is not finished
// without them, nor does it keep the address once it is made.
func TestHalfMadeTenantKeepsForWhomItIs(t *testing.T) {
	w := newWorld(t)
	r, err := w.reserve(t.Context(), "acme", "acme", "olga@example.com", false)
	w.must(err)
	var got []Founding
	w.founded = func(_ context.Context, f Founding) error { got = append(got, f); return nil }
	w.again()
	if want := (Founding{Tenant: r.ID, Owner: "olga@example.com", Again: true}); len(got) != 1 || got[0] != want {
		t.Fatalf("got %+v, want %+v", got, want)
	}
	rows, err := w.rows(t.Context(), `state = 'live'`)
	w.must(err)
	if len(rows) != 1 || rows[0].Owner != "" {
		t.Errorf("got %+v", rows)
	}
	_, err = w.CreateFor(t.Context(), "beta", "", "tom@example.com")
	w.must(err)
	if got[1].Owner != "tom@example.com" {
		t.Errorf("got %+v", got)
	}
}

func TestHalfMadeTenantIsTakenUpByTheNextCreate(t *testing.T) {
	for steps := range 3 {
		w := newWorld(t)
		r := w.half("acme", false, steps)
		made, err := w.Create(t.Context(), "acme", "Acme")
		w.must(err)
		if made.ID != r.ID || made.Name != "Acme" {
			t.Errorf("%d steps: got %+v", steps, made)
		}
	}
}

func TestHalfRestoredTenantIsUndone(t *testing.T) {
	w := newWorld(t)
	r := w.half("acme", true, 2)
	_, err := w.Create(t.Context(), "acme", "")
	wantErr(t, err, data.ErrExists)
	w.again()
	_, err = w.Get(t.Context(), "acme")
	wantErr(t, err, data.ErrNotFound)
	_, err = w.pool.Acquire(t.Context(), r.store(data.Prod))
	wantErr(t, err, data.ErrNotFound)
	w.create("acme")
}

func TestHalfMadeEnvironmentIsFinished(t *testing.T) {
	w := newWorld(t)
	acme := w.create("acme")
	w.must(w.db.Update(t.Context(), func(tx *sqlx.Tx) error {
		return insertEnvironment(t.Context(), tx, environmentRow{acme.ID, data.Test, creating, 1})
	}))
	w.found.forget("acme")
	_, err := w.Resolve(t.Context(), "acme", data.Test)
	wantErr(t, err, data.ErrNotFound)
	w.again()
	id, err := w.Resolve(t.Context(), "acme", data.Test)
	w.must(err)
	st, err := w.pool.Acquire(t.Context(), id)
	w.must(err)
	st.Release()
}

// TestHalfDoneStepsAreEnded stops each step between its row and its keys.
func TestHalfDoneStepsAreEnded(t *testing.T) {
	for _, c := range []struct {
		before, step change
		want         keys.State
	}{
		{change{}, change{state: Parked, until: time.Now().Add(time.Hour)}, keys.Parked},
		{change{}, change{state: Destroyed}, keys.Destroyed},
		{change{state: Parked}, change{state: Destroyed}, keys.Destroyed},
		{change{state: Parked}, change{state: Live}, keys.Live},
	} {
		w := newWorld(t)
		w.create("acme")
		if c.before.state == Parked {
			_, err := w.Delete(t.Context(), "acme", false)
			w.must(err)
		}
		r, err := w.row(t.Context(), "acme")
		w.must(err)
		w.must(w.mark(t.Context(), &r, c.step))
		if _, err := w.Resolve(t.Context(), "acme", data.Prod); err == nil {
			t.Errorf("%s: the store is open to requests before its keys are", c.step.state)
		}
		w.again()
		if state, err := w.ring.State(keys.Owner(r.store(data.Prod).String())); err != nil || state != c.want {
			t.Errorf("from %q to %s: keys are %v, %v", c.before.state, c.step.state, state, err)
		}
		if got, _ := w.Get(t.Context(), "acme"); got.State != c.step.state {
			t.Errorf("got %+v", got)
		}
	}
}

func TestAdopt(t *testing.T) {
	w := newWorld(t)
	broken := errors.New("the chain is broken")
	_, err := w.Adopt(t.Context(), "again", "", "", func(context.Context, data.StoreID) error { return broken })
	wantErr(t, err, broken)
	_, err = w.Get(t.Context(), "again")
	wantErr(t, err, data.ErrNotFound)
	var filled data.StoreID
	made, err := w.Adopt(t.Context(), "again", "Again", "", func(ctx context.Context, id data.StoreID) error {
		filled = id
		if _, err := w.Create(ctx, "again", ""); !errors.Is(err, data.ErrBusy) {
			t.Errorf("the slug is free meanwhile: %v", err)
		}
		return w.pool.Create(ctx, id)
	})
	w.must(err)
	if made.ID != filled.Tenant || made.State != Live {
		t.Errorf("got %+v", made)
	}
	w.wantActions("tenant.adopt:ok")
}

func TestSweepTriesAgain(t *testing.T) {
	w := newWorld(t)
	w.create("acme")
	r, err := w.row(t.Context(), "acme")
	w.must(err)
	w.must(w.mark(t.Context(), &r, change{state: Destroyed}))
	w.must(w.Sweep(t.Context(), w.clock.now()))
	w.wantDestroyed("acme", r.store(data.Prod))
}
