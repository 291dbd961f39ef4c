package identity

import (
	"errors"
	"testing"
	"time"

	"holdfast/app/api"
)

// TestATenantsSessionEndsWithARoleElsewhere: the tenant's admins could have made it as
// anybody of theirs, and must not come along.
func TestATenantsSessionEndsWithARoleElsewhere(t *testing.T) {
	h, _ := federatedHouse(t)
	mia := h.member("mia@example.com", "t-acme")
	for _, elsewhere := range []string{Appliance, "t-beta"} {
		b, own := h.browser(), h.browser()
		b.want(200, "POST", "/vouch?strong&scope=t-acme&person="+mia.ID, "")
		own.want(200, "POST", "/vouch?strong&person="+mia.ID, "")
		b.want(204, "GET", "/at/acme", "")
		role := map[string]string{Appliance: "support", "t-beta": "viewer"}[elsewhere]
		g, err := h.Grant(bg, Grant{Person: mia.ID, Role: role, Scope: elsewhere})
		must(t, err)
		b.want(401, "GET", "/api/v1/session", "")
		b.want(401, "GET", "/at/acme", "")
		b.want(401, "POST", "/again?strong&scope=t-acme&person="+mia.ID, "")
		own.want(204, "GET", "/at/acme", "")
		must(t, h.RevokeGrant(bg, g.ID))
	}
	later := h.browser().signIn("mia@example.com")
	later.want(204, "POST", "/again?strong&scope=t-acme&person="+mia.ID, "") // rests on it from now on
	_, err := h.Grant(bg, Grant{Person: mia.ID, Role: "support", Scope: Appliance, From: h.now().Add(time.Hour)})
	must(t, err)
	later.want(401, "GET", "/api/v1/session", "")
}

// TestASessionWithoutItsProviderEnds: it is of an older program.
func TestASessionWithoutItsProviderEnds(t *testing.T) {
	h, _ := federatedHouse(t)
	over, err := h.outgrown(bg, Session{Person: "x", Method: BySSOStrong})
	must(t, err)
	equal(t, "sso", over, true)
	over, err = h.outgrown(bg, Session{Person: "x", Method: ByTOTP})
	must(t, err)
	equal(t, "password", over, false)
}

// TestATenantsSessionEnrolsNothing: neither a passkey, nor codes, nor an authenticator
// app but for who must have one; and the person hears of what is added.
func TestATenantsSessionEnrolsNothing(t *testing.T) {
	h, _ := federatedHouse(t)
	mia := h.member("mia@example.com", "t-acme")
	b := h.browser()
	b.want(200, "POST", "/vouch?scope=t-acme&person="+mia.ID, "")
	const path = "/api/v1/session/factors"
	for _, route := range []string{"POST /totp", "POST /totp/confirm", "POST /passkeys/options", "POST /passkeys", "POST /recovery-codes", "DELETE /totp", "DELETE /passkeys/x"} {
		method, rest := route[:4], route[5:]
		if route[0] == 'D' {
			method, rest = "DELETE", route[7:]
		}
		equal(t, route, codeOf(t, b.want(403, method, path+rest, "")), "tenant-session")
	}
	must(t, h.setPolicy(bg, Appliance, SignInPolicy{Required: true, Everyone: true}))
	equal(t, "passkey", codeOf(t, b.want(403, "POST", path+"/passkeys/options", "")), "tenant-session")
	b.want(200, "POST", path+"/totp", "")
}

func TestPeopleHearOfNewFactors(t *testing.T) {
	h := newHouse(t)
	box := withMail(h)
	o := h.owner("olga@example.com")
	must(t, h.addFactor(bg, factorRow{ID: "f", Person: o.ID, Kind: kindPasskey, Name: "key", CredentialID: []byte("c"), Credential: "{}", Created: 1}))
	equal(t, "letters", len(box.of("alert", "olga@example.com")), 1)
}

// TestNobodyIsLockedOutByARoleElsewhere: whom no provider may sign in comes to a tenant
// with single sign-on only with a password and a second factor.
func TestNobodyIsLockedOutByARoleElsewhere(t *testing.T) {
	h, u := federatedHouse(t)
	both := h.member("both@example.com", "t-acme", "t-beta")
	u.want("t-acme")
	u.want("t-beta")
	u.nobody = true
	must(t, h.EnforceFederation(bg))
	if h.hashOf(both.ID) == "" {
		t.Fatal("the only way in is gone")
	}
	b := h.browser().signIn("both@example.com")
	equal(t, "a password alone", codeOf(t, b.want(403, "GET", "/at/acme", "")), "factor-required")
	must(t, strongInstead(Session{Strong: true}))
	if !errors.Is(strongInstead(Session{}), api.ErrStepUp) {
		t.Fatal("not a question")
	}
	h.Service.grants.forget()
	u.mu.Lock()
	u.nobody = false
	u.mu.Unlock()
	equal(t, "with a provider", codeOf(t, b.want(403, "GET", "/at/acme", "")), "sso-required")
}

// TestATenantsSessionJoinsNothingElsewhere: it would end with the role, and there may be
// no other way in.
func TestATenantsSessionJoinsNothingElsewhere(t *testing.T) {
	h, _ := federatedHouse(t)
	mia := h.member("mia@example.com", "t-acme")
	h.ownerOf("ada@example.com", "t-beta")
	ada := h.browser().signIn("ada@example.com")
	made := decode[Invite](t, ada.want(201, "POST", "/api/v1/tenants/beta/invites", `{"email":"mia@example.com"}`))
	body := `{"token":"` + tokenOf(t, made.Link) + `"}`
	b := h.browser()
	b.want(200, "POST", "/vouch?scope=t-acme&person="+mia.ID, "")
	equal(t, "join", codeOf(t, b.want(409, "POST", "/api/v1/invite/join", body)), "roles-elsewhere")
	b.want(204, "GET", "/at/acme", "")
	h.browser().signIn("mia@example.com").want(200, "POST", "/api/v1/invite/join", body)
	b.want(401, "GET", "/api/v1/session", "")
}

// TestDroppedPasswordIsNotDue: an account without a password has none that is too old.
func TestDroppedPasswordIsNotDue(t *testing.T) {
	h, u := federatedHouse(t)
	o := h.owner("olga@example.com")
	st, err := h.standing(bg, o.ID)
	must(t, err)
	equal(t, "before", st.password, true)
	u.want(Appliance)
	must(t, h.EnforceFederation(bg))
	st, err = h.standing(bg, o.ID)
	must(t, err)
	equal(t, "after", st.password, false)
}

// TestMadeWithTheRoleOrNotAtAll, and a role that a provider gives stays.
func TestMadeWithTheRoleOrNotAtAll(t *testing.T) {
	h, u := federatedHouse(t)
	if _, err := h.MakeFederated(bg, "nina@example.com", "Nina", "no-such-role", "t-acme"); err == nil {
		t.Fatal("made with a role that is not there")
	}
	if _, err := h.AccountByMail(bg, "nina@example.com"); !isNotFound(err) {
		t.Fatal(err)
	}
	h.ownerOf("ada@example.com", "t-acme")
	ada := h.browser().signIn("ada@example.com")
	ada.want(201, "POST", "/api/v1/tenants/acme/roles", `{"name":"guide","allow":["member.read"]}`)
	u.named = "guide"
	equal(t, "named", codeOf(t, ada.want(409, "DELETE", "/api/v1/tenants/acme/roles/guide", "")), "in-use")
	u.named = ""
	ada.want(204, "DELETE", "/api/v1/tenants/acme/roles/guide", "")
}

func TestOwnersOf(t *testing.T) {
	h := newHouse(t)
	a, b := h.member("ada@example.com", "t-acme"), h.member("bob@example.com", "t-acme") // owners, both
	must(t, h.setState(bg, "person.lock", a.ID, locked))
	ids, err := h.OwnersOf(bg, "t-acme")
	must(t, err)
	equal(t, "owner", len(ids) == 1 && ids[0] == b.ID, true)
}
