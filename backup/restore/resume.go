package restore

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"

	"holdfast/backup"
)

// kept reads objects through a folder, so that a restore that was interrupted
// fetches nothing twice. Objects lie there as they lie on the target, sealed,
// behind their SHA-256. It is of use for a chain only: names that are never
// written a second time. (Lists, and prunes, which come and go, are always asked for.)
type kept struct {
	backup.ObjectStore
	dir string
}

func newKept(source backup.ObjectStore, dir string) (backup.ObjectStore, error) {
	if dir == "" {
		return source, nil
	}
	return &kept{source, dir}, os.MkdirAll(dir, 0o700)
}

// Get is backup.ObjectStore's.
func (k *kept) Get(ctx context.Context, name string) (io.ReadCloser, error) {
	if strings.Contains(name, "/prune/") {
		return k.ObjectStore.Get(ctx, name)
	}
	path := k.path(name)
	if body, ok := readKept(path); ok {
		return io.NopCloser(bytes.NewReader(body)), ctx.Err()
	}
	body, err := backup.Fetch(ctx, k.ObjectStore, name, backup.MaxObject)
	if err != nil {
		return nil, err
	}
	return io.NopCloser(bytes.NewReader(body)), keep(path, body)
}

func (k *kept) path(name string) string {
	sum := sha256.Sum256([]byte(name))
	return filepath.Join(k.dir, hex.EncodeToString(sum[:]))
}

// readKept trusts nothing that a crash may have left half written.
func readKept(path string) ([]byte, bool) {
	b, err := os.ReadFile(path)
	if err != nil || len(b) < sha256.Size {
		return nil, false
	}
	sum := sha256.Sum256(b[sha256.Size:])
	return b[sha256.Size:], bytes.Equal(sum[:], b[:sha256.Size])
}

func keep(path string, body []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), "new-")
	if err != nil {
		return err
	}
	sum := sha256.Sum256(body)
	_, err = f.Write(append(sum[:], body...))
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

// settle forgets the object that an error is about: it may be mended meanwhile.
func settle(c Config, err error) error {
	var bad *backup.ObjectError
	if c.Resume == "" || !errors.As(err, &bad) {
		return err
	}
	k := kept{dir: c.Resume}
	if gone := os.Remove(k.path(bad.Name)); gone != nil && !errors.Is(gone, os.ErrNotExist) {
		return errors.Join(err, gone)
	}
	return err
}
