package backup_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"holdfast/backup"
)

// What parses gives the same bytes again, and nothing makes a parser fail badly.

func FuzzHeader(f *testing.F) {
	f.Add(header.Format())
	f.Fuzz(func(t *testing.T, b []byte) {
		if h, err := backup.ParseHeader(b); err == nil && !bytes.Equal(h.Format(), b[:len(h.Format())]) {
			t.Error("another header comes back")
		}
	})
}

func FuzzPages(f *testing.F) {
	f.Add(examplePages().Format())
	f.Fuzz(func(t *testing.T, b []byte) {
		if l, err := backup.ParsePages(b); err == nil && !bytes.Equal(l.Format(), b) {
			t.Error("other pages come back")
		}
	})
}

func FuzzChanges(f *testing.F) {
	parts, err := backup.FormatChanges(exampleChanges())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(parts[0])
	f.Fuzz(func(t *testing.T, b []byte) {
		changes, err := backup.ParseChanges(b)
		if err != nil {
			return
		}
		again, err := backup.FormatChanges(changes)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := backup.ParseChanges(bytes.Join(again, nil)); err != nil {
			t.Error(err)
		}
		_ = backup.NewFileTree().Apply(changes)
	})
}

func FuzzSnapshot(f *testing.F) {
	f.Add([]byte(`{"store":"a/b","epoch":"0102030405060708","sequence":2,"base":1}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := backup.ParseSnapshot(b); err == nil && (s.Base < 1 || s.Sequence < s.Base) {
			t.Errorf("%+v", s)
		}
	})
}

func FuzzObject(f *testing.F) {
	c := newCodec(f)
	// Golden ones, since sealing gives other bytes in each process.
	good, manifest := fixture(f, "object.bin"), fixture(f, "manifest.bin")
	f.Add(good)
	f.Add(manifest)
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, _, err := c.Open(backup.PartName(store, header), b); err == nil && !bytes.Equal(b, good) {
			t.Error("a forged object was opened")
		}
		if _, _, err := c.OpenManifest(header.Sequence, b); err == nil && !bytes.Equal(b, manifest) {
			t.Error("a forged manifest was opened")
		}
	})
}

func fixture(f *testing.F, name string) []byte {
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		f.Fatal(err)
	}
	return b
}
