package identity

import (
	"testing"
	"time"
)

const newPassword = "seven quiet otters swim"

// settle waits for what is done after the answer, and opens the house anew.
func (h *house) settle() {
	h.t.Helper()
	must(h.t, h.Service.Close())
	h.open()
}

func asked(email string) string { return `{"email":"` + email + `"}` }

// TestReset goes the whole way: the link comes by mail, works once, ends all sessions,
// and a second factor is still asked for.
func TestReset(t *testing.T) {
	h := newHouse(t)
	box := withMail(h)
	h.owner("ada@example.com")
	mine := h.browser().signIn("ada@example.com")
	mine.enrolPhone()
	n := h.browser()
	equal(t, "answer", decode[ResetAsked](t, n.want(202, "POST", "/api/v1/reset", asked("Ada@example.com"))).Mail, true)
	h.settle()
	letters := box.of("reset", "ada@example.com")
	equal(t, "letters", len(letters), 1)
	token := tokenOf(t, letters[0].Text)
	equal(t, "whose", decode[ResetShown](t, n.want(200, "POST", "/api/v1/reset/show", `{"token":"`+token+`"}`)).Email, "ada@example.com")
	body := func(password string) string { return `{"token":"` + token + `","password":"` + password + `"}` }
	n.want(422, "POST", "/api/v1/reset/password", body("password12345")) // and the link is not spent
	n.want(204, "POST", "/api/v1/reset/password", body(newPassword))
	n.want(401, "GET", "/api/v1/session", "") // it lets nobody in
	mine.want(401, "GET", "/api/v1/session", "")
	equal(t, "again", codeOf(t, n.want(410, "POST", "/api/v1/reset/password", body(newPassword))), "reset-used")
	equal(t, "alerts", len(box.of("alert", "ada@example.com")), 2) // the factor, and the password
	n.want(401, "POST", "/api/v1/session", credentials("ada@example.com", goodPassword))
	p := decode[PendingSignIn](t, n.want(202, "POST", "/api/v1/session", credentials("ada@example.com", newPassword)))
	equal(t, "second factor", p.Factors[0], kindTOTP)
}

// TestResetTellsNothingOfAccounts: one answer, given before anything is looked up.
func TestResetTellsNothingOfAccounts(t *testing.T) {
	h := newHouse(t)
	box := withMail(h)
	h.owner("ada@example.com")
	locked := h.member("lou@example.com")
	must(t, h.setState(bg, "person.lock", locked.ID, "locked"))
	want := h.browser().want(202, "POST", "/api/v1/reset", asked("ada@example.com")).Body.String()
	for _, email := range []string{"nobody@example.com", "lou@example.com"} {
		equal(t, email, h.browser().want(202, "POST", "/api/v1/reset", asked(email)).Body.String(), want)
	}
	h.settle()
	equal(t, "letters", len(box.of("reset", "ada@example.com")), 1)
	equal(t, "to nobody", len(box.of("reset", "nobody@example.com"))+len(box.of("reset", "lou@example.com")), 0)
	for range accountPolicy.Free {
		h.browser().send("POST", "/api/v1/reset", asked("nobody@example.com"))
	}
	h.browser().want(429, "POST", "/api/v1/reset", asked("nobody@example.com"))
}

func TestResetLinkEnds(t *testing.T) {
	h := newHouse(t)
	h.owner("ada@example.com")
	ben := h.owner("ben@example.com")
	b := h.browser().signIn("ada@example.com")
	link := func() string {
		return tokenOf(t, decode[ResetLink](t, b.want(201, "POST", "/api/v1/people/"+ben.ID+"/reset", "")).Link)
	}
	show := func(token string, status int) string {
		return codeOf(t, h.browser().want(status, "POST", "/api/v1/reset/show", `{"token":"`+token+`"}`))
	}
	first, second := link(), link()
	equal(t, "replaced", show(first, 404), "reset-unknown")
	h.clock.add(ResetLife)
	equal(t, "expired", show(second, 410), "reset-expired")
	b.signIn("ada@example.com")
	equal(t, "oneself", codeOf(t, b.want(409, "POST", "/api/v1/people/"+decode[Me](t, b.want(200, "GET", "/api/v1/session", "")).Person.ID+"/reset", "")), "oneself")
	h.clock.add(-ResetLife)
	b.want(204, "POST", "/api/v1/people/"+ben.ID+"/lock", "")
	equal(t, "locked", show(second, 404), "reset-unknown")
	h.clock.add(ResetLife + resetKept + time.Minute)
	must(t, h.Sweep(bg))
}

func TestResetThatCannotBeRecordedIsNone(t *testing.T) {
	h := newHouse(t)
	ben := h.owner("ben@example.com")
	row, err := h.personByID(bg, ben.ID)
	must(t, err)
	link, err := h.sendReset(bg, row)
	must(t, err)
	h.log.fail = errNoLog
	if _, err := h.sendReset(bg, row); err == nil {
		t.Error("a link without a record")
	}
	h.browser().want(404, "POST", "/api/v1/reset/password", `{"token":"`+tokenOf(t, link.Link)+`","password":"`+newPassword+`"}`)
	h.log.fail = nil
	h.browser().signIn("ben@example.com")
}
