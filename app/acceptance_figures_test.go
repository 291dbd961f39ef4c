package app_test

import (
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/backup/objects/gateway"
)

var figures = flag.Bool("holdfast.figures", false, "measure and report; asserts nothing")

// TestFigures measures what the notes of a release state: start time, import
// rate, memory with a hundred open stores, and create and list rates beside stock
// PocketBase in the same run.
func TestFigures(t *testing.T) {
	if !*figures {
		t.Skip("measures nothing unless -holdfast.figures is given")
	}
	s := startServer(t)
	t.Logf("first start: ready in %d ms", s.ready.Milliseconds())
	s.importRate(t)
	s.manyStores(t, 100)
	for range 3 {
		s.stop()
		s.start()
		t.Logf("later start with 101 tenants: ready in %d ms", s.ready.Milliseconds())
	}
	theirs := startStock(t)
	ours := s.filled("rates", 1)
	for range 2 { // the first round warms both up
		compare(t, "create, 1 client", rate(ours, 1, 1000, createOne), rate(theirs, 1, 1000, createOne))
		compare(t, "create, 16 clients", rate(ours, 16, 3000, createOne), rate(theirs, 16, 3000, createOne))
		compare(t, "list of 30, 1 client", rate(ours, 1, 400, listSome), rate(theirs, 1, 400, listSome))
		compare(t, "list of 30, 16 clients", rate(ours, 16, 1000, listSome), rate(theirs, 16, 1000, listSome))
	}
}

func (s *server) importRate(t *testing.T) {
	s.must("tenant", "create", "acme")
	file := filepath.Join(t.TempDir(), "items.jsonl")
	const n = 60_000
	writeItems(t, file, n)
	began := time.Now()
	s.must("import", "acme", "items", file, "--create")
	t.Logf("import: %.0f rows a second (%d rows)", n/time.Since(began).Seconds(), n)
}

// manyStores opens n stores and reads the memory that they take.
func (s *server) manyStores(t *testing.T, n int) {
	before := s.rss(t)
	began := time.Now()
	for i := range n {
		s.must("tenant", "create", fmt.Sprintf("t%d", i))
	}
	created := time.Since(began)
	for i := range n {
		s.tenant(fmt.Sprintf("t%d", i), "").want(http.StatusOK, "GET", "/api/health", nil)
	}
	t.Logf("%d tenants created at %.0f a minute through the command line; RSS %d MB before, %d MB with all open",
		n, float64(n)/created.Minutes(), before>>20, s.rss(t)>>20)
}

// rss is the server's resident memory in bytes.
func (s *server) rss(t *testing.T) int64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(b), "VmRSS:")
	kb, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return kb << 10
}

// startStock runs PocketBase as its authors ship it, with the same collection.
func startStock(t *testing.T) *rest {
	bin := t.TempDir()
	install := exec.Command("go", "install", "github.com/pocketbase/pocketbase/examples/base@v0.39.11")
	install.Env = append(os.Environ(), "GOBIN="+bin)
	if err := install.Run(); err != nil {
		t.Fatalf("install stock PocketBase: %v", err)
	}
	stock, dir, addr := filepath.Join(bin, "base"), t.TempDir(), gateway.Address(t)
	if out, err := exec.Command(stock, "superuser", "create", "a@example.com", password, "--dir", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	cmd := tied(exec.Command(stock, "serve", "--http", addr, "--dir", dir))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	awaitPort(t, addr)
	c := newREST(t, "http://"+addr, "")
	signedIn := c.want(200, "POST", "/api/collections/_superusers/auth-with-password", map[string]string{"identity": "a@example.com", "password": password})
	c.key = decoded[struct{ Token string }](c, signedIn).Token
	c.want(200, "POST", "/api/collections", map[string]any{"name": "items", "type": "base", "fields": []map[string]any{
		{"name": "n", "type": "number"}, {"name": "name", "type": "text"}, {"name": "text", "type": "text"}}})
	if err := createOne(c, 0); err != nil {
		t.Fatal(err)
	}
	return c
}

func createOne(c *rest, i int) error {
	r, err := c.send("POST", "/api/collections/items/records", map[string]any{"n": i, "name": "made", "text": strings.Repeat("words ", 40)})
	return refusal(r, err)
}

func listSome(c *rest, i int) error {
	r, err := c.send("GET", "/api/collections/items/records?perPage=30&page="+strconv.Itoa(1+i%20), nil)
	return refusal(r, err)
}

func refusal(r reply, err error) error {
	if err == nil && r.status != http.StatusOK {
		err = fmt.Errorf("answered %v", r)
	}
	return err
}

// rate is how many requests a second n clients get through.
func rate(c *rest, clients, n int, do func(*rest, int) error) float64 {
	c.t.Helper()
	var wg sync.WaitGroup
	began := time.Now()
	for client := range clients {
		wg.Go(func() {
			for i := client; i < n; i += clients {
				if err := do(c, i); err != nil {
					c.t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	return float64(n) / time.Since(began).Seconds()
}

func compare(t *testing.T, what string, ours, theirs float64) {
	t.Logf("%-24s %7.0f/s, stock PocketBase %7.0f/s: %.2f", what, ours, theirs, ours/theirs)
}
