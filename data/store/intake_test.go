package store

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"mime/multipart"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/pocketbase/pocketbase/core"

	"holdfast/data"
)

func noise(n int, seed uint64) []byte {
	b := make([]byte, n)
	r := rand.New(rand.NewPCG(seed, 1))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// addAlbums makes a collection whose records hold several files.
func addAlbums(t testing.TB, s *Store) {
	t.Helper()
	albums := core.NewBaseCollection("albums")
	open(albums)
	albums.Fields.Add(
		&core.TextField{Name: "title"},
		&core.FileField{Name: "pics", MaxSelect: 9, MaxSize: 64 << 20},
		&core.FileField{Name: "cover", MaxSelect: 1, MaxSize: 1 << 20, MimeTypes: []string{"image/png"}},
	)
	save(t, s, albums)
}

type sent struct {
	field, name string
	content     []byte
}

func album(title string, files ...sent) form {
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	_ = w.WriteField("title", title)
	for _, f := range files {
		part, _ := w.CreateFormFile(f.field, f.name)
		_, _ = part.Write(f.content)
	}
	_ = w.Close()
	return form{&b, w.FormDataContentType()}
}

func names(o map[string]any, field string) (out []string) {
	list, _ := o[field].([]any)
	for _, v := range list {
		out = append(out, v.(string))
	}
	return out
}

// Small and large files of one form, in turn, each come back whole; adding to a
// record, and files for no field, included.
func TestFormsOfManyFiles(t *testing.T) {
	notUnderRace(t)
	s := newStore(t)
	addAlbums(t, s)
	g := guest(s)
	var files []sent
	for i, n := range []int{smallFile, smallFile + 1, 10, 7 << 20, 1, 300_000} {
		files = append(files, sent{"pics", fmt.Sprintf("p%d.bin", i), noise(n, uint64(i))})
	}
	stray := append(files[:3:3], sent{"nofield", "x.bin", noise(100_000, 9)})
	o := g.must(t, 200, "POST", "/api/collections/albums/records", album("one", append(stray, files[3:]...)...)).object(t)
	check := func(o map[string]any, want []sent) {
		t.Helper()
		got := names(o, "pics")
		if len(got) != len(want) {
			t.Fatal("files:", got)
		}
		for i, name := range got {
			r := g.must(t, 200, "GET", fmt.Sprintf("/api/files/albums/%s/%s", o["id"], name), nil)
			if !bytes.Equal(r.body, want[i].content) {
				t.Errorf("%s: %d bytes of %d", name, len(r.body), len(want[i].content))
			}
		}
	}
	check(o, files)
	more := sent{"pics+", "more.bin", noise(200_000, 77)}
	path := "/api/collections/albums/records/" + o["id"].(string)
	o = g.must(t, 200, "PATCH", path, album("two", more)).object(t)
	check(o, append(files, more))
	if o["title"] != "two" {
		t.Error(o["title"])
	}
	// Types are judged by the content, sizes by the whole.
	g.must(t, 400, "PATCH", path, album("x", sent{"cover", "c.png", noise(100_000, 5)}))
	g.must(t, 400, "PATCH", path, album("x", sent{"cover", "c.png", noise(1<<20+1, 5)}))
	png := append([]byte("\x89PNG\r\n\x1a\n"), noise(500_000, 6)...)
	o = g.must(t, 200, "PATCH", path, album("x", sent{"cover", "c", png})).object(t)
	if cover, _ := o["cover"].(string); !strings.HasSuffix(cover, ".png") {
		t.Error("the type was not found:", cover)
	}
	check(o, append(files, more))
}

func TestBadForms(t *testing.T) {
	s := newStore(t)
	addAlbums(t, s)
	g := guest(s)
	whole := album("cut", sent{"pics", "x", noise(300_000, 1)})
	content, _ := io.ReadAll(whole.body)
	for what, f := range map[string]form{
		"cut short":      {bytes.NewReader(content[:200_000]), whole.kind},
		"no boundary":    {bytes.NewReader(content), "multipart/form-data"},
		"wrong boundary": {bytes.NewReader(content), "multipart/form-data; boundary=abc"},
	} {
		if r := g.do("POST", "/api/collections/albums/records", f); r.code != 400 {
			t.Errorf("%s: %d %.200s", what, r.code, r.body)
		}
	}
	var many []sent
	for range mostParts {
		many = append(many, sent{"pics", "x", []byte("y")})
	}
	g.must(t, 400, "POST", "/api/collections/albums/records", album("many", many...))
	if n := fileCount(t, s); n != 0 {
		t.Error("files stayed:", n)
	}
}

// Who cannot be let through does not have the disk written to.
func TestUploadsOfNobody(t *testing.T) {
	s := newStore(t)
	addDocs(t, s)
	docs := collection(t, s, "docs")
	docs.CreateRule = nil
	save(t, s, docs)
	guest(s).must(t, 413, "POST", "/api/collections/docs/records", upload(nil, "doc", "x", noise(2<<20, 1)))
	guest(s).must(t, 403, "POST", "/api/collections/docs/records", upload(nil, "doc", "x", noise(2<<10, 1)))
	keyCaller(s, "k", Reach{Scope: Write}).must(t, 200, "POST", "/api/collections/docs/records", upload(nil, "doc", "x", noise(2<<20, 1)))
}

// A batch builds forms of its own out of its parts, which must come whole.
func TestBatchWithFiles(t *testing.T) {
	s := newStore(t)
	addAlbums(t, s)
	content := noise(5<<20, 3)
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	_ = w.WriteField("@jsonPayload", `{"requests":[{"method":"POST","url":"/api/collections/albums/records","body":{"title":"b"}}]}`)
	part, _ := w.CreateFormFile("requests.0.pics", "big.bin")
	_, _ = part.Write(content)
	_ = w.Close()
	guest(s).must(t, 200, "POST", "/api/batch", form{&b, w.FormDataContentType()})
	all, err := s.Files().List(t.Context(), "", "", 10)
	if err != nil || len(all) != 1 || all[0].Size != int64(len(content)) {
		t.Fatal(all, err)
	}
}

// fullDisk gives keys, or the error of a full disk where a file is begun.
type fullDisk struct {
	data.KeySource
	full *bool
}

func (k fullDisk) Current() (uint32, [32]byte, error) {
	if *k.full {
		return 0, [32]byte{}, fmt.Errorf("write: %w", syscall.ENOSPC)
	}
	return k.KeySource.Current()
}

type fullKeys struct {
	Keys
	full *bool
}

func (k fullKeys) Files(id data.StoreID) data.KeySource { return fullDisk{k.Keys.Files(id), k.full} }

// A disk that fills under an upload is said to be full, and nothing of the upload
// stays: no record, no file, no part.
func TestFullDiskUnderAnUpload(t *testing.T) {
	full := false
	s := newStore(t, func(c *Config) { c.Keys = fullKeys{c.Keys, &full} })
	addDocs(t, s)
	g := guest(s)
	g.upload(t, "doc", "before.bin", []byte("x"))
	full = true
	for _, n := range []int{100, 100_000, 20 << 20} {
		r := g.must(t, 507, "POST", "/api/collections/docs/records", upload(nil, "doc", "x.bin", noise(n, 1)))
		if !strings.Contains(string(r.body), "full") {
			t.Errorf("%s", r.body)
		}
	}
	full = false
	left, err := filepath.Glob(filepath.Join(s.dir, filesDir, "uploads", "*"))
	if n := fileCount(t, s); n != 1 || len(left) > 0 || err != nil {
		t.Error("left:", n, left, err)
	}
	if all := g.must(t, 200, "GET", "/api/collections/docs/records", nil).object(t); all["totalItems"] != 1.0 {
		t.Error(all)
	}
	g.upload(t, "doc", "after.bin", noise(1<<20, 1))
}

// openFilesHold gives what a text is found in among the files that this process has
// open, those without a name included.
func openFilesHold(t testing.TB, text string) (found []string) {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip("no /proc here")
	}
	for _, e := range entries {
		path := filepath.Join("/proc/self/fd", e.Name())
		st, err := os.Stat(path)
		if err != nil || !st.Mode().IsRegular() {
			continue
		}
		raw, err := os.ReadFile(path)
		if err == nil && bytes.Contains(raw, []byte(text)) {
			found = append(found, path)
		}
	}
	return found
}

// While an upload comes in, its bytes are in no open file in clear, and memory does
// not hold it.
func TestUploadInSmallMemory(t *testing.T) {
	notUnderRace(t)
	size := 48 << 20
	s := newStore(t, func(c *Config) { c.BodyMemory = 1 << 20 })
	addDocs(t, s)
	content := bytes.Repeat([]byte(canary+"-----"), size/16)
	f := upload(nil, "doc", "big.bin", content)
	all, _ := io.ReadAll(f.body)
	body := newSlowBody(all)
	done := make(chan reply)
	go func() { done <- guest(s).do("POST", "/api/collections/docs/records", form{body, f.kind}) }()
	select {
	case <-body.half:
	case r := <-done:
		t.Fatalf("refused: %d %s", r.code, r.body)
	}
	if found := openFilesHold(t, canary); len(found) > 0 {
		t.Error("in clear in", found)
	}
	if n := s.pool.spooled.used.Load(); n < int64(size)*9/10 {
		t.Error("not on disk:", n)
	}
	close(body.on)
	r := <-done
	if r.code != 200 {
		t.Fatalf("%d %s", r.code, r.body)
	}
	o := r.object(t)
	req := httptest.NewRequest("GET", fmt.Sprintf("/api/files/docs/%s/%s", o["id"], o["doc"]), nil)
	w := httptest.NewRecorder()
	s.ServeHTTP(w, req)
	if !bytes.Equal(w.Body.Bytes(), content) {
		t.Error("changed:", w.Body.Len())
	}
}

// endless is a body of many bytes that nobody holds.
type endless struct{ left int64 }

func (e *endless) Read(p []byte) (int, error) {
	if e.left == 0 {
		return 0, io.EOF
	}
	n := int(min(int64(len(p)), e.left))
	clear(p[:n])
	e.left -= int64(n)
	return n, nil
}

// TestHugeUpload sends 2 GiB through a store and sees what memory it takes.
// HOLDFAST_TEST_LONG=1 runs it.
func TestHugeUpload(t *testing.T) {
	if os.Getenv("HOLDFAST_TEST_LONG") == "" {
		t.Skip("HOLDFAST_TEST_LONG is not set")
	}
	s := newStore(t)
	addDocs(t, s)
	docs := collection(t, s, "docs")
	docs.Fields.GetByName("doc").(*core.FileField).MaxSize = 3 << 30
	save(t, s, docs)
	head := "--b\r\nContent-Disposition: form-data; name=\"doc\"; filename=\"huge.bin\"\r\n\r\n"
	body := io.MultiReader(strings.NewReader(head), &endless{2 << 30}, strings.NewReader("\r\n--b--\r\n"))
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	o := guest(s).must(t, 200, "POST", "/api/collections/docs/records", form{body, "multipart/form-data; boundary=b"}).object(t)
	runtime.ReadMemStats(&after)
	t.Logf("2 GiB: the heap grew from the system by %d MiB", (after.HeapSys-before.HeapSys)>>20)
	if grown := after.HeapSys - before.HeapSys; grown > 256<<20 {
		t.Error("memory is not flat:", grown)
	}
	all, err := s.Files().List(t.Context(), "", "", 10)
	if err != nil || len(all) != 1 || all[0].Size != 2<<30 {
		t.Error(all, err, o["doc"])
	}
}
