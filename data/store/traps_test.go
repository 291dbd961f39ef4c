package store

import (
	"bytes"
	"context"
	"errors"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pocketbase/pocketbase/apis"
	"github.com/pocketbase/pocketbase/core"
	"github.com/pocketbase/pocketbase/tools/mailer"

	"holdfast/data"
)

func adminOf(s *Store) caller { return keyCaller(s, "admin", Reach{Scope: Admin}) }

// studioOf signs in as a person does in the studio.
func studioOf(t testing.TB, s *Store, person string) caller {
	t.Helper()
	token, err := s.StudioToken(t.Context(), data.Actor{Kind: data.Person, ID: person})
	if err != nil {
		t.Fatal(err)
	}
	c := guest(s)
	c.token = token
	return c
}

func TestAllowList(t *testing.T) {
	s := newStore(t)
	r, err := apis.NewRouter(s.app)
	if err != nil {
		t.Fatal(err)
	}
	for pattern := range routes {
		method, path, _ := strings.Cut(pattern, " ")
		if !r.HasRoute(method, path) {
			t.Errorf("%s is no route of PocketBase's", pattern)
		}
	}
	for _, c := range []caller{adminOf(s), studioOf(t, s, "p1"), guest(s)} {
		for _, line := range []string{
			"POST /api/sql", "GET /api/backups", "POST /api/backups", "POST /api/backups/upload", "GET /api/backups/x.zip", "DELETE /api/backups/x.zip",
			"POST /api/backups/x.zip/restore", "GET /api/crons", "POST /api/crons/__pbAutoBackup__", "GET /api/logs", "GET /api/logs/stats",
			"POST /api/collections/users/impersonate/x", "POST /api/collections/_superusers/impersonate/x", "POST /api/settings/test/s3",
			"POST /api/settings/apple/generate-client-secret", "GET /_/", "GET /", "GET /api/nothing", "PUT /api/collections/items/records",
			"GET /api/collections/items%2Ftruncate/records", "POST /api/collections/x%2F..%2F..%2Fsql/records/../../../sql",
		} {
			method, path, _ := strings.Cut(line, " ")
			if r := c.do(method, path, map[string]any{}); r.code != 404 && r.code != 301 && r.code != 307 {
				t.Errorf("%s: %d %s", line, r.code, r.body)
			}
		}
	}
}

func TestStudioActsAsThePerson(t *testing.T) {
	s := newStore(t)
	studio := studioOf(t, s, "p1")
	wantFeed(t, after(t, s, func() { studio.create(t, "items", map[string]any{"title": "x"}) }), "create items by person:p1")
	studio.must(t, 200, "GET", "/api/collections", nil)
	studio.must(t, 200, "POST", "/api/collections/_superusers/auth-refresh", nil)
	again := studioOf(t, s, "p1")
	again.must(t, 200, "GET", "/api/settings", nil)
	if n, err := s.app.CountRecords("_superusers"); err != nil || n != 1 {
		t.Error("shadows:", n, err)
	}
}

// TestNoSuperuserHasAPassword: not even one that nobody knows; those of earlier versions
// go when the store is opened.
func TestNoSuperuserHasAPassword(t *testing.T) {
	notUnderRace(t)
	s := newStore(t)
	studioOf(t, s, "p1")
	shadow, err := s.app.FindFirstRecordByFilter("_superusers", "")
	if err != nil {
		t.Fatal(err)
	}
	if hash := shadow.GetString("password:hash"); hash != "" || shadow.ValidatePassword("") || shadow.TokenKey() == "" {
		t.Fatalf("a shadow has the password %q, token key %q", hash, shadow.TokenKey())
	}
	if _, err := execInner(t.Context(), s.app.NonconcurrentDB(), "UPDATE _superusers SET password = 'of an earlier version'", nil); err != nil {
		t.Fatal(err)
	}
	if err := s.dropPasswords(t.Context()); err != nil {
		t.Fatal(err)
	}
	var left int
	if err := s.app.DB().NewQuery("SELECT count(*) FROM _superusers WHERE password != ''").Row(&left); err != nil || left != 0 {
		t.Fatal(left, err)
	}
}

func TestStudioTokenIsShort(t *testing.T) {
	s := newStore(t)
	studio := studioOf(t, s, "p1")
	fresh := studio.must(t, 200, "POST", "/api/collections/_superusers/auth-refresh", nil).object(t)
	if fresh["token"] != studio.token {
		t.Error("a studio token was renewed")
	}
}

// TestStudioEndsWithTheRole: whoever lost it does not go on under the token that there is,
// on whichever host.
func TestStudioEndsWithTheRole(t *testing.T) {
	s := newStore(t)
	mine, others := studioOf(t, s, "p1"), studioOf(t, s, "p2")
	mine.must(t, 200, "GET", "/api/settings", nil)
	s.pool.Disconnect(acme, data.Actor{Kind: data.Person, ID: "p1"})
	mine.must(t, 401, "GET", "/api/settings", nil)
	others.must(t, 200, "GET", "/api/settings", nil)
}

func TestSuperusersAreShut(t *testing.T) {
	notUnderRace(t)
	s := newStore(t)
	studioOf(t, s, "p1")
	shadow, err := s.app.FindFirstRecordByFilter("_superusers", "")
	if err != nil {
		t.Fatal(err)
	}
	shadow.SetPassword("known-password")
	save(t, s, shadow)
	studio := studioOf(t, s, "p1")
	path := "/api/collections/_superusers/records"
	body := map[string]any{"email": "evil@example.com", "password": "1234567890", "passwordConfirm": "1234567890"}
	batch := func(method, url string) map[string]any {
		return map[string]any{"requests": []any{map[string]any{"method": method, "url": url, "body": body}}}
	}
	id := collection(t, s, "_superusers").Id
	for _, name := range []string{"_superusers", "_SUPERUSERS", id} {
		base := "/api/collections/" + name
		for _, route := range []string{"auth-with-password", "auth-with-otp", "request-otp", "auth-with-oauth2", "request-password-reset",
			"confirm-password-reset", "request-email-change", "request-verification", "records"} {
			studio.must(t, 403, "POST", base+"/"+route, map[string]any{"identity": shadow.Email(), "password": "known-password"})
		}
		studio.must(t, 403, "PATCH", base+"/records/"+shadow.Id, body)
		studio.must(t, 403, "DELETE", base+"/records/"+shadow.Id, nil)
		for _, r := range []map[string]any{batch("POST", base+"/records"), batch("PUT", base+"/records"), batch("PATCH", base+"/records/"+shadow.Id), batch("DELETE", base+"/records/"+shadow.Id)} {
			studio.must(t, 400, "POST", "/api/batch", r)
		}
		studio.must(t, 403, "DELETE", base+"/truncate", nil)
		studio.must(t, 403, "PATCH", base, map[string]any{"otp": map[string]any{"enabled": true}})
	}
	adminOf(s).must(t, 403, "POST", path, body)
	if n, _ := s.app.CountRecords("_superusers"); n != 1 {
		t.Error("superusers:", n)
	}
}

func TestRawSQLStaysInTheFile(t *testing.T) {
	s := newStore(t)
	leak := filepath.Join(t.TempDir(), "leak.db")
	for _, q := range []string{
		"ATTACH DATABASE '" + leak + "' AS p", "VACUUM INTO '" + leak + "'", "VACUUM INTO 'file:" + leak + "?vfs=os'", "VACUUM",
		"PRAGMA hexkey='00'", "PRAGMA key='x'", "PRAGMA temp_store_directory='/tmp'", "PRAGMA temp_store=FILE", "PRAGMA writable_schema=ON",
		"PRAGMA journal_mode=DELETE", "PRAGMA query_only=OFF", "PRAGMA trusted_schema=ON", "PRAGMA recursive_triggers=OFF", "PRAGMA synchronous=OFF",
		"PRAGMA foreign_keys=OFF", "DETACH DATABASE main", "SELECT load_extension('x')", "CREATE VIRTUAL TABLE v USING fts5(x)",
	} {
		for name, db := range map[string]func(string) error{
			"writer": func(q string) error { _, err := s.app.NonconcurrentDB().NewQuery(q).Execute(); return err },
			"reader": func(q string) error { _, err := s.app.ConcurrentDB().NewQuery(q).Execute(); return err },
			"aux":    func(q string) error { _, err := s.app.AuxNonconcurrentDB().NewQuery(q).Execute(); return err },
		} {
			if db(q) == nil {
				t.Errorf("%s: %s was let through", name, q)
			}
		}
	}
	if exists(leak) {
		t.Error("a copy was written")
	}
	for _, q := range []string{"DELETE FROM items", "WITH x AS (SELECT 1) DELETE FROM items", "CREATE TABLE t(x)", "INSERT INTO items(id) VALUES ('x')"} {
		if _, err := s.app.ConcurrentDB().NewQuery(q).Execute(); err == nil {
			t.Errorf("%s wrote through the readers' pool", q)
		}
	}
	if _, err := s.app.NonconcurrentDB().NewQuery("PRAGMA wal_checkpoint(TRUNCATE)").Execute(); err != nil {
		t.Error("PocketBase's own maintenance is refused:", err)
	}
	if _, err := s.app.NonconcurrentDB().NewQuery("PRAGMA optimize").Execute(); err != nil {
		t.Error("PocketBase's own maintenance is refused:", err)
	}
}

// A view is a tenant's own SQL.
func TestViewsCannotReachTheFeed(t *testing.T) {
	s := newStore(t)
	for _, q := range []string{"SELECT seq AS id, actor FROM _changes", "SELECT id FROM _incarnations", "SELECT id, (SELECT actor FROM _changes LIMIT 1) AS a FROM items"} {
		adminOf(s).must(t, 400, "POST", "/api/collections", map[string]any{"name": "spy", "type": "view", "viewQuery": q})
		adminOf(s).must(t, 404, "POST", "/api/collections/meta/dry-run-view", map[string]any{"query": q})
	}
}

func TestNoBackups(t *testing.T) {
	s := newStore(t)
	if err := s.app.CreateBackup(t.Context(), "x.zip"); !errors.Is(err, errNoBackups) {
		t.Error(err)
	}
	if err := s.app.RestoreBackup(t.Context(), "x.zip"); err == nil {
		t.Error("a backup was restored")
	}
	for _, job := range s.app.Cron().Jobs() {
		if job.Id() == "__pbAutoBackup__" {
			job.Run()
		}
	}
	if exists(filepath.Join(s.dir, "backups")) {
		t.Error("a backup was made")
	}
}

func TestNoTickerNoWatcher(t *testing.T) {
	s := newStore(t)
	if s.app.Cron().HasStarted() {
		t.Error("PocketBase's cron ticks")
	}
	if exists(filepath.Join(s.dir, core.LocalNotifyDirName)) {
		t.Error("the notify folder is watched")
	}
	links, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range links {
		if to, _ := os.Readlink(l); strings.Contains(to, "inotify") {
			t.Error("an inotify instance is open")
		}
	}
}

// expiredOTP leaves a one-time password of long ago.
func expiredOTP(t *testing.T, s *Store) {
	t.Helper()
	users := collection(t, s, "users")
	record, err := s.app.FindFirstRecordByFilter(users, "")
	if err != nil {
		t.Fatal(err)
	}
	otp := core.NewOTP(s.app)
	otp.SetCollectionRef(users.Id)
	otp.SetRecordRef(record.Id)
	otp.SetPassword("12345678")
	otp.SetRaw("created", "2020-01-01 00:00:00.000Z")
	save(t, s, otp)
}

// What PocketBase's ticker would do, the appliance's clock does.
func TestHousekeeping(t *testing.T) {
	s := newStore(t)
	signUp(t, s)
	left := func() int64 { n, _ := s.app.CountRecords("_otps"); return n }
	expiredOTP(t, s)
	now := time.Now()
	s.pool.Sweep(now)
	if left() != 0 {
		t.Error("an expired one-time password stays")
	}
	expiredOTP(t, s)
	s.pool.Sweep(now.Add(time.Minute))
	if left() != 1 {
		t.Error("tended again within the hour")
	}
	s.pool.Sweep(now.Add(tendEvery))
	if left() != 0 || s.pool.stores[acme].holds != 1 {
		t.Error("not tended after an hour, or still held:", left(), s.pool.stores[acme].holds)
	}
}

func TestNoMailWithoutSMTP(t *testing.T) {
	bin := t.TempDir()
	called := filepath.Join(bin, "called")
	script := "#!/bin/sh\ntouch " + called + "\n"
	if err := os.WriteFile(filepath.Join(bin, "sendmail"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	s := newStore(t)
	if err := s.app.NewMailClient().Send(&mailer.Message{}); !errors.Is(err, errNoMail) {
		t.Error(err)
	}
	if exists(called) {
		t.Error("the host's sendmail was called")
	}
	settings := s.app.Settings()
	settings.SMTP = core.SMTPConfig{Enabled: true, Host: "127.0.0.1", Port: 25}
	if err := s.app.NewMailClient().Send(&mailer.Message{}); err == nil || !strings.Contains(err.Error(), "mail server 127.0.0.1") {
		t.Error("a tenant reaches a private mail server:", err)
	}
}

func TestNoRequestLog(t *testing.T) {
	s := newStore(t)
	guest(s).do("GET", "/api/collections/items/records?filter=title='"+canary+"'", nil)
	guest(s).do("GET", "/api/collections/"+canary+"/records", nil)
	if err := s.shut(); err != nil { // flushes the log
		t.Fatal(err)
	}
	if err := s.pool.reopenForTest(t, s); err != nil {
		t.Fatal(err)
	}
	var n int
	if err := s.app.AuxDB().NewQuery("SELECT count(*) FROM _logs").Row(&n); err != nil || n != 0 {
		t.Error("logged requests:", n, err)
	}
}

// reopenForTest opens a shut store's app again, in place.
func (p *Pool) reopenForTest(t *testing.T, s *Store) error {
	again, err := p.open(t.Context(), s.id, s.dir, p.config.Keys)
	if err != nil {
		return err
	}
	s.disk, s.pages, s.app, s.mux, s.closing, s.close = again.disk, again.pages, again.app, again.mux, again.closing, again.close
	return nil
}

func TestForcedSettingsAreNotStored(t *testing.T) {
	s := newStore(t)
	admin := adminOf(s)
	stored := func() string {
		var v string
		if err := s.app.DB().NewQuery("SELECT value FROM _params WHERE id = 'settings'").Row(&v); err != nil {
			t.Fatal(err)
		}
		return v
	}
	check := func(when string) {
		t.Helper()
		now := s.app.Settings()
		if !now.S3.Enabled || !strings.HasSuffix(now.S3.Endpoint, filesDomain) || !now.Batch.Enabled || len(now.TrustedProxy.Headers) > 0 || now.Backups.Cron != "" {
			t.Errorf("%s: not forced: %+v", when, now)
		}
		if strings.Contains(stored(), "internal") {
			t.Errorf("%s: stored: %s", when, stored())
		}
	}
	check("at first")
	admin.must(t, 200, "PATCH", "/api/settings", map[string]any{"meta": map[string]any{"appName": "New"}})
	check("after an unrelated change")
	admin.must(t, 200, "PATCH", "/api/settings", map[string]any{
		"s3":           map[string]any{"enabled": false},
		"batch":        map[string]any{"enabled": false},
		"backups":      map[string]any{"cron": "* * * * *"},
		"logs":         map[string]any{"maxDays": 7, "minLevel": -4},
		"trustedProxy": map[string]any{"headers": []string{"X-Forwarded-For"}},
	})
	check("after a change of what is forced")
	if err := s.app.Save(s.app.Settings()); err != nil {
		t.Fatal(err)
	}
	check("after PocketBase saved its own")
	if !strings.Contains(stored(), `"New"`) {
		t.Error("the tenant's own setting is lost")
	}
	if body := string(admin.must(t, 200, "GET", "/api/settings", nil).body); strings.Contains(body, "internal") {
		t.Error("shown:", body)
	}
	users := collection(t, s, "users")
	users.Name = "people" // renames rate limit rules, and saves the settings with them
	save(t, s, users)
	check("after a rename")
}

func TestTrustedProxyIsIgnored(t *testing.T) {
	s := newStore(t)
	adminOf(s).must(t, 200, "PATCH", "/api/settings", map[string]any{"trustedProxy": map[string]any{"headers": []string{"X-Forwarded-For"}}})
	e := &core.RequestEvent{App: s.app}
	e.Request = httptest.NewRequest("GET", "/", nil)
	e.Request.RemoteAddr = "192.0.2.7:1"
	e.Request.Header.Set("X-Forwarded-For", "198.51.100.1")
	if ip := e.RealIP(); ip != "192.0.2.7" {
		t.Error("the address is what a header says:", ip)
	}
}

func TestSettingsKeyOfTheEnvironmentIsIgnored(t *testing.T) {
	s := newStore(t)
	if env := s.app.EncryptionEnv(); env != "" {
		t.Error("settings are encrypted with", env)
	}
	if s.app.IsDev() {
		t.Error("PocketBase is in its development mode and prints SQL")
	}
}

func TestCORS(t *testing.T) {
	s := newStore(t, func(c *Config) {
		c.AllowOrigin = func(_ data.StoreID, origin string) bool { return origin == "https://good.example" }
	})
	for origin, want := range map[string]string{"https://good.example": "https://good.example", "https://evil.example": ""} {
		for _, method := range []string{"OPTIONS", "GET"} {
			req := httptest.NewRequest(method, "/api/collections/items/records", nil)
			req.Header.Set("Origin", origin)
			req.Header.Set("Access-Control-Request-Method", "GET")
			req.Header.Set("Access-Control-Request-Headers", "x-api-key")
			w := httptest.NewRecorder()
			s.ServeHTTP(w, req)
			if got := w.Header().Get("Access-Control-Allow-Origin"); got != want {
				t.Errorf("%s from %s: %d, allowed %q", method, origin, w.Code, got)
			}
			if w.Header().Get("Access-Control-Allow-Credentials") != "" {
				t.Error("credentials are allowed")
			}
		}
	}
}

// deadlines notes what a handler asks of its connection.
type deadlines struct {
	http.ResponseWriter
	read, write []time.Time
}

func (d *deadlines) SetReadDeadline(t time.Time) error  { d.read = append(d.read, t); return nil }
func (d *deadlines) SetWriteDeadline(t time.Time) error { d.write = append(d.write, t); return nil }

func TestTimeouts(t *testing.T) {
	s := newStore(t)
	d := &deadlines{ResponseWriter: httptest.NewRecorder()}
	s.ServeHTTP(d, httptest.NewRequest("GET", "/api/health", nil))
	if len(d.read) != 1 || d.read[0].IsZero() || len(d.write) != 2 || d.write[0].IsZero() || !d.write[1].IsZero() {
		t.Error(d.read, d.write)
	}
}

func TestProcessLogIsWithheld(t *testing.T) {
	var out bytes.Buffer
	newPool(t, func(c *Config) { c.Logger = slog.New(slog.NewTextHandler(&out, nil)) })
	log.Println("Failed to write log", canary)
	if strings.Contains(out.String(), canary) || !strings.Contains(out.String(), "withheld") {
		t.Error(out.String())
	}
}

func TestOAuth2EndsOnAPageOfOurs(t *testing.T) {
	s := newStore(t)
	r := guest(s).must(t, 200, "GET", "/api/oauth2-redirect?state=x&code=y", nil)
	if r.header.Get("Location") != "" || !strings.Contains(string(r.body), "failed") || r.header.Get("Content-Security-Policy") == "" {
		t.Error(r.header, string(r.body))
	}
	st := listen(t, s, context.Background())
	g := guest(s)
	g.subscribe(t, 204, subscription(st, "@oauth2"))
	req := httptest.NewRequest("GET", "/api/oauth2-redirect?state="+st.id+"&code=y", nil)
	req.RemoteAddr = "127.0.0.1:2"
	w := httptest.NewRecorder()
	s.ServeHTTP(w, req)
	if w.Code != 200 || !strings.Contains(w.Body.String(), "You are signed in") {
		t.Error(w.Code, w.Body)
	}
	if got := st.line("data:"); !strings.Contains(got, `"code":"y"`) {
		t.Error(got)
	}
}

func TestStudioFiles(t *testing.T) {
	s := newStore(t)
	for path, code := range map[string]int{"/_/": 200, "/_/nothing": 404} {
		w := httptest.NewRecorder()
		s.Studio().ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		if w.Code != code || w.Header().Get("Content-Security-Policy") == "" {
			t.Error(path, w.Code, w.Header())
		}
	}
}
