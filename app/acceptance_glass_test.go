package app_test

import (
	"strings"
	"testing"
)

const (
	acmeTenant = "/api/v1/tenants/acme"
	acmeStore  = "/api/v1/stores/acme/prod"
)

// TestOperatorsComeToNoRecords drives the program as an operator who wants a tenant's
// records, and has all that the appliance's owner may: the front door, who may, another
// account of their own making, the owner's account, and the tenant's place.
func TestOperatorsComeToNoRecords(t *testing.T) {
	t.Parallel()
	sequential(t)
	s := startServer(t)
	ada := s.operator("ada@example.com")
	s.operator("tom@example.com")
	s.must("tenant", "create", "acme")
	s.fill("acme", 5)
	s.joins("tom@example.com", "acme")
	for _, try := range []struct {
		method, path string
		body         any
	}{
		{"GET", acmeStore + "/collections", nil},
		{"GET", itemsOfStore, nil},
		{"POST", acmeStore + "/studio", map[string]any{}},
		{"POST", acmeStore + "/keys", map[string]any{"name": "x", "scope": "admin"}},
		{"POST", acmeTenant + "/members", map[string]any{"email": "ada@example.com", "role": "owner"}},
		{"POST", acmeTenant + "/invites", map[string]any{"email": "ada@example.com", "role": "owner"}},
		{"POST", acmeTenant + "/roles", map[string]any{"name": "x", "allow": []string{"data.read"}}},
		{"PUT", acmeTenant + "/policies/access", map[string]any{"emergency": true}},
		{"POST", acmeTenant + "/identity-providers", map[string]any{"id": "x", "kind": "google", "clientId": "x", "clientSecret": "x"}},
	} {
		ada.want(403, try.method, try.path, try.body)
	}

	request := recordID(ada.want(201, "POST", acmeTenant+"/access-requests", map[string]any{"why": "x"}))
	ada.want(409, "POST", acmeTenant+"/access-requests", map[string]any{"why": "x", "export": true, "emergency": true})
	ada.want(201, "POST", "/api/v1/operators", map[string]any{"email": "puppet@example.com", "password": password})
	puppet := s.signIn("puppet@example.com")
	for _, way := range []string{"/approve", "/emergency"} {
		ada.want(403, "POST", acmeTenant+"/access-requests/"+request+way, map[string]any{})
		if r := puppet.call("POST", acmeTenant+"/access-requests/"+request+way, map[string]any{}); r.status != 403 && r.status != 409 {
			t.Errorf("a puppet approves: %v", r)
		}
	}
	s.takeOver(ada, "tom@example.com")
	ada.want(403, "GET", itemsOfStore, nil)

	if r := ada.call("DELETE", acmeTenant, map[string]any{"confirm": "acme"}); r.status >= 300 { // the place of the tenant is not the tenant
		t.Fatalf("delete: %v", r)
	}
	if r := ada.call("POST", "/api/v1/tenants", map[string]any{"slug": "acme"}); r.status != 409 {
		t.Errorf("another tenant in its place: %v", r)
	}
	if r := ada.call("GET", itemsOfStore, nil); r.status < 400 {
		t.Errorf("records of what is deleted: %v", r)
	}
}

// takeOver opens the account of a tenant's owner anew: it reaches no record for a while.
func (s *server) takeOver(ada *rest, email string) {
	s.t.Helper()
	var id string
	for _, o := range get[struct {
		Items []struct{ ID, Email string }
	}](ada, "/api/v1/operators").Items {
		if o.Email == email {
			id = o.ID
		}
	}
	link := decoded[struct{ Link string }](ada, ada.want(201, "POST", "/api/v1/people/"+id+"/reset", nil)).Link
	_, token, _ := strings.Cut(link, "token=")
	s.guest().want(204, "POST", "/api/v1/reset/password", map[string]any{"token": token, "password": password + " anew"})
	c := s.guest()
	c.want(201, "POST", "/api/v1/session", map[string]string{"email": email, "password": password + " anew"})
	c.want(403, "GET", itemsOfStore, nil)
	c.want(403, "POST", acmeStore+"/keys", map[string]any{"name": "x", "scope": "admin"})
}

// TestTheStudioEndsWithTheRole: the dashboard's token is worth nothing any more at that
// moment, on the tenant's own host too, where nobody asks the console.
func TestTheStudioEndsWithTheRole(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	s.operator("mia@example.com")
	s.must("tenant", "create", "acme")
	s.must("member", "add", "acme", "mia@example.com", "--role", "developer")
	mia := s.signIn("mia@example.com")
	link := decoded[struct{ URL string }](mia, mia.want(201, "POST", acmeStore+"/studio", map[string]any{})).URL
	at, code, _ := strings.Cut(link, "/open#")
	token := decoded[struct{ Token string }](mia, newREST(t, at, "").want(201, "POST", "/open", map[string]string{"code": code})).Token
	studio, own := newREST(t, at, token), s.tenant("acme", token)
	studio.want(200, "GET", "/api/collections", nil)
	own.want(200, "GET", "/api/collections", nil)
	s.must("member", "remove", "acme", "mia@example.com")
	studio.want(401, "GET", "/api/collections", nil)
	own.want(401, "GET", "/api/collections", nil)
}
