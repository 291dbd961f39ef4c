package cryptfs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/data"
)

func openFiles(t testing.TB, dir string, keys data.KeySource) *Files {
	t.Helper()
	f, err := OpenFiles(dir, "acme/prod", keys)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func put(t testing.TB, f *Files, name string, content []byte) data.FileInfo {
	t.Helper()
	info, err := f.Put(context.Background(), data.FileInfo{Name: name}, bytes.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	return info
}

func read(f *Files, name string) ([]byte, error) {
	r, _, err := f.Open(context.Background(), name)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

func noise(n int, seed uint64) []byte {
	var key [32]byte
	key[0] = byte(seed)
	b := make([]byte, n)
	rand.NewChaCha8(key).Read(b)
	return b
}

// onDisk lists the paths of stored files.
func onDisk(t testing.TB, dir string) (paths []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err == nil && !e.IsDir() && e.Name() != nameKeyFile {
			paths = append(paths, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

func TestFilesOfAllSizes(t *testing.T) {
	f := openFiles(t, t.TempDir(), newRing("a"))
	for i, size := range []int{0, 1, chunkSize - 1, chunkSize, chunkSize + 1, 3 * chunkSize, 3*chunkSize + 7, 1 << 20} {
		name, content := fmt.Sprintf("col/rec/%d.bin", i), noise(size, uint64(i))
		info := put(t, f, name, content)
		if info.Size != int64(size) || len(info.ETag) != 32 || info.Modified.IsZero() {
			t.Fatalf("info %+v", info)
		}
		got, err := read(f, name)
		if err != nil || !bytes.Equal(got, content) {
			t.Fatalf("size %d: %v, %d bytes", size, err, len(got))
		}
		if stat, err := f.Stat(context.Background(), name); err != nil || !reflect.DeepEqual(stat, info) {
			t.Fatalf("stat %+v %v, put gave %+v", stat, err, info)
		}
	}
}

func TestFileRanges(t *testing.T) {
	f := openFiles(t, t.TempDir(), newRing("a"))
	content := noise(5*chunkSize+123, 1)
	put(t, f, "c/r/f", content)
	r, _, err := f.Open(context.Background(), "c/r/f")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for range 200 {
		off, n := rand.IntN(len(content)), rand.IntN(2*chunkSize)
		n = min(n, len(content)-off)
		if _, err := r.Seek(int64(off-len(content)), io.SeekEnd); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, n)
		if _, err := io.ReadFull(r, got); err != nil || !bytes.Equal(got, content[off:off+n]) {
			t.Fatalf("%d bytes at %d: %v", n, off, err)
		}
	}
	if _, err := r.Seek(-1, io.SeekStart); err == nil {
		t.Fatal("sought before the beginning")
	}
}

func TestFileInfoSurvives(t *testing.T) {
	dir, keys := t.TempDir(), newRing("a")
	want := data.FileInfo{Name: "c/r/größe.txt", ContentType: "text/plain", ETag: "given",
		Modified: time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC), Metadata: map[string]string{"original-filename": "größe.txt"}}
	f := openFiles(t, dir, keys)
	if _, err := f.Put(context.Background(), want, strings.NewReader("hello")); err != nil {
		t.Fatal(err)
	}
	want.Size = 5
	keys.rotate() // names on disk do not depend on the generation
	f = openFiles(t, dir, keys)
	if got, err := f.Stat(context.Background(), want.Name); err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("got %+v %v", got, err)
	}
	put(t, f, "c/r/other", []byte("of generation two"))
	if got, err := read(openFiles(t, dir, keys), "c/r/other"); err != nil || string(got) != "of generation two" {
		t.Fatalf("%q %v", got, err)
	}
}

func TestPutReplacesAndFails(t *testing.T) {
	dir := t.TempDir()
	f := openFiles(t, dir, newRing("a"))
	put(t, f, "c/r/f", []byte("one"))
	put(t, f, "c/r/f", []byte("two"))
	broken := io.MultiReader(strings.NewReader("thr"), failing{})
	if _, err := f.Put(context.Background(), data.FileInfo{Name: "c/r/f"}, broken); !errors.Is(err, errBroken) {
		t.Fatal(err)
	}
	if _, err := f.Put(context.Background(), data.FileInfo{Name: "c/r/f", Size: 9}, strings.NewReader("short")); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := f.Put(ctx, data.FileInfo{Name: "c/r/f"}, strings.NewReader("late")); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if got, err := read(f, "c/r/f"); err != nil || string(got) != "two" {
		t.Fatalf("%q %v", got, err)
	}
	if paths := onDisk(t, dir); len(paths) != 1 {
		t.Fatalf("left on disk: %v", paths)
	}
	for _, name := range []string{"", "/a", "a/", "a\x00b", "a\xff"} {
		if _, err := f.Put(context.Background(), data.FileInfo{Name: name}, strings.NewReader("")); err == nil {
			t.Errorf("put %q", name)
		}
	}
}

var errBroken = errors.New("broken pipe")

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errBroken }

func TestDelete(t *testing.T) {
	dir := t.TempDir()
	f, ctx := openFiles(t, dir, newRing("a")), context.Background()
	put(t, f, "c/r/f", []byte("x"))
	if err := f.Delete(ctx, "c/r/f"); err != nil {
		t.Fatal(err)
	}
	if err := f.Delete(ctx, "c/r/f"); !errors.Is(err, data.ErrNotFound) {
		t.Fatal(err)
	}
	if _, err := read(f, "c/r/f"); !errors.Is(err, data.ErrNotFound) {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 3 { // names, tmp, uploads
		t.Fatalf("%v %v", entries, err)
	}
}

func TestListPages(t *testing.T) {
	f, ctx := openFiles(t, t.TempDir(), newRing("a")), context.Background()
	var all []string
	for c := range 3 {
		for r := range 4 {
			for _, name := range []string{"a.png", "b.png", "thumbs_a.png/100x100_a.png"} {
				all = append(all, fmt.Sprintf("col%d/rec%d/%s", c, r, name))
			}
		}
	}
	all = append(all, "alone", "two/parts")
	for _, name := range all {
		put(t, f, name, []byte(name))
	}
	for prefix, n := range map[string]int{"": 38, "col1/": 12, "col1/rec2/": 3, "col1/rec2/thumbs_a.png/": 1, "col": 36, "col1/rec": 12,
		"alone": 1, "two/": 1, "none/": 0, "col1/rec2/b": 1} {
		var got []string
		for after := ""; ; after = got[len(got)-1] {
			page, err := f.List(ctx, prefix, after, 5)
			if err != nil {
				t.Fatal(err)
			}
			for _, info := range page {
				got = append(got, info.Name)
			}
			if len(page) < 5 {
				break
			}
		}
		slices.Sort(got)
		wanted := slices.DeleteFunc(slices.Sorted(slices.Values(all)), func(s string) bool { return !strings.HasPrefix(s, prefix) })
		if len(got) != n || !slices.Equal(got, wanted) {
			t.Errorf("prefix %q: got %v", prefix, got)
		}
	}
	if err := f.DeletePrefix(ctx, "col1/rec2/"); err != nil {
		t.Fatal(err)
	}
	if left, err := f.List(ctx, "", "", 100); err != nil || len(left) != 35 {
		t.Fatalf("%d left, %v", len(left), err)
	}
}

func TestUpload(t *testing.T) {
	dir := t.TempDir()
	f, ctx := openFiles(t, dir, newRing("a")), context.Background()
	id, err := f.CreateUpload(ctx, data.FileInfo{Name: "c/r/big", ContentType: "image/png"})
	if err != nil {
		t.Fatal(err)
	}
	parts := [][]byte{noise(5<<20, 1), noise(5<<20, 2), noise(77, 3)}
	for i, p := range parts {
		if _, err := f.PutPart(ctx, id, i+1, bytes.NewReader(p)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := f.Complete(ctx, id, []int{1, 4}); !errors.Is(err, data.ErrNotFound) {
		t.Fatalf("a part that never came: %v", err)
	}
	if _, err := f.Complete(ctx, id, []int{0}); !errors.Is(err, data.ErrNotFound) {
		t.Fatalf("part 0: %v", err)
	}
	info, err := f.Complete(ctx, id, []int{1, 2, 3})
	if err != nil || info.ContentType != "image/png" {
		t.Fatal(info, err)
	}
	if got, err := read(f, "c/r/big"); err != nil || !bytes.Equal(got, bytes.Join(parts, nil)) {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	if _, err := f.PutPart(ctx, id, 1, strings.NewReader("")); !errors.Is(err, data.ErrNotFound) {
		t.Fatal(err)
	}
	for _, id := range []string{"", "..", ".", "../tmp", "nonesuch"} {
		if err := f.Abort(ctx, id); !errors.Is(err, data.ErrNotFound) {
			t.Errorf("abort %q: %v", id, err)
		}
	}
	if paths := onDisk(t, dir); len(paths) != 1 {
		t.Fatalf("left on disk: %v", paths)
	}
}

// An upload goes on after a restart, and only one that was long left alone is swept.
func TestUploadOutlivesItsFiles(t *testing.T) {
	dir, keys, ctx := t.TempDir(), newRing("a"), context.Background()
	f := openFiles(t, dir, keys)
	id, err := f.CreateUpload(ctx, data.FileInfo{Name: "c/r/f", ContentType: "image/png"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.PutPart(ctx, id, 1, strings.NewReader("first ")); err != nil {
		t.Fatal(err)
	}
	keys.rotate()
	f = openFiles(t, dir, keys)
	if n, err := f.SweepUploads(ctx, time.Now().Add(-UploadsLast)); n != 0 || err != nil {
		t.Fatal("a fresh upload was swept:", n, err)
	}
	if _, err := f.PutPart(ctx, id, 2, strings.NewReader("second")); err != nil {
		t.Fatal(err)
	}
	if info, err := f.Complete(ctx, id, []int{1, 2}); err != nil || info.ContentType != "image/png" {
		t.Fatal(info, err)
	}
	if got, err := read(f, "c/r/f"); err != nil || string(got) != "first second" {
		t.Fatalf("%q %v", got, err)
	}
	left, err := f.CreateUpload(ctx, data.FileInfo{Name: "c/r/g"})
	if err != nil {
		t.Fatal(err)
	}
	if n, err := f.SweepUploads(ctx, time.Now().Add(time.Hour)); n != 1 || err != nil {
		t.Fatal("swept", n, err)
	}
	if err := f.Abort(ctx, left); !errors.Is(err, data.ErrNotFound) {
		t.Fatal(err)
	}
}

// TestChangedFiles flips, cuts, lengthens, swaps and mixes: each is an error that
// names the file.
func TestChangedFiles(t *testing.T) {
	dir, keys := t.TempDir(), newRing("a")
	f := openFiles(t, dir, keys)
	put(t, f, "c/r/f", noise(2*chunkSize+100, 1))
	put(t, f, "c/r/g", noise(2*chunkSize+100, 2))
	path, other := f.path("c/r/f"), f.path("c/r/g")
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := os.ReadFile(other)
	if err != nil {
		t.Fatal(err)
	}
	body := len(good) - int(sealedLength(2*chunkSize+100))
	swapped := slices.Concat(good[:body], good[body+chunkSealed:body+2*chunkSealed], good[body:body+chunkSealed], good[body+2*chunkSealed:])
	mixed := slices.Concat(good[:body], foreign[body:])
	cases := map[string][]byte{"swapped": swapped, "mixed": mixed, "foreign": foreign, "empty": nil, "longer": append(slices.Clone(good), 0),
		"cut at a chunk": good[:body+chunkSealed], "cut": good[:len(good)-1], "cut header": good[:20]}
	for i := 0; i < len(good); i += 1 + rand.IntN(len(good)/150) {
		cases[fmt.Sprintf("flip %d", i)] = flip(good, i)
	}
	for what, content := range cases {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := read(f, "c/r/f")
		var fe *FileError
		if !errors.Is(err, data.ErrNewer) && (!errors.As(err, &fe) || fe.Path != path || !errors.Is(err, data.ErrTampered)) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func flip(b []byte, at int) []byte {
	b = slices.Clone(b)
	b[at] ^= 1 << rand.IntN(8)
	return b
}

func TestFilesWrongKey(t *testing.T) {
	dir := t.TempDir()
	put(t, openFiles(t, dir, newRing("a")), "c/r/f", []byte("x"))
	if _, err := OpenFiles(dir, "acme/prod", newRing("b")); !errors.Is(err, data.ErrTampered) {
		t.Fatalf("another key: %v", err)
	}
	if _, err := OpenFiles(dir, "other/prod", newRing("a")); !errors.Is(err, data.ErrTampered) {
		t.Fatalf("another identity: %v", err)
	}
	gone := newRing("a")
	gone.refuse(data.ErrDestroyed)
	if _, err := OpenFiles(dir, "acme/prod", gone); !errors.Is(err, data.ErrDestroyed) {
		t.Fatalf("destroyed key: %v", err)
	}
	if err := os.Remove(filepath.Join(dir, nameKeyFile)); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenFiles(dir, "acme/prod", newRing("a")); !errors.Is(err, data.ErrTampered) {
		t.Fatalf("lost name key: %v", err)
	}
}

func TestFilesCanary(t *testing.T) {
	const canary = "CANARY-4f1d2b"
	dir := t.TempDir()
	f := openFiles(t, dir, newRing("a"))
	info := data.FileInfo{Name: canary + "/" + canary + "/" + canary + ".txt", ContentType: canary, Metadata: map[string]string{canary: canary}}
	if _, err := f.Put(context.Background(), info, strings.NewReader(strings.Repeat(canary, 20000))); err != nil {
		t.Fatal(err)
	}
	for _, path := range onDisk(t, dir) {
		b, err := os.ReadFile(path)
		if err != nil || bytes.Contains(b, []byte(canary)) || strings.Contains(path, canary) {
			t.Fatalf("%s: %v", path, err)
		}
	}
}

func TestFilesAtOnce(t *testing.T) {
	f, ctx := openFiles(t, t.TempDir(), newRing("a")), context.Background()
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 25 {
				name := fmt.Sprintf("c/r%d/f%d", i%3, g) // folders come and go under the others
				if _, err := f.Put(ctx, data.FileInfo{Name: name}, strings.NewReader(name)); err != nil {
					t.Error(err)
				}
				if got, err := read(f, name); err != nil || string(got) != name {
					t.Errorf("%q %v", got, err)
				}
				if _, err := f.List(ctx, "c/", "", 10); err != nil {
					t.Error(err)
				}
				if err := f.Delete(ctx, name); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

func TestFilesPrintNoKey(t *testing.T) {
	f := openFiles(t, t.TempDir(), newRing("a"))
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x"} {
		if got := fmt.Sprintf(verb, f); got != "sealed files of acme/prod" {
			t.Errorf("%s: %s", verb, got)
		}
	}
}

// FuzzSealedFile: whatever becomes of a file's bytes, its content comes back as it
// was or not at all.
func FuzzSealedFile(f *testing.F) {
	dir := f.TempDir()
	files := openFiles(f, dir, newRing("a"))
	content := noise(chunkSize+300, 1)
	put(f, files, "c/r/f", content)
	path := files.path("c/r/f")
	good, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(good[:len(good)-1])
	f.Add(flip(good, 5))
	f.Add(flip(good, 41))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := read(files, "c/r/f")
		switch {
		case err == nil && !bytes.Equal(got, content): // another process's seed is the same file, sealed anew
			t.Fatal("changed bytes were read as a file")
		case err == nil:
		case bytes.Equal(b, good):
			t.Fatal("the file itself cannot be read:", err)
		case !errors.Is(err, data.ErrTampered) && !errors.Is(err, data.ErrNewer):
			t.Fatal(err)
		}
	})
}

// TestBitFlips changes one bit at a time anywhere under the folder: each is found by
// who reads what it belongs to, the key of the names included.
func TestBitFlips(t *testing.T) {
	dir, keys := t.TempDir(), newRing("a")
	f := openFiles(t, dir, keys)
	names := []string{"c/r/a", "c/r/b", "c/s/empty"}
	for i, n := range []int{chunkSize * 2, 100, 0} {
		put(t, f, names[i], noise(n, uint64(i)))
	}
	paths := append(onDisk(t, dir), filepath.Join(dir, nameKeyFile))
	found := 0
	for i := range 100 {
		path := paths[i%len(paths)]
		good, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		bad := slices.Clone(good)
		bad[rand.IntN(len(bad))] ^= 1 << rand.IntN(8)
		if err := os.WriteFile(path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		if readAll(dir, keys, names) != nil {
			found++
		}
		if err := os.WriteFile(path, good, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := readAll(dir, keys, names); found != 100 || err != nil {
		t.Errorf("%d of 100 found; afterwards %v", found, err)
	}
}

func readAll(dir string, keys data.KeySource, names []string) error {
	f, err := OpenFiles(dir, "acme/prod", keys)
	if err != nil {
		return err
	}
	for _, name := range names {
		if _, e := read(f, name); e != nil {
			err = e
		}
	}
	return err
}
