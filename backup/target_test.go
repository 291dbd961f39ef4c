package backup_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"holdfast/backup"
	"holdfast/backup/objects"
)

// cutting cuts the first bodies off on the way.
type cutting struct {
	backup.ObjectStore
	cuts int
}

func (c *cutting) Get(ctx context.Context, name string) (io.ReadCloser, error) {
	r, err := c.ObjectStore.Get(ctx, name)
	if c.cuts--; err != nil || c.cuts < 0 {
		return r, err
	}
	return io.NopCloser(io.MultiReader(io.LimitReader(r, 3), broken{})), nil
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func TestFetch(t *testing.T) {
	m := objects.NewMemory()
	if err := m.Put(t.Context(), "a", strings.NewReader("12345"), 5, backup.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		cuts        int
		limit, size int64
		want        error
	}{
		{0, 5, 5, nil}, {2, 5, 5, nil}, {3, 5, 5, io.ErrUnexpectedEOF}, {0, 4, 4, backup.ErrFormat}, {0, 6, 6, nil},
	} {
		b, err := backup.Fetch(t.Context(), &cutting{m, c.cuts}, "a", c.limit)
		if !errors.Is(err, c.want) || err == nil && string(b) != "12345" {
			t.Errorf("%+v: %q, %v", c, b, err)
		}
		if c.size == 6 {
			c.want = backup.ErrFormat
		}
		if b, err = backup.FetchSized(t.Context(), &cutting{m, c.cuts}, "a", c.size); !errors.Is(err, c.want) || err == nil && string(b) != "12345" {
			t.Errorf("sized %+v: %q, %v", c, b, err)
		}
	}
}
