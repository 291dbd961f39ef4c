package app

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"holdfast/app/api"
	"holdfast/app/edge"
	"holdfast/app/identity"
	"holdfast/data"
	"holdfast/data/store"
)

// The golden tables of who may what. They are kept by hand: a route without a row
// fails, and says which row its present outcome would be. Think before you copy it.
const (
	controlTable = "testdata/matrix/control.txt"
	storeTable   = "testdata/matrix/store.txt"
)

// roles in the order of the tables' columns.
var (
	applianceRoles = []string{"owner", "admin", "support", "security", "auditor", "billing"}
	tenantRoles    = []string{"owner", "admin", "developer", "analyst", "viewer", "auditor"}
)

var wildcard = regexp.MustCompile(`\{(\w+)[.]*\}`)

// matrix is an appliance with two tenants, acme with two environments, and one person
// who gets each role in turn.
type matrix struct {
	t          *testing.T
	house      *house
	acme, beta string // ids
	person     data.Actor
	keys       map[string]string
	operation  string // of acme's
}

func newMatrix(t *testing.T) *matrix {
	c := DefaultConfig()
	c.Data, c.KeyFile = filepath.Join(t.TempDir(), "data"), filepath.Join(t.TempDir(), "root.key")
	must(t, c.validate())
	a, err := OpenAppliance(t.Context(), c, slog.New(slog.DiscardHandler))
	must(t, err)
	t.Cleanup(func() { must(t, a.Close()) })
	m := &matrix{t: t, house: a.house.Load(), keys: map[string]string{}}
	m.acme, m.beta = m.tenant("acme"), m.tenant("beta")
	_, err = m.house.tenants.CreateEnvironment(m.ctx(), "acme", data.Test)
	must(t, err)
	m.staff()
	op, err := m.house.operations.Start(m.ctx(), "test", "acme", m.acme+"/"+data.Prod, func(context.Context, *api.Progress) (any, error) { return 1, nil })
	must(t, err)
	m.operation = op.ID
	return m
}

func (m *matrix) ctx() context.Context { return data.WithActor(m.t.Context(), hostActor()) }

func (m *matrix) tenant(slug string) string {
	made, err := m.house.tenants.Create(m.ctx(), slug, "")
	must(m.t, err)
	return made.ID
}

// staff makes the person, without a role. The local socket made acme and owns it.
func (m *matrix) staff() {
	o, err := m.house.identity.CreateOperator(m.ctx(), identity.NewOperator{
		NewPerson: identity.NewPerson{Email: "person@example.com", Name: "Some One", Password: "a long pass phrase for tests"}, Role: "billing"})
	must(m.t, err)
	_, err = m.house.identity.CreateOperator(m.ctx(), identity.NewOperator{
		NewPerson: identity.NewPerson{Email: "stays@example.com", Name: "Some One", Password: "a long pass phrase for tests"}})
	must(m.t, err)
	m.person = data.Actor{Kind: data.Person, ID: o.ID}
	grants, err := m.house.identity.GrantsOf(m.ctx(), o.ID)
	must(m.t, err)
	must(m.t, m.house.identity.RevokeGrant(m.ctx(), grants[0].ID))
}

// as runs fn while the person has a role.
func (m *matrix) as(role, scope string, fn func()) {
	g, err := m.house.identity.Grant(m.ctx(), identity.Grant{Person: m.person.ID, Role: role, Scope: scope})
	must(m.t, err)
	defer func() { must(m.t, m.house.identity.RevokeGrant(m.ctx(), g.ID)) }()
	fn()
}

// request is one for the route, aimed at a tenant's environment.
func (m *matrix) request(r api.Route, slug, env string) *http.Request {
	id := "none"
	if strings.Contains(r.Path, "/operations/") {
		id = m.operation
	}
	fill := strings.NewReplacer("{slug}", slug, "{env}", env, "{id}", id)
	req := httptest.NewRequest(r.Method, wildcard.ReplaceAllString(fill.Replace(r.Path), "none"), nil)
	for _, name := range wildcard.FindAllStringSubmatch(r.Path, -1) {
		req.SetPathValue(name[1], map[string]string{"slug": slug, "env": env, "id": id}[name[1]])
	}
	return req
}

// outcome of asking for a route: + allowed, - refused, ! to sign in first.
func (m *matrix) outcome(actor data.Actor, r api.Route, slug, env string) string {
	req := m.request(r, slug, env)
	scope := api.Scope{}
	if r.Scope != nil {
		scope = r.Scope(req.WithContext(data.WithActor(req.Context(), actor)))
	}
	err := m.house.identity.Authorize(m.t.Context(), actor, r.Permission, scope)
	switch {
	case err == nil:
		return "+"
	case errors.Is(err, api.ErrForbidden):
		return "-"
	case errors.Is(err, api.ErrUnauthenticated):
		return "!"
	}
	m.t.Fatalf("%s %s: %v", r.Method, r.Path, err)
	return ""
}

// TestGoldenMatrix asks the control plane's own authorizer for every route of its
// router, as every role, in the own tenant, its other environment and a foreign one.
func TestGoldenMatrix(t *testing.T) {
	m := newMatrix(t)
	routes := m.house.router.Routes()
	rows := make([]string, len(routes))
	column := func(actor data.Actor, slug, env string) {
		for i, r := range routes {
			rows[i] += m.outcome(actor, r, slug, env)
		}
	}
	space := func(s string) {
		for i := range rows {
			rows[i] += s
		}
	}
	for _, role := range applianceRoles {
		m.as(role, identity.Appliance, func() { column(m.person, "acme", data.Prod) })
	}
	for _, at := range []struct{ slug, env string }{{"acme", data.Prod}, {"acme", data.Test}, {"beta", data.Prod}} {
		space(" ")
		for _, role := range tenantRoles {
			m.as(role, m.acme, func() { column(m.person, at.slug, at.env) })
		}
	}
	space(" ")
	for _, actor := range []data.Actor{hostActor(), m.person, {Kind: data.Guest}, {Kind: data.Key, ID: "none"}, {Kind: data.User, ID: "users/none"}} {
		column(actor, "acme", data.Prod)
	}
	got := map[string]string{}
	for i, r := range routes {
		got[r.Method+" "+r.Path] = rows[i]
	}
	compare(t, controlTable, got)
}

// TestGoldenMatrixOfStores sends a request to every route of PocketBase's that a store
// serves, with every kind of key, at the own store, its other environment and a
// foreign one, over the tenant's handler.
func TestGoldenMatrixOfStores(t *testing.T) {
	m := newMatrix(t)
	own := data.StoreID{Tenant: m.acme, Environment: data.Prod}
	must(t, m.fill(own))
	stores := []data.StoreID{own, {Tenant: m.acme, Environment: data.Test}, {Tenant: m.beta, Environment: data.Prod}}
	for _, id := range stores {
		m.signUp(id)
	}
	kinds := []string{"read", "write", "admin", "limited"}
	for _, kind := range kinds {
		n := identity.NewKey{Name: kind, Scope: identity.Scope(kind)}
		if kind == "limited" {
			n.Scope, n.Collections = identity.ScopeAdmin, []string{"items"}
		}
		k, err := m.house.identity.CreateKey(m.ctx(), own, n)
		must(t, err)
		m.keys[kind] = k.Key
	}
	got := map[string]string{}
	for _, pattern := range store.Patterns() {
		row := ""
		for _, id := range stores {
			for _, kind := range kinds {
				row += m.knock(pattern, id, m.keys[kind])
			}
			row += m.knock(pattern, id, "") + " "
		}
		got[pattern] = strings.TrimSpace(row)
	}
	compare(t, storeTable, got)
	k, err := m.house.identity.CreateKey(m.ctx(), own, identity.NewKey{Name: "elsewhere", Scope: identity.ScopeAdmin, Addresses: []string{"203.0.113.0/24"}})
	must(t, err)
	for _, pattern := range store.Patterns() { // the requests come from 192.0.2.1
		if got := m.knock(pattern, own, k.Key); got != "!" {
			t.Errorf("%s with a key of another address: %s", pattern, got)
		}
	}
}

func (m *matrix) fill(id data.StoreID) error {
	ctx := m.t.Context() // the system's: a store opens to nobody else without a warrant
	st, err := m.house.pool.Acquire(ctx, id)
	if err != nil {
		return err
	}
	defer st.Release()
	for _, name := range []string{"items", "other", "doomed"} {
		if err := st.CreateCollection(ctx, name, []store.Field{{Name: "title", Type: "text"}}); err != nil {
			return err
		}
	}
	return nil
}

// signUp makes the user that the requests are about, where users may have factors.
func (m *matrix) signUp(id data.StoreID) {
	m.t.Helper()
	st, err := m.house.pool.Acquire(m.t.Context(), id)
	must(m.t, err)
	defer st.Release()
	policy, err := st.UserPolicy(m.t.Context(), "users")
	must(m.t, err)
	policy.TOTP, policy.Passkeys = true, true
	must(m.t, st.SetUserPolicy(m.t.Context(), "users", policy))
	r := httptest.NewRequest(http.MethodPost, "/api/collections/users/records",
		strings.NewReader(`{"id":"`+knocked+`","email":"user@example.com","password":"a long pass phrase","passwordConfirm":"a long pass phrase"}`))
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	m.house.serveTenant(w, r, edge.Target{Store: id})
	if w.Code != http.StatusOK {
		m.t.Fatalf("the user was not made: %d %s", w.Code, w.Body)
	}
}

// again makes the record that the requests are about, where one of them deleted it.
func (m *matrix) again(id data.StoreID) {
	r := httptest.NewRequest(http.MethodPost, "/api/collections/other/records", strings.NewReader(`{"id":"`+knocked+`"}`))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer "+m.keys["admin"])
	m.house.serveTenant(httptest.NewRecorder(), r, edge.Target{Store: id})
}

// knocked is the id of the record, and of a user.
const knocked = "recordrecord001"

// knock asks for a record or collection out of a limited key's reach: + came as far as
// PocketBase's handler, whatever that says of an empty body; - is refused; ! has to
// sign in; 0 learns not even that it is there.
func (m *matrix) knock(pattern string, id data.StoreID, key string) string {
	method, path, _ := strings.Cut(pattern, " ")
	collection := "other"
	if method == http.MethodDelete && !strings.HasSuffix(path, "{id}") {
		collection = "doomed"
	}
	if strings.Contains(path, usersPrefix) { // what only an auth collection has
		collection = "users"
	}
	m.again(id)
	path = strings.NewReplacer("{collection}", collection, "{id}", knocked, "{recordId}", "none", "{filename}", "none").Replace(path)
	ctx, cancel := context.WithCancel(m.t.Context())
	defer cancel()
	if pattern == "GET /api/realtime" {
		cancel() // a stream would not end
	}
	r := httptest.NewRequestWithContext(ctx, method, path, strings.NewReader("{}"))
	r.Header.Set("Content-Type", "application/json")
	if key != "" {
		r.Header.Set("Authorization", "Bearer "+key)
	}
	w := httptest.NewRecorder()
	m.house.serveTenant(w, r, edge.Target{Store: id})
	switch w.Code {
	case http.StatusUnauthorized:
		return "!"
	case http.StatusForbidden:
		return "-"
	case http.StatusNotFound:
		return "0"
	}
	return "+"
}

// compare holds the outcomes against a golden table.
func compare(t *testing.T, file string, got map[string]string) {
	t.Helper()
	want := readTable(t, file)
	for route, row := range got {
		switch golden, ok := want[route]; {
		case !ok:
			t.Errorf("%s has no row in %s. Whoever may use it, write it down; at present it is\n%-68s %s", route, file, route, row)
		case golden != row:
			t.Errorf("%s\n got %s\nwant %s", route, row, golden)
		}
	}
	for route := range want {
		if _, ok := got[route]; !ok {
			t.Errorf("%s is in %s, but there is no such route", route, file)
		}
	}
}

func readTable(t *testing.T, file string) map[string]string {
	t.Helper()
	b, err := os.ReadFile(file)
	must(t, err)
	rows := map[string]string{}
	for line := range strings.Lines(string(b)) {
		fields := strings.Fields(line)
		if len(fields) < 3 || strings.HasPrefix(line, "#") {
			continue
		}
		route := fields[0] + " " + fields[1]
		if _, twice := rows[route]; twice {
			t.Errorf("%s: two rows for %s", file, route)
		}
		rows[route] = strings.Join(fields[2:], " ")
	}
	return rows
}

// TestGoldenMatrixOverHTTP sends requests that only read through the whole router, with
// a session, and holds their status against the same table.
func TestGoldenMatrixOverHTTP(t *testing.T) {
	m := newMatrix(t)
	want := readTable(t, controlTable)
	handler := m.house.router.Handler()
	cookie := m.signIn(handler)
	try := func(name, slug string, column int) {
		for _, r := range m.house.router.Routes() {
			if r.Method != http.MethodGet || r.Permission == api.Public {
				continue
			}
			req := m.request(r, slug, data.Prod)
			req.AddCookie(cookie)
			w := httptest.NewRecorder()
			handler.ServeHTTP(w, req)
			golden := strings.ReplaceAll(want[r.Method+" "+r.Path], " ", "")
			if refused := w.Code == http.StatusForbidden; len(golden) <= column || refused != (golden[column] == '-') || w.Code == http.StatusUnauthorized {
				t.Errorf("%s %s as %s: %d, the table says %s: %s", r.Method, r.Path, name, w.Code, golden, w.Body)
			}
		}
	}
	own, foreign := len(applianceRoles), len(applianceRoles)+2*len(tenantRoles)
	m.as("support", identity.Appliance, func() { try("support", "acme", 2) })
	m.as("billing", identity.Appliance, func() { try("billing", "acme", 5) })
	m.as("owner", m.acme, func() { try("owner", "acme", own); try("foreign owner", "beta", foreign) })
	m.as("viewer", m.acme, func() { try("viewer", "acme", own+4) })
}

func (m *matrix) signIn(handler http.Handler) *http.Cookie {
	m.t.Helper()
	r := httptest.NewRequest(http.MethodPost, "/api/v1/session", strings.NewReader(`{"email":"person@example.com","password":"a long pass phrase for tests"}`))
	r.Host, r.RemoteAddr = "127.0.0.1:8090", "127.0.0.1:4711"
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, r)
	for _, c := range w.Result().Cookies() {
		return c
	}
	m.t.Fatalf("signed in without a cookie: %d %s", w.Code, w.Body)
	return nil
}
