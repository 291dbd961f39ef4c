// The acceptance tests hold what the README promises against the real binary:
// built once, started on a free loopback port with folders of its own, spoken to
// over HTTP and by its command line, killed without warning, looked at in a
// browser. They know nothing of the packages inside, but for the integrity check.
package app_test

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// cycles is how often each kill -9 test kills.
var cycles = flag.Int("holdfast.cycles", 3, "kill -9 this often in each crash test")

func TestMain(m *testing.M) {
	flag.Parse()
	code := m.Run()
	if binary.dir != "" {
		os.RemoveAll(binary.dir)
	}
	os.Exit(code)
}

// binary is holdfast as its users run it, built when the first test asks.
var binary struct {
	once      sync.Once
	dir, path string
	err       error
}

func holdfast(t testing.TB) string {
	t.Helper()
	binary.once.Do(func() { binary.path, binary.err = buildBinary() })
	if binary.err != nil {
		t.Fatal(binary.err)
	}
	return binary.path
}

func buildBinary() (string, error) {
	dir, err := os.MkdirTemp("", "holdfast-binary-")
	if err != nil {
		return "", err
	}
	binary.dir = dir
	path := filepath.Join(dir, "holdfast")
	args := []string{"build", "-o", path}
	if raceEnabled {
		args = append(args, "-race")
	}
	build := exec.Command("go", append(args, "holdfast")...)
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build holdfast: %w\n%s", err, out)
	}
	return path, nil
}

// sequential skips a test in the race step of .ci/run: it does one thing after
// another, and the plain go test runs it.
func sequential(t *testing.T) {
	t.Helper()
	if raceEnabled && testing.Short() {
		t.Skip("nothing runs at the same time here")
	}
}

// repository is the folder of go.mod.
func repository(t testing.TB) string {
	t.Helper()
	dir, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// program finds an external program: on PATH, or where .ci/run installs it.
// Without it the test is skipped, but not where everything has to be proven.
func program(t testing.TB, name, howToGet string) string {
	t.Helper()
	if path, err := exec.LookPath(name); err == nil {
		return path
	}
	if path := filepath.Join(testCache(t), "bin", name); isFile(path) {
		return path
	}
	missing(t, "%s is not installed: %s", name, howToGet)
	return ""
}

func missing(t testing.TB, format string, args ...any) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}

// testCache is the folder that keeps what tests install.
func testCache(t testing.TB) string {
	if dir := os.Getenv("HOLDFAST_TEST_CACHE"); dir != "" {
		return dir
	}
	return filepath.Join(repository(t), ".cache")
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}
