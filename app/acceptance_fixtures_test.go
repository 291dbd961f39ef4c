package app_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// newKey is an API key of a store (slug or slug/env).
func (s *server) newKey(tenant, scope string, collections ...string) string {
	s.t.Helper()
	args := []string{"key", "create", tenant, "--name", "test", "--scope", scope}
	if len(collections) > 0 {
		args = append(args, "--collections", strings.Join(collections, ","))
	}
	return answer[struct{ Key string }](s, args...).Key
}

// filled is a new tenant with n records in "items" and a key that may do all there.
func (s *server) filled(slug string, n int) *rest {
	s.t.Helper()
	s.must("tenant", "create", slug)
	s.fill(slug, n)
	return s.tenant(slug, s.newKey(slug, "admin"))
}

// fill imports n records into "items" of a store.
func (s *server) fill(tenant string, n int) {
	s.t.Helper()
	file := filepath.Join(s.t.TempDir(), "items.jsonl")
	writeItems(s.t, file, n)
	got := answer[struct{ Created, Failed int }](s, "import", tenant, "items", file, "--create")
	if got.Created != n || got.Failed != 0 {
		s.t.Fatalf("import: %+v, want %d created", got, n)
	}
}

func writeItems(t testing.TB, path string, n int) {
	t.Helper()
	if err := os.WriteFile(path, itemLines(n), 0o600); err != nil {
		t.Fatal(err)
	}
}

// itemLines is n records as JSONL.
func itemLines(n int) []byte {
	var b bytes.Buffer
	for i := range n {
		fmt.Fprintf(&b, `{"n":%d,"name":"item %d","text":"%s"}`+"\n", i, i, strings.Repeat("words ", 40))
	}
	return b.Bytes()
}

const password = "a long pass phrase for tests"

// operator makes an operator and signs in.
func (s *server) operator(email string) *rest {
	s.t.Helper()
	if d := s.cliInput(password, "operator", "create", email, "--password-stdin", "--keep-password"); d.code != 0 {
		s.t.Fatalf("operator create: %s", d.stderr)
	}
	return s.signIn(email)
}

// joins makes somebody an owner of a tenant that a command made: an operator alone
// sees none of its records.
func (s *server) joins(email, slug string) {
	s.t.Helper()
	s.must("member", "add", slug, email, "--role", "owner")
}

func (s *server) signIn(email string) *rest {
	s.t.Helper()
	c := s.guest()
	c.want(201, "POST", "/api/v1/session", map[string]string{"email": email, "password": password})
	if c.session == nil {
		s.t.Fatal("signed in without a session cookie")
	}
	return c
}

// store is the folder of one store.
func (s *server) store(slug, env string) string {
	s.t.Helper()
	id := answer[struct{ ID string }](s, "tenant", "show", slug).ID
	return filepath.Join(s.data(), "stores", id, env)
}

// makePapers makes a collection with a file field.
func makePapers(c *rest) {
	c.t.Helper()
	c.want(200, "POST", "/api/collections", map[string]any{"name": "papers", "type": "base", "fields": []map[string]any{
		{"name": "title", "type": "text"}, {"name": "file", "type": "file", "maxSelect": 1, "maxSize": 30 << 20}}})
}

// paper is a record of "papers" with its file.
type paper struct{ ID, CollectionID, Title, File string }

func (p paper) path() string { return "/api/files/" + p.CollectionID + "/" + p.ID + "/" + p.File }

func uploadPaper(c *rest, title string, content []byte) paper {
	c.t.Helper()
	r, err := c.upload("papers", map[string]string{"title": title}, "file", title+".bin", content)
	if err != nil || r.status != 200 {
		c.t.Fatalf("upload %s: %v %v", title, r, err)
	}
	var p paper
	if err := json.Unmarshal(r.body, &p); err != nil {
		c.t.Fatal(err)
	}
	return p
}

func regularFiles(t testing.TB, dir string) []string {
	t.Helper()
	var paths []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			paths = append(paths, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

// exitCodeOf is the exit code in an error of exec; -1 when it never ran.
func exitCodeOf(err error) int {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode()
	}
	return -1
}

func matches(pattern, text string) bool {
	return regexp.MustCompile("(?m)" + pattern).MatchString(text)
}

// fieldOf is a field of a JSON object, as text.
func fieldOf(t interface{ Fatalf(string, ...any) }, object, field string) string {
	var m map[string]any
	if err := json.Unmarshal([]byte(object), &m); err != nil {
		t.Fatalf("%v in %q", err, object)
	}
	if m[field] == nil {
		t.Fatalf("no field %s in %s", field, object)
	}
	return fmt.Sprint(m[field])
}
