package recovery

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/jmoiron/sqlx"

	"holdfast/app/api"
	"holdfast/backup/objects/gateway"
	"holdfast/backup/restore"
	"holdfast/data"
	"holdfast/data/keys"
)

// stalled stands before an S3 server and lets no part of a database through until it is
// told to.
type stalled struct {
	addr    string
	once    sync.Once
	reached chan struct{} // closed when the first part has come
	open    chan struct{} // closed by the test
}

func stall(t *testing.T, server string) *stalled {
	t.Helper()
	s := &stalled{reached: make(chan struct{}), open: make(chan struct{})}
	forward := &httputil.ReverseProxy{Transport: &http.Transport{}, Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(&url.URL{Scheme: "http", Host: server})
		r.Out.Host = r.In.Host // it is signed
	}}
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/pages/") {
			s.once.Do(func() { close(s.reached) })
			<-s.open
		}
		forward.ServeHTTP(w, r)
	}))
	t.Cleanup(proxy.Close)
	s.addr = strings.TrimPrefix(proxy.URL, "http://")
	return s
}

const (
	spillRows  = 30_600 // of a page each, 120 MiB
	spillBound = 1 << 20
	oldMark    = "as it was when the snapshot began"
	newMark    = "as it was written while it was made"
)

// TestWritersNeverWaitForASlowTarget overwrites a whole database while a target takes
// nothing of its base: what the snapshot still needs is kept, 64 MiB in memory and the
// rest sealed in a file without a name; staging stays within its bound; and the snapshot
// is that of its beginning.
func TestWritersNeverWaitForASlowTarget(t *testing.T) {
	if testing.Short() {
		t.Skip("it writes more than what fits in memory")
	}
	w := newWorld(t)
	w.must(w.ring.Add(keys.System, keys.Segments))
	w.own, w.staged = map[string]Own{SystemChain: {Keys: w.ring.Source(keys.System, keys.Segments), Pages: w.db.PagesFor}}, spillBound
	w.open()
	server := gateway.Start(t)
	gate := stall(t, server.Addr)
	server.Addr = gate.addr
	w.bulk(`CREATE TABLE bulk (id INTEGER PRIMARY KEY, body BLOB NOT NULL)`)
	w.bulkRows(`WITH RECURSIVE n(i) AS (SELECT ?1 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < ?2) INSERT INTO bulk SELECT i, CAST(?3 AS BLOB) || randomblob(3900) FROM n`, oldMark)
	w.call("POST", "/targets", fmt.Sprintf(`{"name":"slow","url":%q,"accessKey":%q,"secretKey":%q}`,
		server.URL("x"), server.Credentials.AccessKey, server.Credentials.SecretKey), 201, nil)
	var op api.Operation
	w.call("POST", "/stores/system/prod/snapshots", "", 202, &op)
	<-gate.reached
	heap := heapInUse()
	w.bulkRows(`UPDATE bulk SET body = CAST(?3 AS BLOB) || randomblob(3900) WHERE id >= ?1 AND id < ?2`, newMark)
	grown := heapInUse() - heap
	kept, clear := w.kept()
	t.Logf("120 MiB overwritten: memory grew by %d MiB, %d MiB are kept in a file, %d KiB staged", grown>>20, kept>>20, w.largestStaged()>>10)
	if grown > 90<<20 || kept < 1<<20 || clear || w.largestStaged() > spillBound+18<<20 {
		t.Errorf("memory grew by %d MiB, %d MiB are kept (in clear: %v), %d KiB staged", grown>>20, kept>>20, clear, w.largestStaged()>>10)
	}
	close(gate.open)
	op, err := w.ops.Wait(t.Context(), op.ID)
	if w.must(err); op.State != api.Done {
		t.Fatalf("%+v", op.Error)
	}
	if old, fresh := w.marks(1); old != spillRows || fresh != 0 {
		t.Errorf("the snapshot has %d rows of its beginning and %d later ones", old, fresh)
	}
	if next := w.ship(SystemChain); next.Pages < spillRows {
		t.Errorf("the next one has %d pages, of %d that were written meanwhile", next.Pages, spillRows)
	}
}

func (w *world) bulk(sql string, args ...any) {
	w.t.Helper()
	w.must(w.db.Update(w.t.Context(), func(tx *sqlx.Tx) error {
		_, err := tx.ExecContext(w.t.Context(), sql, args...)
		return err
	}))
}

// bulkRows runs a statement on all rows, some of them in each transaction.
func (w *world) bulkRows(sql, mark string) {
	w.t.Helper()
	const step = spillRows / 18
	for i := 0; i < spillRows; i += step {
		w.bulk(sql, i, i+step, mark)
	}
}

// heapInUse is what the process holds in memory.
func heapInUse() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// kept is the size of the nameless file of what a snapshot still needs, and whether
// anything of it can be read.
func (w *world) kept() (size int64, clear bool) {
	w.t.Helper()
	links, err := filepath.Glob("/proc/self/fd/*")
	w.must(err)
	for _, link := range links {
		name, _ := os.Readlink(link)
		if !strings.HasPrefix(name, w.dir) || !strings.HasSuffix(name, "-kept (deleted)") {
			continue
		}
		body, err := os.ReadFile(link)
		w.must(err)
		size, clear = size+int64(len(body)), clear || bytes.Contains(body, []byte(oldMark)) || bytes.Contains(body, []byte(newMark))
	}
	return size, clear
}

func (w *world) largestStaged() (size int64) {
	w.t.Helper()
	files, err := filepath.Glob(filepath.Join(w.dir, "staging", "own", SystemChain, "*", "pending*"))
	w.must(err)
	for _, name := range files {
		if info, err := os.Stat(name); err == nil {
			size = max(size, info.Size())
		}
	}
	return size
}

// marks restores a snapshot and counts the rows in it.
func (w *world) marks(sequence int64) (old, fresh int) {
	w.t.Helper()
	targets, err := w.targets(w.t.Context())
	w.must(err)
	source, err := w.Service.open(targets[0])
	w.must(err)
	sink := &counting{}
	_, err = restore.Run(w.t.Context(), restore.Config{
		Source: source, Store: SystemChain, Keys: w.own[SystemChain].Keys, Scratch: w.t.TempDir(), Sequence: sequence,
	}, sink)
	w.must(err)
	return sink.old, sink.fresh
}

type counting struct{ old, fresh int }

func (c *counting) Pages(_ context.Context, total uint32, next func(uint32, []byte) error) error {
	page := make([]byte, data.PageSize)
	for pgno := uint32(1); pgno <= total; pgno++ {
		if err := next(pgno, page); err != nil {
			return err
		}
		c.old, c.fresh = c.old+bytes.Count(page, []byte(oldMark)), c.fresh+bytes.Count(page, []byte(newMark))
	}
	return nil
}

func (c *counting) File(context.Context, data.FileInfo, io.Reader) error { return nil }
