package backup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
)

// Fetch reads a whole object of at most limit bytes; a larger one is ErrFormat.
func Fetch(ctx context.Context, s ObjectStore, name string, limit int64) ([]byte, error) {
	return fetch(ctx, s, name, limit, 0)
}

// FetchSized is Fetch for an object whose size is known: it takes no more memory
// than that. One of another size is ErrFormat.
func FetchSized(ctx context.Context, s ObjectStore, name string, size int64) ([]byte, error) {
	b, err := fetch(ctx, s, name, size, size)
	if err == nil && int64(len(b)) != size {
		return nil, fmt.Errorf("get %s: %w: %d bytes instead of %d", name, ErrFormat, len(b), size)
	}
	return b, err
}

// fetchTries bounds how often an object is read whose body was cut off on the
// way. Whether a request is repeated is the store's own business.
const fetchTries = 3

func fetch(ctx context.Context, s ObjectStore, name string, limit, hint int64) ([]byte, error) {
	for try := 1; ; try++ {
		r, err := s.Get(ctx, name)
		if err != nil {
			return nil, err
		}
		b, err := readBody(r, limit, hint)
		if err == nil || try == fetchTries || ctx.Err() != nil || errors.Is(err, ErrFormat) {
			if err != nil {
				err = fmt.Errorf("get %s: %w", name, err)
			}
			return b, err
		}
	}
}

func readBody(r io.ReadCloser, limit, hint int64) ([]byte, error) {
	defer r.Close() //nolint:errcheck // only read
	b := bytes.NewBuffer(make([]byte, 0, hint+bytes.MinRead+1))
	if _, err := b.ReadFrom(io.LimitReader(r, limit+1)); err != nil {
		return nil, err
	}
	if int64(b.Len()) > limit {
		return nil, fmt.Errorf("%w: larger than %d bytes", ErrFormat, limit)
	}
	return b.Bytes(), nil
}

// listPage is how many names are asked for at once.
const listPage = 1000

// Sequences lists the sequences of the manifests after `after`, up to limit. It
// answers ErrFormat when something else is among them.
func Sequences(ctx context.Context, s ObjectStore, store string, after int64, limit int) ([]int64, error) {
	list, err := s.List(ctx, ManifestPrefix(store), ManifestName(store, after), limit)
	if err != nil {
		return nil, err
	}
	out := make([]int64, len(list))
	for i, info := range list {
		if out[i], err = ParseManifestName(store, info.Name); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// Newest finds the sequence of the last manifest, 0 if there is none, without
// listing them all.
func Newest(ctx context.Context, s ObjectStore, store string) (int64, error) {
	var low int64
	for {
		page, err := Sequences(ctx, s, store, low, listPage)
		if err != nil {
			return 0, err
		}
		if len(page) > 0 {
			low = page[len(page)-1]
		}
		if len(page) < listPage {
			return low, nil
		}
		if low, err = leap(ctx, s, store, low); err != nil {
			return 0, err
		}
	}
}

// leap goes ahead by doubling steps, then back by halving ones, to a sequence
// with less than a page behind it.
func leap(ctx context.Context, s ObjectStore, store string, low int64) (int64, error) {
	for step, growing := int64(listPage), true; step >= listPage/2; {
		page, err := Sequences(ctx, s, store, low+step, 1)
		if err != nil {
			return 0, err
		}
		if len(page) > 0 {
			low = page[0]
		} else {
			growing = false
		}
		if growing {
			step *= 2
		} else {
			step /= 2
		}
	}
	return low, nil
}
