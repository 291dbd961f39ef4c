package app_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestFlippedByte changes one byte of a store on disk. What lies on that page is
// an error, nothing wrong is served, and the other tenants go on.
func TestFlippedByte(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	victim, other := s.filled("acme", 3000), s.filled("beta", 50)
	intact := map[int]string{}
	for p := 1; p <= 30; p++ {
		intact[p] = string(victim.want(200, "GET", listPage(p), nil).body)
	}
	s.stop()
	database := filepath.Join(s.store("acme", "prod"), "data.db")
	restore := flipByte(t, database, 0.6)
	s.start()

	failed := 0
	for p := 1; p <= 30; p++ {
		r := victim.call("GET", listPage(p), nil)
		switch {
		case r.status >= 400:
			failed++
		case r.status != http.StatusOK || string(r.body) != intact[p]:
			t.Errorf("page %d of the list is neither what was written nor an error: %v", p, r)
		}
	}
	if failed == 0 {
		t.Error("a byte in the middle of the database was changed and every record could still be read")
	}
	if got := get[page](other, records("items")); got.TotalItems != 50 {
		t.Errorf("the other tenant has %d records, want 50", got.TotalItems)
	}
	if out := s.out.String(); !strings.Contains(out, "data.db") || !strings.Contains(out, "page") {
		t.Errorf("the log does not name file and page:\n%s", s.out.tail(1500))
	}
	s.stop()
	restore()
	s.start()
	if got := string(victim.want(200, "GET", listPage(18), nil).body); got != intact[18] {
		t.Error("with the byte put back the records are not what they were")
	}
}

func listPage(p int) string {
	return records("items", "perPage", "100", "page", fmt.Sprint(p), "sort", "n")
}

// TestFlippedByteElsewhere changes one byte of each file that a start depends
// on: the error names the file, and nothing is served.
func TestFlippedByteElsewhere(t *testing.T) {
	t.Parallel()
	sequential(t)
	s := startServer(t)
	s.filled("acme", 10)
	s.stop()
	for name, at := range map[string]float64{
		"keys/root.slots": 0.02, // further on lie slots of which one is enough
		"keys/keyring":    0.5,
		"system.db":       0.001, // its first page
	} {
		t.Run(strings.ReplaceAll(name, "/", "-"), func(t *testing.T) {
			defer flipByte(t, filepath.Join(s.data(), name), at)()
			d := s.cli("tenant", "list")
			if d.code == 0 {
				t.Errorf("served all the same: %s", d.stdout)
			}
			if !strings.Contains(d.stderr, filepath.Base(name)) {
				t.Errorf("the error does not name the file: %s", d.stderr)
			}
			if strings.Contains(d.stderr, "panic") || strings.Contains(d.stderr, "goroutine") {
				t.Errorf("a crash is no error message: %s", d.stderr)
			}
		})
	}
	s.must("tenant", "show", "acme")
}

// TestFlippedByteOfFile changes a stored file: its download fails or breaks off,
// and never gives other bytes.
func TestFlippedByteOfFile(t *testing.T) {
	t.Parallel()
	sequential(t)
	s := startServer(t)
	s.must("tenant", "create", "acme")
	admin := s.tenant("acme", s.newKey("acme", "admin"))
	makePapers(admin)
	content := []byte(strings.Repeat("sealed in pieces ", 30_000))
	paper := uploadPaper(admin, "one", content)
	files := regularFiles(t, filepath.Join(s.store("acme", "prod"), "files"))
	if len(files) == 0 {
		t.Fatal("no stored file")
	}
	for _, f := range files {
		flipByte(t, f, 0.5)
	}
	r, err := admin.send("GET", paper.path(), nil)
	if err == nil && r.status == http.StatusOK && len(r.body) == len(content) {
		t.Errorf("a changed file was served whole (right bytes: %t)", string(r.body) == string(content))
	}
	if n := len(r.body); r.status == http.StatusOK && (n > len(content) || string(r.body) != string(content[:n])) {
		t.Error("other bytes were served")
	}
}

// flipByte changes one bit at a fraction of the file and returns what undoes it.
func flipByte(t testing.TB, path string, at float64) (undo func()) {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	offset := int64(float64(info.Size()) * at)
	flip := func() {
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		b := make([]byte, 1)
		if _, err := f.ReadAt(b, offset); err != nil {
			t.Fatal(err)
		}
		b[0] ^= 0x10
		if _, err := f.WriteAt(b, offset); err != nil {
			t.Fatal(err)
		}
	}
	flip()
	return flip
}
