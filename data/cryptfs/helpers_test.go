package cryptfs

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/ncruces/go-sqlite3"

	"holdfast/data"
)

// ring is a key source whose generations come from a seed.
type ring struct {
	seed string

	mu      sync.Mutex
	newest  uint32
	made    map[uint32][32]byte
	refusal error
	dropped uint32 // and all below
}

func newRing(seed string) *ring { return &ring{seed: seed, newest: 1, made: map[uint32][32]byte{}} }

func (r *ring) rotate() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.newest++
}

// drop takes a generation and all before it away.
func (r *ring) drop(generation uint32) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.dropped = generation
}

func (r *ring) refuse(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refusal = err
}

func (r *ring) Current() (uint32, [32]byte, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.newest, r.key(r.newest), r.refusal
}

func (r *ring) Generation(g uint32) ([32]byte, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.refusal != nil {
		return [32]byte{}, r.refusal
	}
	if g <= r.dropped || g > r.newest {
		return [32]byte{}, data.ErrNotFound
	}
	return r.key(g), nil
}

func (r *ring) key(g uint32) [32]byte {
	if _, ok := r.made[g]; !ok {
		r.made[g] = sha256.Sum256(fmt.Append(nil, r.seed, g))
	}
	return r.made[g]
}

func mount(t testing.TB, dir string, keys data.KeySource) *FS {
	t.Helper()
	return mountConfig(t, Config{Dir: dir, Identity: "acme/prod", Keys: keys})
}

func mountConfig(t testing.TB, c Config) *FS {
	t.Helper()
	fs, err := Mount(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := fs.Close(); err != nil {
			t.Error(err)
		}
	})
	return fs
}

func connect(t testing.TB, fs *FS, database string) *sqlite3.Conn {
	t.Helper()
	c, err := fs.connect(context.Background(), database)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func run(t testing.TB, c *sqlite3.Conn, sql string, args ...any) {
	t.Helper()
	if err := c.Exec(fmt.Sprintf(sql, args...)); err != nil {
		t.Fatalf("%.80s: %v", sql, err)
	}
}

// ask gives the first column of the first row.
func ask(c *sqlite3.Conn, sql string) (string, error) {
	s, _, err := c.Prepare(sql)
	if err != nil {
		return "", err
	}
	defer s.Close()
	var text string
	if s.Step() {
		text = s.ColumnText(0)
	}
	for s.Err() == nil && s.Step() { // all of it, so that all pages are read
	}
	return text, s.Err()
}

func want(t testing.TB, c *sqlite3.Conn, sql, text string) {
	t.Helper()
	got, err := ask(c, sql)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	if got != text {
		t.Fatalf("%s: got %.200s, want %s", sql, got, text)
	}
}

// replica is what snapshots add up to.
type replica struct {
	pages map[uint32][]byte
	size  uint32
}

func newReplica() *replica { return &replica{pages: map[uint32][]byte{}} }

func (r *replica) take(ctx context.Context, source data.PageSource) (data.Commit, error) {
	got := map[uint32][]byte{}
	c, err := source.Snapshot(ctx, func(pgno uint32, page []byte) error {
		got[pgno] = bytes.Clone(page)
		return nil
	})
	if err != nil {
		return c, err
	}
	for pgno, page := range got {
		r.pages[pgno] = page
	}
	for pgno := range r.pages {
		if pgno > c.DatabasePages {
			delete(r.pages, pgno)
		}
	}
	r.size = c.DatabasePages
	return c, nil
}

// image is the database in clear, in rollback-journal mode so that any SQLite
// opens it read-only.
func (r *replica) image() ([]byte, error) {
	var b bytes.Buffer
	for pgno := uint32(1); pgno <= r.size; pgno++ {
		if r.pages[pgno] == nil {
			return nil, fmt.Errorf("page %d of %d was never handed out", pgno, r.size)
		}
		b.Write(r.pages[pgno])
	}
	if b.Len() > 20 {
		b.Bytes()[18], b.Bytes()[19] = 1, 1
	}
	return b.Bytes(), nil
}

// open writes the image out and opens it with plain SQLite.
func (r *replica) open(t testing.TB) *sqlite3.Conn {
	t.Helper()
	image, err := r.image()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "replica.db")
	if err := os.WriteFile(path, image, 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := sqlite3.Open("file:" + path + "?immutable=1")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	want(t, c, "PRAGMA integrity_check", "ok")
	return c
}

// content is a digest of the schema and all rows.
func content(t testing.TB, c *sqlite3.Conn) string {
	t.Helper()
	h := sha256.New()
	tables := rows(t, c, h, "SELECT name, type, coalesce(sql,'') FROM sqlite_schema WHERE type='table' ORDER BY name")
	for _, table := range tables {
		fmt.Fprintln(h, table)
		rows(t, c, h, fmt.Sprintf("SELECT rowid, * FROM %q ORDER BY rowid", table))
	}
	return fmt.Sprintf("%x", h.Sum(nil)[:8])
}

func rows(t testing.TB, c *sqlite3.Conn, w io.Writer, sql string) (first []string) {
	t.Helper()
	s, _, err := c.Prepare(sql)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for s.Step() {
		first = append(first, s.ColumnText(0))
		for i := range s.ColumnCount() {
			b := s.ColumnRawBlob(i)
			fmt.Fprintf(w, "%d:", len(b))
			w.Write(b)
		}
	}
	if err := s.Err(); err != nil {
		t.Fatal(err)
	}
	return first
}
