package backup_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"holdfast/backup"
)

// cutting holds "12345" and cuts the first bodies off on the way.
type cutting struct {
	backup.ObjectStore
	cuts int
}

func (c *cutting) Get(ctx context.Context, _ string) (io.ReadCloser, error) {
	if c.cuts--; c.cuts < 0 {
		return io.NopCloser(strings.NewReader("12345")), ctx.Err()
	}
	return io.NopCloser(io.MultiReader(strings.NewReader("123"), broken{})), nil
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func TestFetch(t *testing.T) {
	for _, c := range []struct {
		cuts        int
		limit, size int64
		want        error
	}{
		{0, 5, 5, nil}, {2, 5, 5, nil}, {3, 5, 5, io.ErrUnexpectedEOF}, {0, 4, 4, backup.ErrFormat}, {0, 6, 6, nil},
	} {
		b, err := backup.Fetch(t.Context(), &cutting{cuts: c.cuts}, "a", c.limit)
		if !errors.Is(err, c.want) || err == nil && string(b) != "12345" {
			t.Errorf("%+v: %q, %v", c, b, err)
		}
		if c.size == 6 {
			c.want = backup.ErrFormat
		}
		if b, err = backup.FetchSized(t.Context(), &cutting{cuts: c.cuts}, "a", c.size); !errors.Is(err, c.want) || err == nil && string(b) != "12345" {
			t.Errorf("sized %+v: %q, %v", c, b, err)
		}
	}
}
