package chain_test

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"holdfast/backup/objects"
	"holdfast/backup/objects/gateway"
	"holdfast/data"
)

// faults stands between a chain and its S3 server and does what networks do.
type faults struct {
	mu   sync.Mutex
	rnd  *rand.Rand
	rate int // one request in so many goes wrong; 0: none
	gone atomic.Bool
	hits atomic.Int64
}

func (f *faults) draw() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.rate == 0 || f.rnd.IntN(f.rate) > 0 {
		return -1
	}
	return f.rnd.IntN(6)
}

func (f *faults) set(rate int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rate = rate
}

// proxy forwards to the server, or fails in one of six ways.
func (f *faults) proxy(t *testing.T, server string) string {
	t.Helper()
	forward := &httputil.ReverseProxy{
		Transport:    &http.Transport{},
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: "http", Host: server})
			r.Out.Host = r.In.Host // it is signed
		},
	}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.hits.Add(1)
		if f.gone.Load() {
			panic(http.ErrAbortHandler)
		}
		switch f.draw() {
		case 0: // cut before
			panic(http.ErrAbortHandler)
		case 1: // cut in the middle of what is sent
			_, _ = io.CopyN(io.Discard, r.Body, 100)
			panic(http.ErrAbortHandler)
		case 2: // the answer is lost
			forward.ServeHTTP(httptest.NewRecorder(), r)
			panic(http.ErrAbortHandler)
		case 3:
			_, _ = io.Copy(io.Discard, r.Body)
			w.WriteHeader(http.StatusInternalServerError)
		case 4: // half of the answer
			rec := httptest.NewRecorder()
			forward.ServeHTTP(rec, r)
			half(w, rec)
		default: // slow, or nothing
			forward.ServeHTTP(&slow{w}, r)
		}
	}))
	s.Config.ErrorLog = nil
	s.Start()
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// half promises a whole body and sends the half of it.
func half(w http.ResponseWriter, rec *httptest.ResponseRecorder) {
	for k, v := range rec.Header() {
		w.Header()[k] = v
	}
	body := rec.Body.Bytes()
	w.Header().Set("Content-Length", fmt.Sprint(max(len(body), 2)))
	w.WriteHeader(rec.Code)
	_, _ = w.Write(body[:len(body)/2])
	panic(http.ErrAbortHandler)
}

// slow gives an answer in small pieces.
type slow struct{ http.ResponseWriter }

func (s *slow) Write(p []byte) (n int, err error) {
	for len(p) > 0 && err == nil {
		part := p[:min(len(p), 4<<10)]
		m, werr := s.ResponseWriter.Write(part)
		if f, ok := s.ResponseWriter.(http.Flusher); ok {
			f.Flush()
		}
		p, n, err = p[len(part):], n+m, werr
	}
	return n, err
}

// Through cuts, errors, half answers and a target that is gone for a while: the
// chain has no gap and ends where the store is.
func TestFaults(t *testing.T) {
	if testing.Short() {
		t.Skip("it waits for retries")
	}
	server := gateway.Start(t)
	f := &faults{rnd: rand.New(rand.NewPCG(1, uint64(*longer)))}
	direct := openTarget(t, server.URL("faults"), server.Credentials)
	addr := server.Addr
	server.Addr = f.proxy(t, addr)
	r := newRig(t, openTarget(t, server.URL("faults"), server.Credentials))
	r.write(1, "first")
	r.ship()
	f.set(12)
	failed := 0
	for i := range 40 * *longer {
		f.gone.Store(i%20 > 16)
		r.write(1+uint32(i)%30, fmt.Sprint(i))
		r.files.Set(fmt.Sprint("f/", i%5), fmt.Sprint(i))
		r.now = r.now.Add(time.Second)
		r.writes++
		if f.gone.Load() {
			r.shipWhileGone()
			continue
		}
		if _, err := r.chain.Ship(t.Context(), r.pages, r.files, data.Position{Incarnation: "i", Sequence: r.writes}); err != nil {
			failed++
		}
	}
	f.set(0)
	f.gone.Store(false)
	r.write(1, "last")
	r.ship()
	r.target = direct
	r.same()
	rep := r.verified()
	t.Logf("%d snapshots in %d epochs, %d ships failed, %d requests", rep.Snapshots, rep.Epochs, failed, f.hits.Load())
	if rep.Epochs != 1 {
		t.Errorf("%d epochs", rep.Epochs)
	}
}

// shipWhileGone tries without waiting for the client's patience to end.
func (r *rig) shipWhileGone() {
	r.t.Helper()
	ctx, cancel := contextFor(r.t, 200*time.Millisecond)
	defer cancel()
	if _, err := r.chain.Ship(ctx, r.pages, r.files, data.Position{Incarnation: "i", Sequence: r.writes}); err == nil {
		r.t.Error("shipped to a target that is gone")
	}
}

// A snapshot that is larger than staging may be goes to the target in pieces.
func TestStagingIsBounded(t *testing.T) {
	target := &flaky{ObjectStore: objects.NewMemory()}
	r := newRig(t, target)
	_ = r.chain.Close()
	c := r.config()
	c.MaxStaging = 4 << 20
	r.reopen(c)
	rnd := rand.New(rand.NewPCG(5, 6))
	for i := range uint32(6 * 4096) {
		page := make([]byte, data.PageSize)
		for j := range 400 { // about 10 MB in six parts
			page[j] = byte(rnd.Uint32())
		}
		r.pages.Write(i+1, page)
	}
	most := int64(0)
	r.pages.Fail = func(uint32) error {
		if st, err := os.Stat(r.dir + "/pending.new"); err == nil {
			most = max(most, st.Size())
		}
		return nil
	}
	target.left.Store(3) // the first try is cut in the middle
	if _, err := r.chain.Ship(t.Context(), r.pages, r.files, data.Position{}); !errors.Is(err, errFlaky) {
		t.Fatal(err)
	}
	target.left.Store(0)
	res := r.ship()
	if !res.Base || most > c.MaxStaging+(3<<20) || res.Bytes < 8<<20 {
		t.Errorf("staged %d bytes at most, of %d", most, res.Bytes)
	}
	r.same()
	r.write(1, "small")
	r.ship()
	r.same()
	r.verified()
}
