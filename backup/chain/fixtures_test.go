package chain_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"holdfast/backup"
)

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

func flip(t *testing.T, path string, offset int) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[offset] ^= 1
	overwrite(t, path, string(b))
}

func overwrite(t *testing.T, path, body string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(body), 0o600); err != nil {
		t.Fatal(err)
	}
}

func truncate(t *testing.T, path string, by int64) {
	t.Helper()
	st, err := os.Stat(path)
	if err == nil {
		err = os.Truncate(path, st.Size()+by)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func appendTo(t *testing.T, path, body string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	overwrite(t, path, string(b)+body)
}

func walkFiles(t *testing.T, dir string, fn func(path string, body []byte)) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		fn(path, b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func putEmpty(t *testing.T, s backup.ObjectStore, name string) {
	t.Helper()
	if err := s.Put(t.Context(), name, strings.NewReader(""), 0, backup.PutOptions{}); err != nil {
		t.Fatal(err)
	}
}
