package app_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
)

// TestBadInput sends what the API must refuse and reads the status and the reason.
func TestBadInput(t *testing.T) {
	t.Parallel()
	sequential(t)
	s := startServer(t)
	admin := s.filled("acme", 5)
	operator := s.operator("owner@example.com")
	s.joins("owner@example.com", "acme")
	guest := s.guest()
	reader := s.tenant("acme", s.newKey("acme", "read"))
	expired := answer[struct{ ID, Key string }](s, "key", "create", "acme", "--name", "x", "--scope", "read")
	s.must("key", "revoke", "acme", expired.ID)
	revoked := s.tenant("acme", expired.Key)
	item := map[string]any{"name": "x"}
	for name, c := range map[string]struct {
		who          *rest
		status       int
		method, path string
		body         any
	}{
		"unknown tenant by path":      {admin.at(s.url() + "/t/nobody"), 404, "GET", records("items"), nil},
		"unknown tenant by host":      {admin.at(s.tenantURL("nobody")), 404, "GET", records("items"), nil},
		"unknown environment":         {admin.at(s.url() + "/t/acme/dev"), 404, "GET", records("items"), nil},
		"unknown tenant over REST":    {operator, 404, "GET", "/api/v1/tenants/nobody", nil},
		"unknown store over REST":     {operator, 404, "GET", "/api/v1/stores/nobody/prod/collections", nil},
		"no credential":               {guest.at(s.url() + "/t/acme"), 403, "GET", records("items"), nil},
		"invented key":                {s.tenant("acme", "hfk_invented"), 401, "GET", records("items"), nil},
		"revoked key":                 {revoked, 401, "GET", records("items"), nil},
		"read key writes":             {reader, 403, "POST", "/api/collections/items/records", item},
		"read key deletes collection": {reader, 403, "DELETE", "/api/collections/items", nil},
		"unknown collection":          {admin, 404, "GET", records("nowhere"), nil},
		"bad filter":                  {admin, 400, "GET", records("items", "filter", "((("), nil},
		"unknown record":              {admin, 404, "GET", "/api/collections/items/records/nothing", nil},
		"nobody lists tenants":        {guest, 401, "GET", "/api/v1/tenants", nil},
		"bad slug":                    {operator, 422, "POST", "/api/v1/tenants", map[string]string{"slug": "Bad Slug"}},
		"slug with two hyphens":       {operator, 422, "POST", "/api/v1/tenants", map[string]string{"slug": "a--b"}},
		"reserved slug":               {operator, 422, "POST", "/api/v1/tenants", map[string]string{"slug": "admin"}},
		"duplicate slug":              {operator, 409, "POST", "/api/v1/tenants", map[string]string{"slug": "acme"}},
		"no JSON":                     {operator, 400, "POST", "/api/v1/tenants", json.RawMessage("{")},
		"not JSON by its type":        {operator, 415, "POST", "/api/v1/tenants", strings.NewReader("{}")},
		"unknown field":               {operator, 422, "POST", "/api/v1/tenants", map[string]string{"slug": "other", "colour": "red"}},
		"over-long body":              {operator, 413, "POST", "/api/v1/tenants", map[string]string{"slug": "other", "name": strings.Repeat("x", 3<<20)}},
		"unknown route":               {operator, 404, "GET", "/api/v1/nonsense", nil},
		"wrong method":                {operator, 405, "PATCH", "/api/v1/tenants", nil},
		"delete without confirmation": {operator, 422, "DELETE", "/api/v1/tenants/acme", map[string]string{"confirm": "other"}},
		"wrong password":              {guest, 401, "POST", "/api/v1/session", map[string]string{"email": "owner@example.com", "password": "wrong"}},
		"unknown setup token":         {guest, 403, "POST", "/api/v1/setup", map[string]string{"token": "x", "email": "a@example.com", "name": "A", "password": password}},
	} {
		t.Run(name, func(t *testing.T) {
			r := c.who.call(c.method, c.path, c.body)
			if r.status != c.status {
				t.Errorf("%s %s: want %d, got %v", c.method, c.path, c.status, r)
			}
			if strings.HasPrefix(c.path, "/api/v1/") {
				wantProblem(t, r)
			}
		})
	}
}

// at is the same caller at another address.
func (c *rest) at(base string) *rest {
	other := *c
	other.base = base
	return &other
}

// wantProblem wants the form of RFC 9457, with words in it.
func wantProblem(t *testing.T, r reply) {
	t.Helper()
	var p struct {
		Status              int
		Title, Detail, Code string
	}
	if kind := r.header.Get("Content-Type"); !strings.HasPrefix(kind, "application/problem+json") {
		t.Errorf("the error is %s", kind)
	}
	if err := json.Unmarshal(r.body, &p); err != nil || p.Status != r.status || p.Title == "" {
		t.Errorf("no problem: %v (%v)", r, err)
	}
}

// TestHeaders holds what every answer must carry.
func TestHeaders(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	s.must("tenant", "create", "acme")
	for _, url := range []string{s.url() + "/", s.url() + "/api/v1/status", s.url() + "/signin", s.url() + "/no/such/page"} {
		r := s.guest().at(url).call("GET", "", nil)
		if r.header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: no nosniff: %v", url, r.header)
		}
		if csp := r.header.Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'none'") || strings.Contains(csp, "unsafe") {
			t.Errorf("%s: policy %q", url, csp)
		}
	}
	for _, host := range []string{"evil.example", "acme.localhost.evil.example", "127.0.0.1.evil.example"} {
		req, err := http.NewRequest("GET", s.url()+"/api/v1/status", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = host
		resp, err := direct.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode < 400 {
			t.Errorf("a request for host %s is answered %s: DNS rebinding reaches the console", host, resp.Status)
		}
	}
}

// TestCrossSite sends what a page of another site could make a browser send.
func TestCrossSite(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	operator := s.operator("owner@example.com")
	for _, headers := range [][]string{
		{"Origin", "http://evil.example", "Sec-Fetch-Site", "cross-site"},
		{"Origin", s.tenantURL("acme"), "Sec-Fetch-Site", "same-site"},
		{"Origin", "null"},
	} {
		if r := operator.call("POST", "/api/v1/tenants", map[string]string{"slug": "smuggled"}, headers...); r.status != 403 {
			t.Errorf("%v: %v", headers, r)
		}
	}
	r := operator.call("OPTIONS", "/api/v1/tenants", nil, "Origin", "http://evil.example", "Access-Control-Request-Method", "POST")
	if r.header.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("the control plane invites other origins: %v", r.header)
	}
}
