package cryptfs

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"holdfast/data"
)

func newSpool(t testing.TB, f *Files, parts ...[]byte) *Spool {
	t.Helper()
	s, err := f.NewSpool()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	for _, p := range parts {
		if _, err := s.Write(p); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func TestSpool(t *testing.T) {
	dir := t.TempDir()
	f := openFiles(t, dir, newRing("a"))
	parts := [][]byte{noise(3*chunkSize+5, 1), noise(10, 2), noise(chunkSize, 3)}
	s := newSpool(t, f, parts...)
	if _, err := s.Open(0, 1); !errors.Is(err, errUnfinished) {
		t.Error(err)
	}
	if err := s.Finish(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Write([]byte("x")); err == nil {
		t.Error("written after it was finished")
	}
	from := int64(0)
	for i, p := range parts {
		r, err := s.Open(from, int64(len(p)))
		if err != nil {
			t.Fatal(err)
		}
		for range 2 { // once more after seeking back
			if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, p) {
				t.Errorf("part %d: %d bytes, %v", i, len(got), err)
			}
			if _, err := r.Seek(0, io.SeekStart); err != nil {
				t.Fatal(err)
			}
		}
		if end, err := r.Seek(0, io.SeekEnd); end != int64(len(p)) || err != nil {
			t.Error(end, err)
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		from += int64(len(p))
	}
	if _, err := s.Open(from, 1); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Error(err)
	}
	if left, _ := os.ReadDir(filepath.Join(dir, tempDir)); len(left) > 0 {
		t.Error("a spool has a name:", left)
	}
}

// What a spool has on disk is sealed, and a changed byte is found.
func TestSpoolIsSealed(t *testing.T) {
	f := openFiles(t, t.TempDir(), newRing("a"))
	text := bytes.Repeat([]byte("CANARY-spool "), 20000)
	s := newSpool(t, f, text)
	if err := s.Finish(); err != nil {
		t.Fatal(err)
	}
	raw := make([]byte, sealedLength(s.Size()))
	if _, err := readFull(s.file, raw, 0); err != nil || bytes.Contains(raw, []byte("CANARY")) {
		t.Fatal("in clear", err)
	}
	if _, err := s.file.WriteAt([]byte{raw[chunkSealed+7] ^ 1}, chunkSealed+7); err != nil {
		t.Fatal(err)
	}
	r, err := s.Open(0, s.Size())
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var broken *FileError
	if n, err := io.Copy(io.Discard, r); !errors.As(err, &broken) || broken.Chunk != 1 || n != chunkSize || !errors.Is(err, data.ErrTampered) {
		t.Error(n, err)
	}
}
