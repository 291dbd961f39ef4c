package store

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pocketbase/dbx"
	"github.com/pocketbase/pocketbase/apis"
	"github.com/pocketbase/pocketbase/core"

	"holdfast/data"
)

// stock is PocketBase as it comes: modernc's driver, plain pages, and the sync
// setting given (its own is NORMAL, which a power cut can take commits from).
func stock(b *testing.B, sync string) http.Handler {
	b.Helper()
	app := core.NewBaseApp(core.BaseAppConfig{DataDir: b.TempDir(), DBConnect: func(path string) (*dbx.DB, error) {
		db, err := core.DefaultDBConnect(path)
		if err == nil && sync != "NORMAL" {
			db.DB().SetMaxOpenConns(1)
			_, err = db.NewQuery("PRAGMA synchronous=" + sync).Execute()
		}
		return db, err
	}})
	if err := app.Bootstrap(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = app.ResetBootstrapState() })
	app.OnServe().Unbind("__pbCronStart__")
	if err := app.RunAllMigrations(); err != nil {
		b.Fatal(err)
	}
	settings := app.Settings()
	settings.Batch = core.BatchConfig{Enabled: true, MaxRequests: 1000, Timeout: 60}
	s := &Store{app: app}
	save(b, s, settings)
	addItems(b, s)
	r, err := apis.NewRouter(app)
	if err != nil {
		b.Fatal(err)
	}
	var mux http.Handler
	err = app.OnServe().Trigger(&core.ServeEvent{App: app, Router: r, Server: &http.Server{}}, func(e *core.ServeEvent) error {
		mux, err = e.Router.BuildMux()
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
	return mux
}

func call(b *testing.B, h http.Handler, method, path string, body []byte) []byte {
	req := httptest.NewRequest(method, path, bytes.NewReader(body))
	req.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, req)
	if w.Code != 200 {
		b.Fatalf("%s %s: %d %s", method, path, w.Code, w.Body)
	}
	return w.Body.Bytes()
}

var benchBody, _ = json.Marshal(map[string]any{
	"title": "a title of some length", "body": strings.Repeat("text ", 60), "score": 17, "active": true, "kind": "a", "meta": map[string]any{"a": 1},
})

const recordsPath = "/api/collections/items/records"

func fillItems(b *testing.B, h http.Handler, n int) (id string) {
	for i := range n {
		var r struct{ ID string }
		body := bytes.Replace(benchBody, []byte("17"), []byte(strconv.Itoa(i*7919%2003)), 1) // no order that favours or fights a sort
		_ = json.Unmarshal(call(b, h, "POST", recordsPath, body), &r)
		id = r.ID
	}
	return id
}

// cost is what some operations took: by the clock, and of the processor, which a
// busy machine changes less.
type cost struct{ wall, cpu time.Duration }

func (c *cost) add(op func(), n int) {
	began, used := time.Now(), cpuTime()
	for range n {
		op()
	}
	c.wall += time.Since(began)
	c.cpu += cpuTime() - used
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// beside runs op for ours and for the stock ones by turns, and reports how many
// times as fast ours is.
func beside(b *testing.B, prepare func(http.Handler) func()) {
	ours := prepare(newStore(b))
	normal, full := prepare(stock(b, "NORMAL")), prepare(stock(b, "FULL"))
	var our, plain, synced cost
	b.ResetTimer()
	b.StopTimer()
	const turns = 10
	for turn := range turns {
		n := (b.N + turn) / turns
		plain.add(normal, n)
		b.StartTimer()
		our.add(ours, n)
		b.StopTimer()
		synced.add(full, n)
	}
	b.ReportMetric(float64(plain.wall)/float64(our.wall), "x-stock")
	b.ReportMetric(float64(synced.wall)/float64(our.wall), "x-stock-full-sync")
	b.ReportMetric(float64(plain.cpu)/float64(our.cpu), "x-stock-cpu")
}

func BenchmarkCreate(b *testing.B) {
	beside(b, func(h http.Handler) func() { return func() { call(b, h, "POST", recordsPath, benchBody) } })
}

func BenchmarkUpdate(b *testing.B) {
	beside(b, func(h http.Handler) func() {
		path, i := recordsPath+"/"+fillItems(b, h, 100), 0
		return func() { i++; call(b, h, "PATCH", path, []byte(`{"score":`+strconv.Itoa(i)+`}`)) }
	})
}

func BenchmarkView(b *testing.B) {
	beside(b, func(h http.Handler) func() {
		path := recordsPath + "/" + fillItems(b, h, 500)
		return func() { call(b, h, "GET", path, nil) }
	})
}

func BenchmarkList(b *testing.B) {
	beside(b, func(h http.Handler) func() {
		fillItems(b, h, 2000)
		return func() { call(b, h, "GET", recordsPath+"?filter=(score%3E100)&sort=-score&perPage=30", nil) }
	})
}

func BenchmarkBatch50(b *testing.B) {
	one := `{"method":"POST","url":"` + recordsPath + `","body":` + string(benchBody) + `}`
	body := []byte(`{"requests":[` + strings.Repeat(one+",", 49) + one + `]}`)
	beside(b, func(h http.Handler) func() {
		return func() { call(b, h, "POST", "/api/batch", body) }
	})
}

func BenchmarkImport(b *testing.B) {
	s := newStore(b)
	n := 0
	b.ResetTimer()
	result, err := s.Import(context.Background(), "items", ImportOptions{}, func() (map[string]any, int, error) {
		if n++; n > b.N {
			return nil, 0, io.EOF
		}
		return map[string]any{"title": "t" + strconv.Itoa(n), "body": "some text of a record", "score": strconv.Itoa(n), "active": "true", "kind": "a"}, n, nil
	}, nil)
	if err != nil || result.Created != b.N {
		b.Fatal(result, err)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "rows/s")
}

func BenchmarkOpen(b *testing.B) {
	p := newPool(b)
	createAll(b, p, 1)
	b.ResetTimer()
	for range b.N {
		s, err := p.Acquire(b.Context(), numbered(0))
		if err != nil {
			b.Fatal(err)
		}
		call(b, s, "GET", "/api/collections/users/records", nil)
		s.Release()
		b.StopTimer()
		if err := p.Evict(b.Context(), numbered(0)); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}

func BenchmarkCreateStore(b *testing.B) {
	p := newPool(b)
	createAll(b, p, 1)
	n := 1
	for b.Loop() {
		if err := p.Create(b.Context(), numbered(n)); err != nil {
			b.Fatal(err)
		}
		n++
	}
}

// rss is the process's resident memory in bytes.
func rss(b *testing.B) float64 {
	runtime.GC()
	debug.FreeOSMemory()
	raw, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		b.Skip(err)
	}
	pages, _ := strconv.Atoi(strings.Fields(string(raw))[1])
	return float64(pages * os.Getpagesize())
}

// BenchmarkOpenStores tells what 100 open stores cost, each after one request.
func BenchmarkOpenStores(b *testing.B) {
	const many = 100
	p := newPool(b)
	createAll(b, p, many+1)
	use := func(i int) {
		s, err := p.Acquire(b.Context(), data.StoreID(numbered(i)))
		if err != nil {
			b.Fatal(err)
		}
		call(b, s, "GET", "/api/collections/users/records", nil)
		s.Release()
	}
	for b.Loop() {
		use(many)
		before := rss(b)
		for i := range many {
			use(i)
		}
		b.ReportMetric((rss(b)-before)/many/1024, "KiB/store")
		b.ReportMetric(rss(b)/1e6, "MB-RSS")
		b.ReportMetric(float64(runtime.NumGoroutine())/many, "goroutines/store")
		for i := range many + 1 {
			if err := p.Evict(b.Context(), numbered(i)); err != nil {
				b.Fatal(err)
			}
		}
	}
}
