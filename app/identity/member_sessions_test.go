package identity

import (
	"errors"
	"net/http"
	"slices"
	"testing"

	"holdfast/app/api"
	"holdfast/data"
)

const (
	membersAt = "/api/v1/tenants/acme/members"
	betaAt    = "/api/v1/tenants/beta/members"
)

func sessionsAt(person string) string { return membersAt + "/" + person + "/sessions" }

func (b *browser) memberSessions(person string) []MemberSession {
	b.h.t.Helper()
	return decode[api.Page[MemberSession]](b.h.t, b.want(200, "GET", sessionsAt(person), "")).Items
}

// TestATenantEndsWhatConcernsIt: of who has roles elsewhere, the access to this tenant
// through a session; of its own people alone, the session.
func TestATenantEndsWhatConcernsIt(t *testing.T) {
	h := newHouse(t)
	h.member("tina@example.com", acme.Tenant)
	both, own := h.member("both@example.com", acme.Tenant, beta.Tenant), h.member("own@example.com", acme.Tenant)
	tina, b, o := h.browser().signIn("tina@example.com"), h.browser().signIn("both@example.com"), h.browser().signIn("own@example.com")
	other := h.browser().signIn("both@example.com")

	list := tina.memberSessions(both.ID)
	equal(t, "sessions", len(list), 2)
	equal(t, "whole", list[0].Whole, false)
	equal(t, "address", list[0].Address, "")
	this := decode[Me](t, b.want(200, "GET", "/api/v1/session", ""))
	equal(t, "it is theirs", this.Person.ID, both.ID)
	tina.want(204, "DELETE", sessionsAt(both.ID)+"/"+list[0].ID, "")
	equal(t, "log", h.log.has("member.session.end "+acme.String()+" ok"), true)
	equal(t, "left", len(tina.memberSessions(both.ID)), 1)
	barred, free := b, other
	if b.send("GET", membersAt, "").Code == 200 {
		barred, free = other, b
	}
	equal(t, "barred", codeOf(t, barred.want(403, "GET", membersAt, "")), "tenant-signed-out")
	free.want(200, "GET", membersAt, "")
	barred.want(200, "GET", betaAt, "") // what is not acme's goes on
	barred.want(204, "POST", "/api/v1/session/step-up", `{"password":"`+goodPassword+`"}`)
	barred.want(403, "GET", membersAt, "") // stepping up is no way round it
	h.open()
	barred.want(403, "GET", membersAt, "") // nor a restart
	barred.signIn("both@example.com").want(200, "GET", membersAt, "")

	list = tina.memberSessions(own.ID)
	equal(t, "address of who is ours alone", list[0].Address, "192.0.2.1")
	equal(t, "whole", list[0].Whole, true)
	tina.want(204, "DELETE", sessionsAt(own.ID), "")
	o.want(401, "GET", "/api/v1/session", "")
	tina.want(204, "DELETE", sessionsAt(both.ID), "")
	free.want(403, "GET", membersAt, "")
	free.want(200, "GET", betaAt, "")
	tina.want(404, "DELETE", sessionsAt(both.ID)+"/0011223344556677", "")
}

// TestWhoseSessionsATenantEnds: nobody's who is not there, nor of who may more; one's own
// present one stays.
func TestWhoseSessionsATenantEnds(t *testing.T) {
	h := newHouse(t)
	ada, tina := h.owner("ada@example.com"), h.member("tina@example.com", acme.Tenant)
	foreign, admin := h.member("foreign@example.com", beta.Tenant), h.member("admin@example.com")
	_, err := h.Grant(bg, Grant{Person: admin.ID, Role: "admin", Scope: acme.Tenant})
	must(t, err)
	a, o, s := h.browser().signIn("admin@example.com"), h.browser().signIn("tina@example.com"), h.browser().signIn("ada@example.com")
	f := h.browser().signIn("foreign@example.com")
	for _, id := range []string{foreign.ID, ada.ID, "nobody", hostHolder} {
		o.want(404, "GET", sessionsAt(id), "")
		o.want(404, "DELETE", sessionsAt(id), "")
	}
	f.want(200, "GET", betaAt, "")
	equal(t, "an owner by an admin", codeOf(t, a.want(403, "DELETE", sessionsAt(tina.ID), "")), "more-than-own")
	s.want(403, "DELETE", sessionsAt(tina.ID), "") // operators end whole sessions, elsewhere
	o.want(204, "DELETE", sessionsAt(tina.ID), "")
	o.want(200, "GET", membersAt, "")
	h.log.fail = errors.New("no log")
	o.want(500, "DELETE", sessionsAt(admin.ID), "")
	h.log.fail = nil
	a.want(401, "GET", "/api/v1/session", "") // better ended and not in the log than the other way
}

// TestListsLeaveOutATenantThatEndedTheSession: what goes by Reach, as the lists of tenants
// and of operations do.
func TestListsLeaveOutATenantThatEndedTheSession(t *testing.T) {
	h := newHouse(t)
	h.member("tina@example.com", acme.Tenant)
	both := h.member("both@example.com", acme.Tenant, beta.Tenant)
	rt, err := api.NewRouter(api.Config{Authenticate: h.AuthenticateRequest, Authorizer: h.Service, Assurer: h.Service, Recorder: h.log})
	must(t, err)
	must(t, rt.Add(h.Routes()...))
	must(t, rt.Add(api.Route{Method: "GET", Path: "/api/v1/test/reached", Permission: api.TenantRead, Scope: func(*http.Request) api.Scope { return api.Scope{Tenant: api.AnyTenant} }, Response: api.Reach{},
		Handler: func(w http.ResponseWriter, r *http.Request) error {
			reach, err := h.Reach(r.Context(), data.ActorFrom(r.Context()), api.TenantRead)
			if err != nil {
				return err
			}
			slices.Sort(reach.Tenants)
			return api.Respond(w, http.StatusOK, reach)
		}}))
	h.router = rt.Handler()
	tina, b := h.browser().signIn("tina@example.com"), h.browser().signIn("both@example.com")
	reached := func(b *browser) []string {
		return decode[api.Reach](t, b.want(200, "GET", "/api/v1/test/reached", "")).Tenants
	}
	equal(t, "before", len(reached(b)), 2)
	tina.want(204, "DELETE", sessionsAt(both.ID), "")
	equal(t, "after", slices.Equal(reached(b), []string{beta.Tenant}), true)
	equal(t, "another session", len(reached(h.browser().signIn("both@example.com"))), 2)
}
