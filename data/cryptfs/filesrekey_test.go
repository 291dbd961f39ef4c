package cryptfs

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"holdfast/data"
)

func wantFileGenerations(t testing.TB, f *Files, want ...uint32) {
	t.Helper()
	got, err := f.Generations(context.Background())
	if err != nil || !slices.Equal(got, want) {
		t.Fatalf("generations %v, %v; want %v", got, err, want)
	}
}

func TestFilesRekey(t *testing.T) {
	ctx, dir, keys := context.Background(), t.TempDir(), newRing("a")
	f := openFiles(t, dir, keys)
	big := bytes.Repeat([]byte("holdfast"), 40000)
	put(t, f, "c/r/big", big)
	put(t, f, "c/r/empty", nil)
	before, err := f.Stat(ctx, "c/r/big")
	if err != nil {
		t.Fatal(err)
	}
	upload, err := f.CreateUpload(ctx, data.FileInfo{Name: "c/r/parts"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.PutPart(ctx, upload, 1, strings.NewReader("part one")); err != nil {
		t.Fatal(err)
	}
	r, _, err := f.Open(ctx, "c/r/big") // goes on being read
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	wantFileGenerations(t, f, 1)
	keys.rotate()
	put(t, f, "c/r/new", []byte("new"))
	wantFileGenerations(t, f, 1, 2)
	var done, total int64
	if err := f.Rekey(ctx, func(d, n int64) { done, total = d, n }); err != nil || done != total || total < int64(len(big)) {
		t.Fatal(err, done, total)
	}
	wantFileGenerations(t, f, 2)
	keys.drop(1)
	if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, big) {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	f = openFiles(t, dir, keys)
	if after, err := f.Stat(ctx, "c/r/big"); err != nil || after.ETag != before.ETag || !after.Modified.Equal(before.Modified) || after.Size != before.Size {
		t.Fatalf("%+v became %+v, %v", before, after, err)
	}
	for name, want := range map[string][]byte{"c/r/big": big, "c/r/empty": {}, "c/r/new": []byte("new")} {
		if got, err := read(f, name); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("%s: %d bytes, %v", name, len(got), err)
		}
	}
	if _, err := f.Complete(ctx, upload, []int{1}); err != nil {
		t.Fatal(err)
	}
	if got, err := read(f, "c/r/parts"); err != nil || string(got) != "part one" {
		t.Fatalf("%q, %v", got, err)
	}
}

// rotating rotates the key while a file is being written.
type rotating struct {
	io.Reader
	keys *ring
}

func (r rotating) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if err == io.EOF {
		r.keys.rotate()
	}
	return n, err
}

// TestPutOverRotation: a file whose key is rotated while it is written comes to
// its place under the new one, for the old one may be dropped by then.
func TestPutOverRotation(t *testing.T) {
	keys := newRing("a")
	f := openFiles(t, t.TempDir(), keys)
	if _, err := f.Put(context.Background(), data.FileInfo{Name: "c/r/f"}, rotating{strings.NewReader("late"), keys}); err != nil {
		t.Fatal(err)
	}
	if err := f.Rekey(context.Background(), nil); err != nil {
		t.Fatal(err)
	}
	keys.drop(1)
	if got, err := read(f, "c/r/f"); err != nil || string(got) != "late" {
		t.Fatalf("%q, %v", got, err)
	}
}

// TestFilesRekeyDamaged leaves a changed file and goes on.
func TestFilesRekeyDamaged(t *testing.T) {
	ctx, dir, keys := context.Background(), t.TempDir(), newRing("a")
	f := openFiles(t, dir, keys)
	for _, name := range []string{"c/r/1", "c/r/2", "c/r/3"} {
		put(t, f, name, []byte(name))
	}
	bad := f.path("c/r/2")
	overwrite(t, bad, flip(slurp(t, bad), len(slurp(t, bad))-1)) // in its content
	keys.rotate()
	var fe *FileError
	if err := f.Rekey(ctx, nil); !errors.As(err, &fe) || fe.Path != bad {
		t.Fatal(err)
	}
	wantFileGenerations(t, f, 1, 2)
	if left, err := os.ReadDir(filepath.Join(dir, tempDir)); err != nil || len(left) != 0 {
		t.Fatal("temporary files are left", left, err)
	}
	if err := os.Remove(bad); err != nil {
		t.Fatal(err)
	}
	wantFileGenerations(t, f, 2)
}
