package identity

import (
	"testing"
	"time"
)

// TestFirstPasswordIsChanged: one that somebody else chose opens nothing but its change,
// also after a restart.
func TestFirstPasswordIsChanged(t *testing.T) {
	h := newHouse(t)
	_, err := h.CreateOperator(bg, NewOperator{NewPerson: NewPerson{Email: "ada@example.com", Name: "Ada", Password: goodPassword}, ChangePassword: true})
	must(t, err)
	b := h.browser().signIn("ada@example.com")
	equal(t, "told", decode[Me](t, b.want(200, "GET", "/api/v1/session", "")).PasswordDue, true)
	equal(t, "nothing else", codeOf(t, b.want(403, "GET", "/api/v1/operators", "")), "password-due")
	h.open()
	b.want(403, "GET", "/api/v1/operators", "")
	h.clock.add(time.Second)
	b.want(204, "POST", "/api/v1/session/password", `{"current":"`+goodPassword+`","password":"`+newPassword+`"}`)
	b.want(200, "GET", "/api/v1/operators", "")
	h.open()
	b.want(200, "GET", "/api/v1/operators", "")

	// Whoever is not the host has chosen somebody else's password.
	b.want(201, "POST", "/api/v1/operators", `{"email":"bob@example.com","name":"Bob","password":"`+goodPassword+`"}`)
	h.browser().signIn("bob@example.com").want(403, "GET", "/api/v1/operators", "")
}

// ownPassword changes the one that somebody else chose.
func (b *browser) ownPassword() *browser {
	b.h.t.Helper()
	b.want(204, "POST", "/api/v1/session/password", `{"current":"`+goodPassword+`","password":"`+newPassword+`"}`)
	return b
}
