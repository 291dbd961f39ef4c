package identity

import (
	"strings"
	"testing"
	"time"
)

const accountsPath = "/api/v1/policies/accounts"

func (b *browser) changePassword(status int, from, to string) string {
	b.h.t.Helper()
	return b.want(status, "POST", "/api/v1/session/password", `{"current":"`+from+`","password":"`+to+`"}`).Body.String()
}

func TestPasswordHistory(t *testing.T) {
	h := newHouse(t)
	h.owner("ada@example.com")
	b := h.browser().signIn("ada@example.com")
	b.changePassword(204, goodPassword, newPassword)
	b.changePassword(204, newPassword, goodPassword) // no policy asks for more
	b.want(200, "PUT", accountsPath, `{"passwordHistory":2}`)
	b.changePassword(422, goodPassword, goodPassword)
	third := newPassword + " again"
	if body := b.changePassword(422, goodPassword, newPassword); !strings.Contains(body, "used before") {
		t.Error(body)
	}
	b.changePassword(204, goodPassword, third)
	b.changePassword(204, third, third+" and again")
	b.changePassword(422, third+" and again", goodPassword)
	fourth := third + " and once more"
	b.changePassword(204, third+" and again", fourth)
	b.changePassword(204, fourth, goodPassword) // two others came between
	b.want(422, "PUT", accountsPath, `{"passwordHistory":11}`)
}

func TestPasswordRotation(t *testing.T) {
	h := newHouse(t)
	h.owner("ada@example.com")
	h.member("mia@example.com", acme.Tenant)
	b := h.browser().signIn("ada@example.com")
	b.want(422, "PUT", accountsPath, `{"rotateDays":3}`)
	h.browser().signIn("mia@example.com").want(200, "PUT", "/api/v1/tenants/acme/policies/accounts", `{"rotateDays":30}`)
	h.clock.add(31 * 24 * time.Hour)
	h.browser().signIn("ada@example.com").want(200, "GET", "/api/v1/operators", "") // not of acme
	m := h.browser().signIn("mia@example.com")
	equal(t, "due", decode[Me](t, m.want(200, "GET", "/api/v1/session", "")).PasswordDue, true)
	equal(t, "shut", codeOf(t, m.want(403, "GET", keysPath, "")), "password-due")
	m.changePassword(204, goodPassword, newPassword)
	m.want(200, "GET", keysPath, "")
}

// TestSessionTimeoutsByRole: the strictest of what a person's roles bring counts, at once.
func TestSessionTimeoutsByRole(t *testing.T) {
	h := newHouse(t)
	h.owner("ada@example.com")
	h.member("mia@example.com", acme.Tenant)
	b, m := h.browser().signIn("ada@example.com"), h.browser().signIn("mia@example.com")
	b.want(200, "PUT", accountsPath, `{"timeouts":[{"role":"owner","idleMinutes":60,"absoluteMinutes":0}]}`)
	m.want(200, "PUT", "/api/v1/tenants/acme/policies/accounts", `{"timeouts":[{"role":"","idleMinutes":30,"absoluteMinutes":120},{"role":"viewer","idleMinutes":5,"absoluteMinutes":0}]}`)
	b.want(422, "PUT", accountsPath, `{"timeouts":[{"role":"","idleMinutes":721,"absoluteMinutes":0}]}`)
	m.want(422, "PUT", "/api/v1/tenants/acme/policies/accounts", `{"emailCode":true}`)
	h.clock.add(29 * time.Minute)
	m.want(200, "GET", "/api/v1/session", "")
	h.clock.add(31 * time.Minute)
	b.want(401, "GET", "/api/v1/session", "") // an hour
	m.want(401, "GET", "/api/v1/session", "")
	m.signIn("mia@example.com")
	for range 4 {
		h.clock.add(29 * time.Minute)
		m.want(200, "GET", "/api/v1/session", "")
	}
	h.clock.add(5 * time.Minute)
	m.want(401, "GET", "/api/v1/session", "") // two hours in all
}

func TestProfile(t *testing.T) {
	h := newHouse(t)
	h.owner("ada@example.com")
	b := h.browser().signIn("ada@example.com")
	me := decode[Me](t, b.want(200, "PATCH", "/api/v1/session/profile", `{"name":" Ada L. ","language":"de-de","timeZone":"Europe/Berlin"}`))
	equal(t, "profile", me.Person.Name+" "+me.Profile.Language+" "+me.Profile.TimeZone, "Ada L. de-DE Europe/Berlin")
	me = decode[Me](t, b.want(200, "PATCH", "/api/v1/session/profile", `{"timeZone":""}`))
	equal(t, "the rest stays", me.Person.Name+" "+me.Profile.Language+" "+me.Profile.TimeZone, "Ada L. de-DE ")
	for _, bad := range []string{`{"name":""}`, `{"name":"a\nb"}`, `{"language":"not a language"}`, `{"timeZone":"../etc/passwd"}`, `{"timeZone":"Europe/Berlin\n"}`, `{"email":"x@example.com"}`} {
		b.want(422, "PATCH", "/api/v1/session/profile", bad)
	}
}

// TestMailCode: a weak second factor, by policy, for who has none.
func TestMailCode(t *testing.T) {
	h := newHouse(t)
	box := withMail(h)
	h.owner("ada@example.com")
	b := h.browser().signIn("ada@example.com")
	b.want(200, "PUT", accountsPath, `{"emailCode":true}`)
	b.want(200, "PUT", "/api/v1/policies/sign-in", `{"required":true,"roles":[],"everyone":false}`)
	n := h.browser()
	p := decode[PendingSignIn](t, n.want(202, "POST", "/api/v1/session", credentials("ada@example.com", goodPassword)))
	equal(t, "asked for", strings.Join(p.Factors, " "), wayMailCode)
	letters := box.of("code", "ada@example.com")
	code := strings.TrimSpace(strings.Split(letters[len(letters)-1].Text, "\n")[4])
	wrong := "000000"
	if code == wrong {
		wrong = "000001"
	}
	n.want(422, "POST", factorPath, `{"mailCode":"`+wrong+`"}`)
	h.browser().want(401, "POST", factorPath, `{"mailCode":"`+code+`"}`) // another browser
	n.want(201, "POST", factorPath, `{"mailCode":"`+code[:3]+" "+code[3:]+`"}`)
	n.want(200, "GET", "/api/v1/operators", "") // the policy is met
	n.want(401, "POST", factorPath, `{"mailCode":"`+code+`"}`)

	late := h.browser()
	late.want(202, "POST", "/api/v1/session", credentials("ada@example.com", goodPassword))
	h.clock.add(mailCodeLife)
	equal(t, "late", codeOf(t, late.want(401, "POST", factorPath, `{"mailCode":"`+code+`"}`)), "sign-in-expired")

	tries := h.browser()
	tries.want(202, "POST", "/api/v1/session", credentials("ada@example.com", goodPassword))
	for range pendingTries {
		tries.send("POST", factorPath, `{"mailCode":"`+wrong+`"}`)
	}
	equal(t, "tries", tries.send("POST", factorPath, `{"mailCode":"`+code+`"}`).Code >= 400, true)
}

// TestMailCodeIsNoWayRoundAFactor: who has enrolled something shows that.
func TestMailCodeIsNoWayRoundAFactor(t *testing.T) {
	h := newHouse(t)
	box := withMail(h)
	h.owner("ada@example.com")
	b := h.browser().signIn("ada@example.com")
	b.want(200, "PUT", accountsPath, `{"emailCode":true}`)
	b.enrolPhone()
	p := decode[PendingSignIn](t, h.browser().want(202, "POST", "/api/v1/session", credentials("ada@example.com", goodPassword)))
	equal(t, "asked for", strings.Contains(strings.Join(p.Factors, " "), wayMailCode), false)
	equal(t, "letters", len(box.of("code", "ada@example.com")), 0)
	h.browser().want(401, "POST", factorPath, `{"mailCode":"123456"}`)
}

func TestAlertOfANewBrowser(t *testing.T) {
	h := newHouse(t)
	box := withMail(h)
	h.owner("ada@example.com")
	from := func(agent string) {
		h.browser().want(201, "POST", "/api/v1/session", credentials("ada@example.com", goodPassword), "User-Agent", agent)
	}
	from("Mozilla/5.0 (Windows NT 10.0) Firefox/140.0")
	from("Mozilla/5.0 (Windows NT 10.0) Firefox/140.0")
	equal(t, "known", len(box.of("alert", "ada@example.com")), 0)
	from("Mozilla/5.0 (Macintosh; Intel Mac OS X) Safari/605")
	alerts := box.of("alert", "ada@example.com")
	equal(t, "new", len(alerts), 1)
	if !strings.Contains(alerts[0].Text, "Safari on macOS") || !strings.Contains(alerts[0].Text, "192.0.2.1") {
		t.Error(alerts[0].Text)
	}
}
