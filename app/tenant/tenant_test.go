package tenant

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast/app/api"
	"holdfast/data"
	"holdfast/data/keys"
	"holdfast/data/store"
)

func TestCreateShowsAndResolves(t *testing.T) {
	w := newWorld(t)
	made, err := w.Create(t.Context(), "acme", " Acme & Sons ")
	w.must(err)
	if made.Slug != "acme" || made.Name != "Acme & Sons" || made.State != Live || made.URL != "http://acme.prod" || len(made.ID) != 15 || len(made.Environments) != 1 {
		t.Errorf("got %+v", made)
	}
	id, err := w.Resolve(t.Context(), "acme", data.Prod)
	w.must(err)
	if id != (data.StoreID{Tenant: made.ID, Environment: data.Prod}) {
		t.Errorf("got %v", id)
	}
	st, err := w.pool.Acquire(t.Context(), id)
	w.must(err)
	st.Release()
	if slug, err := w.Slug(t.Context(), made.ID); err != nil || slug != "acme" {
		t.Errorf("got %q, %v", slug, err)
	}
	_, err = w.Resolve(t.Context(), "acme", data.Test)
	wantErr(t, err, data.ErrNotFound)
	_, err = w.Resolve(t.Context(), "nobody", data.Prod)
	wantErr(t, err, data.ErrNotFound)
	w.wantActions("tenant.create:ok")
}

func TestBadSlugs(t *testing.T) {
	w := newWorld(t)
	for _, slug := range []string{
		"", "Acme", "a--b", "-acme", "acme-", "api", "admin", "www", "studio", "console", "static", "mail", "ns", "localhost",
		"holdfast", "t", "acme corp", "acme.corp", "açme", "a/b", "xn--80ak6aa92e", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
	} {
		_, err := w.Create(t.Context(), slug, "")
		wantStatus(t, err, 422)
	}
	_, err := w.Create(t.Context(), "acme", "bad\nname")
	wantStatus(t, err, 422)
	w.create("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa")
	w.create("0")
	w.create("acme")
	_, err = w.Create(t.Context(), "acme", "")
	wantStatus(t, err, 409)
	wantErr(t, err, data.ErrExists)
}

func TestCreateIsAllOrNothing(t *testing.T) {
	w := newWorld(t)
	w.log.fail = errors.New("the log is full")
	if _, err := w.Create(t.Context(), "acme", ""); !errors.Is(err, w.log.fail) {
		t.Fatalf("got %v", err)
	}
	_, err := w.Get(t.Context(), "acme")
	wantErr(t, err, data.ErrNotFound)
	if left, _ := filepath.Glob(filepath.Join(w.stores(), "*", "*")); len(left) != 0 {
		t.Errorf("left %v", left)
	}
	for _, e := range w.ring.Entries() {
		if e.Owner != keys.System && e.State != keys.Destroyed {
			t.Errorf("left key %+v", e)
		}
	}
	w.log.fail = nil
	w.create("acme")
}

func TestEnvironments(t *testing.T) {
	w := newWorld(t)
	w.create("acme")
	for _, name := range []string{"prod", "nonsense", ""} {
		_, err := w.CreateEnvironment(t.Context(), "acme", name)
		wantStatus(t, err, 422)
	}
	_, err := w.CreateEnvironment(t.Context(), "nobody", data.Test)
	wantErr(t, err, data.ErrNotFound)
	w.log.fail = errors.New("the log is full")
	_, err = w.CreateEnvironment(t.Context(), "acme", data.Test)
	wantErr(t, err, w.log.fail)
	w.log.fail = nil
	made, err := w.CreateEnvironment(t.Context(), "acme", data.Test)
	w.must(err)
	if made.Name != data.Test || made.URL != "http://acme.test" || made.State != Live {
		t.Errorf("got %+v", made)
	}
	_, err = w.CreateEnvironment(t.Context(), "acme", data.Test)
	wantErr(t, err, data.ErrExists)
	if got, _ := w.Get(t.Context(), "acme"); len(got.Environments) != 2 || got.Environments[0].Name != data.Prod {
		t.Errorf("got %+v", got)
	}
	one, _ := w.Store(t.Context(), "acme", data.Prod)
	two, err := w.Store(t.Context(), "acme", data.Test)
	w.must(err)
	if one == two || one.Tenant != two.Tenant {
		t.Errorf("got %v and %v", one, two)
	}
}

func TestDeleteParksAndUndeleteBringsBack(t *testing.T) {
	w := newWorld(t)
	w.create("acme")
	_, err := w.CreateEnvironment(t.Context(), "acme", data.Dev)
	w.must(err)
	id, _ := w.Store(t.Context(), "acme", data.Prod)
	_, err = w.Undelete(t.Context(), "acme")
	wantStatus(t, err, 409)
	gone, err := w.Delete(t.Context(), "acme", false)
	w.must(err)
	if gone.State != Parked || !gone.ParkedUntil.Equal(w.clock.now().Add(7*24*time.Hour)) || gone.Environments[0].State != Parked {
		t.Errorf("got %+v", gone)
	}
	for _, env := range []string{data.Prod, data.Dev} {
		_, err = w.Resolve(t.Context(), "acme", env)
		wantErr(t, err, data.ErrParked)
	}
	_, err = w.pool.Acquire(t.Context(), id)
	wantErr(t, err, data.ErrParked)
	if w.pool.OpenCount() != 0 || len(w.followed) != 2 {
		t.Errorf("%d open, followed %v", w.pool.OpenCount(), w.followed)
	}
	_, err = w.Create(t.Context(), "acme", "")
	wantStatus(t, err, 409)
	_, err = w.Delete(t.Context(), "acme", false)
	wantStatus(t, err, 409)
	_, err = w.CreateEnvironment(t.Context(), "acme", data.Test)
	wantErr(t, err, data.ErrParked)
	back, err := w.Undelete(t.Context(), "acme")
	w.must(err)
	if back.State != Live || back.ParkedUntil != nil {
		t.Errorf("got %+v", back)
	}
	st, err := w.pool.Acquire(t.Context(), id)
	w.must(err)
	st.Release()
	w.wantActions("tenant.create:ok", "environment.create:ok", "tenant.delete:ok", "tenant.undelete:ok")
}

func (w *world) wantDestroyed(slug string, id data.StoreID) {
	w.t.Helper()
	_, err := w.Resolve(w.t.Context(), slug, data.Prod)
	wantErr(w.t, err, data.ErrDestroyed)
	_, err = w.Undelete(w.t.Context(), slug)
	wantErr(w.t, err, data.ErrDestroyed)
	if state, err := w.ring.State(keys.Owner(id.String())); err != nil || state != keys.Destroyed {
		w.t.Errorf("keys are %v, %v", state, err)
	}
	if _, err := os.Stat(filepath.Join(w.stores(), id.Tenant, id.Environment)); !os.IsNotExist(err) {
		w.t.Errorf("the folder is there: %v", err)
	}
	if got, err := w.Get(w.t.Context(), slug); err != nil || got.State != Destroyed {
		w.t.Errorf("got %+v, %v", got, err)
	}
}

func TestDeleteNowDestroys(t *testing.T) {
	w := newWorld(t)
	first := w.create("acme")
	id, _ := w.Store(t.Context(), "acme", data.Prod)
	_, err := w.Delete(t.Context(), "acme", true)
	w.must(err)
	w.wantDestroyed("acme", id)
	_, err = w.Delete(t.Context(), "acme", true)
	wantErr(t, err, data.ErrDestroyed)
	if again := w.create("acme"); again.ID == first.ID {
		t.Error("the new tenant has the destroyed one's id")
	}
	if _, err := w.Resolve(t.Context(), "acme", data.Prod); err != nil {
		t.Error(err)
	}
}

func TestWindowEnds(t *testing.T) {
	w := newWorld(t)
	w.create("acme")
	id, _ := w.Store(t.Context(), "acme", data.Prod)
	_, err := w.Delete(t.Context(), "acme", false)
	w.must(err)
	w.clock.pass(UndeleteWindow - time.Second)
	w.must(w.Sweep(t.Context(), w.clock.now()))
	if got, _ := w.Get(t.Context(), "acme"); got.State != Parked {
		t.Errorf("a second too early: %+v", got)
	}
	w.clock.pass(time.Second)
	_, err = w.Undelete(t.Context(), "acme")
	wantErr(t, err, data.ErrDestroyed)
	w.must(w.Sweep(t.Context(), w.clock.now()))
	w.wantDestroyed("acme", id)
	w.wantActions("tenant.create:ok", "tenant.delete:ok", "tenant.destroy:ok")
	if by := w.log.actors[2]; by != "system" {
		t.Errorf("destroyed by %s", by)
	}
}

func TestNothingIsDestroyedWithoutAnEntry(t *testing.T) {
	w := newWorld(t)
	w.create("acme")
	w.log.fail = errors.New("the log is full")
	for _, now := range []bool{false, true} {
		if _, err := w.Delete(t.Context(), "acme", now); !errors.Is(err, w.log.fail) {
			t.Errorf("got %v", err)
		}
	}
	w.log.fail = nil
	id, err := w.Store(t.Context(), "acme", data.Prod)
	w.must(err)
	if state, err := w.ring.State(keys.Owner(id.String())); err != nil || state != keys.Live {
		t.Errorf("keys are %v, %v", state, err)
	}
}

// TestDeleteCancelsOperations: an import of an hour must not keep a tenant from
// being deleted.
func TestDeleteCancelsOperations(t *testing.T) {
	w := newWorld(t)
	w.create("acme")
	id, _ := w.Store(t.Context(), "acme", data.Prod)
	held := make(chan struct{})
	op, err := w.ops.Start(t.Context(), "import", "acme", id.String(), func(ctx context.Context, _ *api.Progress) (any, error) {
		err := w.Service.open(ctx, id, func(*store.Store) error {
			close(held)
			<-ctx.Done()
			return ctx.Err()
		})
		return nil, err
	})
	w.must(err)
	<-held
	_, err = w.Delete(t.Context(), "acme", false)
	w.must(err)
	if op, err = w.ops.Wait(t.Context(), op.ID); err != nil || op.State != api.Cancelled {
		t.Errorf("got %s, %v", op.State, err)
	}
	if w.pool.OpenCount() != 0 {
		t.Error("the store is open")
	}
}

// TestDurabilityOfAStore: it is set in words that are checked, is in the log, and
// shows on the store's page.
func TestDurabilityOfAStore(t *testing.T) {
	w := newWorld(t)
	w.create("acme")
	const path = "/api/v1/stores/acme/prod"
	shows := func(want string) {
		t.Helper()
		if a := w.call("owner", "GET", path, ""); a.Code != 200 || !strings.Contains(a.Body.String(), `"durability":"`+want+`"`) {
			t.Errorf("%d %s", a.Code, a.Body)
		}
	}
	shows("full")
	if a := w.call("owner", "PATCH", path, `{"durability":"often"}`); a.Code != 422 && a.Code != 400 {
		t.Errorf("%d %s", a.Code, a.Body)
	}
	if a := w.call("owner", "PATCH", path, `{"durability":"relaxed"}`); a.Code != 200 {
		t.Errorf("%d %s", a.Code, a.Body)
	}
	shows("relaxed")
	if !slices.Contains(w.log.actions(), "store.durability:ok") {
		t.Errorf("not in the log: %v", w.log.actions())
	}
}
