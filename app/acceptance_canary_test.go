package app_test

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf16"

	"github.com/fsnotify/fsnotify"
)

// canaryMark begins every canary, so that one scan finds them all. Only small
// letters: nothing on the way has a reason to rewrite them.
var canaryMark = "zq" + randomLetters(14)

// canary is a secret that must never lie on a disk in clear; kind tells which.
func canary(kind string) string { return canaryMark + "x" + kind }

func randomLetters(n int) string {
	b := make([]byte, n)
	rand.Read(b)
	for i := range b {
		b[i] = 'a' + b[i]%26
	}
	return string(b)
}

// TestNothingInClear writes canaries wherever people write and looks for them
// in every file that the process has made, while it runs and after it ended.
func TestNothingInClear(t *testing.T) {
	t.Parallel()
	sequential(t)
	s := newServer(t)
	outside := t.TempDir() // what the test itself writes
	temp := watchFolder(t, filepath.Join(s.dir, "tmp"))
	scan := newScanner(s.dir)
	s.start()
	stop := scan.keepScanning(t, s.cmd.Process.Pid)

	s.must("tenant", "create", "acme", "--name", canary("tenant"))
	d := s.cliInput("a long pass phrase "+canary("password"), "operator", "create", canary("operator")+"@example.com", "--password-stdin")
	if d.code != 0 {
		t.Fatal(d.stderr)
	}
	admin := s.tenant("acme", answer[struct{ Key string }](s, "key", "create", "acme", "--name", canary("keyname"), "--scope", "admin").Key)
	writeCanaries(t, s, admin, outside)
	s.must("target", "add", "local", "file://"+filepath.Join(s.dir, "snapshots"))
	s.must("snapshot", "now", "acme")
	s.must("restore", "acme", "--as", "again")
	s.must("audit", "verify", "--tenant", "acme")

	stop()
	scan.once(t)
	s.stop()
	scan.once(t)
	if scan.files == 0 || scan.control(t) == 0 {
		t.Fatal("the scan finds nothing at all, not even what is there")
	}
	for _, name := range temp() {
		t.Errorf("a file was made in the temporary folder: %s", name)
	}
	if out := s.out.String(); strings.Contains(out, canaryMark) {
		t.Errorf("the log holds a canary: ...%.200s", out[strings.Index(out, canaryMark):])
	}
}

// writeCanaries fills a tenant: an import, a record, a user, a large file, a sort
// over far more than the page cache holds.
func writeCanaries(t *testing.T, s *server, admin *rest, outside string) {
	t.Helper()
	rows := 20_000
	if testing.Short() {
		rows = 500
	}
	file := filepath.Join(outside, "rows.jsonl")
	writeRows(t, file, rows)
	s.must("import", "acme", "rows", file, "--create")
	makePapers(admin)
	content := bytes.Repeat([]byte(canary("content")+strings.Repeat(" ", 500)), (20<<20)/(500+len(canary("content")))+1)
	r, err := admin.upload("papers", map[string]string{"title": canary("record")}, "file", canary("filename")+".txt", content)
	if err != nil || r.status != http.StatusOK {
		t.Fatalf("upload: %v %v", r, err)
	}
	checkDownload(t, admin, r, content)
	admin.want(200, "POST", "/api/collections/users/records", map[string]any{
		"email": canary("email") + "@example.com", "password": canary("userpass"), "passwordConfirm": canary("userpass")})
	sorted := get[page](admin, records("rows", "sort", "-text", "perPage", "500"))
	if sorted.TotalItems != rows {
		t.Fatalf("%d rows, want %d", sorted.TotalItems, rows)
	}
	get[page](admin, records("rows", "filter", `text ~ "`+canary("filter")+`"`))
}

func checkDownload(t *testing.T, c *rest, created reply, content []byte) {
	t.Helper()
	var record struct{ ID, CollectionID, File string }
	if err := json.Unmarshal(created.body, &record); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(record.File, canary("filename")) {
		t.Fatalf("the file is called %q", record.File)
	}
	got := c.want(200, "GET", "/api/files/"+record.CollectionID+"/"+record.ID+"/"+record.File, nil)
	if !bytes.Equal(got.body, content) {
		t.Fatalf("downloaded %d bytes, not the %d that were uploaded", len(got.body), len(content))
	}
}

func writeRows(t *testing.T, path string, n int) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	filler := strings.Repeat("lorem ipsum dolor ", 110)
	for i := range n {
		fmt.Fprintf(f, `{"n":%d,"text":"%05d %s %s"}`+"\n", i, (i*7919)%n, canary("row"), filler)
	}
}

// scanner looks for canaries in files.
type scanner struct {
	root     string
	patterns [][]byte
	mu       sync.Mutex
	seen     map[string]fs.FileInfo
	files    int
}

func newScanner(root string) *scanner {
	return &scanner{root: root, patterns: disguises(canaryMark), seen: map[string]fs.FileInfo{}}
}

// disguises are the forms in which text may lie on a disk uncompressed.
func disguises(text string) [][]byte {
	forms := [][]byte{[]byte(text), []byte(hex.EncodeToString([]byte(text)))}
	var wide []byte
	for _, u := range utf16.Encode([]rune(text)) {
		wide = append(wide, byte(u), byte(u>>8))
	}
	forms = append(forms, wide)
	for shift := range 3 {
		// Only the characters that depend on nothing but the mark.
		whole := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("\x00", shift) + text))
		from, to := (shift*8+5)/6, (shift+len(text))*8/6
		forms = append(forms, []byte(whole[from:to]))
	}
	return forms
}

// once scans every file that is new or has changed.
func (s *scanner) once(t testing.TB) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	filepath.WalkDir(s.root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil // gone in the meantime
		}
		if strings.Contains(path, canaryMark) {
			t.Errorf("a file's name holds a canary: %s", path)
		}
		info, err := d.Info()
		if err != nil || !info.Mode().IsRegular() {
			return nil
		}
		if old := s.seen[path]; old != nil && old.Size() == info.Size() && old.ModTime().Equal(info.ModTime()) {
			return nil
		}
		s.seen[path] = info
		s.file(t, path)
		return nil
	})
}

func (s *scanner) file(t testing.TB, path string) {
	b, err := os.ReadFile(path)
	if err != nil {
		return
	}
	s.files++
	for _, p := range s.patterns {
		if i := bytes.Index(b, p); i >= 0 {
			t.Errorf("%s holds a canary at byte %d: %.100q", path, i, b[i:min(len(b), i+100)])
			return
		}
	}
}

// control proves that the scan finds a canary that does lie there.
func (s *scanner) control(t *testing.T) int {
	found := 0
	for i, form := range s.patterns {
		path := filepath.Join(t.TempDir(), fmt.Sprint(i))
		if err := os.WriteFile(path, append(bytes.Repeat([]byte{7}, 100_000), form...), 0o600); err != nil {
			t.Fatal(err)
		}
		probe := &recorder{TB: t}
		s.file(probe, path)
		found += probe.errors
	}
	return found / len(s.patterns)
}

// recorder counts errors instead of failing.
type recorder struct {
	testing.TB
	errors int
}

func (r *recorder) Errorf(string, ...any) { r.errors++ }

// keepScanning also sees files that live for a moment only, and those that are
// open but have no name any more.
func (s *scanner) keepScanning(t testing.TB, pid int) (stop func()) {
	quit, done := make(chan struct{}), make(chan struct{})
	stop = sync.OnceFunc(func() { close(quit); <-done })
	t.Cleanup(stop)
	go func() {
		defer close(done)
		for {
			select {
			case <-quit:
				return
			case <-time.After(50 * time.Millisecond):
				s.once(t)
				s.nameless(t, pid)
			}
		}
	}()
	return stop
}

func (s *scanner) nameless(t testing.TB, pid int) {
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		if target, err := os.Readlink(path); err == nil && strings.HasPrefix(target, "/") && strings.HasSuffix(target, " (deleted)") {
			s.file(t, path)
		}
	}
}

// watchFolder records the name of every file that is made in a folder, however
// short its life.
func watchFolder(t *testing.T, dir string) (made func() []string) {
	t.Helper()
	w, err := fsnotify.NewWatcher()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	if err := w.Add(dir); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var names []string
	go func() {
		for e := range w.Events {
			if e.Has(fsnotify.Create) {
				mu.Lock()
				names = append(names, e.Name)
				mu.Unlock()
			}
		}
	}()
	return func() []string { mu.Lock(); defer mu.Unlock(); return names }
}
