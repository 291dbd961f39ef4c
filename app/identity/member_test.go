package identity

import (
	"testing"

	"holdfast/app/api"
	"holdfast/data"
)

const membersPath = "/api/v1/tenants/acme/members"

func TestMembers(t *testing.T) {
	h := newHouse(t)
	ada := h.ownerOf("ada@example.com", acme.Tenant)
	b := h.browser().signIn("ada@example.com")
	mia := decode[Member](t, b.want(201, "POST", membersPath, `{"email":"Mia@example.com","name":"Mia","role":"owner","password":"`+goodPassword+`"}`))
	equal(t, "role", mia.Role, Owner)
	m := h.browser().signIn("mia@example.com")
	me := decode[Me](t, m.want(200, "GET", "/api/v1/session", ""))
	equal(t, "grants", len(me.Grants) == 1 && me.Grants[0].Role+" "+me.Grants[0].Scope == "owner acme", true)
	m.ownPassword().want(200, "GET", keysPath, "")
	m.want(403, "GET", "/api/v1/stores/beta/prod/keys", "")
	equal(t, "listed", decode[api.Page[Member]](t, m.want(200, "GET", membersPath, "")).Total, 2)
	m.want(403, "GET", "/api/v1/tenants/beta/members", "")
	equal(t, "makes no accounts", codeOf(t, m.want(409, "POST", membersPath, `{"email":"eve@example.com","password":"`+goodPassword+`"}`)), "invite")

	zoe := h.member("zoe@example.com")
	equal(t, "nor tells of one", codeOf(t, m.want(409, "POST", membersPath, `{"email":"zoe@example.com","role":"owner"}`)), "invite")
	b.want(201, "POST", membersPath, `{"email":"zoe@example.com","role":"viewer"}`)
	m.want(201, "POST", membersPath, `{"email":"zoe@example.com","role":"owner","why":"second owner"}`) // of the tenant already
	m.want(204, "DELETE", membersPath+"/"+ada.ID, "")                                                   // handed over
	m.want(204, "DELETE", membersPath+"/"+mia.ID, "")
	z := h.browser().signIn("zoe@example.com")
	equal(t, "last owner", codeOf(t, z.want(409, "DELETE", membersPath+"/"+zoe.ID, "")), "last-owner")
	m.want(403, "GET", keysPath, "")
	m.want(200, "GET", "/api/v1/session", "")
	z.want(404, "DELETE", membersPath+"/"+mia.ID, "")
	b.want(404, "GET", "/api/v1/tenants/nobody/members", "")
}

func TestMemberWithAnAccount(t *testing.T) {
	h := newHouse(t)
	h.ownerOf("ada@example.com", acme.Tenant, "t-beta")
	h.member("mia@example.com", acme.Tenant)
	b := h.browser().signIn("ada@example.com")
	equal(t, "twice", codeOf(t, b.want(409, "POST", membersPath, `{"email":"mia@example.com","role":"owner"}`)), "exists")
	const beta = "/api/v1/tenants/beta/members"
	b.want(422, "POST", beta, `{"email":"mia@example.com","password":"`+goodPassword+`x"}`)
	b.want(422, "POST", beta, `{"email":"mia@example.com","role":"god"}`)
	b.want(422, "POST", beta, `{"email":"new@example.com"}`) // a new account needs a password
	b.want(422, "POST", beta, `{"email":"no address","password":"`+goodPassword+`"}`)
	b.want(201, "POST", beta, `{"email":"mia@example.com","role":"developer"}`)
	h.browser().signIn("mia@example.com").want(200, "GET", "/api/v1/stores/beta/prod/keys", "")
}

func TestMemberThatCannotBeRecordedIsNone(t *testing.T) {
	h := newHouse(t)
	_, err := h.Grant(bg, Grant{Person: hostHolder, Role: Owner, Scope: acme.Tenant})
	must(t, err)
	h.log.fail = errNoLog
	if _, err := h.AddMember(bg, acme.Tenant, NewMember{Email: "mia@example.com", Password: goodPassword}); err == nil {
		t.Fatal("added")
	}
	_, err = h.personByEmail(bg, "mia@example.com")
	wantErr(t, err, data.ErrNotFound)
}
