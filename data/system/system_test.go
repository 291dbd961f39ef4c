package system

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"

	"holdfast/data"
)

// testKey is a key source of one generation.
type testKey [32]byte

func newTestKey() (k testKey) {
	_, _ = rand.Read(k[:])
	return k
}

func (k testKey) Current() (uint32, [32]byte, error) { return 1, k, nil }
func (k testKey) Generation(g uint32) ([32]byte, error) {
	if g != 1 {
		return [32]byte{}, data.ErrNotFound
	}
	return k, nil
}

var bg = context.Background()

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantErr(t testing.TB, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("got error %v, want %v", err, want)
	}
}

func openTest(t testing.TB, c Config) *DB {
	t.Helper()
	d, err := Open(bg, c)
	must(t, err)
	t.Cleanup(func() { _ = d.Close() })
	return d
}

func newTest(t testing.TB) (*DB, Config) {
	t.Helper()
	c := Config{Dir: filepath.Join(t.TempDir(), "data"), Keys: newTestKey(), Version: "1.0.0"}
	return openTest(t, c), c
}

var notes = []Migration{
	{"notes", "CREATE TABLE notes (id TEXT PRIMARY KEY, body TEXT NOT NULL) STRICT"},
	{"notes by body", "CREATE INDEX notes_body ON notes (body); CREATE TABLE more (id INTEGER PRIMARY KEY) STRICT"},
}

func insert(d *DB, id, body string) error {
	return d.Update(bg, func(tx *sqlx.Tx) error {
		_, err := tx.Exec("INSERT INTO notes (id, body) VALUES (?, ?)", id, body)
		return err
	})
}

func body(d *DB, id string) (s string, err error) {
	err = d.View(bg, func(tx *sqlx.Tx) error { return tx.Get(&s, "SELECT body FROM notes WHERE id=?", id) })
	return s, err
}

func count(t testing.TB, d *DB) (n int) {
	t.Helper()
	must(t, d.View(bg, func(tx *sqlx.Tx) error { return tx.Get(&n, "SELECT count(*) FROM notes") }))
	return n
}

func TestRowsSurviveReopen(t *testing.T) {
	d, c := newTest(t)
	must(t, d.Migrate(bg, "test", notes))
	must(t, insert(d, "a", "one"))
	must(t, d.Close())
	d = openTest(t, c)
	must(t, d.Migrate(bg, "test", notes))
	got, err := body(d, "a")
	must(t, err)
	if got != "one" {
		t.Fatalf("body %q", got)
	}
	_, err = body(d, "b")
	wantErr(t, err, data.ErrNotFound)
	wantErr(t, insert(d, "a", "again"), data.ErrExists)
	must(t, d.Check(bg))
}

func TestMigrations(t *testing.T) {
	d, c := newTest(t)
	must(t, d.Migrate(bg, "test", notes[:1]))
	must(t, d.Migrate(bg, "other", []Migration{{"o", "CREATE TABLE o (x) "}}))
	must(t, insert(d, "kept", "x"))
	must(t, d.Migrate(bg, "test", notes))
	if count(t, d) != 1 {
		t.Fatal("a step ran twice")
	}
	edited := []Migration{notes[0], {notes[1].Name, notes[1].SQL + " "}}
	wantErr(t, d.Migrate(bg, "test", edited), ErrChanged)
	wantErr(t, d.Migrate(bg, "test", []Migration{notes[1], notes[0]}), ErrChanged)
	must(t, d.Close())
	c.Version = "0.9.0"
	d = openTest(t, c)
	err := d.Migrate(bg, "test", notes[:1])
	wantErr(t, err, data.ErrNewer)
	if !strings.Contains(err.Error(), "1.0.0") || !strings.Contains(err.Error(), notes[1].Name) {
		t.Errorf("the error does not tell which: %v", err)
	}
}

func TestFailedMigrationLeavesNothing(t *testing.T) {
	d, _ := newTest(t)
	bad := []Migration{notes[0], {"bad", "CREATE TABLE fine (x); CREATE TABLE notes (y)"}}
	if err := d.Migrate(bg, "test", bad); err == nil || !strings.Contains(err.Error(), "bad") {
		t.Fatalf("error %v", err)
	}
	must(t, d.Migrate(bg, "test", notes))
}

func TestNewerFormatIsRefused(t *testing.T) {
	d, c := newTest(t)
	must(t, d.Update(bg, func(tx *sqlx.Tx) error {
		_, err := tx.Exec("PRAGMA user_version=9")
		return err
	}))
	must(t, d.Close())
	_, err := Open(bg, c)
	wantErr(t, err, data.ErrNewer)
	if !strings.Contains(err.Error(), "format 9") {
		t.Errorf("the error does not tell which: %v", err)
	}
}

func TestUpdateRollsBack(t *testing.T) {
	d, _ := newTest(t)
	must(t, d.Migrate(bg, "test", notes))
	boom := errors.New("boom")
	half := func(tx *sqlx.Tx) {
		_, err := tx.Exec("INSERT INTO notes (id, body) VALUES ('a', '')")
		must(t, err)
	}
	wantErr(t, d.Update(bg, func(tx *sqlx.Tx) error { half(tx); return boom }), boom)
	func() {
		defer func() { _ = recover() }()
		_ = d.Update(bg, func(tx *sqlx.Tx) error { half(tx); panic("boom") })
	}()
	if count(t, d) != 0 {
		t.Fatal("half of an Update stayed")
	}
	must(t, insert(d, "a", "the writer is free again"))
}

func TestViewCannotWrite(t *testing.T) {
	d, _ := newTest(t)
	must(t, d.Migrate(bg, "test", notes))
	err := d.View(bg, func(tx *sqlx.Tx) error {
		_, err := tx.Exec("INSERT INTO notes (id, body) VALUES ('a', '')")
		return err
	})
	if err == nil || count(t, d) != 0 {
		t.Fatalf("View wrote (error %v)", err)
	}
}

func TestDeadlines(t *testing.T) {
	d, _ := newTest(t)
	must(t, d.Migrate(bg, "test", notes))
	ctx, cancel := context.WithTimeout(bg, 20*time.Millisecond)
	defer cancel()
	must(t, d.Update(bg, func(*sqlx.Tx) error {
		wantErr(t, d.Update(ctx, func(*sqlx.Tx) error { return nil }), context.DeadlineExceeded)
		return nil
	}))
	ctx, cancel = context.WithTimeout(bg, 20*time.Millisecond)
	defer cancel()
	const endless = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM n) SELECT count(*) FROM n"
	err := d.View(ctx, func(tx *sqlx.Tx) error {
		var n int
		return tx.GetContext(ctx, &n, endless)
	})
	wantErr(t, err, context.DeadlineExceeded)
	must(t, insert(d, "a", "still works"))
}

func TestWritersTakeTurnsReadersDoNotWait(t *testing.T) {
	d, _ := newTest(t)
	must(t, d.Migrate(bg, "test", notes))
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := range 20 {
				if err := insert(d, fmt.Sprint(w, "-", i), "x"); err != nil {
					t.Error(err)
				}
			}
		})
		wg.Go(func() { _ = count(t, d) })
	}
	wg.Wait()
	if n := count(t, d); n != 160 {
		t.Fatalf("%d rows of 160", n)
	}
}

func TestTapAndOnCommit(t *testing.T) {
	var commits atomic.Int32
	c := Config{Dir: t.TempDir(), Keys: newTestKey(), OnCommit: func() { commits.Add(1) }}
	must(t, os.Chmod(c.Dir, 0o700))
	d := openTest(t, c)
	must(t, d.Migrate(bg, "test", notes))
	pages := 0
	commit, err := d.Pages().Snapshot(bg, func(uint32, []byte) error { pages++; return nil })
	must(t, err)
	if pages == 0 || uint32(pages) != commit.DatabasePages {
		t.Fatalf("%d pages of %d", pages, commit.DatabasePages)
	}
	before := commits.Load()
	must(t, insert(d, "a", "x"))
	if commits.Load() == before || d.Pages().Dirty() == 0 || d.Pages().Dirty() >= pages {
		t.Fatalf("%d commits told, %d pages dirty of %d", commits.Load()-before, d.Pages().Dirty(), pages)
	}
}

func TestNothingReadableOnDisk(t *testing.T) {
	d, c := newTest(t)
	must(t, d.Migrate(bg, "test", notes))
	const canary = "CANARY-8d1f"
	for i := range 200 {
		must(t, insert(d, fmt.Sprint(i), canary+strings.Repeat("x", 300)))
	}
	noneContains(t, c.Dir, canary, "CREATE TABLE", "SQLite format")
	must(t, d.Close())
	noneContains(t, c.Dir, canary, "CREATE TABLE", "SQLite format")
}

func noneContains(t *testing.T, dir string, words ...string) {
	t.Helper()
	must(t, filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		for _, w := range words {
			if bytes.Contains(b, []byte(w)) {
				t.Errorf("%s contains %q", path, w)
			}
		}
		return err
	}))
}

func TestWrongKeyAndFlippedByte(t *testing.T) {
	d, c := newTest(t)
	must(t, d.Migrate(bg, "test", notes))
	for i := range 500 {
		must(t, insert(d, fmt.Sprint(i), strings.Repeat("x", 300)))
	}
	must(t, d.Close())
	wrong := c
	wrong.Keys = newTestKey()
	_, err := Open(bg, wrong)
	wantErr(t, err, data.ErrTampered)
	path := filepath.Join(c.Dir, Database)
	b, err := os.ReadFile(path)
	must(t, err)
	b[len(b)-data.PageSize+50] ^= 1
	must(t, os.WriteFile(path, b, 0o600))
	d = openTest(t, c)
	err = d.Check(bg)
	wantErr(t, err, data.ErrTampered)
	if !strings.Contains(err.Error(), Database) {
		t.Errorf("the error does not name the file: %v", err)
	}
}

func TestExposedFolderIsRefused(t *testing.T) {
	dir := t.TempDir()
	must(t, os.Chmod(dir, 0o755))
	if _, err := Open(bg, Config{Dir: dir, Keys: newTestKey()}); err == nil || !strings.Contains(err.Error(), "chmod 700") {
		t.Fatalf("error %v", err)
	}
}

func TestNewID(t *testing.T) {
	shape, seen, letters := regexp.MustCompile(`^[a-z0-9]{15}$`), map[string]bool{}, map[rune]int{}
	for range 10000 {
		id := NewID()
		if !shape.MatchString(id) || seen[id] {
			t.Fatalf("id %q", id)
		}
		seen[id] = true
		for _, c := range id {
			letters[c]++
		}
	}
	for c, n := range letters { // 4167 expected, standard deviation 64
		if n < 3800 || n > 4550 {
			t.Errorf("%q came %d times", c, n)
		}
	}
}

func BenchmarkUpdate(b *testing.B) {
	d, _ := newTest(b)
	must(b, d.Migrate(bg, "test", notes))
	for i := 0; b.Loop(); i++ {
		must(b, insert(d, fmt.Sprint(i), "x"))
	}
}

func BenchmarkView(b *testing.B) {
	d, _ := newTest(b)
	must(b, d.Migrate(bg, "test", notes))
	must(b, insert(d, "a", "x"))
	for b.Loop() {
		_, err := body(d, "a")
		must(b, err)
	}
}
