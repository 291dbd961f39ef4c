package signin

import (
	"bytes"
	"crypto/sha1" //nolint:gosec // see breached.go
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// breachedList writes a list of passwords as it can be had.
func breachedList(t testing.TB, end string, passwords ...string) string {
	t.Helper()
	lines := make([]string, len(passwords))
	for i, p := range passwords {
		lines[i] = fmt.Sprintf("%X:%d%s", sha1.Sum([]byte(p)), i+1, end)
	}
	slices.Sort(lines)
	path := filepath.Join(t.TempDir(), "breached.txt")
	if err := os.WriteFile(path, []byte(strings.Join(lines, "")), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestBreached(t *testing.T) {
	for _, end := range []string{"\n", "\r\n"} {
		for _, n := range []int{1, 2, 3, 1000} {
			all := make([]string, n)
			for i := range all {
				all[i] = fmt.Sprint("password number ", i)
			}
			b, err := OpenBreached(breachedList(t, end, all...))
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range append(slices.Clone(all), "not there", "") {
				if got, err := b.Has(p); err != nil || got != slices.Contains(all, p) {
					t.Fatalf("%d lines: %q: %v %v", n, p, got, err)
				}
			}
		}
	}
}

// A list without counts, in small letters, without an end of its last line.
func TestBreachedForms(t *testing.T) {
	path := filepath.Join(t.TempDir(), "list")
	text := fmt.Sprintf("%x\n%x", sha1.Sum([]byte("b")), sha1.Sum([]byte("a"))) // 86f7… is a, e9d7… is b
	if text[0] > 'a' {
		text = fmt.Sprintf("%x\n%x", sha1.Sum([]byte("a")), sha1.Sum([]byte("b")))
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	b, err := OpenBreached(path)
	if err != nil {
		t.Fatal(err)
	}
	for p, want := range map[string]bool{"a": true, "b": true, "c": false} {
		if got, err := b.Has(p); err != nil || got != want {
			t.Errorf("%s: %v %v", p, got, err)
		}
	}
}

func TestNoBreachedList(t *testing.T) {
	if _, err := OpenBreached(filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	for name, text := range map[string]string{
		"empty": "", "words": "password\n123456\n", "one long line": strings.Repeat("A", 1000), "not hex": strings.Repeat("Z", 40) + ":1\n",
		"no count": strings.Repeat("A", 40) + ":\n", "not ordered": strings.Repeat("F", 40) + ":1\n" + strings.Repeat("A", 40) + ":1\n",
	} {
		path := filepath.Join(t.TempDir(), "list")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := OpenBreached(path); !errors.Is(err, ErrBreachedList) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// No list makes a look at it fail otherwise than by ErrBreachedList, or find what is
// not a line of it.
func FuzzBreached(f *testing.F) {
	f.Add([]byte(strings.Repeat("A", 40)+":1\r\n"), "x")
	f.Add([]byte("5BAA61E4C9B93F3F0682250B6CF8331B7EE68FD8:9\n"), "password")
	f.Fuzz(func(t *testing.T, list []byte, password string) {
		l := breachedFile{bytes.NewReader(list), int64(len(list))}
		want := fmt.Appendf(nil, "%X", sha1.Sum([]byte(password)))
		found, err := l.has(want)
		if err != nil && !errors.Is(err, ErrBreachedList) {
			t.Fatal(err)
		}
		if found && !bytes.Contains(bytes.ToUpper(list), want) {
			t.Fatal("found what is not there")
		}
	})
}
