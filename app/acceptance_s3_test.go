package app_test

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"holdfast/backup/objects/gateway"
)

// bucket is a real S3 server on loopback with one bucket.
type bucket struct {
	addr, name, access, secret string
	dir                        string // where the server keeps its objects
}

// startS3 runs versitygw over a folder of its own.
func startS3(t testing.TB) bucket {
	t.Helper()
	b := bucket{addr: gateway.Address(t), name: "backups", access: "holdfast-test", secret: "not-a-secret-at-all", dir: t.TempDir()}
	bin := program(t, "versitygw", "go install github.com/versity/versitygw/cmd/versitygw@v1.8.0")
	for _, dir := range []string{"root", "versions"} {
		if err := os.Mkdir(filepath.Join(b.dir, dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	cmd := tied(exec.Command(bin, "--port", b.addr, "--quiet", "posix",
		"--versioning-dir", filepath.Join(b.dir, "versions"), filepath.Join(b.dir, "root")))
	cmd.Env = append(os.Environ(), "ROOT_ACCESS_KEY="+b.access, "ROOT_SECRET_KEY="+b.secret)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	awaitPort(t, b.addr)
	b.make(t)
	return b
}

func (b bucket) make(t testing.TB) {
	t.Helper()
	client, err := minio.New(b.addr, &minio.Options{Creds: credentials.NewStaticV4(b.access, b.secret, ""), Region: "us-east-1"})
	if err != nil {
		t.Fatal(err)
	}
	if err := client.MakeBucket(context.Background(), b.name, minio.MakeBucketOptions{}); err != nil {
		t.Fatal(err)
	}
}

// url is the target's URL as the command line takes it.
func (b bucket) url() string {
	return "s3://" + b.name + "/holdfast?endpoint=http://" + b.addr + "&region=us-east-1"
}

// env holds the credentials as the command line reads them.
func (b bucket) env() []string {
	return []string{"AWS_ACCESS_KEY_ID=" + b.access, "AWS_SECRET_ACCESS_KEY=" + b.secret}
}

func awaitPort(t testing.TB, addr string) {
	t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); {
		if conn, err := net.DialTimeout("tcp", addr, time.Second); err == nil {
			conn.Close()
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatalf("nothing listens on %s", addr)
}
