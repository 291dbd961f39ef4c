package app_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

var (
	idleStores = flag.Int("holdfast.idle", 20, "idle stores beside the two that are written to, in TestIdleCostsNothing")
	idleFor    = flag.Duration("holdfast.idle.for", time.Second, "how long requests are counted there")
)

// counter stands before an S3 server and counts the requests of each chain.
type counter struct {
	addr string
	gone atomic.Bool

	mu    sync.Mutex
	hits  map[string]int // by store: the two names after t/, or one
	total int
}

func countRequests(t testing.TB, b bucket) *counter {
	t.Helper()
	c := &counter{hits: map[string]int{}}
	forward := &httputil.ReverseProxy{
		Transport:    &http.Transport{MaxIdleConnsPerHost: 32},
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: "http", Host: b.addr})
			r.Out.Host = r.In.Host // it is signed
		},
	}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c.gone.Load() {
			_, _ = io.Copy(io.Discard, r.Body)
			panic(http.ErrAbortHandler)
		}
		c.count(r)
		forward.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	c.addr = strings.TrimPrefix(s.URL, "http://")
	return c
}

func (c *counter) count(r *http.Request) {
	name := r.URL.Path + "?" + r.URL.Query().Get("prefix")
	_, rest, found := strings.Cut(name, "/t/")
	parts := strings.SplitN(rest, "/", 3)
	store := parts[0]
	if found && len(parts) > 2 && store != "system" && store != "vault" {
		store += "/" + parts[1]
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.hits[store]++
	c.total++
}

func (c *counter) take() map[string]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	hits := c.hits
	c.hits = map[string]int{}
	return hits
}

type shipStatus struct {
	Targets []struct {
		Target string  `json:"target"`
		State  string  `json:"state"`
		Seq    int64   `json:"seq"`
		Lag    float64 `json:"lag_seconds"`
		Dirty  int     `json:"dirtyPages"`
		Error  string  `json:"error"`
	} `json:"targets"`
}

// shipped waits until a tenant's store is on all of its targets, and gives the
// newest sequence on the first.
func (s *server) shipped(operator *rest, tenant string, after int64) int64 {
	s.t.Helper()
	return s.shippedWithin(3*time.Minute, operator, tenant, after)
}

func (s *server) shippedWithin(patience time.Duration, operator *rest, tenant string, after int64) int64 {
	s.t.Helper()
	var st shipStatus
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		st = shipStatus{}
		if r := operator.call("GET", "/api/v1/stores/"+tenant+"/prod/snapshots/status", nil); json.Unmarshal(r.body, &st) != nil || r.status != 200 {
			s.t.Fatal(r)
		}
		done := len(st.Targets) > 0
		for _, t := range st.Targets {
			done = done && t.State == "current" && t.Lag == 0 && t.Dirty == 0 && t.Seq > after
		}
		if done {
			return st.Targets[0].Seq
		}
	}
	s.t.Fatalf("store of %s is not shipped: %+v", tenant, st)
	return 0
}

// TestShipsByItself: records are in the bucket within seconds, with no command;
// after a kill -9 the chain goes on and has no gap; a target that is away blocks
// nobody, and gets everything when it is back.
func TestShipsByItself(t *testing.T) {
	t.Parallel()
	sequential(t)
	b := startS3(t)
	proxy := countRequests(t, b)
	b.addr = proxy.addr
	s := startServer(t)
	s.env = append(s.env, b.env()...) // of commands
	admin := s.filled("acme", 10)
	operator := s.operator("operator@example.com")
	s.must("target", "add", "offsite", b.url())
	seq := s.shipped(operator, "acme", 0)
	add := func(n int) {
		t.Helper()
		for i := range n {
			if r := admin.call("POST", "/api/collections/items/records", map[string]any{"name": fmt.Sprint("more ", i), "n": i}); r.status != 200 {
				t.Fatal(r)
			}
		}
	}
	add(5)
	seq = s.shipped(operator, "acme", seq)
	s.kill()
	s.start()
	admin, operator = s.tenant("acme", s.newKey("acme", "admin")), s.operator("operator2@example.com")
	add(5)
	seq = s.shipped(operator, "acme", seq)
	proxy.gone.Store(true)
	began := time.Now()
	add(20)
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("20 writes took %v while the target was away", took)
	}
	s.kill() // with changes that no target has
	s.start()
	proxy.gone.Store(false)
	operator = s.operator("operator3@example.com")
	s.shipped(operator, "acme", seq)
	s.must("snapshot", "verify", "acme")
	s.must("restore", "acme", "--as", "again")
	if before, after := s.must("export", "acme", "items", "-o", "-"), s.must("export", "again", "items", "-o", "-"); before != after {
		t.Errorf("the copy differs: %d and %d bytes", len(before), len(after))
	}
	if code := s.stop(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// idleSettled is how long nothing is asked about tenants' stores before requests are
// counted: what they wrote last is merged a little later, once.
func idleSettled() time.Duration {
	if *idleFor < time.Minute {
		return 0
	}
	return 2 * time.Minute
}

// settle waits until no tenant's store was asked about for so long, and forgets.
func (c *counter) settle(quiet time.Duration) {
	for since := time.Now(); time.Since(since) < quiet; time.Sleep(time.Second) {
		if tenantsIn(c.take()) > 0 {
			since = time.Now()
		}
	}
	c.take()
}

func tenantsIn(hits map[string]int) (n int) {
	for store := range hits {
		if strings.Contains(store, "/") {
			n++
		}
	}
	return n
}

// TestIdleCostsNothing: of many stores that a target has, only those that are
// written to are asked about. -holdfast.idle 998 -holdfast.idle.for 10m is the long form.
func TestIdleCostsNothing(t *testing.T) {
	t.Parallel()
	sequential(t)
	b := startS3(t)
	proxy := countRequests(t, b)
	b.addr = proxy.addr
	s := startServer(t)
	s.env = append(s.env, b.env()...) // of commands
	operator := s.operator("operator@example.com")
	stores := *idleStores
	for i := range stores {
		if r := operator.call("POST", "/api/v1/tenants", map[string]string{"slug": fmt.Sprintf("t%04d", i)}); r.status != 201 {
			t.Fatal(r)
		}
	}
	s.must("target", "add", "offsite", b.url())
	for i := range stores {
		s.shippedWithin(time.Minute+time.Duration(stores)*time.Second, operator, fmt.Sprintf("t%04d", i), 0)
	}
	busy := []*rest{s.filled("busy-a", 1), s.filled("busy-b", 1)}
	s.shipped(operator, "busy-a", 0)
	s.shipped(operator, "busy-b", 0)
	proxy.settle(idleSettled())
	for i, end := 0, time.Now().Add(*idleFor); i < 20 || time.Now().Before(end); i++ {
		for _, admin := range busy {
			admin.call("POST", "/api/collections/items/records", map[string]any{"name": fmt.Sprint("n ", i), "n": i})
		}
		time.Sleep(50 * time.Millisecond)
	}
	s.shipped(operator, "busy-a", 1)
	s.shipped(operator, "busy-b", 1)
	hits := proxy.take()
	for _, d := range get[page](operator, "/api/v1/drills").Items {
		store := fmt.Sprint(d["store"])
		t.Logf("the drill of %s came due: %d requests", store, hits[store])
		delete(hits, store)
	}
	if n := tenantsIn(hits); n != 2 {
		t.Errorf("requests came for %d stores: %v", n, hits)
	}
	t.Logf("requests: %v", hits)
}
