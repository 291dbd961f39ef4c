package backup_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"holdfast/backup"
	"holdfast/data"
)

var update = flag.Bool("update", false, "write the golden files anew: only for a new version of the format")

const (
	store     = "abcdefghijklmno/prod"
	contentID = "content-id"
)

// keys has one generation, the one of the golden files.
var keys goldenKeys

type goldenKeys struct{}

func (goldenKeys) Current() (uint32, [32]byte, error) {
	key, err := keys.Generation(1)
	return 1, key, err
}

func (goldenKeys) Generation(g uint32) ([32]byte, error) {
	if g != 1 {
		return [32]byte{}, data.ErrNotFound
	}
	return sha256.Sum256([]byte("golden/1")), nil
}

var header = backup.Header{
	Kind: backup.Pages, Generation: 1, Epoch: backup.Epoch{1, 2, 3, 4, 5, 6, 7, 8}, Sequence: 0x1122334455, Part: 7, Previous: backup.Hash{0xaa, 0xbb},
}

func newCodec(t testing.TB) *backup.Codec {
	t.Helper()
	c, err := backup.NewCodec(store, keys)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func examplePages() *backup.PageList {
	l := new(backup.PageList)
	for _, pgno := range []uint32{1, 2, 70000} {
		l.Add(pgno, bytes.Repeat([]byte{byte(pgno)}, data.PageSize))
	}
	return l
}

func exampleChanges() []backup.Change {
	info := data.FileInfo{
		Name: "collection/record/photo_x1.jpg", Size: 5, ContentType: "image/jpeg", ETag: "e",
		Modified: time.Date(2026, 1, 2, 3, 4, 5, 6000000, time.UTC), Metadata: map[string]string{"k": "v"},
	}
	put := &backup.File{FileInfo: info, Chunks: []backup.Chunk{{ID: strings.Repeat("0f", 32), Size: 5}}}
	return []backup.Change{{Drop: "collection/record/old.txt"}, {Put: put}}
}

func exampleSnapshot() *backup.Snapshot {
	h := header
	h.Kind, h.Part = backup.Pages, 0
	return &backup.Snapshot{
		Store: store, Epoch: header.Epoch.String(), Sequence: header.Sequence, Base: 5, Time: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		Position: data.Position{Incarnation: "life", Sequence: 42}, SumKey: bytes.Repeat([]byte{9}, 32),
		Pages:   backup.PagesState{Total: 70000, Changed: 3, Before: backup.Hash{1}, After: backup.Hash{2}},
		Files:   backup.FilesState{Count: 1, Bytes: 5, Changed: 2, Before: backup.Hash{3}, After: backup.Hash{4}},
		Objects: []backup.Ref{{Name: backup.PartName(store, h), Kind: backup.Pages, Size: 100, SHA256: backup.Hash{5}}},
	}
}

// golden returns a file of testdata, written anew with -update.
func golden(t *testing.T, name string, now func() []byte) []byte {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, now(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// exact wants a format to give the golden bytes.
func exact(t *testing.T, name string, b []byte) {
	t.Helper()
	if want := golden(t, name, func() []byte { return b }); !bytes.Equal(b, want) {
		t.Errorf("%s: the format changed", name)
	}
}

func TestGoldenFormats(t *testing.T) {
	exact(t, "header.hex", []byte(hex.EncodeToString(header.Format())+"\n"))
	exact(t, "pages.bin", examplePages().Format())
	parts, err := backup.FormatChanges(exampleChanges())
	if err != nil {
		t.Fatal(err)
	}
	exact(t, "tree.jsonl", parts[0])
	body, err := json.Marshal(exampleSnapshot())
	if err != nil {
		t.Fatal(err)
	}
	exact(t, "manifest.json", body)
	exact(t, "names.txt", []byte(strings.Join([]string{
		backup.ManifestName(store, header.Sequence), backup.PartName(store, header), backup.ContentName(store, backup.Chunk{ID: contentID}),
	}, "\n")+"\n"))
	exact(t, "sums.txt", []byte(exampleSums(t)))
}

// exampleSums are roots of a database that grows and shrinks.
func exampleSums(t *testing.T) string {
	sums, err := backup.NewSums(bytes.Repeat([]byte{9}, 32))
	if err != nil {
		t.Fatal(err)
	}
	out := fmt.Sprintln("empty", sums.Root())
	sums.Put(3, sums.Of(3, bytes.Repeat([]byte{1}, data.PageSize)))
	out += fmt.Sprintln("3 pages", sums.Root())
	sums.Resize(1500)
	out += fmt.Sprintln("1500 pages", sums.Root())
	sums.Resize(2)
	return out + fmt.Sprintln("2 pages", sums.Root())
}

// Objects that an earlier build sealed are opened, whatever becomes of the code.
func TestGoldenObjects(t *testing.T) {
	c := newCodec(t)
	name := backup.PartName(store, header)
	object := golden(t, "object.bin", func() []byte {
		b, err := c.Seal(header, name, examplePages().Format())
		return must(t, b, err)
	})
	h, plain, err := c.Open(name, object)
	if err != nil || h != header || !bytes.Equal(plain, examplePages().Format()) {
		t.Errorf("object: %+v, %v", h, err)
	}
	manifest := golden(t, "manifest.bin", func() []byte {
		b, err := c.SealManifest(exampleSnapshot(), backup.Hash{7})
		return must(t, b, err)
	})
	h, s, err := c.OpenManifest(header.Sequence, manifest)
	if err != nil || h.Previous != (backup.Hash{7}) || !reflect.DeepEqual(s, exampleSnapshot()) {
		t.Errorf("manifest: %+v, %v", h, err)
	}
	id, generation, err := c.ContentID([]byte("hello"))
	if err != nil {
		t.Fatal(err)
	}
	content := golden(t, "content.bin", func() []byte {
		b, err := c.SealContent(backup.Header{Generation: generation, Sequence: 1}, backup.Chunk{ID: id}, []byte("hello"))
		return must(t, b, err)
	})
	if plain, err := c.OpenContent(backup.Chunk{ID: id}, content); err != nil || string(plain) != "hello" {
		t.Errorf("content: %q, %v", plain, err)
	}
	exact(t, "content.txt", []byte(id+"\n"))
}

func must(t *testing.T, b []byte, err error) []byte {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestRoundTrips(t *testing.T) {
	h, err := backup.ParseHeader(header.Format())
	if err != nil || h != header {
		t.Errorf("header: %+v, %v", h, err)
	}
	l, err := backup.ParsePages(examplePages().Format())
	if err != nil || !reflect.DeepEqual(l, examplePages()) {
		t.Errorf("pages: %v", err)
	}
	parts, _ := backup.FormatChanges(exampleChanges())
	changes, err := backup.ParseChanges(parts[0])
	if err != nil || !reflect.DeepEqual(changes, exampleChanges()) {
		t.Errorf("changes: %+v, %v", changes, err)
	}
}

// Many changes are cut into parts that are each read by themselves.
func TestManyChanges(t *testing.T) {
	var changes []backup.Change
	for i := range 200_000 {
		changes = append(changes, backup.Change{Drop: fmt.Sprintf("%s/%08d", strings.Repeat("d", 100), i)})
	}
	parts, err := backup.FormatChanges(changes)
	if err != nil || len(parts) != 2 {
		t.Fatalf("%d parts, %v", len(parts), err)
	}
	n := 0
	for _, p := range parts {
		got, err := backup.ParseChanges(p)
		if n += len(got); err != nil || len(p) > backup.MaxPlain {
			t.Fatal(err)
		}
	}
	if n != len(changes) {
		t.Errorf("%d changes came back", n)
	}
}

// alter returns the header's bytes with one changed.
func alter(at int, to byte) []byte {
	b := header.Format()
	b[at] = to
	return b
}

func TestBadHeaders(t *testing.T) {
	for name, c := range map[string]struct {
		b    []byte
		want error
	}{
		"empty": {nil, backup.ErrFormat}, "short": {header.Format()[:71], backup.ErrFormat}, "magic": {alter(0, 'H'), backup.ErrFormat},
		"newer": {alter(8, 2), data.ErrNewer}, "kind 0": {alter(9, 0), backup.ErrFormat}, "kind 9": {alter(9, 9), backup.ErrFormat},
		"reserved": {alter(11, 1), backup.ErrFormat}, "reserved 2": {alter(37, 1), backup.ErrFormat}, "negative": {alter(24, 0x80), backup.ErrFormat},
	} {
		if _, err := backup.ParseHeader(c.b); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestBadPages(t *testing.T) {
	swapped, twice, lock := examplePages(), examplePages(), examplePages()
	swapped.Numbers[0], swapped.Numbers[1] = 2, 1
	twice.Numbers[1] = 1
	lock.Numbers[2] = backup.LockPage
	zero := examplePages()
	zero.Numbers[0] = 0
	good := examplePages().Format()
	for name, b := range map[string][]byte{
		"empty": nil, "short": good[:3], "cut": good[:len(good)-1], "more": append(bytes.Clone(good), 0), "order": swapped.Format(),
		"twice": twice.Format(), "lock page": lock.Format(), "page 0": zero.Format(), "huge count": {0xff, 0xff, 0xff, 0xff},
	} {
		if _, err := backup.ParsePages(b); !errors.Is(err, backup.ErrFormat) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestBadChanges(t *testing.T) {
	id := strings.Repeat("0f", 32)
	file := func(name string, size int, chunks string) string {
		return fmt.Sprintf(`{"put":{"name":%q,"size":%d,"modified":"2026-01-02T03:04:05Z","chunks":[%s]}}`+"\n", name, size, chunks)
	}
	one := fmt.Sprintf(`{"id":%q,"size":5}`, id)
	if _, err := backup.ParseChanges([]byte(file("a", 5, one))); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"no newline": `{"drop":"x"}`, "not JSON": "x\n", "nothing": "{}\n", "both": `{"drop":"x","put":{}}` + "\n", "unknown": `{"drop":"x","y":1}` + "\n",
		"order": `{"drop":"b"}` + "\n" + `{"drop":"a"}` + "\n", "twice": `{"drop":"b"}` + "\n" + `{"drop":"b"}` + "\n",
		"absolute": `{"drop":"/etc/passwd"}` + "\n", "parent": `{"drop":"a/../b"}` + "\n", "dot": `{"drop":"."}` + "\n", "zero": `{"drop":"a\u0000b"}` + "\n",
		"long name": `{"drop":"` + strings.Repeat("a", 5000) + `"}` + "\n", "size": file("a", 6, one), "negative": file("a", -5, one),
		"chunk size": file("a", 0, `{"id":"`+id+`","size":0}`), "huge chunk": file("a", backup.ChunkSize+1, fmt.Sprintf(`{"id":%q,"size":%d}`, id, backup.ChunkSize+1)),
		"short chunk": file("a", 10, one+","+one), "id": file("a", 5, `{"id":"0F","size":5}`), "upper": file("a", 5, `{"id":"`+strings.ToUpper(id)+`","size":5}`),
		"two values": `{"drop":"a"} {"drop":"b"}` + "\n",
	} {
		if _, err := backup.ParseChanges([]byte(text)); !errors.Is(err, backup.ErrFormat) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestBadSnapshots(t *testing.T) {
	for name, change := range map[string]func(*backup.Snapshot){
		"epoch": func(s *backup.Snapshot) { s.Epoch = "xyz" }, "base 0": func(s *backup.Snapshot) { s.Base = 0 },
		"base after": func(s *backup.Snapshot) { s.Base = s.Sequence + 1 }, "sum key": func(s *backup.Snapshot) { s.SumKey = s.SumKey[:31] },
		"negative": func(s *backup.Snapshot) { s.Files.Count = -1 }, "kind": func(s *backup.Snapshot) { s.Objects[0].Kind = backup.Manifest },
		"part": func(s *backup.Snapshot) { s.Objects[0].Part = 1 }, "small": func(s *backup.Snapshot) { s.Objects[0].Size = 3 },
		"large": func(s *backup.Snapshot) { s.Objects[0].Size = 1 << 40 }, "twice": func(s *backup.Snapshot) { s.Objects = append(s.Objects, s.Objects[0]) },
	} {
		s := exampleSnapshot()
		change(s)
		body, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := backup.ParseSnapshot(body); !errors.Is(err, backup.ErrFormat) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, text := range []string{"", "null x", "[]", `{"unknown":1}`, `{"sequence":"1"}`} {
		if _, err := backup.ParseSnapshot([]byte(text)); !errors.Is(err, backup.ErrFormat) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// A signed manifest that lists objects outside its own snapshot is refused.
func TestManifestOfElsewhere(t *testing.T) {
	c := newCodec(t)
	for name, change := range map[string]func(*backup.Snapshot){
		"store":  func(s *backup.Snapshot) { s.Store = "x/y" },
		"object": func(s *backup.Snapshot) { s.Objects[0].Name = "t/other/pages/1" },
		"file":   func(s *backup.Snapshot) { s.Objects[0].Name = "../../etc/passwd" },
	} {
		s := exampleSnapshot()
		change(s)
		object, err := c.SealManifest(s, backup.Hash{})
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := c.OpenManifest(s.Sequence, object); err == nil {
			t.Errorf("%s: it was taken", name)
		}
	}
}

// Whoever has the public key can check a manifest without being able to read it.
func TestPublicKey(t *testing.T) {
	c := newCodec(t)
	a, err := c.PublicKey(1)
	if err != nil || len(a) != 32 {
		t.Fatal(err)
	}
	elsewhere, err := backup.NewCodec("other/prod", keys)
	if err != nil {
		t.Fatal(err)
	}
	if b, _ := elsewhere.PublicKey(1); bytes.Equal(a, b) {
		t.Error("two stores share a signing key")
	}
}

// A small object that would unpack to a huge one is refused before it does.
func TestBomb(t *testing.T) {
	c := newCodec(t)
	enc, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	bomb := enc.EncodeAll(make([]byte, 64<<20), nil)
	object, err := c.SealCompressed(header, "n", bomb)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := c.Open("n", object); !errors.Is(err, backup.ErrFormat) {
		t.Errorf("%d bytes: %v", len(object), err)
	}
}

func TestStoreNames(t *testing.T) {
	for _, good := range []string{"a/prod", "system", "x1y2/dev", "a-b/test"} {
		if err := backup.CheckStore(good); err != nil {
			t.Error(err)
		}
	}
	for _, bad := range []string{"", "/", "a/", "/a", "a/b/c", "A/b", "../x", "a b", "a/..", "-a", "a\n"} {
		if err := backup.CheckStore(bad); err == nil {
			t.Errorf("store %q was taken", bad)
		}
	}
}

func TestManifestNames(t *testing.T) {
	prefix := backup.ManifestPrefix(store)
	for _, bad := range []string{"", "0000000000000000", "1", "00000000000000001", "000000000000000A", "-000000000000001", "ffffffffffffffff", "000000000000001 "} {
		if n, err := backup.ParseManifestName(store, prefix+bad); !errors.Is(err, backup.ErrFormat) {
			t.Errorf("%q: %d, %v", bad, n, err)
		}
	}
	if n, err := backup.ParseManifestName(store, backup.ManifestName(store, 77)); err != nil || n != 77 {
		t.Errorf("%d, %v", n, err)
	}
}
