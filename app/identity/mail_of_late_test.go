package identity

import (
	"strings"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"

	"holdfast/app/api"
)

// openedAnew says whether somebody's account counts as opened anew by somebody else.
func (h *house) openedAnew(person string) (held bool) {
	h.t.Helper()
	must(h.t, h.config.DB.View(bg, func(tx *sqlx.Tx) error {
		return tx.GetContext(bg, &held, `SELECT EXISTS (SELECT 1 FROM recoveries WHERE person = ?)`, person)
	}))
	return held
}

// resetsByMail asks for a link as a stranger does, and uses it.
func (h *house) resetsByMail(box *letterbox, email string) {
	h.t.Helper()
	h.browser().want(202, "POST", "/api/v1/reset", asked(email))
	h.settle()
	letters := box.of("reset", email)
	token := tokenOf(h.t, letters[len(letters)-1].Text)
	h.browser().want(204, "POST", "/api/v1/reset/password", `{"token":"`+token+`","password":"`+newPassword+`"}`)
}

// TestALinkByANewMailServerHolds: who set the mail server reads the links that anybody can
// ask for, so an account that is opened by one soon after that is held, but not for long
// after, nor that of who set it.
func TestALinkByANewMailServerHolds(t *testing.T) {
	h := newHouse(t)
	box := withMail(h)
	ada := h.owner("ada@example.com")
	tina, tom := h.member("tina@example.com", acme.Tenant), h.member("tom@example.com", acme.Tenant)
	h.servedBy(box, ada.ID)
	h.clock.add(time.Minute)
	h.resetsByMail(box, "tina@example.com")
	h.resetsByMail(box, "ada@example.com")
	equal(t, "records", h.may(tina.ID, api.DataRead), false)
	equal(t, "who set it", h.openedAnew(ada.ID), false)
	h.browser().signIn("tom@example.com").want(204, "POST", confirmAt+tina.ID+"/confirm", "")
	equal(t, "confirmed", h.may(tina.ID, api.DataRead), true)
	h.clock.add(PairRests)
	h.resetsByMail(box, "tom@example.com")
	equal(t, "a week later", h.openedAnew(tom.ID), false)
}

// TestALinkByAMailServerThatIsGoneHolds: setting it, asking, and forgetting it is no way
// round.
func TestALinkByAMailServerThatIsGoneHolds(t *testing.T) {
	h := newHouse(t)
	box := withMail(h)
	ben := h.owner("ben@example.com")
	h.browser().want(202, "POST", "/api/v1/reset", asked("ben@example.com"))
	h.settle()
	token := tokenOf(t, box.of("reset", "ben@example.com")[0].Text)
	box.gone()
	h.browser().want(204, "POST", "/api/v1/reset/password", `{"token":"`+token+`","password":"`+newPassword+`"}`)
	equal(t, "held", h.openedAnew(ben.ID), true)
}

// TestACodeByANewMailServerHoldsAnOperator, where two persons are asked for, and once for
// each server: a team that signs in by codes is not held for ever.
func TestACodeByANewMailServerHoldsAnOperator(t *testing.T) {
	h := newHouse(t)
	box := withMail(h)
	ada := h.owner("ada@example.com")
	h.browser().signIn("ada@example.com").want(200, "PUT", accountsPath, `{"emailCode":true}`)
	h.servedBy(box, "somebody")
	byCode := func(email string) {
		n := h.browser()
		n.want(202, "POST", "/api/v1/session", credentials(email, goodPassword))
		letters := box.of("code", email)
		code := strings.TrimSpace(strings.Split(letters[len(letters)-1].Text, "\n")[4])
		n.want(201, "POST", factorPath, `{"mailCode":"`+code+`"}`)
	}
	h.clock.add(time.Minute)
	byCode("ada@example.com")
	equal(t, "alone", h.openedAnew(ada.ID), false)
	sam, tina := h.owner("sam@example.com"), h.member("tina@example.com", acme.Tenant)
	byCode("sam@example.com")
	byCode("tina@example.com")
	equal(t, "an operator of two", h.openedAnew(sam.ID), true)
	equal(t, "who operates nothing", h.openedAnew(tina.ID), false)
	h.clock.add(PairRests)
	byCode("ada@example.com")
	equal(t, "a week later", h.openedAnew(ada.ID), false)
}
