package identity

import (
	"errors"
	"strings"
	"testing"
	"time"
)

const policyPath = "/api/v1/policies/sign-in"

func TestSecondFactorIsAskedForByPolicy(t *testing.T) {
	h := newHouse(t)
	h.owner("ada@example.com")
	b := h.browser().signIn("ada@example.com")
	grace := h.clock.Now().Add(48 * time.Hour).UTC()
	b.want(200, "PUT", policyPath, jsonBody(t, SignInPolicy{Required: true, From: &grace}))
	b.want(200, "GET", "/api/v1/operators", "")
	equal(t, "told of it", decode[Me](t, b.want(200, "GET", "/api/v1/session", "")).Factor.Overdue, false)

	h.clock.add(49 * time.Hour)
	h.open() // it outlives a restart
	b = h.browser().signIn("ada@example.com")
	equal(t, "overdue", decode[Me](t, b.want(200, "GET", "/api/v1/session", "")).Factor.Overdue, true)
	w := b.want(403, "GET", "/api/v1/operators", "")
	equal(t, "code", codeOf(t, w), "factor-required")
	b.want(403, "PUT", policyPath, `{"required":false}`)
	b.enrolPhone() // this is open
	b.want(200, "GET", "/api/v1/operators", "")
	equal(t, "done", decode[Me](t, b.want(200, "GET", "/api/v1/session", "")).Factor == nil, true)
}

func TestSecondFactorPolicyReachesRolesAndTenants(t *testing.T) {
	h := newHouse(t)
	admin := Grant{Person: h.owner("ada@example.com").ID, Role: "admin", Scope: acme.Tenant}
	_, err := h.Grant(bg, admin)
	must(t, err)
	h.member("mia@example.com", acme.Tenant)
	ada, mia := h.browser().signIn("ada@example.com"), h.browser().signIn("mia@example.com")
	const members, own = "/api/v1/tenants/acme/members", "/api/v1/tenants/acme/policies/sign-in"
	set := func(path string, p SignInPolicy) { ada.want(200, "PUT", path, jsonBody(t, p)) }

	set(own, SignInPolicy{Required: true, Roles: []string{"viewer"}})
	mia.want(200, "GET", members, "")
	set(own, SignInPolicy{Required: true, Roles: []string{Owner}})
	mia.want(403, "GET", members, "")
	ada.want(200, "GET", members, "") // no role there
	set(own, SignInPolicy{})
	mia.want(200, "GET", members, "")
	ada.want(422, "PUT", own, `{"everyone":true}`)

	p, _ := ada.enrolPhone() // else she could not take it back
	_ = p
	set(policyPath, SignInPolicy{Required: true})
	mia.want(200, "GET", members, "")
	set(policyPath, SignInPolicy{Required: true, Everyone: true})
	mia.want(403, "GET", members, "")
	h.log.fail = errors.New("no log")
	ada.want(500, "PUT", policyPath, `{}`)
	h.log.fail = nil
	mia.want(403, "GET", members, "")
}

func TestLockAndUnlock(t *testing.T) {
	h := newHouse(t)
	ada := h.owner("ada@example.com")
	bob := h.owner("bob@example.com")
	a, b := h.browser().signIn("ada@example.com"), h.browser().signIn("bob@example.com")
	equal(t, "oneself", codeOf(t, a.want(409, "POST", "/api/v1/people/"+ada.ID+"/lock", "")), "oneself")
	a.want(204, "POST", "/api/v1/people/"+bob.ID+"/lock", "")
	b.want(401, "GET", "/api/v1/session", "")
	b.want(401, "POST", "/api/v1/session", credentials("bob@example.com", goodPassword))
	a.want(204, "POST", "/api/v1/people/"+bob.ID+"/unlock", "")
	b.want(401, "GET", "/api/v1/session", "") // an old session does not come back
	b.signIn("bob@example.com")
	h.clock.add(FreshFor)
	a.want(403, "POST", "/api/v1/people/"+bob.ID+"/unlock", "")
}

func TestLostFactorsAreReset(t *testing.T) {
	h := newHouse(t)
	h.owner("ada@example.com")
	bob := h.owner("bob@example.com")
	a, b := h.browser().signIn("ada@example.com"), h.browser().signIn("bob@example.com")
	b.enrolPhone()
	a.want(204, "DELETE", "/api/v1/people/"+bob.ID+"/factors", "")
	equal(t, "recorded", strings.HasSuffix(h.log.last(), " factor.reset  ok"), true)
	b.want(401, "GET", "/api/v1/session", "")
	b.signIn("bob@example.com") // the password again
}

func TestOthersSessions(t *testing.T) {
	h := newHouse(t)
	h.owner("ada@example.com")
	bob := h.owner("bob@example.com")
	a, b, c := h.browser().signIn("ada@example.com"), h.browser().signIn("bob@example.com"), h.browser().signIn("bob@example.com")
	path := "/api/v1/people/" + bob.ID + "/sessions"
	list := decode[struct{ Items []SessionShown }](t, a.want(200, "GET", path, "")).Items
	equal(t, "sessions", len(list), 2)
	own := decode[struct{ Items []SessionShown }](t, b.want(200, "GET", "/api/v1/session/sessions", "")).Items
	for _, s := range own {
		if !s.Current {
			b.want(204, "DELETE", "/api/v1/session/sessions/"+s.ID, "")
			b.want(404, "DELETE", "/api/v1/session/sessions/"+s.ID, "")
		}
	}
	c.want(401, "GET", "/api/v1/session", "")
	b.want(200, "GET", "/api/v1/session", "")
	mine := decode[struct{ Items []SessionShown }](t, a.want(200, "GET", "/api/v1/session/sessions", "")).Items
	b.want(404, "DELETE", "/api/v1/session/sessions/"+mine[0].ID, "") // another's is not there
	a.want(204, "DELETE", path, "")
	b.want(401, "GET", "/api/v1/session", "")
	a.want(200, "GET", "/api/v1/session", "")
}

func TestDeviceNames(t *testing.T) {
	for agent, want := range map[string]string{
		"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36":                                   "Chrome on Linux",
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36 Edg/140.0.0.0":           "Edge on Windows",
		"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.4 Safari/605.1.15":                   "Safari on macOS",
		"Mozilla/5.0 (iPhone; CPU iPhone OS 18_4 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.4 Mobile/15E148 Safari/604.1": "Safari on iPhone",
		"Mozilla/5.0 (Android 15; Mobile; rv:142.0) Gecko/142.0 Firefox/142.0":                                                                    "Firefox on Android",
		"curl/8.5.0": "curl", "": "Unknown device", "<script>": "Unknown device",
	} {
		equal(t, agent, deviceName(agent), want)
	}
}
