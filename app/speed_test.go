package app

import (
	"bytes"
	"context"
	"encoding/json"
	flags "flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime/debug"
	"runtime/pprof"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"holdfast/app/edge"
	"holdfast/data"
	"holdfast/data/store"
	"holdfast/data/store/stock"
)

var (
	speed        = flags.Bool("holdfast.speed", false, "measure beside stock PocketBase; asserts nothing")
	speedRows    = flags.Int("holdfast.speed.rows", 100_000, "rows of the collection that is scanned")
	speedSeconds = flags.Float64("holdfast.speed.seconds", 2, "how long each of the two is measured at each task")
	speedOnly    = flags.String("holdfast.speed.only", "", "only tasks whose name has this in it")
	speedProfile = flags.String("holdfast.speed.profile", "", "folder for processor profiles of each task and side")
)

// TestSpeed measures a whole appliance (sealed pages, change feed, audit log)
// beside PocketBase as it comes, in one process and by turns, with the same
// durability on both sides:
//
//	go test ./app -run TestSpeed -v -holdfast.speed
//
// "by the clock" is how many times as many requests are answered in a second; "by
// processor time" how many for the same work of the processor, the audit log's
// included, which other load on the machine changes less.
func TestSpeed(t *testing.T) {
	if !*speed {
		t.Skip("measures nothing unless -holdfast.speed is given")
	}
	relaxed := contest{t: t, name: "relaxed | NORMAL", ours: ourSide(t, store.Relaxed), theirs: theirSide(t, stock.Normal)}
	full := contest{t: t, name: "full | FULL", ours: ourSide(t, store.Full), theirs: theirSide(t, stock.Full)}
	t.Logf("%-18s %-24s %10s %10s %14s %18s", "durability", "task", "ours/s", "stock/s", "by the clock", "by processor time")
	for _, c := range []contest{relaxed, full} {
		c.run("create, 1 client", 1, createOneItem)
		c.run("create, 16 clients", 16, createOneItem)
		c.run("update", 1, func(s *side, i int) {
			s.call("PATCH", itemsPath+"/"+s.ids[i%len(s.ids)], []byte(`{"n":`+strconv.Itoa(i)+`}`))
		})
		c.run("batch of 50", 1, func(s *side, _ int) { s.call("POST", "/api/batch", batchOf50) })
	}
	view := func(s *side, i int) { s.call("GET", itemsPath+"/"+s.ids[i%len(s.ids)], nil) }
	computed := func(s *side, i int) { // no answer is kept of what was never asked
		s.call("GET", itemsPath+"/"+s.ids[i%len(s.ids)]+"?x="+strconv.Itoa(i), nil)
	}
	relaxed.run("view, computed", 1, computed)
	relaxed.run("view, computed, 16 cl.", 16, computed)
	relaxed.run("view", 1, view)
	relaxed.run("view, 16 clients", 16, view)
	if *speedRows > 0 {
		relaxed.fill()
	}
	indexed := func(s *side, i int) {
		s.call("GET", "/api/collections/many/records?filter=(n%3D"+strconv.Itoa(i*7919%2003)+")&sort=-made&perPage=30", nil)
	}
	relaxed.run("indexed list, computed", 1, func(s *side, i int) {
		s.call("GET", "/api/collections/many/records?filter=(n%3D"+strconv.Itoa(i*7919%2003)+")&sort=-made&perPage=30&x="+strconv.Itoa(i), nil)
	})
	relaxed.run("indexed list, of 100", 1, func(s *side, i int) { indexed(s, i%100) })
	relaxed.run("the same, 16 clients", 16, func(s *side, i int) { indexed(s, i%100) })
	relaxed.run("list between writes", 1, func(s *side, i int) {
		if i%10 == 0 {
			createOneItem(s, i)
		}
		indexed(s, i%20)
	})
	relaxed.run("scan of all rows", 1, func(s *side, i int) {
		s.call("GET", "/api/collections/many/records?filter=(text~'zz"+strconv.Itoa(i)+"')&sort=-text&perPage=30", nil)
	})
}

const itemsPath = "/api/collections/items/records"

var (
	oneItem   = []byte(`{"n":17,"name":"a name of some length","text":"` + strings.Repeat("text ", 60) + `","meta":{"a":1},"active":true}`)
	batchOf50 = func() []byte {
		one := `{"method":"POST","url":"` + itemsPath + `","body":` + string(oneItem) + `}`
		return []byte(`{"requests":[` + strings.Repeat(one+",", 49) + one + `]}`)
	}()
)

func createOneItem(s *side, _ int) { s.call("POST", itemsPath, oneItem) }

// side is one that is measured.
type side struct {
	t       *testing.T
	serve   func(http.ResponseWriter, *http.Request)
	settle  func() // waits for what goes on behind the answers
	fillAll func(rows int)
	ids     []string
}

func (s *side) call(method, path string, body []byte) []byte {
	r := httptest.NewRequest(method, path, bytes.NewReader(body))
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	w := httptest.NewRecorder()
	s.serve(w, r)
	if w.Code != 200 {
		s.t.Errorf("%s %s: %d %s", method, path, w.Code, w.Body)
	}
	return w.Body.Bytes()
}

func speedCollections() []map[string]any {
	fields := []map[string]any{{"name": "n", "type": "number"}, {"name": "name", "type": "text"}, {"name": "text", "type": "text"},
		{"name": "meta", "type": "json"}, {"name": "active", "type": "bool"}, {"name": "made", "type": "autodate", "onCreate": true}}
	one := func(name string, indexes ...string) map[string]any {
		return map[string]any{"name": name, "type": "base", "fields": fields, "indexes": indexes,
			"listRule": "", "viewRule": "", "createRule": "", "updateRule": "", "deleteRule": ""}
	}
	return []map[string]any{one("items"), one("many", "CREATE INDEX idx_many_n ON many (n, made)")}
}

func (s *side) begin() {
	for range 500 {
		var made struct{ ID string }
		if err := json.Unmarshal(s.call("POST", itemsPath, oneItem), &made); err != nil {
			s.t.Fatal(err)
		}
		s.ids = append(s.ids, made.ID)
	}
}

// ourSide is a tenant of an appliance, asked past the network as stock is too.
func ourSide(t *testing.T, d store.Durability) *side {
	c := DefaultConfig()
	c.Data, c.KeyFile = filepath.Join(t.TempDir(), "data"), filepath.Join(t.TempDir(), "root.key")
	must(t, c.validate())
	a, err := OpenAppliance(t.Context(), c, slog.New(slog.DiscardHandler))
	must(t, err)
	t.Cleanup(func() { must(t, a.Close()) })
	h := a.house.Load()
	made, err := h.tenants.Create(t.Context(), "acme", "")
	must(t, err)
	id := data.StoreID{Tenant: made.ID, Environment: data.Prod}
	st, err := h.pool.Acquire(t.Context(), id)
	must(t, err)
	t.Cleanup(st.Release)
	must(t, st.SetDurability(t.Context(), d))
	s := &side{t: t, serve: func(w http.ResponseWriter, r *http.Request) { h.serveTenant(w, r, edge.Target{Store: id}) }}
	s.settle = func() {
		_, err := h.audit.CatchUp(context.Background(), id)
		must(t, err)
	}
	body, err := json.Marshal(map[string]any{"collections": speedCollections()})
	must(t, err)
	r := httptest.NewRequest("PUT", "/api/collections/import", bytes.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	ctx := store.WithReach(data.WithActor(r.Context(), data.Actor{Kind: data.Key, ID: "k"}), store.Reach{Scope: store.Admin})
	w := httptest.NewRecorder()
	if st.ServeHTTP(w, r.WithContext(ctx)); w.Code != http.StatusNoContent {
		t.Fatal(w.Code, w.Body)
	}
	s.fillAll = func(rows int) { fillOurs(t, st, rows) }
	s.begin()
	return s
}

func theirSide(t *testing.T, sync stock.Sync) *side {
	server, err := stock.Open(t.TempDir(), sync)
	must(t, err)
	t.Cleanup(func() { must(t, server.Close()) })
	must(t, server.Import(speedCollections()))
	s := &side{t: t, serve: server.ServeHTTP, settle: func() {}}
	s.fillAll = func(rows int) { must(t, server.Fill("many", rows, manyRow)) }
	s.begin()
	return s
}

// manyRow is the i-th row of the large collection.
func manyRow(i int) map[string]any {
	return map[string]any{"n": i * 31 % 2003, "name": fmt.Sprint("row ", i), "text": fmt.Sprintf("%06d some text of a record %s", i*7919%1_000_003, strings.Repeat("x", 150)),
		"meta": map[string]any{"a": i}, "active": i%2 == 0}
}

func fillOurs(t *testing.T, s *store.Store, rows int) {
	i := 0
	_, err := s.Import(t.Context(), "many", store.ImportOptions{}, func() (map[string]any, int, error) {
		if i++; i > rows {
			return nil, 0, io.EOF
		}
		return manyRow(i), i, nil
	}, nil)
	must(t, err)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// contest holds the two sides of one durability.
type contest struct {
	t            *testing.T
	name         string
	ours, theirs *side
}

func (c contest) fill() {
	c.ours.fillAll(*speedRows)
	c.ours.settle()
	c.theirs.fillAll(*speedRows)
}

// run measures one task by many short turns, so that what else the machine does
// meets both alike, and prints a line of the table: medians of the pairs' ratios.
func (c contest) run(task string, clients int, do func(s *side, i int)) {
	if !strings.Contains(task, *speedOnly) {
		return
	}
	var our, their effort
	their.turn(c.theirs, clients, do, 0.1) // warm
	our.turn(c.ours, clients, do, 0.1)
	our, their = effort{}, effort{}
	const turns = 12
	var clock, processor []float64
	defer debug.SetGCPercent(debug.SetGCPercent(leastGarbage))
	for i := range turns {
		debug.SetGCPercent(leastGarbage) // as their server has it
		stop := c.profile(task, "stock", i)
		b := their.turn(c.theirs, clients, do, *speedSeconds/turns)
		stop()
		debug.SetGCPercent(mostGarbage) // as ours has it with so few stores
		stop = c.profile(task, "ours", i)
		a := our.turn(c.ours, clients, do, *speedSeconds/turns)
		stop()
		clock, processor = append(clock, a.rate()/b.rate()), append(processor, a.perCPU()/b.perCPU())
	}
	c.t.Logf("%-18s %-24s %10.0f %10.0f %14.2f %18.2f", c.name, task, our.rate(), their.rate(), median(clock), median(processor))
}

func median(of []float64) float64 {
	slices.Sort(of)
	return (of[(len(of)-1)/2] + of[len(of)/2]) / 2
}

// profile writes a turn's. "go tool pprof" adds those of a task up.
func (c contest) profile(task, whose string, turn int) (stop func()) {
	if *speedProfile == "" {
		return func() {}
	}
	name := strings.NewReplacer("| ", "", " ", "-", ",", "").Replace(fmt.Sprintf("%s %s.%s.%d.pprof", c.name, task, whose, turn))
	f, err := os.Create(filepath.Join(*speedProfile, name))
	must(c.t, err)
	must(c.t, pprof.StartCPUProfile(f))
	return func() { pprof.StopCPUProfile(); must(c.t, f.Close()) }
}

// effort is what was done and what it took.
type effort struct {
	n         int
	wall, cpu time.Duration
}

func (e *effort) rate() float64   { return float64(e.n) / e.wall.Seconds() }
func (e *effort) perCPU() float64 { return float64(e.n) / e.cpu.Seconds() }

// turn lets the clients work for some seconds, and then waits for the audit log. It
// answers for itself, and adds that up.
func (e *effort) turn(s *side, clients int, do func(*side, int), seconds float64) (this effort) {
	began, used := time.Now(), processorTime()
	end := began.Add(time.Duration(seconds * float64(time.Second)))
	counts := make([]int, clients)
	var all sync.WaitGroup
	for client := range clients {
		all.Go(func() {
			for time.Now().Before(end) {
				do(s, e.n+counts[client]*clients+client)
				counts[client]++
			}
		})
	}
	all.Wait()
	this.wall = time.Since(began)
	s.settle()
	this.cpu = processorTime() - used
	for _, n := range counts {
		this.n += n
	}
	*e = effort{e.n + this.n, e.wall + this.wall, e.cpu + this.cpu}
	return this
}

func processorTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
