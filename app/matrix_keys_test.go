package app

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"holdfast/app/api"
	"holdfast/app/edge"
	"holdfast/app/identity"
	"holdfast/data"
	"holdfast/data/store"
)

const keysTable = "testdata/matrix/keys.txt"

// everyAutomation is all that a key of the control plane can hold.
func everyAutomation() (out []api.Permission) {
	for _, p := range api.Permissions() {
		if identity.Automatable(p) {
			out = append(out, p)
		}
	}
	return out
}

func (m *matrix) controlKey(allowed ...api.Permission) data.Actor {
	k, err := m.house.identity.CreateControlKey(m.ctx(), identity.NewKey{Name: "automation", Permissions: allowed})
	must(m.t, err)
	return data.Actor{Kind: data.Key, ID: k.ID}
}

// keyOutcome is outcome for a key, which has no fresh factor to show.
func (m *matrix) keyOutcome(actor data.Actor, r api.Route, slug, env string) string {
	got := m.outcome(actor, r, slug, env)
	if got == "+" && m.house.identity.Assure(m.request(r, slug, env), actor, r.Assurance) != nil {
		return "-"
	}
	return got
}

// TestGoldenMatrixOfKeys asks for every route of the control plane as keys that may
// something there. Routes without a row are refused to all of them.
func TestGoldenMatrixOfKeys(t *testing.T) {
	m := newMatrix(t)
	all, two := m.controlKey(everyAutomation()...), m.controlKey(api.TenantCreate, api.SnapshotRead)
	k, err := m.house.identity.CreateKey(m.ctx(), data.StoreID{Tenant: m.acme, Environment: data.Prod}, identity.NewKey{Name: "snapshots", Scope: identity.ScopeSnapshot})
	must(t, err)
	snapshots := data.Actor{Kind: data.Key, ID: k.ID}
	got := map[string]string{}
	for _, r := range m.house.router.Routes() {
		if r.Permission == api.Public {
			continue
		}
		row := m.keyOutcome(all, r, "acme", data.Prod) + m.keyOutcome(two, r, "acme", data.Prod) + " "
		for _, at := range [][2]string{{"acme", data.Prod}, {"acme", data.Test}, {"beta", data.Prod}} {
			row += m.keyOutcome(snapshots, r, at[0], at[1])
		}
		if row != "-- ---" {
			got[r.Method+" "+r.Path] = row
		}
	}
	compare(t, keysTable, got)
}

// TestSnapshotKeyAtAStore sends a snapshot key to a store's own host: to none of
// PocketBase's routes, and to the snapshots of that very store.
func TestSnapshotKeyAtAStore(t *testing.T) {
	m := newMatrix(t)
	own := data.StoreID{Tenant: m.acme, Environment: data.Prod}
	must(t, m.fill(own))
	for _, n := range []identity.NewKey{{Name: "admin", Scope: identity.ScopeAdmin}, {Name: "snapshots", Scope: identity.ScopeSnapshot}} {
		k, err := m.house.identity.CreateKey(m.ctx(), own, n)
		must(t, err)
		m.keys[n.Name] = k.Key
	}
	predict, err := m.house.identity.CreateKey(m.ctx(), own, identity.NewKey{Name: "predict", Scope: identity.ScopePredict})
	must(t, err)
	m.keys["predict"] = predict.Key // as a newer program would have made it: there are no predictions yet
	for _, pattern := range store.Patterns() {
		for _, kind := range []string{"snapshots", "predict"} {
			if got := m.knock(pattern, own, m.keys[kind]); got != "-" {
				t.Errorf("%s with a key of the scope %s: %s", pattern, kind, got)
			}
		}
	}
	control, err := m.house.identity.CreateControlKey(m.ctx(), identity.NewKey{Name: "c", Permissions: everyAutomation()})
	must(t, err)
	for _, c := range []struct {
		key, method, path, slug, env string
		want                         int
	}{
		{m.keys["snapshots"], "GET", "/api/v1/snapshots", "acme", data.Prod, 200},
		{m.keys["snapshots"], "GET", "/api/v1/snapshots/status", "acme", data.Prod, 200},
		{m.keys["snapshots"], "POST", "/api/v1/snapshots/verify", "acme", data.Prod, 409}, // there is no target
		{m.keys["snapshots"], "GET", "/api/v1/operations/" + m.operation, "acme", data.Prod, 200},
		{m.keys["snapshots"], "GET", "/api/v1/operations", "acme", data.Prod, 404},
		{m.keys["snapshots"], "GET", "/api/v1/tenants", "acme", data.Prod, 404},
		{m.keys["snapshots"], "GET", "/api/v1/snapshots", "acme", data.Test, 403},
		{m.keys["snapshots"], "GET", "/api/v1/snapshots", "beta", data.Prod, 403},
		{m.keys["snapshots"], "PUT", "/api/v1/snapshots/policy", "acme", data.Prod, 403},
		{m.keys["admin"], "GET", "/api/v1/snapshots", "acme", data.Prod, 401},
		{m.keys["predict"], "GET", "/api/v1/snapshots", "acme", data.Prod, 401},
		{control.Key, "GET", "/api/v1/snapshots", "acme", data.Prod, 401},
		{"", "GET", "/api/v1/snapshots", "acme", data.Prod, 401},
	} {
		r := httptest.NewRequest(c.method, c.path, strings.NewReader("{}"))
		r.Header.Set("Content-Type", "application/json")
		if c.key != "" {
			r.Header.Set("X-API-Key", c.key)
		}
		id, err := m.house.tenants.Store(m.ctx(), c.slug, c.env)
		must(t, err)
		w := httptest.NewRecorder()
		m.house.serveTenant(w, r, edge.Target{Store: id, Slug: c.slug, Environment: c.env})
		if w.Code != c.want {
			t.Errorf("%s %s at %s/%s: %d, want %d: %s", c.method, c.path, c.slug, c.env, w.Code, c.want, w.Body)
		}
		if w.Code == http.StatusOK && w.Header().Get(identity.ExpiresHeader) == "" {
			t.Errorf("%s %s: the answer does not say when the key ends", c.method, c.path)
		}
	}
}
