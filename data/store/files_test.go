package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"io"
	"io/fs"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pocketbase/pocketbase/core"

	"holdfast/data"
)

// addDocs makes a collection with an open and a protected file field.
func addDocs(t testing.TB, s *Store) {
	t.Helper()
	docs := core.NewBaseCollection("docs")
	open(docs)
	docs.Fields.Add(
		&core.TextField{Name: "title"},
		&core.FileField{Name: "doc", MaxSelect: 1, MaxSize: 64 << 20, Thumbs: []string{"50x50"}},
		&core.FileField{Name: "secret", MaxSelect: 1, MaxSize: 1 << 20, Protected: true},
	)
	save(t, s, docs)
}

func upload(fields map[string]string, field, name string, content []byte) form {
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	for k, v := range fields {
		_ = w.WriteField(k, v)
	}
	part, _ := w.CreateFormFile(field, name)
	_, _ = part.Write(content)
	_ = w.Close()
	return form{&b, w.FormDataContentType()}
}

func (c caller) upload(t testing.TB, field, name string, content []byte) string {
	t.Helper()
	o := c.must(t, 200, "POST", "/api/collections/docs/records", upload(nil, field, name, content)).object(t)
	return fmt.Sprintf("/api/files/docs/%s/%s", o["id"], o[field])
}

// eventually waits for what PocketBase does in the background.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); {
		if time.Now().After(end) {
			t.Fatal(what)
		}
		time.Sleep(time.Millisecond)
	}
}

func fileCount(t testing.TB, s *Store) int {
	t.Helper()
	all, err := s.Files().List(t.Context(), "", "", 1000)
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

func TestFiles(t *testing.T) {
	s := newStore(t)
	addDocs(t, s)
	g := guest(s)
	big := bytes.Repeat([]byte("0123456789abcdef"), 20<<20/16)
	path := g.upload(t, "doc", "big.txt", big)
	r := g.must(t, 200, "GET", path, nil)
	if !bytes.Equal(r.body, big) || !strings.HasPrefix(r.header.Get("Content-Type"), "text/plain") {
		t.Error("the file came back changed:", len(r.body), r.header)
	}
	req := httptest.NewRequest("GET", path, nil)
	req.Header.Set("Range", "bytes=10000000-10000015")
	w := httptest.NewRecorder()
	s.ServeHTTP(w, req)
	if w.Code != http.StatusPartialContent || w.Body.String() != string(big[10000000:10000016]) {
		t.Error("range:", w.Code, w.Body.Len())
	}
	g.must(t, 404, "GET", strings.Replace(path, "big", "bog", 1), nil)
	if n := fileCount(t, s); n != 1 {
		t.Error("files:", n)
	}
	record := strings.Replace(path[:strings.LastIndex(path, "/")], "/api/files/docs/", "/api/collections/docs/records/", 1)
	g.must(t, 204, "DELETE", record, nil)
	eventually(t, "the file of a deleted record stays", func() bool { return fileCount(t, s) == 0 })
}

func TestThumbnails(t *testing.T) {
	s := newStore(t)
	addDocs(t, s)
	img := image.NewRGBA(image.Rect(0, 0, 300, 300))
	for i := range 300 {
		img.Set(i, i, color.RGBA{255, 0, 0, 255})
	}
	var b bytes.Buffer
	if err := png.Encode(&b, img); err != nil {
		t.Fatal(err)
	}
	path := guest(s).upload(t, "doc", "pic.png", b.Bytes())
	r := guest(s).must(t, 200, "GET", path+"?thumb=50x50", nil)
	thumb, err := png.Decode(bytes.NewReader(r.body))
	if err != nil || thumb.Bounds().Dx() != 50 {
		t.Fatal(err, r.header)
	}
	if n := fileCount(t, s); n != 2 {
		t.Error("the thumbnail is not kept:", n)
	}
}

// A file's fate does not hang on the store being open.
func TestDeletedFilesGoThoughTheStoreCloses(t *testing.T) {
	p := newPool(t)
	if err := p.Create(t.Context(), acme); err != nil {
		t.Fatal(err)
	}
	s, err := p.Acquire(t.Context(), acme)
	if err != nil {
		t.Fatal(err)
	}
	addDocs(t, s)
	for i := range 5 {
		guest(s).upload(t, "doc", fmt.Sprint(i, ".txt"), []byte("x"))
	}
	if err := s.app.TruncateCollection(collection(t, s, "docs")); err != nil {
		t.Fatal(err)
	}
	s.Release()
	if err := p.Evict(t.Context(), acme); err != nil {
		t.Fatal(err)
	}
	s = acquire(t, p, acme)
	eventually(t, "files stayed", func() bool { return fileCount(t, s) == 0 })
}

func TestProtectedFiles(t *testing.T) {
	s := newStore(t)
	addDocs(t, s)
	docs := collection(t, s, "docs")
	rule := "@request.auth.id != ''"
	docs.ViewRule = &rule
	save(t, s, docs)
	path := guest(s).upload(t, "secret", "s.txt", []byte("classified"))
	guest(s).must(t, 404, "GET", path, nil)
	user, _ := signUp(t, s)
	token, _ := user.must(t, 200, "POST", "/api/files/token", nil).object(t)["token"].(string)
	guest(s).must(t, 200, "GET", path+"?token="+token, nil)
	keyCaller(s, "k", Reach{Scope: Read, Collections: []string{"docs"}}).must(t, 200, "GET", path, nil)
	keyCaller(s, "k", Reach{Scope: Read, Collections: []string{"items"}}).must(t, 404, "GET", path, nil)
	keyCaller(s, "k", Reach{Scope: Admin}).must(t, 403, "POST", "/api/files/token", nil)
}

// holding gives every file under a folder that contains the text, or is named so.
func holding(t testing.TB, root, text string) (found []string) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		if strings.Contains(strings.ToLower(d.Name()), strings.ToLower(text)) {
			found = append(found, path)
		}
		if !d.Type().IsRegular() {
			return nil
		}
		raw, err := os.ReadFile(path)
		if err == nil && (bytes.Contains(raw, []byte(text)) || bytes.Contains(raw, []byte(strings.ToLower(text)))) {
			found = append(found, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

const canary = "CANARYxyzzy"

// slowBody gives half of a body, waits to be let on, and gives the rest.
type slowBody struct {
	io.Reader
	half, on chan struct{}
	once     sync.Once
	left     int
}

func (b *slowBody) Read(p []byte) (int, error) {
	if b.left <= 0 {
		b.once.Do(func() { close(b.half); <-b.on })
	} else if len(p) > b.left {
		p = p[:b.left]
	}
	n, err := b.Reader.Read(p)
	b.left -= n
	return n, err
}

func newSlowBody(content []byte) *slowBody {
	return &slowBody{Reader: bytes.NewReader(content), half: make(chan struct{}), on: make(chan struct{}), left: len(content) - 64}
}

// Nothing that a tenant sends lies in clear on any disk, during the request and
// after it: an upload of 20 MB, a large JSON body, a batch, a sort that spills.
func TestNothingInClearOnDisk(t *testing.T) {
	notUnderRace(t)
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	s := newStore(t)
	addDocs(t, s)
	if err := s.app.Save(func() core.Model {
		c := collection(t, s, "items")
		c.Fields.GetByName("body").(*core.TextField).Max = 64 << 20
		return c
	}()); err != nil {
		t.Fatal(err)
	}
	look := func(when string) {
		for _, root := range []string{temp, s.pool.config.Dir} {
			if found := holding(t, root, canary); len(found) > 0 {
				t.Errorf("%s: in clear in %v", when, found)
			}
		}
		if left, _ := os.ReadDir(temp); len(left) > 0 {
			t.Errorf("%s: %d files in the temporary folder", when, len(left))
		}
	}
	big := bytes.Repeat([]byte(canary+"-----"), 20<<20/16)
	file := upload(map[string]string{"title": canary}, "doc", canary+".txt", big)
	bodies := map[string]form{
		"upload": file,
		"json":   {strings.NewReader(`{"title":"` + canary + `","body":"` + string(big[:17<<20]) + `"}`), "application/json"},
	}
	for name, f := range bodies {
		content, _ := io.ReadAll(f.body)
		body := newSlowBody(content)
		path := map[string]string{"upload": "docs", "json": "items"}[name]
		done := make(chan reply)
		go func() { done <- guest(s).do("POST", "/api/collections/"+path+"/records", form{body, f.kind}) }()
		select {
		case <-body.half:
			look("while a body of " + name + " comes in")
		case r := <-done:
			t.Fatalf("%s: refused before it was read: %d %.200s", name, r.code, r.body)
		}
		close(body.on)
		if r := <-done; r.code != 200 {
			t.Errorf("%s: %d %.200s", name, r.code, r.body)
		}
		look("after " + name)
	}
	for i := range 20 {
		guest(s).create(t, "items", map[string]any{"title": canary + fmt.Sprint(i), "body": string(big[:1<<19])})
	}
	guest(s).must(t, 200, "GET", "/api/collections/items/records?sort=body,-title&perPage=2", nil)
	look("after a sort")
	guest(s).must(t, 413, "POST", "/api/batch", form{bytes.NewReader(big), "application/json"})
	look("after a batch too large")
}

func TestBodiesAreBounded(t *testing.T) {
	s := newStore(t, func(c *Config) { c.MaxBody, c.BodyMemory, c.MaxUpload, c.UploadDisk = 2<<20, 3<<20, 2<<20, 3<<20 })
	addDocs(t, s)
	g := guest(s)
	g.must(t, 413, "POST", "/api/collections/docs/records", upload(nil, "doc", "x", make([]byte, 3<<20)))
	chunked := upload(nil, "doc", "x", make([]byte, 3<<20))
	chunked.body = io.MultiReader(chunked.body) // hides the length
	g.must(t, 413, "POST", "/api/collections/docs/records", chunked)
	s.pool.spooled.take(2 << 20)
	g.must(t, 503, "POST", "/api/collections/docs/records", upload(nil, "doc", "x", make([]byte, 1<<20+1000)))
	s.pool.spooled.give(2 << 20)
	s.pool.bodies.take(3 << 20)
	g.must(t, 503, "POST", "/api/collections/docs/records", upload(nil, "doc", "x", make([]byte, 1000)))
	s.pool.bodies.give(3 << 20)
	g.must(t, 200, "POST", "/api/collections/docs/records", upload(nil, "doc", "x", make([]byte, 1<<20+1000)))
	for name, b := range map[string]*bodyBudget{"memory": &s.bodies, "all memory": &s.pool.bodies, "disk": &s.spooled, "all disk": &s.pool.spooled} {
		if b.used.Load() != 0 {
			t.Error("bodies are still counted:", name, b.used.Load())
		}
	}
}

func TestOutboundStaysPublic(t *testing.T) {
	newPool(t)
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	for _, url := range []string{server.URL, "http://169.254.169.254/latest", "http://10.0.0.1/", "http://[::1]/"} {
		if res, err := http.Get(url); err == nil {
			res.Body.Close()
			t.Error("reached", url)
		}
	}
	if _, err := http.Get("http://prod.nobody.999" + filesDomain + "/files/x"); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
}

func TestByteRange(t *testing.T) {
	for _, c := range []struct {
		header       string
		from, length int64
		bad          bool
	}{
		{"", -1, 10, false}, {"bytes=0-", 0, 10, false}, {"bytes=3-4", 3, 2, false}, {"bytes=9-99", 9, 1, false},
		{"bytes=10-", 0, 0, true}, {"bytes=5-4", 0, 0, true}, {"bytes=-3", 0, 0, true}, {"bytes=x-", 0, 0, true},
	} {
		from, length, err := byteRange(c.header, 10)
		if (err != nil) != c.bad || err == nil && (from != c.from || length != c.length) {
			t.Errorf("%q: %d %d %v", c.header, from, length, err)
		}
	}
}

var _ data.FileTree = (*lazyFiles)(nil)

// leaveFiles puts files where PocketBase leaves them when it dies too early.
func leaveFiles(t testing.TB, s *Store, names ...string) {
	t.Helper()
	for _, name := range names {
		if _, err := s.Files().Put(t.Context(), data.FileInfo{Name: name}, strings.NewReader("left")); err != nil {
			t.Fatal(err)
		}
	}
}

func fileNames(t testing.TB, s *Store) map[string]bool {
	t.Helper()
	all, err := s.Files().List(t.Context(), "", "", 10_000)
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, f := range all {
		names[f.Name] = true
	}
	return names
}

// Files go when nothing names them and they are old; never a file of a record, a
// young one, or one that is not PocketBase's.
func TestFilesWithoutRecordsAreSwept(t *testing.T) {
	s := newStore(t)
	addAlbums(t, s)
	addDocs(t, s)
	g := guest(s)
	o := g.must(t, 200, "POST", "/api/collections/albums/records", album("a", sent{"pics", "one.bin", noise(100, 1)}, sent{"pics", "two.bin", noise(100, 2)})).object(t)
	doc := g.upload(t, "doc", "d.txt", []byte("x"))
	c, record := collection(t, s, "albums").Id, o["id"].(string)
	pics := names(o, "pics")
	lost := []string{c + "/nosuchrecord00/x.bin", c + "/" + record + "/replaced.bin", "pbc_gone/r/x.bin",
		c + "/nosuchrecord00/thumbs_x.bin/50x50_x.bin", c + "/" + record + "/thumbs_replaced.bin/50x50_replaced.bin"}
	kept := []string{c + "/" + record + "/" + pics[0], c + "/" + record + "/" + pics[1], c + "/" + record + "/thumbs_" + pics[0] + "/50x50_" + pics[0],
		"loose", "albums/" + record + "/by-name.bin", collection(t, s, "docs").Id + "/" + strings.TrimPrefix(doc, "/api/files/docs/")}
	leaveFiles(t, s, lost...)
	leaveFiles(t, s, kept[2:5]...)
	if n, err := s.sweepFiles(t.Context(), time.Now()); n != 0 || err != nil {
		t.Error("young files were removed:", n, err)
	}
	if n, err := s.sweepFiles(t.Context(), time.Now().Add(2*orphanAge)); n != 0 || err != nil {
		t.Error("removed at first sight:", n, err)
	}
	n, err := s.sweepFiles(t.Context(), time.Now().Add(2*orphanAge))
	if n != len(lost) || err != nil {
		t.Error("removed", n, err)
	}
	left := fileNames(t, s)
	for _, name := range kept {
		if !left[name] {
			t.Error("gone:", name)
		}
	}
	if len(left) != len(kept) {
		t.Error("left:", left)
	}
}

// A sweep is bounded, goes on where it stopped, and begins anew at the end.
func TestSweepOfFilesGoesOn(t *testing.T) {
	if testing.Short() {
		t.Skip("makes a thousand files")
	}
	s := newStore(t)
	var many []string
	for i := range sweptFiles + 50 {
		many = append(many, fmt.Sprintf("pbc_gone/r%d/x", i))
	}
	leaveFiles(t, s, many...)
	later := time.Now().Add(2 * orphanAge)
	for _, want := range []int{0, 0, sweptFiles, 50, 0} {
		if n, err := s.sweepFiles(t.Context(), later); n != want || err != nil {
			t.Fatal("removed", n, "want", want, err)
		}
	}
}

// A database that cannot be read is no evidence that a record is gone.
func TestDamageIsNoEvidenceAgainstFiles(t *testing.T) {
	s := newStore(t)
	addDocs(t, s)
	guest(s).upload(t, "doc", "d.txt", []byte("x"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if n, err := s.sweepFiles(ctx, time.Now().Add(2*orphanAge)); n != 0 || err == nil {
		t.Error(n, err)
	}
	if _, err := s.app.NonconcurrentDB().NewQuery("ALTER TABLE docs RENAME TO away").Execute(); err == nil {
		if n, err := s.sweepFiles(t.Context(), time.Now().Add(2*orphanAge)); n != 0 || err == nil {
			t.Error("a table that is missing:", n, err)
		}
	}
	if len(fileNames(t, s)) != 1 {
		t.Error("the file is gone")
	}
}
