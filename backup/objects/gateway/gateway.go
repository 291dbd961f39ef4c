// Package gateway starts a real S3 server on loopback for tests.
package gateway

import (
	"context"
	"debug/buildinfo"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"holdfast/backup/objects"
)

const (
	program = "versitygw"
	module  = "github.com/versity/versitygw/cmd/versitygw"
	version = "v1.8.0"
	region  = "us-east-1"
	bucket  = "holdfast-test"
)

// Server is a running S3 server with one bucket.
type Server struct {
	Addr        string // host:port
	Credentials objects.Credentials
}

// URL names a prefix in the server's bucket.
func (s *Server) URL(prefix string) string {
	return fmt.Sprintf("s3://%s/%s?endpoint=http://%s&region=%s", bucket, prefix, s.Addr, region)
}

// LockBucket makes a bucket whose objects can be locked and returns the URL of a
// prefix in it. The test is skipped where the server cannot do that, or fails where CI=true.
func (s *Server) LockBucket(t testing.TB, name string) string {
	t.Helper()
	c, err := minio.New(s.Addr, &minio.Options{Creds: credentials.NewStaticV4(s.Credentials.AccessKey, s.Credentials.SecretKey, ""), Region: region})
	if err == nil {
		err = c.MakeBucket(t.Context(), name, minio.MakeBucketOptions{ObjectLocking: true})
	}
	if err != nil {
		missing(t, "the S3 server makes no bucket with locks: %v", err)
	}
	return fmt.Sprintf("s3://%s/locked?endpoint=http://%s&region=%s&versions=true", name, s.Addr, region)
}

// Start runs a server until the test ends. Without a server program that can be
// run or installed the test is skipped, or fails where CI=true.
func Start(t testing.TB) *Server {
	t.Helper()
	path, err := binary(t.Context())
	if err != nil {
		missing(t, "no S3 server: %v", err)
	}
	s := &Server{Addr: Address(t), Credentials: objects.Credentials{AccessKey: "holdfast", SecretKey: "holdfast-secret"}}
	run(t, path, s)
	return s
}

// missing skips the test, but not where everything has to be proven.
func missing(t testing.TB, format string, args ...any) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}

func run(t testing.TB, path string, s *Server) {
	t.Helper()
	cmd := exec.Command(path, "--port", s.Addr, "--quiet", "posix", "--versioning-dir", t.TempDir(), t.TempDir())
	cmd.Env = append(os.Environ(), "ROOT_ACCESS_KEY="+s.Credentials.AccessKey, "ROOT_SECRET_KEY="+s.Credentials.SecretKey)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	if err := makeBucket(t.Context(), s); err != nil {
		t.Fatalf("start S3 server: %v", err)
	}
}

// makeBucket asks until the server is up: the first answer tells.
func makeBucket(ctx context.Context, s *Server) error {
	c, err := minio.New(s.Addr, &minio.Options{
		Creds:  credentials.NewStaticV4(s.Credentials.AccessKey, s.Credentials.SecretKey, ""),
		Region: region,
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	if err := waitFor(ctx, s.Addr); err != nil {
		return err
	}
	return c.MakeBucket(ctx, bucket, minio.MakeBucketOptions{})
}

func waitFor(ctx context.Context, addr string) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if conn, err := net.Dial("tcp", addr); err == nil {
			return conn.Close()
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// binary returns the server program, installed once into the test cache: bin in
// $HOLDFAST_TEST_CACHE, or in holdfast-test in the user's cache folder.
func binary(ctx context.Context) (string, error) {
	dir, err := cacheDir()
	if err != nil {
		return "", err
	}
	final := filepath.Join(dir, program)
	if info, err := buildinfo.ReadFile(final); err == nil && info.Main.Version == version {
		return final, nil
	}
	return final, install(ctx, dir, final)
}

func cacheDir() (string, error) {
	dir := os.Getenv("HOLDFAST_TEST_CACHE")
	if dir == "" {
		base, err := os.UserCacheDir()
		if err != nil {
			return "", err
		}
		dir = filepath.Join(base, "holdfast-test")
	}
	dir = filepath.Join(dir, "bin")
	return dir, os.MkdirAll(dir, 0o755)
}

// install builds into a folder of its own first: tests of several packages may
// install at the same time, and none may run a half-written program.
func install(ctx context.Context, dir, final string) error {
	temp, err := os.MkdirTemp(dir, "install-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temp) //nolint:errcheck // a leftover does no harm
	ctx, cancel := context.WithTimeout(ctx, 8*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", "install", module+"@"+version)
	cmd.Dir = temp // outside any module
	cmd.Env = append(os.Environ(), "GOBIN="+temp, "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		return errors.Join(err, errors.New(string(out)))
	}
	return os.Rename(filepath.Join(temp, program), final)
}
