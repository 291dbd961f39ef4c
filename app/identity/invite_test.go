package identity

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/app/api"
	"holdfast/data"
)

const invitesPath = "/api/v1/tenants/acme/invites"

func invite(b *browser, body string) Invite {
	b.h.t.Helper()
	return decode[Invite](b.h.t, b.want(201, "POST", invitesPath, body))
}

func acceptance(token, password string) string {
	return `{"token":"` + token + `","name":"Mia New","password":"` + password + `"}`
}

// TestInviteMakesAnAccount goes the whole way of somebody who has none, with mail.
func TestInviteMakesAnAccount(t *testing.T) {
	h := newHouse(t)
	box := withMail(h)
	h.member("ada@example.com", acme.Tenant)
	b := h.browser().signIn("ada@example.com")
	made := invite(b, `{"email":"Mia@example.com","role":"developer","why":"builds the shop"}`)
	equal(t, "mailed", made.Mailed && made.Link == "", true)
	letters := box.of("invite", "mia@example.com")
	equal(t, "letters", len(letters), 1)
	if !strings.Contains(letters[0].Text, "Some One invites you to acme, as developer.") {
		t.Errorf("the letter says %s", letters[0].Text)
	}
	token := tokenOf(t, letters[0].Text)

	n := h.browser()
	shown := decode[InviteShown](t, n.want(200, "POST", "/api/v1/invite", `{"token":"`+token+`"}`))
	equal(t, "shown", shown.Email+" "+shown.Role+" "+shown.Place+" "+shown.By, "mia@example.com developer acme Some One")
	n.want(422, "POST", "/api/v1/invite/accept", acceptance(token, "too short")) // and the invite is not spent
	in := decode[Accepted](t, n.want(201, "POST", "/api/v1/invite/accept", acceptance(token, goodPassword)))
	equal(t, "signed in", in.Me.Person.Email, "mia@example.com")
	n.want(200, "GET", keysPath, "")
	n.want(403, "GET", "/api/v1/stores/beta/prod/keys", "")
	equal(t, "again", codeOf(t, h.browser().want(410, "POST", "/api/v1/invite/accept", acceptance(token, goodPassword))), "invite-used")
	h.browser().signIn("mia@example.com")

	m := decode[api.Page[Member]](t, b.want(200, "GET", membersPath+"?filter=mia", "")).Items[0]
	equal(t, "given by", strings.HasPrefix(m.GivenBy, "person:") && m.Why == "builds the shop", true)
	equal(t, "state", decode[api.Page[Invite]](t, b.want(200, "GET", invitesPath, "")).Items[0].State, "accepted")
	equal(t, "pending", decode[api.Page[Invite]](t, b.want(200, "GET", invitesPath+"?filter=pending", "")).Total, 0)
}

// TestInviteLinkIsShownWithoutMail: bad input "mail not configured".
func TestInviteLinkIsShownWithoutMail(t *testing.T) {
	h := newHouse(t)
	h.owner("ada@example.com")
	b := h.browser().signIn("ada@example.com")
	made := decode[Invite](t, b.want(201, "POST", "/api/v1/invites", `{"email":"ben@example.com","role":"support"}`))
	equal(t, "mailed", made.Mailed, false)
	in := decode[Accepted](t, h.browser().want(201, "POST", "/api/v1/invite/accept", acceptance(tokenOf(t, made.Link), goodPassword)))
	equal(t, "role", in.Me.Grants[0].Role+" "+in.Me.Grants[0].Scope, "support appliance")
	list := b.want(200, "GET", "/api/v1/invites", "").Body.String()
	if strings.Contains(list, "token") {
		t.Error("the list shows links")
	}
}

// TestInviteOfSomebodyWithAnAccount: the role comes after signing in, to that address alone.
func TestInviteOfSomebodyWithAnAccount(t *testing.T) {
	h := newHouse(t)
	h.member("ada@example.com", acme.Tenant)
	h.member("mia@example.com")
	h.member("eve@example.com")
	token := tokenOf(t, invite(h.browser().signIn("ada@example.com"), `{"email":"mia@example.com","role":"analyst"}`).Link)
	equal(t, "not made anew", codeOf(t, h.browser().want(409, "POST", "/api/v1/invite/accept", acceptance(token, goodPassword))), "sign-in-first")
	body := `{"token":"` + token + `"}`
	equal(t, "somebody else", codeOf(t, h.browser().signIn("eve@example.com").want(409, "POST", "/api/v1/invite/join", body)), "other-account")
	mia := h.browser().signIn("mia@example.com")
	mia.want(200, "POST", "/api/v1/invite/join", body)
	equal(t, "grants", len(decode[Me](t, mia.want(200, "GET", "/api/v1/session", "")).Grants), 1)
	equal(t, "twice", codeOf(t, mia.want(410, "POST", "/api/v1/invite/join", body)), "invite-used")
}

func TestInviteEnds(t *testing.T) {
	h := newHouse(t)
	h.member("ada@example.com", acme.Tenant)
	b := h.browser().signIn("ada@example.com")
	first := invite(b, `{"email":"mia@example.com"}`)
	second := invite(b, `{"email":"mia@example.com","role":"developer"}`)
	ended := func(i Invite) string {
		return codeOf(t, h.browser().want(410, "POST", "/api/v1/invite", `{"token":"`+tokenOf(t, i.Link)+`"}`))
	}
	equal(t, "replaced", ended(first), "invite-revoked")
	wantErr(t, h.RevokeInvite(bg, beta.Tenant, second.ID), data.ErrNotFound)
	b.want(204, "DELETE", invitesPath+"/"+second.ID, "")
	b.want(404, "DELETE", invitesPath+"/"+second.ID, "")
	equal(t, "revoked", ended(second), "invite-revoked")
	third := invite(b, `{"email":"mia@example.com"}`)
	h.clock.add(InviteLife)
	equal(t, "expired", ended(third), "invite-expired")
	equal(t, "invented", codeOf(t, h.browser().want(404, "POST", "/api/v1/invite", `{"token":"nothing"}`)), "invite-unknown")
	h.clock.add(inviteKept + time.Minute)
	must(t, h.Sweep(bg))
	equal(t, "forgotten", codeOf(t, h.browser().want(404, "POST", "/api/v1/invite", `{"token":"`+tokenOf(t, third.Link)+`"}`)), "invite-unknown")
}

// TestInviteIsNoWayUp: nobody invites to more than they have, now or when it is accepted.
func TestInviteIsNoWayUp(t *testing.T) {
	h := newHouse(t)
	h.member("root@example.com", acme.Tenant)
	admin := h.member("ada@example.com")
	g, err := h.Grant(bg, Grant{Person: admin.ID, Role: "admin", Scope: acme.Tenant})
	must(t, err)
	b := h.browser().signIn("ada@example.com")
	equal(t, "more", codeOf(t, b.want(403, "POST", invitesPath, `{"email":"mia@example.com","role":"owner"}`)), "more-than-own")
	b.want(403, "POST", "/api/v1/invites", `{"email":"mia@example.com"}`)
	b.want(422, "POST", invitesPath, `{"email":"mia@example.com","role":"god"}`)
	b.want(422, "POST", invitesPath, `{"email":"no address"}`)
	b.want(422, "POST", invitesPath, `{"email":"mia@example.com","token":"mine"}`)
	token := tokenOf(t, invite(b, `{"email":"mia@example.com","role":"developer"}`).Link)
	must(t, h.RevokeGrant(bg, g.ID))
	equal(t, "void", codeOf(t, h.browser().want(410, "POST", "/api/v1/invite/accept", acceptance(token, goodPassword))), "invite-void")
}

// TestInviteTellsNothingOfAccounts: the answer to who invites is the same, and so is
// what the link shows.
func TestInviteTellsNothingOfAccounts(t *testing.T) {
	h := newHouse(t)
	h.member("ada@example.com", acme.Tenant)
	h.member("mia@example.com")
	b := h.browser().signIn("ada@example.com")
	known, unknown := invite(b, `{"email":"mia@example.com"}`), invite(b, `{"email":"new@example.com"}`)
	show := func(i Invite) InviteShown {
		s := decode[InviteShown](t, h.browser().want(200, "POST", "/api/v1/invite", `{"token":"`+tokenOf(t, i.Link)+`"}`))
		s.Email, s.Expires = "", time.Time{}
		return s
	}
	equal(t, "shown", show(known), show(unknown))
	equal(t, "added", codeOf(t, b.want(409, "POST", membersPath, `{"email":"mia@example.com"}`)),
		codeOf(t, b.want(409, "POST", membersPath, `{"email":"new@example.com"}`)))
}

func TestInviteIsGoodOnce(t *testing.T) {
	h := newHouse(t)
	h.member("ada@example.com", acme.Tenant)
	token := tokenOf(t, invite(h.browser().signIn("ada@example.com"), `{"email":"mia@example.com"}`).Link)
	var all sync.WaitGroup
	codes := make(chan int, 4)
	for range cap(codes) {
		all.Go(func() {
			codes <- h.browser().send("POST", "/api/v1/invite/accept", acceptance(token, goodPassword)).Code
		})
	}
	all.Wait()
	close(codes)
	made := 0
	for code := range codes {
		if code == 201 {
			made++
		}
	}
	equal(t, "accounts", made, 1)
}

func TestInviteThatCannotBeRecordedIsNone(t *testing.T) {
	h := newHouse(t)
	h.member("ada@example.com", acme.Tenant)
	token := tokenOf(t, invite(h.browser().signIn("ada@example.com"), `{"email":"mia@example.com"}`).Link)
	h.log.fail = errNoLog
	if _, err := h.Invite(bg, acme.Tenant, InviteRequest{Email: "zoe@example.com"}); err == nil {
		t.Error("invited without a record")
	}
	h.browser().want(500, "POST", "/api/v1/invite/accept", acceptance(token, goodPassword))
	h.log.fail = nil
	h.browser().want(201, "POST", "/api/v1/invite/accept", acceptance(token, goodPassword)) // nothing of the first try is left
	list, err := h.invites(bg, acme.Tenant, api.Paging{Page: 1, PerPage: 10})
	must(t, err)
	equal(t, "invites", list.Total, 1)
}

// TestInviteByPasskey: an account without any password, with recovery codes.
func TestInviteByPasskey(t *testing.T) {
	h := newHouse(t)
	h.member("ada@example.com", acme.Tenant)
	token := tokenOf(t, invite(h.browser().signIn("ada@example.com"), `{"email":"mia@example.com"}`).Link)
	n, device := h.named(), newAuthenticator(t, "localhost", hereOrigin)
	options := n.want(200, "POST", "/api/v1/invite/passkey", `{"token":"`+token+`"}`).Body.Bytes()
	body := jsonBody(t, AcceptInvite{Token: token, Name: "Mia", Passkey: device.make(options)})
	in := decode[Accepted](t, n.want(201, "POST", "/api/v1/invite/accept", body))
	equal(t, "codes", len(in.RecoveryCodes), recoveryCodeCount)
	f := decode[Factors](t, n.want(200, "GET", "/api/v1/session/factors", ""))
	equal(t, "factors", len(f.Passkeys) == 1 && !f.Password, true)
	equal(t, "alone", h.named().showPasskey(device).Code, 201)
}

// TestInvitesComeNotTooFast: inviting anew is no way to have letters written without end.
func TestInvitesComeNotTooFast(t *testing.T) {
	h := newHouse(t)
	box := withMail(h)
	ada := data.WithActor(bg, person(h.member("ada@example.com", acme.Tenant, beta.Tenant).ID))
	b := h.browser().signIn("ada@example.com")
	for range mostOfOne {
		invite(b, `{"email":"mia@example.com"}`)
		h.clock.add(time.Minute)
	}
	w := b.want(429, "POST", invitesPath, `{"email":"mia@example.com"}`)
	equal(t, "come again", w.Header().Get("Retry-After"), "3300") // the first was made five minutes ago
	equal(t, "letters", len(box.of("invite", "mia@example.com")), mostOfOne)
	invite(b, `{"email":"zoe@example.com"}`)
	b.want(201, "POST", "/api/v1/tenants/beta/invites", `{"email":"mia@example.com"}`) // another scope says nothing of this one
	for n := mostOfOne + 1; n < mostAsked; n++ {
		_, err := h.Invite(ada, acme.Tenant, InviteRequest{Email: fmt.Sprintf("p%d@example.com", n)})
		must(t, err)
	}
	_, err := h.Invite(ada, acme.Tenant, InviteRequest{Email: "last@example.com"})
	equal(t, "the scope", api.AsProblem(err).Code, "too-many")
	equal(t, "status", api.AsProblem(err).Status, 429)
	h.clock.add(askedWithin - 5*time.Minute) // the first of all is an hour old
	open, err := h.invites(bg, acme.Tenant, api.Paging{Page: 1, PerPage: 1, Filter: "pending"})
	must(t, err)
	equal(t, "still good", open.Total, mostAsked-mostOfOne+1)
	_, err = h.Invite(ada, acme.Tenant, InviteRequest{Email: "mia@example.com"})
	must(t, err)
}
