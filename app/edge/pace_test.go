package edge

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestBodyDeadlineFollowsThePace(t *testing.T) {
	now := time.Unix(1000, 0)
	b := &pacedBody{owed: now.Add(stall), stall: stall}
	equal(t, "at first", b.deadline(now), now.Add(stall))
	equal(t, "a drip of nothing", b.deadline(now.Add(20*time.Second)), now.Add(stall))
	b.earn(60<<10, now)
	equal(t, "60 KiB buy a minute", b.deadline(now.Add(time.Hour)), now.Add(stall+time.Minute))
	b.earn(1<<30, now)
	equal(t, "a burst buys no hours", b.deadline(now.Add(time.Hour)), now.Add(savings*stall))
	later := now.Add(time.Hour)
	b.earn(1<<30, later)
	equal(t, "what comes in time goes on", b.deadline(later), later.Add(stall))
}

// control sees the deadlines that are set.
type control struct {
	*httptest.ResponseRecorder
	reads, writes []time.Time
}

func (c *control) SetReadDeadline(t time.Time) error  { c.reads = append(c.reads, t); return nil }
func (c *control) SetWriteDeadline(t time.Time) error { c.writes = append(c.writes, t); return nil }

func serveOnce(t *testing.T, r *http.Request, h http.HandlerFunc) *control {
	t.Helper()
	e, err := New(Config{Tenants: twoTenants{}})
	must(t, err)
	c := &control{ResponseRecorder: httptest.NewRecorder()}
	e.paced(h).ServeHTTP(c, r)
	return c
}

func TestReadDeadlineIsLiftedAtTheBodysEnd(t *testing.T) {
	c := serveOnce(t, httptest.NewRequest("POST", "/", strings.NewReader("body")), func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.ReadAll(r.Body)
	})
	if len(c.reads) < 2 || c.reads[0].IsZero() || !c.reads[len(c.reads)-1].IsZero() {
		t.Fatalf("deadlines %v", c.reads)
	}
}

func TestUnreadBodyGetsLittleTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := serveOnce(t, httptest.NewRequest("POST", "/", strings.NewReader("body")), func(http.ResponseWriter, *http.Request) {})
		equal(t, "deadlines", len(c.reads), 1)
		equal(t, "time for it", time.Until(c.reads[0]), leftover)
	})
}

func TestNoBodyNoDeadline(t *testing.T) {
	c := serveOnce(t, httptest.NewRequest("GET", "/", nil), func(_ http.ResponseWriter, r *http.Request) { _, _ = io.ReadAll(r.Body) })
	equal(t, "deadlines", len(c.reads), 0)
}

func TestStreamsRestWithoutADeadline(t *testing.T) {
	var during []time.Time
	c := serveOnce(t, httptest.NewRequest("GET", "/", nil), func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = w.Write([]byte("data: x\n\n"))
		must(t, http.NewResponseController(w).Flush())
		during = append(during, w.(*pacedWriter).ResponseWriter.(*control).writes...)
	})
	if last := during[len(during)-1]; !last.IsZero() || during[0].IsZero() {
		t.Fatalf("deadlines while the stream rests: %v", during)
	}
	if c.writes[len(c.writes)-1].IsZero() {
		t.Fatal("no deadline for the rest of the answer")
	}
}

func TestLongAnswersAreWrittenInParts(t *testing.T) {
	body := bytes.Repeat([]byte("x"), 3*writePart+7)
	c := serveOnce(t, httptest.NewRequest("GET", "/", nil), func(w http.ResponseWriter, _ *http.Request) {
		n, err := w.Write(body)
		must(t, err)
		equal(t, "written", n, len(body))
	})
	equal(t, "body", bytes.Equal(c.Body.Bytes(), body), true)
}

// inMemory listens for connections within the process.
type inMemory struct {
	conns chan net.Conn
	ended chan struct{}
	once  sync.Once
}

func listenInMemory() *inMemory {
	return &inMemory{conns: make(chan net.Conn), ended: make(chan struct{})}
}

func (l *inMemory) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.ended:
		return nil, net.ErrClosed
	}
}

func (l *inMemory) Close() error   { l.once.Do(func() { close(l.ended) }); return nil }
func (l *inMemory) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }

func (l *inMemory) dial(context.Context, string, string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	l.conns <- theirs
	return ours, nil
}

// visit serves a handler behind the edge's deadlines and gives a client.
type visit func(http.HandlerFunc) *http.Client

// overBoth runs a test over both protocols, in a bubble: time passes there when all wait,
// and nobody is late because the machine is busy.
func overBoth(t *testing.T, test func(*testing.T, visit)) {
	for name, multiplexed := range map[string]bool{"HTTP/1.1": false, "HTTP/2": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				test(t, func(h http.HandlerFunc) *http.Client { return serveInMemory(t, h, multiplexed) })
			})
		})
	}
}

func serveInMemory(t *testing.T, h http.Handler, multiplexed bool) *http.Client {
	t.Helper()
	e, err := New(Config{Tenants: twoTenants{}})
	must(t, err)
	protocols := &http.Protocols{}
	protocols.SetHTTP1(!multiplexed)
	protocols.SetUnencryptedHTTP2(multiplexed)
	listener, server := listenInMemory(), &http.Server{Handler: e.paced(h), Protocols: protocols} //nolint:gosec // the edge's deadlines are what is tested
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	transport := &http.Transport{DialContext: listener.dial, Protocols: protocols}
	t.Cleanup(func() { transport.CloseIdleConnections(); _ = server.Close(); <-done })
	return &http.Client{Transport: transport}
}

// TestSilenceIsNoStall: time that nobody reads or writes is not held against anyone,
// neither before, nor between, nor within an event stream.
func TestSilenceIsNoStall(t *testing.T) {
	silence := func() { time.Sleep(4 * stall) }
	overBoth(t, func(t *testing.T, serve visit) {
		client := serve(func(w http.ResponseWriter, r *http.Request) {
			_, err := io.ReadAll(r.Body)
			must(t, err)
			if r.URL.Path == "/stream" {
				w.Header().Set("Content-Type", "text/event-stream")
			}
			for _, part := range []string{"a", "b", "c"} {
				silence()
				if r.Context().Err() != nil {
					t.Error("the request was cancelled")
				}
				_, _ = w.Write([]byte(part))
				_ = http.NewResponseController(w).Flush()
			}
			silence()
		})
		for _, path := range []string{"/", "/stream"} {
			resp, err := client.Post("http://127.0.0.1"+path, "text/plain", strings.NewReader("body"))
			must(t, err)
			body, err := io.ReadAll(resp.Body)
			must(t, err)
			_ = resp.Body.Close()
			equal(t, resp.Proto+path, string(body), "abc")
		}
	})
}

// TestWhoDoesNotReadIsCutOff: a client that takes nothing of its answer.
func TestWhoDoesNotReadIsCutOff(t *testing.T) {
	overBoth(t, func(t *testing.T, serve visit) {
		ended := make(chan time.Time, 1)
		client := serve(func(w http.ResponseWriter, _ *http.Request) {
			for part := make([]byte, 1<<20); ; {
				if _, err := w.Write(part); err != nil {
					ended <- time.Now()
					return
				}
			}
		})
		began := time.Now()
		resp, err := client.Get("http://127.0.0.1/")
		must(t, err)
		equal(t, "cut off after", (<-ended).Sub(began), stall)
		_ = resp.Body.Close()
	})
}

// TestBodyThatStopsIsCutOff: a client that sends half of what it announced.
func TestBodyThatStopsIsCutOff(t *testing.T) {
	overBoth(t, func(t *testing.T, serve visit) {
		ended := make(chan error, 1)
		client := serve(func(_ http.ResponseWriter, r *http.Request) {
			_, err := io.ReadAll(r.Body)
			ended <- err
		})
		body, rest := io.Pipe()
		go func() { _, _ = rest.Write([]byte("half")) }()
		go func() {
			if resp, err := client.Post("http://127.0.0.1/", "text/plain", body); err == nil {
				_ = resp.Body.Close()
			}
		}()
		began := time.Now()
		wantErr(t, <-ended, os.ErrDeadlineExceeded)
		equal(t, "cut off after", time.Since(began), stall)
		_ = rest.Close()
	})
}

// TestSlowHeadersAreCutOff is slowloris: a header that never ends.
func TestSlowHeadersAreCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, err := New(Config{Tenants: twoTenants{}, Handlers: handlers()})
		must(t, err)
		listener, server := listenInMemory(), e.server(e.Handler())
		done := make(chan error, 1)
		go func() { done <- server.Serve(listener) }()
		c, err := listener.dial(t.Context(), "", "")
		must(t, err)
		began := time.Now()
		_, err = c.Write([]byte("GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: "))
		must(t, err)
		_, err = io.ReadAll(c) // without an end, if the connection were kept
		must(t, err)
		equal(t, "cut off after", time.Since(began), 10*time.Second)
		_ = c.Close()
		must(t, server.Close())
		<-done
	})
}

func TestHeadersThatAreTooLong(t *testing.T) {
	r := start(t, Config{Handlers: handlers()})
	req, _ := http.NewRequest("GET", "http://127.0.0.1/", nil)
	req.Header.Set("X-Long", strings.Repeat("x", 64<<10))
	resp, err := r.client().Do(req)
	if err != nil {
		return // the connection was cut off: as good
	}
	_ = resp.Body.Close()
	equal(t, "status", resp.StatusCode, http.StatusRequestHeaderFieldsTooLarge)
}

func TestSmuggling(t *testing.T) {
	r := start(t, Config{Handlers: handlers()})
	for name, request := range map[string]string{
		"two lengths":       "POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcde",
		"two hosts":         "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: acme.localhost\r\n\r\n",
		"no host":           "GET / HTTP/1.1\r\n\r\n",
		"space in a header": "GET / HTTP/1.1\r\nHost : 127.0.0.1\r\n\r\n",
		"odd encoding":      "POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: xchunked\r\n\r\n",
	} {
		c, err := net.Dial("tcp", r.Addr().String())
		must(t, err)
		must(t, c.SetDeadline(time.Now().Add(10*time.Second)))
		_, err = c.Write([]byte(request))
		must(t, err)
		line, _ := bufio.NewReader(c).ReadString('\n')
		if !strings.HasPrefix(line, "HTTP/1.1 4") && !strings.HasPrefix(line, "HTTP/1.1 501") {
			t.Errorf("%s: got %q", name, line)
		}
		_ = c.Close()
	}
}

func TestAbsoluteFormCannotChangeTheHost(t *testing.T) {
	r := start(t, Config{Handlers: handlers()})
	c, err := net.Dial("tcp", r.Addr().String())
	must(t, err)
	defer func() { _ = c.Close() }()
	_, err = c.Write([]byte("GET http://evil.example/ HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"))
	must(t, err)
	line, err := bufio.NewReader(c).ReadString('\n')
	must(t, err)
	equal(t, "answer", strings.TrimSpace(line), "HTTP/1.1 421 Misdirected Request")
}
