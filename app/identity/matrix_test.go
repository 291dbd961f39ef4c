package identity

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"holdfast/app/api"
)

// matrix is what each route answers to each kind of caller, written by hand: who is
// not let in gets 401 or 403, everybody else whatever the route says to an empty
// request. A route without a line here fails the test.
var matrix = map[string]struct{ guest, stranger, member, owner int }{
	"POST /api/v1/setup":                                            {403, 403, 403, 403}, // no valid link
	"GET /api/v1/session":                                           {401, 200, 200, 200},
	"DELETE /api/v1/session":                                        {401, 204, 204, 204},
	"POST /api/v1/session/password":                                 {401, 422, 422, 422},
	"GET /api/v1/operators":                                         {401, 403, 403, 200},
	"POST /api/v1/operators":                                        {401, 403, 403, 422},
	"GET /api/v1/tenants/{slug}/members":                            {401, 403, 200, 200},
	"PATCH /api/v1/operators/{id}":                                  {401, 403, 403, 422},
	"DELETE /api/v1/operators/{id}":                                 {401, 403, 403, 404},
	"POST /api/v1/tenants/{slug}/members":                           {401, 403, 422, 403},
	"PATCH /api/v1/tenants/{slug}/members/{id}":                     {401, 403, 422, 403},
	"DELETE /api/v1/tenants/{slug}/members/{id}":                    {401, 403, 404, 403},
	"POST /api/v1/tenants/{slug}/members/{id}/confirm":              {401, 403, 404, 403},
	"GET /api/v1/tenants/{slug}/members/{id}/sessions":              {401, 403, 404, 403},
	"DELETE /api/v1/tenants/{slug}/members/{id}/sessions":           {401, 403, 404, 403},
	"DELETE /api/v1/tenants/{slug}/members/{id}/sessions/{session}": {401, 403, 404, 403},
	"DELETE /api/v1/tenants/{slug}/grants/{id}":                     {401, 403, 404, 403},
	"GET /api/v1/permissions":                                       {401, 200, 200, 200},
	"GET /api/v1/roles":                                             {401, 200, 200, 200},
	"GET /api/v1/tenants/{slug}/roles":                              {401, 403, 200, 200},
	"POST /api/v1/tenants/{slug}/roles":                             {401, 403, 422, 403},
	"PUT /api/v1/tenants/{slug}/roles/{role}":                       {401, 403, 422, 403},
	"DELETE /api/v1/tenants/{slug}/roles/{role}":                    {401, 403, 404, 403},
	"GET /api/v1/stores/{slug}/{env}/keys":                          {401, 403, 200, 403},
	"POST /api/v1/stores/{slug}/{env}/keys":                         {401, 403, 422, 403},

	"GET /api/v1/access-requests":                                {401, 200, 200, 200},
	"DELETE /api/v1/access-requests/{id}":                        {401, 404, 404, 404},
	"GET /api/v1/tenants/{slug}/access-requests":                 {401, 403, 200, 200},
	"POST /api/v1/tenants/{slug}/access-requests":                {401, 403, 422, 422},
	"POST /api/v1/tenants/{slug}/access-requests/{id}/approve":   {401, 403, 404, 403},
	"POST /api/v1/tenants/{slug}/access-requests/{id}/refuse":    {401, 403, 404, 403},
	"POST /api/v1/tenants/{slug}/access-requests/{id}/end":       {401, 403, 404, 403},
	"POST /api/v1/tenants/{slug}/access-requests/{id}/emergency": {401, 403, 403, 404},
	"GET /api/v1/tenants/{slug}/access-reads":                    {401, 403, 200, 200},
	"GET /api/v1/tenants/{slug}/policies/access":                 {401, 403, 200, 200},
	"PUT /api/v1/tenants/{slug}/policies/access":                 {401, 403, 200, 403},
	"DELETE /api/v1/stores/{slug}/{env}/keys/{id}":               {401, 403, 404, 403},

	"GET /api/v1/approvals":               {401, 403, 403, 200},
	"GET /api/v1/approvals/{id}":          {401, 403, 403, 404},
	"DELETE /api/v1/approvals/{id}":       {401, 404, 404, 404},
	"POST /api/v1/approvals/{id}/approve": {401, 403, 403, 404},
	"POST /api/v1/approvals/{id}/refuse":  {401, 403, 403, 404},
	"GET /api/v1/policies/two-persons":    {401, 403, 403, 200},
	"PUT /api/v1/policies/two-persons":    {401, 403, 403, 422},

	"POST /api/v1/stores/{slug}/{env}/keys/{id}/rotate": {401, 403, 404, 403},
	"POST /api/v1/stores/{slug}/{env}/keys/{id}/enable": {401, 403, 404, 403},
	"GET /api/v1/api-keys":                              {401, 403, 403, 200},
	"POST /api/v1/api-keys":                             {401, 403, 403, 422},
	"DELETE /api/v1/api-keys/{id}":                      {401, 403, 403, 404},
	"POST /api/v1/api-keys/{id}/rotate":                 {401, 403, 403, 404},
	"POST /api/v1/api-keys/{id}/enable":                 {401, 403, 403, 404},
}

// peopleMatrix is matrix for invites, links, policies and profiles.
var peopleMatrix = map[string]struct{ guest, stranger, member, owner int }{
	"GET /api/v1/invites":                          {401, 403, 403, 200},
	"POST /api/v1/invites":                         {401, 403, 403, 422},
	"DELETE /api/v1/invites/{id}":                  {401, 403, 403, 404},
	"GET /api/v1/tenants/{slug}/invites":           {401, 403, 200, 200},
	"POST /api/v1/tenants/{slug}/invites":          {401, 403, 422, 403},
	"DELETE /api/v1/tenants/{slug}/invites/{id}":   {401, 403, 404, 403},
	"POST /api/v1/invite":                          {404, 404, 404, 404}, // no such token
	"POST /api/v1/invite/passkey":                  {404, 404, 404, 404},
	"POST /api/v1/invite/accept":                   {404, 404, 404, 404},
	"POST /api/v1/invite/join":                     {401, 404, 404, 404},
	"POST /api/v1/reset":                           {422, 422, 422, 422}, // no address
	"POST /api/v1/reset/show":                      {404, 404, 404, 404},
	"POST /api/v1/reset/password":                  {404, 404, 404, 404},
	"POST /api/v1/people/{id}/reset":               {401, 403, 403, 404},
	"GET /api/v1/policies/accounts":                {401, 403, 403, 200},
	"PUT /api/v1/policies/accounts":                {401, 403, 403, 200},
	"GET /api/v1/tenants/{slug}/policies/accounts": {401, 403, 200, 200},
	"PUT /api/v1/tenants/{slug}/policies/accounts": {401, 403, 200, 403},
	"PATCH /api/v1/session/profile":                {401, 200, 200, 200},
}

func TestEveryRouteWithEveryCaller(t *testing.T) {
	h := newHouse(t)
	h.owner("owner@example.com")
	h.member("member@example.com", acme.Tenant)
	h.member("stranger@example.com", beta.Tenant)
	key := h.key(acme, NewKey{Scope: ScopeAdmin})
	for _, r := range h.Routes() {
		name := r.Method + " " + r.Path
		h.origins.Forget("192.0.2.1") // links that are not known count as tries
		want, known := matrix[name]
		if !known {
			want, known = signInMatrix[name]
		}
		if !known {
			want, known = peopleMatrix[name]
		}
		if !known {
			t.Errorf("%s has no line in the matrix", name)
			continue
		}
		path := strings.NewReplacer("{slug}", "acme", "{env}", "prod", "{id}", "none", "{session}", "none", "{role}", "none").Replace(r.Path)
		for who, status := range map[string]int{"owner": want.owner, "member": want.member, "stranger": want.stranger} {
			w := h.browser().signIn(who+"@example.com").send(r.Method, path, emptyBody(r))
			if w.Code != status {
				t.Errorf("%s by %s: got %d, want %d: %s", name, who, w.Code, status, w.Body)
			}
		}
		if w := h.browser().send(r.Method, path, emptyBody(r)); w.Code != want.guest {
			t.Errorf("%s by a guest: got %d, want %d", name, w.Code, want.guest)
		}
		if w := h.browser().send(r.Method, path, emptyBody(r), "Authorization", "Bearer "+key.Key); w.Code != want.guest {
			t.Errorf("%s with a tenant's key: got %d, want %d", name, w.Code, want.guest)
		}
	}
	if len(matrix)+len(signInMatrix)+len(peopleMatrix) != len(h.Routes()) {
		t.Error("the matrix has lines without a route")
	}
}

func emptyBody(r api.Route) string {
	if r.Request == nil {
		return ""
	}
	return "{}"
}

// TestOnlyTheseRoutesArePublic: whoever adds one says so here.
func TestOnlyTheseRoutesArePublic(t *testing.T) {
	var public []string
	for _, r := range newHouse(t).Routes() {
		if r.Permission == api.Public {
			public = append(public, r.Method+" "+r.Path)
		}
	}
	equal(t, "public", fmt.Sprint(public), fmt.Sprint([]string{
		http.MethodPost + " /api/v1/session", http.MethodPost + " /api/v1/session/factor", http.MethodPost + " /api/v1/session/passkey",
		http.MethodPost + " /api/v1/invite", http.MethodPost + " /api/v1/invite/passkey", http.MethodPost + " /api/v1/invite/accept",
		http.MethodPost + " /api/v1/reset", http.MethodPost + " /api/v1/reset/show", http.MethodPost + " /api/v1/reset/password",
		http.MethodPost + " /api/v1/setup",
	}))
}
