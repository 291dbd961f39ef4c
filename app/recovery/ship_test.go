package recovery

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/app/api"
	"holdfast/backup"
	"holdfast/backup/objects"
	"holdfast/data"
	"holdfast/data/keys"
)

// begin lets the room ship by itself, as in a server: with commits told and live
// stores listed.
func (w *world) begin() {
	w.t.Helper()
	w.must(w.Start(w.t.Context()))
}

// live lists the stores whose keys are.
func (w *world) live(context.Context) (ids []data.StoreID, err error) {
	for _, e := range w.ring.Entries() {
		if id, err := data.ParseStoreID(string(e.Owner)); err == nil && e.Purpose == keys.Segments && e.State == keys.Live {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// state is a tenant's state on one target.
func (w *world) state(slug, target string) (one TargetStatus) {
	w.t.Helper()
	var st Status
	w.call("GET", "/stores/"+slug+"/prod/snapshots/status", "", 200, &st)
	for _, t := range st.Targets {
		if t.Target == target {
			one = t
		}
	}
	return one
}

// until waits for a condition; the server is told of nothing meanwhile.
func (w *world) until(what string, ok func() bool) {
	w.t.Helper()
	for end := time.Now().Add(2 * time.Minute); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			w.t.Fatalf("not within a minute: %s", what)
		}
	}
}

func (w *world) arrived(slug, target string, after int64) int64 {
	w.t.Helper()
	var st TargetStatus
	w.until(fmt.Sprintf("%s is on %s behind %d", slug, target, after), func() bool {
		st = w.state(slug, target)
		return st.Seq > after && st.State == stateCurrent && st.Lag == 0
	})
	return st.Seq
}

// away is a target that can be made to be away.
type away struct {
	backup.ObjectStore
	gone *atomic.Bool
	puts *atomic.Int64
}

var errAway = errors.New("the target is away")

func (a away) Put(ctx context.Context, name string, body io.Reader, size int64, o backup.PutOptions) error {
	if a.gone.Load() {
		return errAway
	}
	a.puts.Add(1)
	return a.ObjectStore.Put(ctx, name, body, size, o)
}

// TestShipsAlone: a target that is added gets every store, changes follow, one
// target that is away keeps neither the other nor the writer, and gets all when it
// is back; what nobody wrote to is not opened again.
func TestShipsAlone(t *testing.T) {
	w := newWorld(t)
	var gone atomic.Bool
	var puts atomic.Int64
	w.openStore = func(url string, c objects.Credentials) (backup.ObjectStore, error) {
		s, err := objects.Open(url, c)
		if strings.Contains(url, "two") {
			return away{s, &gone, &puts}, err
		}
		return s, err
	}
	w.open()
	w.begin()
	w.tenant("acme", 20)
	w.tenant("idle", 5)
	two := filepath.Join(t.TempDir(), "two")
	w.folder("one")
	w.call("POST", "/targets", fmt.Sprintf(`{"name":"two","url":"file://%s","place":"elsewhere"}`, two), 201, nil)
	for _, slug := range []string{"acme", "idle"} {
		w.arrived(slug, "one", 0)
		w.arrived(slug, "two", 0)
	}
	w.must(w.pool.Evict(t.Context(), w.tenants["idle"].id))
	w.add("acme", "more", 3)
	one, before := w.arrived("acme", "one", 1), w.arrived("acme", "two", 1)

	gone.Store(true)
	w.add("acme", "while it is away", 3)
	one = w.arrived("acme", "one", one)
	w.until("two is away", func() bool {
		st := w.state("acme", "two")
		return st.State == stateAbsent && st.Lag > 0 && st.Why != ""
	})
	gone.Store(false)
	w.add("acme", "more", 3)
	w.arrived("acme", "one", one)
	w.arrived("acme", "two", before)
	if w.pool.OpenCount() > 1 {
		t.Error("the idle store was opened")
	}
	var page api.Page[Overview]
	w.call("GET", "/snapshots/overview", "", 200, &page)
	if page.Total != 2 || page.Items[0].State != stateCurrent || page.Items[0].Targets != 2 || page.Items[0].Places != 2 {
		t.Errorf("overview: %+v", page)
	}
	if lanes := page.Items[0].Lanes; len(lanes) != 2 || lanes[0].Target != "one" || lanes[1].Newest == nil || page.Items[0].Bytes < data.PageSize || page.Items[0].Drill != nil {
		t.Errorf("overview: %+v", page.Items[0])
	}
	w.drilled.Store(true)
	w.call("GET", "/snapshots/overview?filter=current&perPage=1&page=2", "", 200, &page)
	if page.Total != 2 || len(page.Items) != 1 || page.Items[0].Drill == nil || page.Items[0].Drill.Target != "of "+page.Items[0].Store {
		t.Errorf("overview with drills: %+v", page)
	}
	if w.call("GET", "/snapshots/overview?filter=trouble", "", 200, &page); page.Total != 0 {
		t.Errorf("trouble: %+v", page)
	}
	for _, target := range []string{"one", "two"} {
		var got Restored
		w.done("/stores/acme/prod/restores", fmt.Sprintf(`{"as":"copy-%s","target":%q}`, target, target), &got)
		if w.content(got.Slug) != w.content("acme") {
			t.Errorf("the copy from %s differs", target)
		}
	}
}

// TestShipsAfterRestart: what a crash left unshipped is shipped, and what was
// closed well is not opened.
func TestShipsAfterRestart(t *testing.T) {
	w := newWorld(t)
	w.begin()
	w.tenant("acme", 20)
	w.tenant("idle", 5)
	w.folder("one")
	seq := w.arrived("acme", "one", 0)
	w.arrived("idle", "one", 0)
	w.must(w.Service.Close())
	w.add("acme", "unshipped", 3) // nobody is told of it
	w.must(w.pool.Evict(t.Context(), w.tenants["idle"].id))
	w.open()
	w.begin()
	w.arrived("acme", "one", seq)
	if n := w.pool.OpenCount(); n != 1 {
		t.Errorf("%d stores are open", n)
	}
	w.add("acme", "at the end", 3)
	w.must(w.Service.Close()) // ships it
	w.open()
	w.add("acme", "by a command without a server", 3)
	w.open() // which only notes that
	w.must(w.pool.Evict(t.Context(), w.tenants["acme"].id))
	w.begin()
	w.arrived("acme", "one", seq+2)
	var v Verified
	if w.done("/stores/acme/prod/snapshots/verify", "", &v); !v.OK {
		t.Fatalf("%+v", v)
	}
	var got Restored
	w.done("/stores/acme/prod/restores", `{"as":"copy"}`, &got)
	if w.content("copy") != w.content("acme") {
		t.Error("what was written last was not shipped")
	}
}

// TestFenced: another host goes on with a chain; this one stops and says so, and
// goes on only when it is told to.
func TestFenced(t *testing.T) {
	w := newWorld(t)
	w.tenant("acme", 20)
	w.folder("one")
	w.ship("acme")
	staged := filepath.Join(w.dir, "staging", w.tenants["acme"].id.Tenant)
	other := filepath.Join(w.dir, "staging-of-another")
	w.must(os.CopyFS(other, os.DirFS(staged)))
	w.add("acme", "here", 1)
	w.ship("acme")
	swap := func() { // the other host has the copy
		w.must(w.Service.Close())
		w.must(os.Rename(staged, staged+"-mine"))
		w.must(os.Rename(other, staged))
		w.must(os.Rename(staged+"-mine", other))
		w.open()
	}
	swap()
	w.ship("acme") // it begins an epoch behind what is there
	swap()
	w.begin()
	w.add("acme", "there", 1)
	w.until("it is fenced", func() bool { return w.state("acme", "one").State == stateFenced })
	w.until("the log tells", func() bool { return w.log.last().Action == "snapshot.fenced" })
	w.failed("/stores/acme/prod/snapshots", "", "fenced")
	found, err := w.Findings(t.Context())
	if err != nil || !strings.Contains(fmt.Sprint(found), "shipping-fenced") {
		t.Errorf("findings: %v, %v", found, err)
	}
	w.must(w.Service.Close())
	w.open()
	w.begin()
	if st := w.state("acme", "one"); st.State != stateFenced {
		t.Errorf("after a restart: %+v", st)
	}
	w.done("/stores/acme/prod/snapshots/takeover", `{"target":"one"}`, &Shipped{})
	if e := w.log.last(); e.Action != "snapshot.takeover" || e.Outcome != api.OK {
		t.Errorf("recorded %+v", e)
	}
	w.add("acme", "again", 1)
	w.arrived("acme", "one", 3)
	var v Verified
	if w.done("/stores/acme/prod/snapshots/verify", "", &v); !v.OK {
		t.Fatalf("%+v", v)
	}
}

// TestRegions: a policy keeps a store from targets elsewhere, for whoever asks.
func TestRegions(t *testing.T) {
	w := newWorld(t)
	w.tenant("acme", 5)
	w.folder("here")
	const path = "/stores/acme/prod/snapshots/policy"
	var p Policy
	if w.call("GET", path, "", 200, &p); p.EverySeconds != 1 || p.Retention.Hourly == 0 {
		t.Fatalf("the default is %+v", p)
	}
	w.call("PUT", path, `{"regions":["eu"]}`, 200, &p)
	if text := w.call("POST", "/stores/acme/prod/snapshots", "", 409, nil); !strings.Contains(text, "has no region") {
		t.Error(text)
	}
	w.call("PATCH", "/targets/here", `{"region":"us"}`, 200, nil)
	if text := w.call("POST", "/stores/acme/prod/snapshots", `{"target":"here"}`, 409, nil); !strings.Contains(text, "in region us") {
		t.Error(text)
	}
	w.call("PUT", path, `{"regions":["eu"],"targets":["here"]}`, 422, nil)
	w.begin()
	w.add("acme", "more", 1)
	if st := w.state("acme", "here"); st.State != statePaused || !strings.Contains(st.Why, "region us") {
		t.Errorf("%+v", st)
	}
	w.call("PATCH", "/targets/here", `{"region":"eu","place":"cellar"}`, 200, nil)
	w.must(w.Sweep(t.Context(), time.Now()))
	w.arrived("acme", "here", 0)
	for _, bad := range []string{
		`{"every_seconds":-1}`, `{"lock":{"mode":"forever","days":3}}`, `{"lock":{"mode":"compliance"}}`, `{"targets":["nowhere"]}`,
		`{"retention":{"all_hours":0,"hourly":0,"daily":0,"weekly":0,"monthly":0}}`, `{"what":1}`,
	} {
		w.call("PUT", path, bad, 422, nil)
	}
	w.call("PATCH", "/targets/here", `{"region":"<b>"}`, 422, nil)
	w.call("PATCH", "/targets/nowhere", `{"region":"eu"}`, 404, nil)
}

// unconditional takes every write, as a bucket without conditional writes does.
type unconditional struct{ backup.ObjectStore }

func (u unconditional) Put(ctx context.Context, name string, body io.Reader, size int64, o backup.PutOptions) error {
	o.IfNoneMatch = false
	return u.ObjectStore.Put(ctx, name, body, size, o)
}

// TestUnconditional: a bucket that cannot tell two hosts apart is found and not
// used.
func TestUnconditional(t *testing.T) {
	w := newWorld(t)
	w.openStore = func(url string, c objects.Credentials) (backup.ObjectStore, error) {
		s, err := objects.Open(url, c)
		return unconditional{s}, err
	}
	w.open()
	w.tenant("acme", 5)
	w.folder("bad")
	if text := w.call("POST", "/targets/bad/test", "", 502, nil); !strings.Contains(text, "conditional") {
		t.Error(text)
	}
	w.failed("/stores/acme/prod/snapshots", "", "target-failed")
	found, err := w.Findings(t.Context())
	if err != nil || !strings.Contains(fmt.Sprint(found), "target-failed") {
		t.Errorf("findings: %v, %v", found, err)
	}
}

// TestCollisions: locks are capped by the erasure horizon, and that is told.
func TestCollisions(t *testing.T) {
	p := defaultPolicy()
	p.Lock, p.ErasureHorizonDays = LockRule{"compliance", 400}, 365
	if got := p.lock(); got.Mode != backup.Compliance || got.For != 365*day {
		t.Errorf("locked for %v", got)
	}
	if !strings.Contains(p.collision(), "400 days") {
		t.Error(p.collision())
	}
	p.Lock = LockRule{}
	if !strings.Contains(p.collision(), "372 days") {
		t.Error(p.collision())
	}
	if p.ErasureHorizonDays = 0; p.collision() != "" {
		t.Error(p.collision())
	}
}

// TestPause: failures in a row wait ever longer, up to a bound.
func TestPause(t *testing.T) {
	for n, want := range map[int]time.Duration{0: time.Second, 1: time.Second, 2: 2 * time.Second, 6: 32 * time.Second, 7: time.Minute, 99: time.Minute} {
		if got := pause(n); got != want {
			t.Errorf("after %d failures %v, want %v", n, got, want)
		}
	}
}

// TestPurge: what a destroyed store left on a target goes, and nothing else.
func TestPurge(t *testing.T) {
	w := newWorld(t)
	w.tenant("acme", 5)
	w.tenant("other", 5)
	dir := w.folder("one")
	w.ship("acme")
	w.ship("other")
	w.begin()
	acme := w.tenants["acme"].id
	w.must(w.pool.Evict(t.Context(), acme))
	w.must(w.ring.Destroy(keys.Owner(acme.String())))
	w.must(w.Forget(t.Context(), acme))
	w.must(w.SweepPrunes(t.Context(), time.Now()))
	w.must(w.SweepPrunes(t.Context(), time.Now().Add(2*time.Hour)))
	w.until("it is purged", func() bool {
		w.must(w.SweepPrunes(t.Context(), time.Now().Add(2*time.Hour)))
		left, err := filepath.Glob(filepath.Join(dir, "t", acme.Tenant, "prod", "*", "*"))
		w.must(err)
		return len(left) == 0
	})
	var v Verified
	if w.done("/stores/other/prod/snapshots/verify", "", &v); !v.OK || v.Snapshots != 1 {
		t.Errorf("%+v", v)
	}
}

// TestPrune: nothing is given up before a drill; then only what no kept point needs.
func TestPrune(t *testing.T) {
	w := newWorld(t)
	w.tenant("acme", 5)
	w.folder("one")
	for i := range 4 {
		w.add("acme", fmt.Sprint("more ", i), 1)
		w.ship("acme")
	}
	w.call("PUT", "/stores/acme/prod/snapshots/policy", `{"retention":{"all_hours":0,"last":1,"hourly":0,"daily":0,"weekly":0,"monthly":0}}`, 200, nil)
	var p Pruned
	w.done("/stores/acme/prod/snapshots/prune", "", &p)
	if one := p.Targets[0]; one.Verified != 0 || one.Condemned != 0 || one.Dropped != 0 {
		t.Fatalf("before a drill: %+v", p)
	}
	w.good = []int64{3}
	w.done("/stores/acme/prod/snapshots/prune", "", &p)
	if one := p.Targets[0]; one.Verified != 3 || one.Until != 3 || one.Condemned != 0 { // the newest snapshot builds on all of them
		t.Fatalf("after it: %+v", p)
	}
	var v Verified
	if w.done("/stores/acme/prod/snapshots/verify", "", &v); !v.OK {
		t.Fatalf("%+v", v)
	}
	var got Restored
	w.done("/stores/acme/prod/restores", `{"as":"copy"}`, &got)
	if w.content("copy") != w.content("acme") {
		t.Error("the copy differs")
	}
}

// TestOwn: the system database and the vault are shipped, and shipping's own notes
// are no reason to ship again.
func TestOwn(t *testing.T) {
	w := newWorld(t)
	w.must(w.ring.Add(keys.System, keys.Segments))
	w.own = map[string]Own{SystemChain: {Keys: w.ring.Source(keys.System, keys.Segments), Pages: w.db.PagesFor}}
	w.open()
	w.begin()
	w.tenant("acme", 5)
	w.folder("one")
	w.arrived("acme", "one", 0)
	var st TargetStatus
	quiet := func() bool {
		before := w.state("system", "one")
		w.must(w.flush(t.Context()))
		st = w.state("system", "one")
		return st.State == stateCurrent && st.Lag == 0 && st.Seq > 0 && st.Seq == before.Seq
	}
	w.until("the system database is shipped", quiet)
	for i := range 3 {
		w.add("acme", fmt.Sprint("more ", i), 1)
		w.arrived("acme", "one", int64(1+i))
	}
	if again := w.state("system", "one"); again.Seq > st.Seq+1 {
		t.Errorf("shipping a store shipped the system database: %d after %d", again.Seq, st.Seq)
	}
	var v Verified
	if w.done("/stores/system/prod/snapshots/verify", "", &v); !v.OK {
		t.Errorf("%+v", v)
	}
}
