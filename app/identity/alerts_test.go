package identity

import (
	"net/http"
	"strings"
	"testing"
)

// TestAlerts: each thing that changes how somebody signs in, or opens a door in their
// name, is told by mail, once.
func TestAlerts(t *testing.T) {
	h := newHouse(t)
	box := withMail(h)
	ada := h.ownerOf("ada@example.com", acme.Tenant)
	b := h.browser().signIn("ada@example.com")
	told := 0
	next := func(what string, parts ...string) {
		t.Helper()
		got := box.of("alert", "ada@example.com")
		if len(got) != told+1 {
			t.Fatalf("%s: %d alerts, want %d", what, len(got), told+1)
		}
		told++
		for _, part := range parts {
			if !strings.Contains(got[told-1].Subject+got[told-1].Text, part) {
				t.Errorf("%s: no %q in %s", what, part, got[told-1].Text)
			}
		}
	}
	b.enrolPhone()
	next("a new app", "authenticator app was added")
	codes := decode[NewRecoveryCodes](t, b.want(201, "POST", "/api/v1/session/factors/recovery-codes", "")).Codes
	next("new codes", "New recovery codes")
	b.want(201, "POST", "/api/v1/stores/acme/prod/keys", `{"name":"web","scope":"read"}`)
	next("a key", "acme (prod)", `"web"`, "scope read")
	key := decode[Key](t, b.want(201, "POST", "/api/v1/api-keys", `{"name":"auto","permissions":["tenant.read"]}`))
	next("a key of the control plane", "the control plane", "scope control")
	b.want(201, "POST", "/api/v1/api-keys/"+key.ID+"/rotate", `{}`)
	next("its successor", "follows another")
	if all := box.of("alert", "ada@example.com"); strings.Contains(all[told-1].Text, "hfa_") {
		t.Error("the key is in the letter")
	}
	n := h.browser()
	n.want(http.StatusAccepted, "POST", "/api/v1/session", credentials("ada@example.com", goodPassword))
	n.want(201, "POST", factorPath, `{"recoveryCode":"`+codes[0]+`"}`)
	next("a used code", "recovery code was used")
	n.want(201, "POST", "/api/v1/stores/acme/prod/keys", `{"name":"more","scope":"read"}`, "User-Agent", "")
	next("another key")
	n.want(204, "DELETE", "/api/v1/session/factors/totp", "")
	next("a removed app", "removed")
	must(t, h.dropPassword(bg, ada.ID))
	next("a dropped password", "single sign-on only")
	_, err := h.CreateKey(bg, acme, NewKey{Name: "by the host", Scope: ScopeRead})
	must(t, err)
	equal(t, "alerts", len(box.of("alert", "ada@example.com")), told)
}

// TestATenantRefusesMailCodes: its people are sent none, and show a real factor.
func TestATenantRefusesMailCodes(t *testing.T) {
	h := newHouse(t)
	box := withMail(h)
	h.owner("ada@example.com")
	h.member("tina@example.com", acme.Tenant)
	h.member("bea@example.com", beta.Tenant)
	h.browser().signIn("ada@example.com").want(200, "PUT", accountsPath, `{"emailCode":true}`)
	codeOfLast := func(to string) string {
		letters := box.of("code", to)
		return strings.TrimSpace(strings.Split(letters[len(letters)-1].Text, "\n")[4])
	}
	old := h.browser()
	old.want(202, "POST", "/api/v1/session", credentials("tina@example.com", goodPassword))
	equal(t, "asking is recorded", h.log.has("session.code  ok"), true)
	old.want(201, "POST", factorPath, `{"mailCode":"`+codeOfLast("tina@example.com")+`"}`)
	old.want(200, "GET", membersAt, "")
	const own = "/api/v1/tenants/acme/policies/sign-in"
	old.want(200, "PUT", own, `{"required":false,"roles":[],"noEmailCode":true}`)
	equal(t, "one that came by a code", codeOf(t, old.want(403, "GET", membersAt, "")), "factor-required")

	b := h.browser().signIn("tina@example.com")
	equal(t, "codes", len(box.of("code", "tina@example.com")), 1)
	equal(t, "told", decode[Me](t, b.want(200, "GET", "/api/v1/session", "")).Factor.Overdue, true)
	equal(t, "without", codeOf(t, b.want(403, "GET", membersAt, "")), "factor-required")
	b.enrolPhone()
	b.want(200, "GET", membersAt, "")
	old = h.browser()
	old.want(202, "POST", "/api/v1/session", credentials("bea@example.com", goodPassword)) // beta's people go on
	equal(t, "codes of others", len(box.of("code", "bea@example.com")), 1)
	ada := h.browser()
	ada.want(202, "POST", "/api/v1/session", credentials("ada@example.com", goodPassword))
	ada.want(201, "POST", factorPath, `{"mailCode":"`+codeOfLast("ada@example.com")+`"}`)
	ada.want(422, "PUT", policyPath, `{"noEmailCode":true}`) // the appliance's own policy says so
}

// TestCodesThatCannotBeRecordedAreNotSent.
func TestCodesThatCannotBeRecordedAreNotSent(t *testing.T) {
	h := newHouse(t)
	box := withMail(h)
	h.owner("ada@example.com")
	h.browser().signIn("ada@example.com").want(200, "PUT", accountsPath, `{"emailCode":true}`)
	h.log.fail = errNoLog
	h.browser().want(500, "POST", "/api/v1/session", credentials("ada@example.com", goodPassword))
	h.log.fail = nil
	equal(t, "letters", len(box.of("code", "ada@example.com")), 0)
}
