package app_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"

	"holdfast/data/keys"
	"holdfast/data/system"
)

// TestWalls walks every route with every credential of another tenant and of
// the other environment. Nothing of the target shows, and nothing in it changes.
func TestWalls(t *testing.T) {
	t.Parallel()
	sequential(t)
	s := startServer(t)
	w := buildWalls(t, s)
	base, tenantHost := w.baseRoutes(), w.tenantRoutes()
	if len(base) < 25 {
		t.Fatalf("the API document names %d routes only", len(base))
	}
	for _, c := range w.strangers {
		t.Run(c.name, func(t *testing.T) {
			for _, r := range base {
				w.walk(t, c, s.url(), r)
			}
			for _, r := range tenantHost {
				for _, at := range []string{s.tenantURL("acme"), s.url() + "/t/acme", s.url() + "/t/acme/prod"} {
					w.walk(t, c, at, r)
				}
			}
		})
	}
	w.unchanged(t)
}

// walls is a target (acme/prod) full of canaries, and those who must not see it.
type walls struct {
	s         *server
	host      *rest // the target's own key
	targetID  string
	paper     paper
	keyID     string
	operation string
	before    string
	strangers []stranger
}

// stranger is a credential that is nothing in the target.
type stranger struct {
	name  string
	key   string
	owner *rest // a session; nil for a key
}

func buildWalls(t *testing.T, s *server) *walls {
	w := &walls{s: s}
	w.host = s.filled("acme", 20)
	makePapers(w.host)
	// A file field that is not protected serves whoever knows the address: that is
	// PocketBase's rule, and its SDKs build on it.
	w.host.want(200, "PATCH", "/api/collections/papers", map[string]any{"fields": []map[string]any{
		{"name": "title", "type": "text"}, {"name": "file", "type": "file", "maxSelect": 1, "maxSize": 30 << 20, "protected": true}}})
	w.paper = uploadPaper(w.host, canary("walls"), []byte(canary("walls")))
	s.must("tenant", "create", "beta")
	for _, env := range []string{"acme/test", "beta/test"} {
		s.must("tenant", "create", env)
	}
	w.targetID = answer[struct{ ID string }](s, "tenant", "show", "acme").ID
	w.keyID = answer[struct{ ID string }](s, "key", "create", "acme", "--name", canary("walls"), "--scope", "read").ID
	for line := range strings.Lines(s.must("operation", "list", "--json")) {
		w.operation = recordID(reply{body: []byte(line)})
	}
	for _, store := range []string{"beta", "beta/test", "acme/test"} {
		for _, scope := range []string{"read", "write", "admin"} {
			w.strangers = append(w.strangers, stranger{name: "key of " + strings.ReplaceAll(store, "/", "-") + " " + scope, key: s.newKey(store, scope)})
		}
	}
	w.strangers = append(w.strangers,
		stranger{name: "nobody"},
		stranger{name: "invented key", key: "hfk_" + randomLetters(40)},
		stranger{name: "owner of beta", owner: s.tenantOwner("owner@beta.example", "beta")})
	w.before = w.state()
	return w
}

// tenantOwner is a signed-in person whose one grant is on a tenant. No route
// makes such a grant yet, so the test moves the scope of an operator's.
func (s *server) tenantOwner(email, slug string) *rest {
	s.t.Helper()
	if d := s.cliInput(password, "operator", "create", email, "--password-stdin", "--keep-password"); d.code != 0 {
		s.t.Fatalf("operator create: %s", d.stderr)
	}
	id := answer[struct{ ID string }](s, "tenant", "show", slug).ID
	s.stop()
	ctx := context.Background()
	db, err := system.Open(ctx, system.Config{Dir: s.data(), Keys: s.ring().Source("system", keys.Pages)})
	if err != nil {
		s.t.Fatal(err)
	}
	moved := db.Update(ctx, func(tx *sqlx.Tx) error {
		_, err := tx.ExecContext(ctx, `UPDATE grants SET scope = ? WHERE person = (SELECT id FROM persons WHERE email = ?)`, id, email)
		return err
	})
	if err := errors.Join(moved, db.Close()); err != nil {
		s.t.Fatal(err)
	}
	s.must("accept-loss", "system", "--yes") // it was changed past the appliance
	s.start()
	return s.signIn(email)
}

// route is one method and path, with what a caller would send.
type route struct {
	method, path string
	body         any
}

// baseRoutes are all routes of the control plane, aimed at the target. Left out
// are signing out, which would end the walk, and those that count failures.
func (w *walls) baseRoutes() []route {
	doc := get[struct {
		Paths map[string]map[string]json.RawMessage
	}](w.s.guest(), "/api/v1/openapi.json")
	skip := []string{"delete /api/v1/session", "post /api/v1/session", "post /api/v1/setup", "post /api/v1/unseal"}
	fill := strings.NewReplacer("{slug}", "acme", "{env}", "prod", "{c}", "items", "{collection}", "items", "{name}", "local")
	var routes []route
	for path, methods := range doc.Paths {
		for method := range methods {
			if slices.Contains(skip, method+" "+path) {
				continue
			}
			routes = append(routes, route{strings.ToUpper(method), w.ids(fill.Replace(path)), w.bodyFor(path)})
		}
	}
	return routes
}

func (w *walls) ids(path string) string {
	id := w.operation
	if strings.Contains(path, "/keys/") {
		id = w.keyID
	}
	return strings.ReplaceAll(path, "{id}", id)
}

// bodyFor is a body that would do something if the wall were not there.
func (w *walls) bodyFor(path string) any {
	switch {
	case strings.HasSuffix(path, "/keys"):
		return map[string]any{"name": "stolen", "scope": "admin"}
	case strings.HasSuffix(path, "/restores"):
		return map[string]any{"as": "stolen"}
	case strings.HasSuffix(path, "/import"):
		return strings.NewReader(`{"name":"smuggled"}`)
	case strings.HasSuffix(path, "{slug}"):
		return map[string]any{"confirm": "acme"}
	case strings.HasSuffix(path, "/environments"):
		return map[string]any{"name": "dev"}
	}
	return map[string]any{}
}

// tenantRoutes are PocketBase's routes on a tenant's host, those that are shut included.
func (w *walls) tenantRoutes() []route {
	item := map[string]any{"name": "smuggled"}
	record := "/api/collections/papers/records/" + w.paper.ID
	return []route{
		{"GET", records("items"), nil}, {"POST", records("items"), item}, {"GET", record, nil}, {"PATCH", record, item}, {"DELETE", record, nil},
		{"GET", records("papers", "expand", "x", "filter", `title ~ "a"`), nil},
		{"GET", "/api/collections", nil}, {"POST", "/api/collections", map[string]any{"name": "smuggled", "type": "base"}},
		{"GET", "/api/collections/items", nil}, {"PATCH", "/api/collections/items", map[string]any{"listRule": ""}}, {"DELETE", "/api/collections/items", nil},
		{"DELETE", "/api/collections/items/truncate", nil}, {"PUT", "/api/collections/import", map[string]any{"collections": []any{}, "deleteMissing": true}},
		{"GET", "/api/collections/meta/scaffolds", nil},
		{"GET", w.paper.path(), nil}, {"POST", "/api/files/token", nil}, {"GET", "/api/realtime", nil},
		{"POST", "/api/realtime", map[string]any{"clientId": "x", "subscriptions": []string{"items/*"}}},
		{"POST", "/api/batch", map[string]any{"requests": []any{map[string]any{"method": "POST", "url": "/api/collections/items/records", "body": item}}}},
		{"GET", "/api/settings", nil}, {"PATCH", "/api/settings", map[string]any{"meta": map[string]any{"appName": "smuggled"}}},
		{"GET", "/api/logs", nil}, {"GET", "/api/logs/stats", nil}, {"GET", "/api/backups", nil}, {"POST", "/api/backups", map[string]any{}},
		{"GET", "/api/crons", nil}, {"POST", "/api/crons/__pbAutoBackup__", nil}, {"POST", "/api/sql", map[string]any{"query": "SELECT * FROM items"}},
		{"GET", records("_superusers"), nil}, {"POST", records("_superusers"), map[string]any{"email": "x@example.com", "password": "smuggled12", "passwordConfirm": "smuggled12"}},
		{"POST", "/api/collections/_superusers/auth-with-password", map[string]any{"identity": "x@example.com", "password": "smuggled12"}},
		{"POST", "/api/collections/users/impersonate/x", nil}, {"GET", records("_changes"), nil},
		{"GET", "/api/v1/changes", nil}, {"GET", "/_/", nil}, {"GET", "/api/", nil},
	}
}

// walk makes one request as a stranger and judges the answer.
func (w *walls) walk(t *testing.T, c stranger, base string, r route) {
	t.Helper()
	status, body := c.probe(t, base, r)
	if strings.Contains(body, canaryMark) || strings.Contains(body, w.targetID) || strings.Contains(body, w.paper.ID) {
		t.Errorf("%s %s%s answers %d with what is the target's: %.300s", r.method, base, r.path, status, body)
	}
	own := strings.HasPrefix(r.path, "/api/v1/session") // whatever id is in it, it is looked for among one's own
	aimed := !own && (strings.Contains(r.path, "acme") || strings.Contains(r.path, w.operation)) || base != w.s.url()
	if aimed && c.key != "" && !slices.Contains([]int{401, 403, 404, 405, 421}, status) {
		t.Errorf("%s %s%s answers %d to a foreign key: %.300s", r.method, base, r.path, status, body)
	}
	if aimed && c.owner != nil && strings.HasPrefix(r.path, "/api/v1/") && !slices.Contains([]int{401, 403, 404}, status) {
		t.Errorf("%s %s%s answers %d to another tenant's owner: %.300s", r.method, base, r.path, status, body)
	}
	if status >= 500 {
		t.Errorf("%s %s%s answers %d: %.300s", r.method, base, r.path, status, body)
	}
}

// probe reads at most the beginning of an answer, for event streams do not end.
func (c stranger) probe(t *testing.T, base string, r route) (status int, body string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	if again, ok := r.body.(io.Seeker); ok {
		_, _ = again.Seek(0, io.SeekStart)
	}
	reader, contentType, err := encode(r.body)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(ctx, r.method, base+r.path, reader)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", contentType)
	if c.key != "" {
		req.Header.Set("Authorization", "Bearer "+c.key)
	}
	if c.owner != nil {
		req.AddCookie(c.owner.session)
	}
	resp, err := (&http.Client{Transport: &http.Transport{DialContext: dialLoopback, DisableKeepAlives: true}}).Do(req)
	if err != nil {
		t.Fatalf("%s %s%s: %v", r.method, base, r.path, err)
	}
	defer resp.Body.Close()
	if strings.HasPrefix(resp.Header.Get("Content-Type"), "text/event-stream") {
		time.AfterFunc(1500*time.Millisecond, cancel)
	}
	b, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	return resp.StatusCode, string(b)
}

// lastUse is noted of the key that this test itself reads with, some time after.
var lastUse = regexp.MustCompile(`"last(?:Used|Address)":"[^"]*",?`)

// state is what the target holds, for comparison.
func (w *walls) state() string {
	w.s.t.Helper()
	keys := lastUse.ReplaceAllString(w.s.must("key", "list", "acme", "--json"), "")
	out := w.s.must("export", "acme", "-o", "-") + keys + w.s.must("tenant", "list")
	collections := w.host.want(200, "GET", "/api/collections?perPage=200", nil)
	return out + string(collections.body) + w.s.must("operator", "list")
}

func (w *walls) unchanged(t *testing.T) {
	t.Helper()
	after := w.state()
	if after == w.before {
		return
	}
	before := strings.Split(w.before, "\n")
	for i, line := range strings.Split(after, "\n") {
		if i >= len(before) || before[i] != line {
			t.Errorf("the target has changed: %s", fmt.Sprintf("%.400s", line))
			return
		}
	}
	t.Error("the target has lost something")
}
