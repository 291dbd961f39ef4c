package app_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestManual runs the sh blocks of each page of the manual as they stand there, on a
// server of its own, after testdata/manual/PAGE.sh has made what the page takes for
// granted. There
//
//	#replace A => B      stands for what a test cannot give, such as a public name
//	ID() { ...; }        prints what a word of the page, written as ID, stands for
func TestManual(t *testing.T) {
	t.Parallel()
	sequential(t)
	for _, tool := range []string{"bash", "curl", "jq"} {
		program(t, tool, "the manual uses it")
	}
	pages, err := filepath.Glob(filepath.Join(repository(t), "ui", "docs", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range pages {
		blocks := shellBlocks(t, page)
		if blocks == "" {
			continue
		}
		_, name, _ := strings.Cut(strings.TrimSuffix(filepath.Base(page), ".md"), "-")
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startServer(t)
			s.env = []string{"PATH=" + filepath.Dir(holdfast(t)) + string(os.PathListSeparator) + os.Getenv("PATH")}
			s.shell(manualScript(t, filepath.Join("testdata", "manual", name+".sh"), blocks, s.port()))
		})
	}
}

func shellBlocks(t *testing.T, page string) string {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	var blocks strings.Builder
	for _, m := range shellBlock.FindAllStringSubmatch(string(text), -1) {
		blocks.WriteString(m[1])
	}
	return blocks.String()
}

// manualBegin names the command that fails, and gives a secret to those that read one.
const manualBegin = `set -Eeuo pipefail
trap 'echo "this failed: $BASH_COMMAND"' ERR
holdfast() {
  if [[ "$*" == *[a-z]-stdin* ]]; then
    command holdfast "$@" <<<"a long pass phrase for tests"
  else
    command holdfast "$@"
  fi
}
`

var (
	replaceLine = regexp.MustCompile(`(?m)^#replace (.+) => (.+)$`)
	wordLine    = regexp.MustCompile(`(?m)^([A-Z]+)\(\)`)
)

func manualScript(t *testing.T, prelude, blocks, port string) string {
	t.Helper()
	before, err := os.ReadFile(prelude)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range replaceLine.FindAllStringSubmatch(string(before), -1) {
		blocks = strings.ReplaceAll(blocks, m[1], m[2])
	}
	for _, m := range wordLine.FindAllStringSubmatch(string(before), -1) {
		word := regexp.MustCompile(`(?m)([ /])` + m[1] + `\b`)
		blocks = word.ReplaceAllString(blocks, `${1}"$$(`+m[1]+`)"`)
	}
	return manualBegin + string(before) + strings.ReplaceAll(blocks, ":8090", ":"+port)
}
