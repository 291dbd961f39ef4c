package app_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestTour runs the shell blocks of the README's tour as they stand there,
// with a snapshot target in a folder and on a real S3 server.
func TestTour(t *testing.T) {
	t.Parallel()
	sequential(t)
	t.Run("folder", func(t *testing.T) {
		t.Parallel()
		tour(t, nil, "")
	})
	t.Run("s3", func(t *testing.T) {
		t.Parallel()
		b := startS3(t)
		tour(t, b.env(), b.url())
	})
}

// tour runs it; a target that is not empty takes the folder's place.
func tour(t *testing.T, env []string, target string) {
	for _, tool := range []string{"bash", "curl", "jq", "awk", "node"} {
		program(t, tool, "the tour uses it")
	}
	s := startServer(t)
	s.env = env
	work := filepath.Join(s.dir, "work")
	link(t, holdfast(t), filepath.Join(work, "holdfast"))
	if err := os.Mkdir(filepath.Join(work, ".cache"), 0o700); err != nil {
		t.Fatal(err)
	}
	link(t, filepath.Join(sdk(t), "node_modules"), filepath.Join(work, ".cache", "node_modules"))

	out := s.shell(tourScript(t, s, target))
	want := lines(t, filepath.Join(work, "packages.jsonl"))
	for _, name := range []string{"before.jsonl", "after.jsonl"} {
		if got := lines(t, filepath.Join(work, name)); got != want {
			t.Errorf("%s has %d records, want %d", name, got, want)
		}
	}
	for _, words := range []string{"the same records", "editors; the largest:", `"package"`} {
		if !strings.Contains(out, words) {
			t.Errorf("the tour did not print %q; it printed:\n%s", words, out)
		}
	}
	t.Logf("%d records", want)
}

var shellBlock = regexp.MustCompile("(?ms)^```sh\n(.*?)^```")

// tourScript joins the blocks of the tour. Only what this machine cannot give is
// replaced: the port, the build, the package registry, an index that apt lacks.
func tourScript(t testing.TB, s *server, target string) string {
	readme, err := os.ReadFile(filepath.Join(repository(t), "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, text, begun := strings.Cut(string(readme), "## Ten-minute tour")
	text, _, ended := strings.Cut(text, "\n## ")
	if !begun || !ended {
		t.Fatal("the README has no tour")
	}
	var script strings.Builder
	script.WriteString("set -euo pipefail\n")
	for _, m := range shellBlock.FindAllStringSubmatch(text, -1) {
		script.WriteString(m[1])
	}
	edits := []string{":8090", ":" + s.port(), "go build .\n", "", "npm install --silent --no-save --prefix .cache pocketbase\n", ""}
	if !aptHasIndex() || testing.Short() {
		synthetic := filepath.Join(s.dir, "Packages")
		writePackages(t, synthetic, 3000)
		edits = append(edits, "apt-cache dumpavail", "cat "+synthetic)
	}
	if target != "" {
		edits = append(edits, `target add local "file://$PWD/snapshots"`, `target add local "`+target+`"`)
	}
	return strings.NewReplacer(edits...).Replace(script.String())
}

// shell runs a script in the server's work folder and returns what it printed.
func (s *server) shell(script string) string {
	s.t.Helper()
	cmd := exec.Command("bash", "-c", script)
	cmd.Env = append(s.environ(), "NO_PROXY=*")
	cmd.Dir = filepath.Join(s.dir, "work")
	out, err := cmd.CombinedOutput()
	if err != nil {
		s.t.Fatalf("%v; it printed:\n%s", err, out)
	}
	return string(out)
}

func aptHasIndex() bool {
	out, err := exec.Command("bash", "-c", "apt-cache dumpavail | head -c 100").Output()
	return err == nil && len(out) > 0
}

// writePackages makes an index in Debian's format where the machine has none.
func writePackages(t testing.TB, path string, n int) {
	t.Helper()
	var b strings.Builder
	sections := []string{"editors", "games", "libs", "admin"}
	for i := range n {
		fmt.Fprintf(&b, "Package: made-up-%d\nVersion: 1.%d-1\nInstalled-Size: %d\nMaintainer: \"Somebody\" <some\\body@example.org>\nSection: %s\nDescription: number %d — ünïcode\n more of it: that is no field\n\n",
			i, i, (i*7919)%1_000_000, sections[i%len(sections)], i)
	}
	if err := os.WriteFile(path, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
}

func link(t testing.TB, target, name string) {
	t.Helper()
	if err := os.Symlink(target, name); err != nil {
		t.Fatal(err)
	}
}

func lines(t testing.TB, path string) int {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Count(string(b), "\n")
}
