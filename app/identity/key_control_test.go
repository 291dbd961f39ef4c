package identity

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"holdfast/app/api"
	"holdfast/data"
)

func request(method, path string) (*http.Request, *httptest.ResponseRecorder) {
	r := httptest.NewRequest(method, path, nil)
	r.RemoteAddr, r.Host = from, "127.0.0.1:8090"
	return r, httptest.NewRecorder()
}

func (h *house) controlKeyOf(maker data.Actor, allowed ...api.Permission) Key {
	h.t.Helper()
	k, err := h.CreateControlKey(data.WithActor(bg, maker), NewKey{Name: "automation", Permissions: allowed})
	must(h.t, err)
	return k
}

func keyActor(k Key) data.Actor { return data.Actor{Kind: data.Key, ID: k.ID} }

func TestControlKeyFormat(t *testing.T) {
	h := newHouse(t)
	k := h.controlKeyOf(data.ActorFrom(bg), api.TenantRead)
	if !strings.HasPrefix(k.Key, "hfa_") || len(k.Key) != keyLen || !strings.HasPrefix(k.Hint, "hfa_") {
		t.Fatal(k.Key, k.Hint)
	}
	refusedAs(t, h, k.Key, acme, "key-invalid") // nothing at a store
	id, secret, err := parseAs(appliancePrefix, k.Key)
	must(t, err)
	refusedAs(t, h, formatKey(id, secret), acme, "key-invalid")
	for _, header := range []string{"Bearer " + k.Key, k.Key} {
		r, _ := request("GET", "/")
		r.Header.Set("Authorization", header)
		equal(t, header, KeyFromRequest(r), k.Key)
	}
}

// TestControlKeyMayNoMoreThanItsMaker: neither when it is made, nor later.
func TestControlKeyMayNoMoreThanItsMaker(t *testing.T) {
	h := newHouse(t)
	h.owner("ada@example.com")
	bob := h.member("bob@example.com")
	g, err := h.Grant(bg, Grant{Person: bob.ID, Role: "admin", Scope: Appliance})
	must(t, err)
	k := h.controlKeyOf(person(bob.ID), api.TenantCreate, api.SnapshotRead)
	ask := func(p api.Permission, s api.Scope) error { return h.Authorize(bg, keyActor(k), p, s) }
	must(t, ask(api.TenantCreate, api.Scope{}))
	must(t, ask(api.SnapshotRead, api.StoreScope(acme)))
	for _, p := range append(api.Permissions(), api.Signed) {
		if p != api.TenantCreate && p != api.SnapshotRead {
			wantErr(t, ask(p, api.Scope{}), api.ErrForbidden)
		}
	}
	reach, err := h.Reach(bg, keyActor(k), api.SnapshotRead)
	must(t, err)
	equal(t, "reach", reach.All, true)
	must(t, h.RevokeGrant(bg, g.ID))
	wantErr(t, ask(api.TenantCreate, api.Scope{}), api.ErrForbidden)
	_, err = h.Grant(bg, Grant{Person: bob.ID, Role: "support", Scope: Appliance})
	must(t, err)
	wantErr(t, ask(api.TenantCreate, api.Scope{}), api.ErrForbidden)
	must(t, ask(api.SnapshotRead, api.Scope{}))
	_, err = h.CreateControlKey(data.WithActor(bg, person(bob.ID)), NewKey{Name: "x", Permissions: []api.Permission{api.TenantCreate}})
	equal(t, "more than its maker", api.AsProblem(err).Code, "more-than-own")
	must(t, h.setState(bg, "person.lock", bob.ID, locked))
	wantErr(t, ask(api.SnapshotRead, api.Scope{}), api.ErrUnauthenticated)
}

// TestControlKeyNeverHoldsThese walks the whole catalogue.
func TestControlKeyNeverHoldsThese(t *testing.T) {
	h := newHouse(t)
	for _, n := range api.Catalogue() {
		_, err := h.CreateControlKey(bg, NewKey{Name: "x", Permissions: []api.Permission{n.Permission}})
		if n.Where == api.OnContent && err == nil {
			t.Errorf("a key holds %s, which reaches records", n.Permission)
		}
		if (err == nil) != automatable[n.Permission] {
			t.Errorf("%s: %v", n.Permission, err)
		}
	}
	for _, p := range []api.Permission{api.OperatorManage, api.MemberManage, api.RoleManage, api.CustodyManage, api.ReviewManage, api.TenantDelete, api.KeyManage, "public", "signed-in", "nonsense"} {
		if automatable[p] {
			t.Errorf("a key can hold %s", p)
		}
	}
	k := h.controlKeyOf(data.ActorFrom(bg), api.TenantCreate)
	_, err := h.CreateControlKey(data.WithActor(bg, keyActor(k)), NewKey{Name: "x", Permissions: []api.Permission{api.TenantCreate}})
	equal(t, "a key makes a key", api.AsProblem(err).Code, "no-person")
}

func TestControlKeyHasNoFactorToShow(t *testing.T) {
	h := newHouse(t)
	k := h.controlKeyOf(data.ActorFrom(bg), api.TenantCreate)
	r, _ := request("POST", "/")
	for _, want := range []api.Assurance{api.Fresh, api.Enrol} {
		wantErr(t, h.Assure(r, keyActor(k), want), api.ErrForbidden)
	}
	must(t, h.Assure(r, keyActor(k), api.Usual))
}

func TestControlKeysOverREST(t *testing.T) {
	h := newHouse(t)
	h.owner("ada@example.com")
	b := h.browser().signIn("ada@example.com")
	const path = "/api/v1/api-keys"
	made := decode[Key](t, b.want(201, "POST", path, `{"name":"ci","permissions":["operator.read","tenant.read","tenant.read"],"addresses":["192.0.2.0/24"],"expires":"30d"}`))
	equal(t, "permissions", len(made.Permissions), 2)
	equal(t, "scope", made.Scope, ScopeControl)
	program := func(key string) *browser {
		p := h.browser()
		p.address = "192.0.2.9:1"
		p.cookies = map[string]string{}
		return p
	}
	program(made.Key).want(200, "GET", "/api/v1/operators", "", "Authorization", "Bearer "+made.Key)
	program(made.Key).want(403, "POST", "/api/v1/operators", `{}`, "X-API-Key", made.Key)
	far := h.browser()
	far.address = "198.51.100.1:1"
	equal(t, "from elsewhere", codeOf(t, far.want(401, "GET", "/api/v1/operators", "", "X-API-Key", made.Key)), "key-address")
	follower := decode[Key](t, b.want(201, "POST", path+"/"+made.ID+"/rotate", `{"overlap":"1h"}`))
	program(follower.Key).want(200, "GET", "/api/v1/operators", "", "X-API-Key", follower.Key)
	b.want(204, "DELETE", path+"/"+made.ID, "")
	equal(t, "revoked", codeOf(t, program(made.Key).want(401, "GET", "/api/v1/operators", "", "X-API-Key", made.Key)), "key-revoked")
	list := decode[api.Page[Key]](t, b.want(200, "GET", path, ""))
	equal(t, "listed", list.Total == 2 && !slices.ContainsFunc(list.Items, func(k Key) bool { return k.Key != "" }), true)
	for body, field := range map[string]string{
		`{"name":"x"}`: "permissions",
		`{"name":"x","permissions":["data.read"]}`:                   "permissions",
		`{"name":"x","permissions":["tenant.delete"]}`:               "permissions",
		`{"name":"x","permissions":["tenant.read"],"scope":"admin"}`: "scope",
		`{"name":"x","permissions":["tenant.read"],"rate":-1}`:       "rate",
		`{"permissions":["tenant.read"]}`:                            "name",
	} {
		p := decode[api.Problem](t, b.want(422, "POST", path, body))
		equal(t, body, p.Errors[0].Field, field)
	}
}

// TestSnapshotKey reaches the snapshots of its very store, on the base host.
func TestSnapshotKey(t *testing.T) {
	h := newHouse(t)
	k := h.key(acme, NewKey{Scope: ScopeSnapshot})
	testing := data.StoreID{Tenant: acme.Tenant, Environment: data.Test}
	ask := func(p api.Permission, s api.Scope) error { return h.Authorize(bg, keyActor(k), p, s) }
	for _, p := range []api.Permission{api.SnapshotRead, api.SnapshotCreate, api.OperationRead} {
		must(t, ask(p, api.StoreScope(acme)))
		for _, s := range []api.Scope{api.StoreScope(testing), api.StoreScope(beta), {}, {Tenant: acme.Tenant}, {Tenant: api.AnyTenant}} {
			wantErr(t, ask(p, s), api.ErrForbidden)
		}
	}
	for _, p := range []api.Permission{api.SnapshotRestore, api.DataRead, api.KeyManage, api.TenantRead} {
		wantErr(t, ask(p, api.StoreScope(acme)), api.ErrForbidden)
	}
	reach, err := h.Reach(bg, keyActor(k), api.SnapshotRead)
	must(t, err)
	equal(t, "reach", reach.All || len(reach.Tenants) > 0, false)
	h.browser().want(403, "GET", "/api/v1/operators", "", "X-API-Key", k.Key)
	must(t, h.RevokeKey(bg, acme, k.ID))
	equal(t, "revoked", codeOf(t, h.browser().want(401, "GET", "/api/v1/operators", "", "X-API-Key", k.Key)), "key-revoked")
}

func TestSnapshotKeyIsNoWayUp(t *testing.T) {
	h := newHouse(t)
	h.member("owner@example.com", acme.Tenant)
	m := h.member("mia@example.com")
	_, err := h.Grant(bg, Grant{Person: hostHolder, Role: Owner, Scope: acme.Tenant})
	must(t, err)
	_, err = h.CreateRole(bg, acme.Tenant, RoleRequest{Name: "keys-only", Allow: []api.Permission{api.KeyManage}})
	must(t, err)
	_, err = h.Grant(bg, Grant{Person: m.ID, Role: "keys-only", Scope: acme.Tenant})
	must(t, err)
	_, err = h.CreateKey(data.WithActor(bg, person(m.ID)), acme, NewKey{Name: "x", Scope: ScopeSnapshot})
	equal(t, "refused", api.AsProblem(err).Code, "more-than-own")
}
