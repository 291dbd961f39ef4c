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
	"runtime"
	"strconv"
	"sync"
	"testing"
)

// cycles is how often each kill -9 test kills.
var cycles = flag.Int("holdfast.cycles", 3, "kill -9 this often in each crash test")

func TestMain(m *testing.M) {
	flag.Parse()
	shareWaits()
	code := m.Run()
	usual.remove()
	moved.remove()
	os.Exit(code)
}

// shareWaits lets one test more than there are processors run at a time, unless -parallel
// says how many: most of what these tests do is wait for a process or a disk.
func shareWaits() {
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if !given {
		_ = flag.Set("test.parallel", strconv.Itoa(runtime.GOMAXPROCS(0)+1))
	}
}

// binary is holdfast, built when the first test asks.
type binary struct {
	args      []string
	once      sync.Once
	dir, path string
	err       error
}

// usual is holdfast as its users run it; moved reads its clock from a file.
var usual, moved = &binary{}, &binary{args: []string{"-tags", "movedclock"}}

func (b *binary) get(t testing.TB) string {
	t.Helper()
	b.once.Do(func() { b.err = b.build() })
	if b.err != nil {
		t.Fatal(b.err)
	}
	return b.path
}

func (b *binary) build() (err error) {
	if b.dir, err = os.MkdirTemp("", "holdfast-binary-"); err != nil {
		return err
	}
	b.path = filepath.Join(b.dir, "holdfast")
	args := append([]string{"build", "-o", b.path}, b.args...)
	if raceEnabled {
		args = append(args, "-race")
	}
	build := exec.Command("go", append(args, "holdfast")...)
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build holdfast: %w\n%s", err, out)
	}
	return nil
}

func (b *binary) remove() {
	if b.dir != "" {
		os.RemoveAll(b.dir)
	}
}

// holdfast is for tests that run the binary without a server.
func holdfast(t testing.TB) string { return usual.get(t) }

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
