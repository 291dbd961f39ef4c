package audit

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"holdfast/app/api"
	"holdfast/data"
)

// access lets the owner read every log and a member that of their tenant.
type access struct{}

func (access) Authorize(_ context.Context, a data.Actor, p api.Permission, s api.Scope) error {
	if p == api.AuditRead && (a.ID == "owner" || a.ID == s.Tenant && a.ID != "") {
		return nil
	}
	return api.ErrForbidden
}

func (w *world) get(who, method, path string) *httptest.ResponseRecorder {
	w.t.Helper()
	rt, err := api.NewRouter(api.Config{Authorizer: access{}, Recorder: w, Authenticate: func(*http.Request) (data.Actor, error) {
		return data.Actor{Kind: data.Person, ID: who}, nil
	}})
	if err == nil {
		err = rt.Add(w.Routes()...)
	}
	if err != nil {
		w.t.Fatal(err)
	}
	answer := httptest.NewRecorder()
	rt.Handler().ServeHTTP(answer, httptest.NewRequest(method, path, nil))
	return answer
}

func TestRoutes(t *testing.T) {
	w := newWorld(t)
	feed := newFeed()
	w.feeds[acme] = feed
	feed.write(5)
	w.record(api.Event{Action: "tenant.create", Target: "acme"})
	w.record(api.Event{Action: "key.create", Target: "k", Store: acme.String()})
	w.verify(acme.String())
	const store = "/api/v1/stores/acme/prod/audit"
	for _, c := range []struct {
		who, method, path string
		status            int
		holds             string
	}{
		{"owner", "GET", "/api/v1/audit", 200, `"action":"tenant.create","target":"acme","outcome":"ok"`},
		{"owner", "GET", "/api/v1/audit?action=tenant&perPage=1", 200, `"totalItems":1`},
		{"owner", "GET", "/api/v1/audit?page=0", 422, ""},
		{"owner", "POST", "/api/v1/audit/verify", 200, `"ok":true`},
		{"owner", "GET", "/api/v1/audit/checkpoint", 200, `"verifierKeys":["holdfast/`},
		{"owner", "GET", "/api/v1/audit/entries/0/proof", 200, `"leaf":"holdfast audit leaf v1\n`},
		{"owner", "GET", "/api/v1/audit/entries/99999/proof", 404, ""},
		{"owner", "GET", "/api/v1/audit/entries/x/proof", 404, ""},
		{"owner", "GET", "/api/v1/audit/consistency?from=1", 200, `"from":1`},
		{"owner", "GET", "/api/v1/audit/consistency?from=zero", 422, ""},
		{"owner", "GET", "/api/v1/audit/consistency?from=99999", 404, ""},
		{acme.Tenant, "GET", "/api/v1/audit", 403, ""},
		{acme.Tenant, "GET", store + "?q=RECORD000000003", 200, `"position":{"incarnation":"life1","sequence":3},"detail":{"fields":"a,b"}`},
		{acme.Tenant, "GET", store + "?filter=record000000003", 200, `"totalItems":1`},
		{acme.Tenant, "GET", store + "?actor=key", 200, `"totalItems":5`},
		{acme.Tenant, "POST", store + "/verify", 200, `"changes":5`},
		{"stranger", "GET", store, 403, ""},
		{"stranger", "GET", "/api/v1/stores/nobody/prod/audit", 403, ""},
		{"owner", "GET", "/api/v1/stores/nobody/prod/audit", 404, ""},
	} {
		answer := w.get(c.who, c.method, c.path)
		if answer.Code != c.status || !strings.Contains(answer.Body.String(), c.holds) {
			t.Errorf("%s %s %s: got %d %s", c.who, c.method, c.path, answer.Code, answer.Body)
		}
	}
}

// TestProofOverRESTChecksOffline takes everything from the API but the verifier key,
// which was noted from an earlier answer.
func TestProofOverRESTChecksOffline(t *testing.T) {
	w := newWorld(t)
	for range 6 {
		w.record(api.Event{Action: "tenant.create", Target: "acme"})
	}
	var noted Checkpoint
	if err := json.Unmarshal(w.get("owner", "GET", "/api/v1/audit/checkpoint").Body.Bytes(), &noted); err != nil {
		t.Fatal(err)
	}
	w.record(api.Event{Action: "tenant.create", Target: "beta"})
	var p Proof
	if err := json.Unmarshal(w.get("owner", "GET", "/api/v1/audit/entries/6/proof").Body.Bytes(), &p); err != nil {
		t.Fatal(err)
	}
	if e, err := p.Check(noted.Keys[0]); err != nil || e.Target != "beta" {
		t.Errorf("got %+v, %v", e, err)
	}
	var c Consistency
	if err := json.Unmarshal(w.get("owner", "GET", "/api/v1/audit/consistency?from=6").Body.Bytes(), &c); err != nil {
		t.Fatal(err)
	}
	if err := c.Check(noted.Keys[0], noted.Checkpoint); err != nil {
		t.Error(err)
	}
	export := w.get("owner", "GET", "/api/v1/audit/export")
	if tree, err := CheckExport(export.Body, noted.Keys[0], nil); err != nil || tree.N != 7 {
		t.Errorf("got %v, %v", tree, err)
	}
}
