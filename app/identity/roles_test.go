package identity

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"holdfast/app/api"
	"holdfast/data"
)

var update = flag.Bool("update", false, "write the tables of the documentation anew")

// rolesTable is the one table of roles as the documentation shows it.
func rolesTable() string {
	var b strings.Builder
	for _, where := range []string{api.OnAppliance, api.OnTenant} {
		roles := []Role{}
		for _, r := range BuiltinRoles() {
			if r.Where == where {
				roles = append(roles, r)
			}
		}
		b.WriteString("| of the " + where + " |")
		for _, r := range roles {
			b.WriteString(" " + r.Name + " |")
		}
		b.WriteString("\n|---|" + strings.Repeat(":-:|", len(roles)) + "\n")
		for _, n := range api.Catalogue() {
			if where == api.OnTenant && n.Where == api.OnAppliance {
				continue
			}
			fmt.Fprintf(&b, "| `%s` %s |", n.Permission, n.About)
			for _, r := range roles {
				mark := " "
				if newBuiltins().effectIn(r).allow[n.Permission] {
					mark = "x"
				}
				b.WriteString(" " + mark + " |")
			}
			b.WriteString("\n")
		}
		b.WriteString("\n")
	}
	return b.String()
}

func (b builtins) effectIn(r Role) effect {
	if r.Where == api.OnAppliance {
		return b.appliance[r.Name]
	}
	return b.tenant[r.Name]
}

// TestRolesTableIsDocumented: `go test ./app/identity -run RolesTable -update` writes it.
func TestRolesTableIsDocumented(t *testing.T) {
	const file, begin, end = "../../ui/docs/25-people.md", "<!-- roles -->\n\n", "<!-- /roles -->"
	b, err := os.ReadFile(file)
	must(t, err)
	before, rest, ok := strings.Cut(string(b), begin)
	old, after, ok2 := strings.Cut(rest, end)
	equal(t, "has its marks", ok && ok2, true)
	if *update {
		must(t, os.WriteFile(file, []byte(before+begin+rolesTable()+end+after), 0o600))
		return
	}
	equal(t, "table (-update writes it)", old, rolesTable())
}

func TestEveryPermissionIsSaidInASentence(t *testing.T) {
	seen := map[api.Permission]bool{}
	for _, n := range api.Catalogue() {
		if seen[n.Permission] || !strings.HasSuffix(n.About, ".") || len(n.About) < 15 || n.Where == "" {
			t.Errorf("%+v", n)
		}
		seen[n.Permission] = true
	}
	for _, r := range BuiltinRoles() {
		for _, p := range r.Allow {
			if !seen[p] || r.Where == api.OnTenant && p.ApplianceOnly() {
				t.Errorf("%s of %s has %s", r.Name, r.Where, p)
			}
		}
	}
}

const rolesPath = "/api/v1/tenants/acme/roles"

// staff is acme with an owner, an admin and a developer, each signed in.
func staff(h *house) (owner, admin, dev *browser, ids map[string]string) {
	h.owner("ada@example.com")
	ids = map[string]string{"owner": h.member("olga@example.com", acme.Tenant).ID}
	for _, role := range []string{"admin", "developer"} {
		m := h.member(role + "@example.com")
		_, err := h.Grant(bg, Grant{Person: m.ID, Role: role, Scope: acme.Tenant})
		must(h.t, err)
		ids[role] = m.ID
	}
	sign := func(name string) *browser { return h.browser().signIn(name + "@example.com") }
	return sign("olga"), sign("admin"), sign("developer"), ids
}

func TestCustomRole(t *testing.T) {
	h := newHouse(t)
	owner, _, _, _ := staff(h)
	m := h.member("mia@example.com")
	mia := h.browser().signIn("mia@example.com")
	owner.want(201, "POST", rolesPath, `{"name":"keysmith","about":"Makes keys.","allow":["tenant.read","key.manage"]}`)
	equal(t, "event", h.log.last(), "person:"+strings.Split(h.log.last(), ":")[1][:15]+" role.create t-acme/prod ok")
	owner.want(409, "POST", rolesPath, `{"name":"keysmith","allow":["tenant.read"]}`)
	for _, bad := range []string{`{"name":"owner","allow":["tenant.read"]}`, `{"name":"X","allow":["tenant.read"]}`, `{"name":"a"}`,
		`{"name":"a","allow":["tenant.create"]}`, `{"name":"a","allow":["public"]}`, `{"name":"a","allow":["god"]}`, `{"name":"a","allow":["tenant.read"],"custom":false}`} {
		owner.want(422, "POST", rolesPath, bad)
	}
	mia.want(403, "GET", keysPath, "")
	equal(t, "not of the tenant", codeOf(t, owner.want(409, "POST", membersPath, `{"email":"mia@example.com","role":"keysmith"}`)), "invite")
	owner.want(201, "POST", invitesPath, `{"email":"mia@example.com","role":"keysmith"}`)
	_, err := h.Grant(bg, Grant{Person: m.ID, Role: "keysmith", Scope: acme.Tenant})
	must(t, err)
	mia.want(200, "GET", keysPath, "")
	mia.want(403, "GET", membersPath, "")
	mia.want(403, "GET", "/api/v1/stores/beta/prod/keys", "")
	equal(t, "in use", codeOf(t, owner.want(409, "DELETE", rolesPath+"/keysmith", "")), "in-use")
	owner.want(200, "PUT", rolesPath+"/keysmith", `{"allow":["tenant.read","member.read"]}`)
	mia.want(403, "GET", keysPath, "")
	mia.want(200, "GET", membersPath, "")
	owner.want(204, "DELETE", membersPath+"/"+m.ID, "")
	owner.want(204, "DELETE", rolesPath+"/keysmith", "")
	owner.want(404, "DELETE", rolesPath+"/keysmith", "")
}

func TestDenialComesFirst(t *testing.T) {
	h := newHouse(t)
	owner, _, dev, ids := staff(h)
	dev.want(200, "GET", keysPath, "")
	owner.want(201, "POST", rolesPath, `{"name":"no-keys","deny":["key.manage"]}`)
	owner.want(201, "POST", membersPath, `{"email":"developer@example.com","role":"no-keys"}`)
	dev.want(403, "GET", keysPath, "")
	owner.want(422, "POST", membersPath, `{"email":"olga@example.com","role":"no-keys"}`)
	owner.want(422, "POST", membersPath, `{"email":"developer@example.com","role":"owner"}`)
	owner.want(201, "POST", rolesPath, `{"name":"guide","allow":["tenant.read"]}`)
	owner.want(201, "POST", membersPath, `{"email":"olga@example.com","role":"guide"}`)
	owner.want(422, "PUT", rolesPath+"/guide", `{"deny":["member.manage"]}`)
	owner.want(200, "PATCH", membersPath+"/"+ids["developer"], `{"role":"viewer"}`)
	dev.want(403, "GET", keysPath, "")
}

// TestNoRoleIsAWayUp tries each way for an admin to come by what only owners have.
func TestNoRoleIsAWayUp(t *testing.T) {
	h := newHouse(t)
	owner, admin, dev, ids := staff(h)
	more := func(b *browser, method, path, body string) {
		t.Helper()
		equal(t, method+" "+path, codeOf(t, b.want(403, method, path, body)), "more-than-own")
	}
	more(admin, "POST", rolesPath, `{"name":"up","allow":["tenant.delete"]}`)
	more(admin, "POST", membersPath, `{"email":"admin@example.com","role":"owner"}`)
	more(admin, "PATCH", membersPath+"/"+ids["admin"], `{"role":"owner"}`)
	more(admin, "PATCH", membersPath+"/"+ids["owner"], `{"role":"viewer"}`)
	more(admin, "DELETE", membersPath+"/"+ids["owner"], "")
	g := decode[api.Page[Member]](t, owner.want(200, "GET", membersPath+"?filter=olga", "")).Items[0].Grant
	more(admin, "DELETE", "/api/v1/tenants/acme/grants/"+g, "")
	owner.want(201, "POST", rolesPath, `{"name":"deputy","allow":["tenant.delete"]}`)
	more(admin, "PUT", rolesPath+"/deputy", `{"allow":["tenant.read"]}`)
	more(admin, "DELETE", rolesPath+"/deputy", "")
	more(admin, "POST", membersPath, `{"email":"admin@example.com","role":"deputy"}`)
	dev.want(403, "POST", rolesPath, `{"name":"mine","allow":["key.manage"]}`)
	dev.want(403, "PATCH", membersPath+"/"+ids["developer"], `{"role":"admin"}`)

	admin.want(200, "PATCH", membersPath+"/"+ids["developer"], `{"role":"analyst"}`)
	dev.want(403, "GET", keysPath, "")
}

func TestForeignIdsOfGrantsAreUnknown(t *testing.T) {
	h := newHouse(t)
	owner, _, _, _ := staff(h)
	m := h.member("ben@example.com")
	g, err := h.Grant(bg, Grant{Person: m.ID, Role: "developer", Scope: beta.Tenant})
	must(t, err)
	owner.want(404, "DELETE", "/api/v1/tenants/acme/grants/"+g.ID, "")
	owner.want(403, "DELETE", "/api/v1/tenants/beta/grants/"+g.ID, "")
	owner.want(404, "DELETE", membersPath+"/"+m.ID, "")
	owner.want(404, "PATCH", membersPath+"/"+m.ID, `{"role":"viewer"}`)
	owner.want(404, "PATCH", membersPath+"/nobody", `{"role":"viewer"}`)
	must(t, h.Authorize(bg, person(m.ID), api.DataRead, api.StoreScope(beta)))
}

func TestGrantWithTimesAndReason(t *testing.T) {
	h := newHouse(t)
	owner, _, _, _ := staff(h)
	_, err := h.Grant(bg, Grant{Person: h.member("mia@example.com").ID, Role: "viewer", Scope: acme.Tenant})
	must(t, err)
	mia := h.browser().signIn("mia@example.com")
	until := h.now().Add(time.Hour).Format(time.RFC3339Nano)
	owner.want(422, "POST", membersPath, `{"email":"mia@example.com","until":"2001-01-01T00:00:00Z"}`)
	made := decode[Member](t, owner.want(201, "POST", membersPath, `{"email":"mia@example.com","role":"developer","until":"`+until+`","why":"audit of June"}`))
	equal(t, "why", made.Why, "audit of June")
	mia.want(200, "GET", keysPath, "")
	h.clock.add(time.Hour)
	mia.want(403, "GET", keysPath, "")
	equal(t, "listed", decode[api.Page[Member]](t, owner.want(200, "GET", membersPath+"?filter=mia", "")).Items[0].Role, "viewer")
}

func TestTheApplianceKeepsAnOwner(t *testing.T) {
	h := newHouse(t)
	ada, bob := h.owner("ada@example.com"), h.owner("bob@example.com")
	b := h.browser().signIn("ada@example.com")
	b.want(200, "PATCH", "/api/v1/operators/"+bob.ID, `{"role":"support"}`)
	equal(t, "last", codeOf(t, b.want(409, "PATCH", "/api/v1/operators/"+ada.ID, `{"role":"admin"}`)), "last-owner")
	equal(t, "last", codeOf(t, b.want(409, "DELETE", "/api/v1/operators/"+ada.ID, "")), "last-owner")
	b.want(204, "DELETE", "/api/v1/operators/"+bob.ID, "")
	b.want(422, "POST", "/api/v1/operators", `{"email":"x@example.com","role":"developer","password":"`+goodPassword+`"}`)
	made := decode[Operator](t, b.want(201, "POST", "/api/v1/operators", `{"email":"bob@example.com","role":"auditor"}`))
	equal(t, "role", made.Role, "auditor")
	h.browser().signIn("bob@example.com").want(200, "GET", "/api/v1/operators", "")
	h.browser().signIn("bob@example.com").want(403, "DELETE", "/api/v1/operators/"+ada.ID, "")
}

// TestRoleChangeThatCannotBeRecordedIsNone leaves the old role as it was.
func TestRoleChangeThatCannotBeRecordedIsNone(t *testing.T) {
	h := newHouse(t)
	_, _, _, ids := staff(h)
	h.log.fail = errNoLog
	if _, err := h.replace(bg, Grant{Person: ids["developer"], Role: "viewer", Scope: acme.Tenant}); err == nil {
		t.Fatal("changed")
	}
	must(t, h.Authorize(bg, person(ids["developer"]), api.KeyManage, api.StoreScope(acme)))
}

// TestNobodyLiftsWhatIsDeniedThem: not by changing the role that denies it, nor by
// deleting it, nor by giving it away.
func TestNobodyLiftsWhatIsDeniedThem(t *testing.T) {
	h := newGlassHouse(t)
	h.owner.want(201, "POST", rolesPath, `{"name":"no-export","deny":["data.export"]}`)
	h.gives("eve", "admin")
	h.gives("eve", "no-export")
	eve := h.browser().signIn("eve@example.com")
	equal(t, "changed", codeOf(t, eve.want(403, "PUT", rolesPath+"/no-export", `{"deny":["data.erase"]}`)), "more-than-own")
	equal(t, "about", eve.want(200, "PUT", rolesPath+"/no-export", `{"about":"no copies","deny":["data.export"]}`).Code, 200)
	equal(t, "deleted", codeOf(t, eve.want(409, "DELETE", rolesPath+"/no-export", "")), "in-use")
	equal(t, "another in its place", codeOf(t, eve.want(403, "PATCH", membersPath+"/"+h.ids["eve"], `{"role":"admin"}`)), "more-than-own")
	eve.want(403, "DELETE", membersPath+"/"+h.ids["eve"], "")
	list, err := h.GrantsOf(bg, h.ids["eve"])
	must(t, err)
	for _, g := range list {
		if g.Scope == acme.Tenant {
			equal(t, "ended "+g.Role, codeOf(t, eve.want(403, "DELETE", "/api/v1/tenants/acme/grants/"+g.ID, "")), "more-than-own")
		}
	}
	equal(t, "still denied", h.may(h.ids["eve"], api.DataExport), false)
	h.owner.want(200, "PUT", rolesPath+"/no-export", `{"deny":["data.erase"]}`)
	equal(t, "lifted by the owner", h.may(h.ids["eve"], api.DataExport), true)
}

// TestNobodyAssignsThemselvesARole: what says who may what is no field of anything that
// somebody may set of themselves, nor is whose, where or as what of what they may ask for.
func TestNobodyAssignsThemselvesARole(t *testing.T) {
	h := newGlassHouse(t)
	h.member("vic@example.com")
	vic, err := h.personByEmail(bg, "vic@example.com")
	must(t, err)
	h.ids["vic"] = vic.ID
	h.gives("vic", "viewer")
	invited, err := h.Invite(data.WithActor(bg, person(h.ids["olga"])), acme.Tenant, InviteRequest{Email: "new@example.com", Role: "viewer"})
	must(t, err)
	token := tokenOf(t, invited.Link)
	b := h.browser().signIn("vic@example.com")
	extras := []string{`"role":"owner"`, `"roles":["owner"]`, `"state":"active"`, `"grants":[{"role":"owner"}]`, `"scope":"appliance"`, `"person":"` + vic.ID + `"`,
		`"tenant":"beta"`, `"requester":"x"`, `"until":null`, `"glass":true`, `"allow":["data.erase"]`, `"id":"x"`}
	for _, target := range []struct{ method, path, body, but string }{
		{"PATCH", "/api/v1/session/profile", `{"name":"Vic",`, ""},
		{"POST", "/api/v1/invite", `{"token":"` + token + `",`, ""},
		{"POST", "/api/v1/invite/accept", `{"token":"` + token + `","name":"N","password":"` + goodPassword + `",`, ""},
		{"POST", "/api/v1/session/password", `{"current":"` + goodPassword + `","password":"` + newPassword + `",`, ""},
		{"POST", requestsPath, `{"why":"x",`, `"role"`}, // asking for one is what it is for
	} {
		for _, extra := range extras {
			if target.but != "" && strings.HasPrefix(extra, target.but) && !strings.HasPrefix(extra, `"roles`) {
				continue
			}
			if w := b.send(target.method, target.path, target.body+extra+"}"); w.Code != 422 {
				t.Errorf("%s %s with %s: %d %s", target.method, target.path, extra, w.Code, w.Body)
			}
		}
	}
	list, err := h.GrantsOf(bg, vic.ID)
	must(t, err)
	equal(t, "grants", len(list), 1)
	for _, try := range []struct{ method, path, body string }{ // and what is another's to set is refused as a whole
		{"PATCH", membersPath + "/" + vic.ID, `{"role":"owner"}`},
		{"POST", membersPath, `{"email":"vic@example.com","role":"owner"}`},
		{"POST", rolesPath, `{"name":"mine","allow":["data.erase"]}`},
		{"PATCH", "/api/v1/operators/" + vic.ID, `{"role":"owner"}`},
		{"POST", "/api/v1/operators", `{"email":"vic@example.com","role":"owner"}`},
		{"POST", "/api/v1/tenants/acme/invites", `{"email":"x@example.com","role":"owner"}`},
	} {
		b.want(403, try.method, try.path, try.body)
	}
}

// TestWhatIsToComeIsGuardedToo: who may less ends no role that has not begun yet.
func TestWhatIsToComeIsGuardedToo(t *testing.T) {
	h := newGlassHouse(t)
	h.gives("sam", "admin")
	g, err := h.Grant(bg, Grant{Person: h.ids["eve"], Role: Owner, Scope: acme.Tenant, From: h.now().Add(time.Hour)})
	must(t, err)
	h.sql(`UPDATE grants SET revoked = 1 WHERE person = ? AND scope = 'appliance'`, h.ids["sam"])
	for path, method := range map[string]string{"/api/v1/tenants/acme/grants/" + g.ID: "DELETE", membersPath + "/" + h.ids["eve"]: "DELETE"} {
		equal(t, path, codeOf(t, h.sam.want(403, method, path, "")), "more-than-own")
	}
}
