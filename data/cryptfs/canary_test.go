package cryptfs

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestCanary writes a word into names, rows, indexes, a sort that spills and a
// statement that needs a journal, and finds it in no file, the temporary folder
// included, while all is open.
func TestCanary(t *testing.T) {
	const canary = "CANARY-7c9e6d"
	dir, temp := t.TempDir(), t.TempDir()
	t.Setenv("TMPDIR", temp)
	t.Setenv("SQLITE_TMPDIR", temp)
	mounted := mount(t, dir, newRing("a"))
	c := connect(t, mounted, "data.db")
	run(t, c, "PRAGMA cache_size=8; CREATE TABLE %q(id INTEGER PRIMARY KEY, x UNIQUE, y)", canary)
	run(t, c, "INSERT INTO %q(x,y) SELECT value||'%s', hex(randomblob(300)) FROM generate_series(1,3000)", canary, canary)
	run(t, c, "CREATE INDEX %q ON %q(y,x)", canary+"-i", canary)
	run(t, c, "CREATE TEMP TABLE hidden AS SELECT * FROM %q; CREATE INDEX temp.h ON hidden(y)", canary)
	run(t, c, "BEGIN; UPDATE %q SET x=x||'+'; SAVEPOINT s; DELETE FROM %q WHERE id%%3=0; ROLLBACK TO s; COMMIT", canary, canary)
	if err := c.Exec(fmt.Sprintf("INSERT INTO %q(x,y) SELECT x||iif(id=2999,'','!'), y FROM %q", canary, canary)); err == nil {
		t.Fatal("the statement that must be undone by its journal went through")
	}
	if _, err := ask(c, fmt.Sprintf("SELECT x, y FROM %q ORDER BY y||x", canary)); err != nil {
		t.Fatal(err)
	}
	files := 0
	for _, root := range []string{dir, temp} {
		err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() {
				return err
			}
			files++
			b, err := os.ReadFile(path)
			if bytes.Contains(b, []byte(canary)) || strings.Contains(path, canary) || bytes.Contains(b, []byte("SQLite format")) {
				t.Errorf("found in %s", path)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if files != 5 { // database, log, its index, the mark, the count of seals
		t.Errorf("%d files", files)
	}
}
