// Package objects holds the object stores that snapshots are shipped to: an S3
// bucket, a folder, and memory (for tests). All three pass the suite in the
// folder below.
package objects

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"holdfast/backup"
)

// Errors of opening and using a target.
var (
	// ErrURL means that a target's URL cannot be understood.
	ErrURL = errors.New("bad target URL")
	// ErrRefused means that the target does not accept the credentials.
	ErrRefused = errors.New("the target refused the credentials")
	// ErrNoBucket means that the bucket, or the folder, does not exist.
	ErrNoBucket = errors.New("the bucket or folder does not exist")
	// ErrSkew means that the target refused a request because this host's clock and
	// its own are too far apart.
	ErrSkew = errors.New("the target's clock and this host's are too far apart")
	// ErrUnconditional means that the target ignores If-None-Match, without
	// which two writers cannot be told apart.
	ErrUnconditional = errors.New("the target does not honour conditional writes (If-None-Match)")
)

// Credentials open an S3 target; other targets need none.
type Credentials struct {
	AccessKey string
	SecretKey string
}

// Open returns the object store that rawURL names:
//
//	s3://bucket/prefix?endpoint=http://127.0.0.1:7070&region=us-east-1&versions=true&class=STANDARD_IA
//	file:///folder
//	mem:
//
// It answers ErrURL, and makes no request yet.
func Open(rawURL string, c Credentials) (backup.ObjectStore, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		return nil, fmt.Errorf("%w: %s", ErrURL, "it does not parse")
	}
	switch u.Scheme {
	case "s3":
		return openS3(u, c)
	case "file":
		return openURLDir(u)
	case "mem":
		return NewMemory(), nil
	}
	return nil, fmt.Errorf("%w: scheme %q is not s3 or file", ErrURL, u.Scheme)
}

func openURLDir(u *url.URL) (backup.ObjectStore, error) {
	path := filepath.FromSlash(u.Path)
	if u.Host != "" || !filepath.IsAbs(path) || u.RawQuery != "" {
		return nil, fmt.Errorf("%w: want file:///absolute/folder", ErrURL)
	}
	return NewDir(path), nil
}

// Prepare makes the folder of a file:// target, readable by its owner alone, if
// it is missing. It is for a new target only: a folder that is gone later may be a
// disk that is not mounted, whose place must not be filled.
func Prepare(rawURL string) error {
	s, err := Open(rawURL, Credentials{})
	if d, ok := s.(*Dir); ok && err == nil {
		return os.MkdirAll(d.root, 0o700)
	}
	return err
}

// checkName refuses names that could leave the store or that not every store
// can hold.
func checkName(name string) error {
	if name == "" || len(name) > 900 {
		return fmt.Errorf("object name of %d bytes", len(name))
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == "" || part == "." || part == ".." || strings.HasPrefix(part, tempPrefix) {
			return fmt.Errorf("object name %q", name)
		}
	}
	if strings.ContainsFunc(name, func(r rune) bool { return r < 0x21 || r > 0x7e || r == '\\' }) {
		return fmt.Errorf("object name %q", name)
	}
	return nil
}
