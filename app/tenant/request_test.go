package tenant

import (
	"bytes"
	"context"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
)

type readCloser struct{ io.Reader }

func (readCloser) Close() error { return nil }

func requestTo(ctx context.Context, collection string) *http.Request {
	r := httptest.NewRequest("GET", "/", nil).WithContext(ctx)
	r.SetPathValue("collection", collection)
	return r
}

// noneHolds fails if any file under a folder holds the words in clear.
func noneHolds(t *testing.T, dir, words string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		if bytes.Contains(content, []byte(words)) {
			t.Errorf("%s holds %q", path, words)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
