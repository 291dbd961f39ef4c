package identity

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"

	"holdfast/app/api"
	"holdfast/data"
)

const requestsPath = "/api/v1/tenants/acme/access-requests"

// glassHouse is acme with an owner, and operators who have nothing in it.
type glassHouse struct {
	*house
	owner, ada, sam *browser // the tenant's owner; two operators
	ids             map[string]string
	warrant         Warrant // the last one
}

func newGlassHouse(t *testing.T) *glassHouse {
	h := &glassHouse{house: newHouse(t), ids: map[string]string{}}
	h.config.Warrant = func(ctx context.Context, w Warrant) context.Context { h.warrant = w; return ctx }
	h.open()
	for _, name := range []string{"ada", "sam", "eve"} {
		h.ids[name] = h.house.owner(name + "@example.com").ID
	}
	h.ids["olga"] = h.member("olga@example.com", acme.Tenant).ID
	h.clock.add(time.Minute)
	h.owner, h.ada, h.sam = h.browser().signIn("olga@example.com"), h.browser().signIn("ada@example.com"), h.browser().signIn("sam@example.com")
	must(t, h.Sweep(bg)) // from here on two persons are asked for: that is in the log before what a test looks for
	return h
}

func (h *glassHouse) ask(b *browser, body string) AccessRequest {
	h.t.Helper()
	return decode[AccessRequest](h.t, b.want(201, "POST", requestsPath, body))
}

func (h *glassHouse) reads(who string) error {
	_, err := h.Warrant(bg, person(h.ids[who]), api.DataRead, api.StoreScope(acme))
	return err
}

func (h *glassHouse) gives(who, role string) {
	h.t.Helper()
	_, err := h.Grant(bg, Grant{Person: h.ids[who], Role: role, Scope: acme.Tenant})
	must(h.t, err)
}

func TestBreakingGlass(t *testing.T) {
	h := newGlassHouse(t)
	wantErr(t, h.reads("ada"), api.ErrForbidden)
	r := h.ask(h.ada, `{"why":"ticket 12","lasts":"2h"}`)
	equal(t, "asked", fmt.Sprintf("%s %t %s %t %q", r.State, r.Glass, r.Role, r.Mine, r.MayDecide), `open true glass true ""`)
	equal(t, "the log", strings.Contains(fmt.Sprint(h.log.events), "access.request t-acme/prod ok"), true)
	wantErr(t, h.reads("ada"), api.ErrForbidden)
	equal(t, "to decide", decode[api.Page[AccessRequest]](t, h.owner.want(200, "GET", "/api/v1/access-requests?decide=1&state=open", "")).Items[0].MayDecide, AsOwner)

	got := decode[AccessRequest](t, h.owner.want(200, "POST", requestsPath+"/"+r.ID+"/approve", `{"note":"go on"}`))
	equal(t, "approved", got.State+" "+got.Note+" "+got.DecidedBy[0].Email, "approved go on olga@example.com")
	must(t, h.reads("ada"))
	for _, p := range api.Permissions() { // reading, and nothing else that is the tenant's
		if err := h.Authorize(bg, person(h.ids["ada"]), p, api.StoreScope(acme)); p.Content() && p != api.DataRead && !errors.Is(err, api.ErrForbidden) {
			t.Errorf("%s: %v", p, err)
		}
	}
	wantErr(t, h.Authorize(bg, person(h.ids["ada"]), api.DataRead, api.StoreScope(beta)), api.ErrForbidden)
	wantErr(t, h.reads("sam"), api.ErrForbidden)

	h.clock.add(2 * time.Hour)
	wantErr(t, h.reads("ada"), api.ErrForbidden)
	must(t, h.Sweep(bg))
	equal(t, "its end is written", h.log.last(), "host:1000 access.end  ok")
	h.clock.add(-time.Hour) // the clock set back brings nothing back
	wantErr(t, h.reads("ada"), api.ErrForbidden)
	equal(t, "ended", decode[api.Page[AccessRequest]](t, h.owner.want(200, "GET", requestsPath+"?state=past", "")).Items[0].State, "ended")
}

// TestEachReadIsShown: before the store answers it is in the log and in the tenant's list.
func TestEachReadIsShown(t *testing.T) {
	h := newGlassHouse(t)
	r := h.ask(h.ada, `{"why":"x","export":true}`)
	h.owner.want(200, "POST", requestsPath+"/"+r.ID+"/approve", `{}`)
	must(t, h.reads("ada"))
	ctx := data.WithActor(bg, person(h.ids["ada"]))
	must(t, h.warrant.Note(ctx, "GET /api/collections/{collection}/records", "people", "filter=name"))
	equal(t, "in the store's log", h.log.last(), "person:"+h.ids["ada"]+" glass.read t-acme/prod ok")
	equal(t, "for which request", h.log.detail["request"], r.ID)
	list := decode[api.Page[AccessRead]](t, h.owner.want(200, "GET", "/api/v1/tenants/acme/access-reads", ""))
	equal(t, "shown", fmt.Sprintf("%d %s %s %d", list.Total, list.Items[0].Name, list.Items[0].Person.Email, len(list.Items[0].Query)), "1 people ada@example.com 64")
	equal(t, "what was looked for is not", strings.Contains(fmt.Sprint(list, h.log.detail), "filter=name"), false)

	h.log.fail = errNoLog
	if h.warrant.Note(ctx, "export", "people", "") == nil {
		t.Error("a read that cannot be recorded is let through")
	}
	h.log.fail = nil
	must(t, h.Authorize(bg, person(h.ids["ada"]), api.DataExport, api.StoreScope(acme)))
	if _, err := h.Warrant(bg, person(h.ids["olga"]), api.DataRead, api.StoreScope(acme)); err != nil || h.warrant.Note != nil {
		t.Error("an owner's own reading is noted", err)
	}
}

func TestNobodyApprovesTheirOwn(t *testing.T) {
	h := newGlassHouse(t)
	r := h.ask(h.owner, `{"why":"x","role":"admin"}`)
	equal(t, "own", codeOf(t, h.owner.want(403, "POST", requestsPath+"/"+r.ID+"/approve", `{}`)), "own-request")
	equal(t, "own", codeOf(t, h.owner.want(403, "POST", requestsPath+"/"+r.ID+"/refuse", `{}`)), "own-request")
	h.sam.want(403, "POST", requestsPath+"/"+r.ID+"/approve", `{}`)
	mine := h.ask(h.ada, `{"why":"x"}`)
	h.ada.want(403, "POST", requestsPath+"/"+mine.ID+"/approve", `{}`)
	h.ada.want(403, "POST", requestsPath+"/"+mine.ID+"/emergency", `{}`)
	equal(t, "withdrawn", decode[AccessRequest](t, h.ada.want(200, "DELETE", "/api/v1/access-requests/"+mine.ID, "")).State, "withdrawn")
	equal(t, "too late", codeOf(t, h.owner.want(409, "POST", requestsPath+"/"+mine.ID+"/approve", `{}`)), "not-open")
	h.sam.want(404, "DELETE", "/api/v1/access-requests/"+r.ID, "")
}

// TestApproverGivesOnlyWhatIsTheirs: not what is there by a custom role, nor by glass.
func TestApproverGivesOnlyWhatIsTheirs(t *testing.T) {
	h := newGlassHouse(t)
	h.owner.want(201, "POST", rolesPath, `{"name":"porter","allow":["member.manage","member.read","tenant.read"]}`)
	h.gives("sam", "porter")
	r := h.ask(h.ada, `{"why":"x"}`)
	equal(t, "porter", codeOf(t, h.sam.want(403, "POST", requestsPath+"/"+r.ID+"/approve", `{}`)), "more-than-own")
	glass := h.ask(h.sam, `{"why":"x"}`)
	h.owner.want(200, "POST", requestsPath+"/"+glass.ID+"/approve", `{}`)
	must(t, h.reads("sam"))
	equal(t, "with glass", codeOf(t, h.sam.want(403, "POST", requestsPath+"/"+r.ID+"/approve", `{}`)), "more-than-own")
	if _, err := h.Grant(bg, Grant{Person: h.ids["eve"], Role: GlassRead, Scope: acme.Tenant}); api.AsProblem(err).Status != 422 {
		t.Error("breaking glass is a role:", err)
	}
	h.ada.want(422, "POST", requestsPath, `{"why":"x","role":"glass"}`)
	h.sam.want(200, "POST", requestsPath+"/"+r.ID+"/refuse", `{}`)
}

func TestUnansweredRequestsEnd(t *testing.T) {
	h := newGlassHouse(t)
	r := h.ask(h.ada, `{"why":"x"}`)
	equal(t, "twice", codeOf(t, h.ada.want(409, "POST", requestsPath, `{"why":"again"}`)), "exists")
	h.clock.add(RequestWaits)
	h.owner = h.browser().signIn("olga@example.com")
	equal(t, "after its time", codeOf(t, h.owner.want(409, "POST", requestsPath+"/"+r.ID+"/approve", `{}`)), "not-open")
	equal(t, "open", decode[api.Page[AccessRequest]](t, h.owner.want(200, "GET", requestsPath+"?state=open", "")).Total, 0)
	must(t, h.Sweep(bg))
	equal(t, "event", h.log.last(), "host:1000 access.expire  ok")
	h.clock.add(-RequestWaits)
	h.owner = h.browser().signIn("olga@example.com")
	equal(t, "stays", codeOf(t, h.owner.want(409, "POST", requestsPath+"/"+r.ID+"/approve", `{}`)), "not-open")
}

func TestRequestsSayWhatTheyWant(t *testing.T) {
	h := newGlassHouse(t)
	for _, bad := range []string{`{}`, `{"why":" "}`, `{"why":"x","lasts":"9h"}`, `{"why":"x","lasts":"0h"}`, `{"why":"x","role":"god"}`, `{"why":"x","role":"viewer","lasts":"91d"}`,
		`{"why":"x","role":"viewer","emergency":true}`, `{"why":"x","role":"viewer","export":true}`, `{"why":"x","tenant":"beta"}`, `{"why":"` + strings.Repeat("x", 501) + `"}`} {
		h.ada.want(422, "POST", requestsPath, bad)
	}
	h.browser().want(401, "POST", requestsPath, `{"why":"x"}`)
	stranger := h.browser()
	h.member("stranger@example.com", beta.Tenant)
	stranger.signIn("stranger@example.com").want(403, "POST", requestsPath, `{"why":"x"}`)
	r := h.ask(h.ada, `{"why":"x"}`)
	h.owner.want(403, "POST", "/api/v1/tenants/beta/access-requests/"+r.ID+"/approve", `{}`)
	stranger.want(404, "POST", "/api/v1/tenants/beta/access-requests/"+r.ID+"/approve", `{}`)
}

func TestMembershipForAWhile(t *testing.T) {
	h := newGlassHouse(t)
	r := h.ask(h.ada, `{"why":"a migration","role":"developer","lasts":"2d"}`)
	h.owner.want(200, "POST", requestsPath+"/"+r.ID+"/approve", `{}`)
	h.ada.want(200, "GET", keysPath, "")
	var ended []string
	h.Service.config.Revoked = func(id data.StoreID, a data.Actor) { ended = append(ended, id.String()+" "+a.String()) }
	equal(t, "ended", decode[AccessRequest](t, h.owner.want(200, "POST", requestsPath+"/"+r.ID+"/end", "")).State, "ended")
	h.ada.want(403, "GET", keysPath, "")
	equal(t, "what was open", len(ended), 3)
	equal(t, "again", codeOf(t, h.owner.want(409, "POST", requestsPath+"/"+r.ID+"/end", "")), "not-open")
}

const accessPolicyPath = "/api/v1/tenants/acme/policies/access"

func TestEmergencyTakesTwoOthers(t *testing.T) {
	h := newGlassHouse(t)
	equal(t, "not allowed", codeOf(t, h.ada.want(409, "POST", requestsPath, `{"why":"fire","emergency":true}`)), "no-emergency")
	h.ada.want(403, "PUT", accessPolicyPath, `{"emergency":true}`)
	h.owner.want(200, "PUT", accessPolicyPath, `{"emergency":true}`)
	r := h.ask(h.ada, `{"why":"fire","emergency":true}`)
	path := requestsPath + "/" + r.ID + "/emergency"
	equal(t, "own", codeOf(t, h.ada.want(403, "POST", path, `{}`)), "own-request")
	equal(t, "one", decode[AccessRequest](t, h.sam.want(200, "POST", path, `{}`)).State, "open")
	equal(t, "the same one again", decode[AccessRequest](t, h.sam.want(200, "POST", path, `{}`)).State, "open")
	wantErr(t, h.reads("ada"), api.ErrForbidden)
	h.owner.want(403, "POST", path, `{}`) // of the tenant, not an operator
	if _, err := h.ApproveEmergency(data.WithActor(bg, data.Actor{Kind: data.Host, ID: "0"}), acme.Tenant, r.ID, ""); err == nil {
		t.Error("the local socket counts as a person")
	}
	equal(t, "owners see it at once", decode[api.Page[AccessRequest]](t, h.owner.want(200, "GET", "/api/v1/access-requests?decide=1", "")).Items[0].Emergency, true)

	h.ada.want(201, "POST", "/api/v1/operators", `{"email":"puppet@example.com","name":"P","password":"`+goodPassword+`"}`)
	puppet := h.browser().signIn("puppet@example.com").ownPassword()
	equal(t, "made for it", codeOf(t, puppet.want(403, "POST", path, `{}`)), "not-independent")

	got := decode[AccessRequest](t, h.browser().signIn("eve@example.com").want(200, "POST", path, `{}`))
	equal(t, "two", fmt.Sprintf("%s %d", got.State, len(got.DecidedBy)), "approved 2")
	must(t, h.reads("ada"))
	h.owner.want(200, "POST", requestsPath+"/"+r.ID+"/end", "")
	wantErr(t, h.reads("ada"), api.ErrForbidden)
}

func TestEmergencyEndsWithItsPolicy(t *testing.T) {
	h := newGlassHouse(t)
	h.owner.want(200, "PUT", accessPolicyPath, `{"emergency":true}`)
	r := h.ask(h.ada, `{"why":"fire","emergency":true}`)
	h.owner.want(200, "PUT", accessPolicyPath, `{"emergency":false}`)
	equal(t, "no more", codeOf(t, h.sam.want(409, "POST", requestsPath+"/"+r.ID+"/emergency", `{}`)), "no-emergency")
}

// TestAccessThatCannotBeRecordedIsNone: neither a request nor an approval.
func TestAccessThatCannotBeRecordedIsNone(t *testing.T) {
	h := newGlassHouse(t)
	ctx := func(who string) context.Context { return data.WithActor(bg, person(h.ids[who])) }
	h.log.fail = errNoLog
	if _, err := h.AskAccess(ctx("ada"), acme.Tenant, NewAccessRequest{Why: "x"}); err == nil {
		t.Error("asked")
	}
	h.log.fail = nil
	r, err := h.AskAccess(ctx("ada"), acme.Tenant, NewAccessRequest{Why: "x"})
	must(t, err)
	h.log.fail = errNoLog
	if _, err := h.ApproveAccess(ctx("olga"), acme.Tenant, r.ID, ""); err == nil {
		t.Error("approved")
	}
	wantErr(t, h.reads("ada"), api.ErrForbidden)
	h.log.fail = nil
	_, err = h.ApproveAccess(ctx("olga"), acme.Tenant, r.ID, "")
	must(t, err)
	h.log.fail = errNoLog
	if _, err := h.EndAccess(ctx("olga"), acme.Tenant, r.ID); err == nil {
		t.Error("the failing log is not told")
	}
	wantErr(t, h.reads("ada"), api.ErrForbidden) // an end holds all the same
}

// TestOperatorsCannotLetThemselvesIn tries each way that roles of the appliance had.
func TestOperatorsCannotLetThemselvesIn(t *testing.T) {
	h := newGlassHouse(t)
	for _, try := range []struct{ method, path, body string }{
		{"POST", membersPath, `{"email":"ada@example.com","role":"owner"}`},
		{"POST", membersPath, `{"email":"ada@example.com","role":"auditor"}`},
		{"POST", rolesPath, `{"name":"mine","allow":["member.manage"]}`},
		{"PUT", rolesPath + "/mine", `{"allow":["data.read"]}`},
		{"DELETE", membersPath + "/" + h.ids["olga"], ""},
		{"PATCH", membersPath + "/" + h.ids["olga"], `{"role":"viewer"}`},
		{"POST", keysPath, `{"name":"k","scope":"read"}`},
		{"GET", keysPath, ""},
		{"PUT", "/api/v1/tenants/acme/policies/sign-in", `{}`},
		{"PUT", accessPolicyPath, `{"emergency":true}`},
	} {
		h.ada.want(403, try.method, try.path, try.body)
	}
	host := data.Actor{Kind: data.Host, ID: "0"}
	for _, p := range api.Permissions() {
		for _, actor := range []data.Actor{host, person(h.ids["ada"])} {
			if err := h.Authorize(bg, actor, p, api.StoreScope(acme)); p.Content() != errors.Is(err, api.ErrForbidden) {
				t.Errorf("%s, %s on acme: %v", actor, p, err)
			}
		}
	}
}

func TestWhoMakesATenantOwnsIt(t *testing.T) {
	h := newGlassHouse(t)
	host := data.WithActor(bg, data.Actor{Kind: data.Host, ID: "0"})
	owns := func(actor data.Actor) error { return h.Authorize(bg, actor, api.DataRead, api.StoreScope(beta)) }
	must(t, h.Found(data.WithActor(bg, person(h.ids["ada"])), beta.Tenant, "", false))
	must(t, owns(person(h.ids["ada"])))
	must(t, h.Found(host, beta.Tenant, "", false)) // the creation was cut short, and begun anew by somebody else
	must(t, owns(data.Actor{Kind: data.Host}))
	wantErr(t, owns(person(h.ids["ada"])), api.ErrForbidden)
	must(t, h.Found(host, beta.Tenant, "", true)) // gone on with after a crash: it has its owner
	must(t, h.Found(host, beta.Tenant, "SAM@example.com", false))
	must(t, owns(person(h.ids["sam"])))
	wantErr(t, owns(data.Actor{Kind: data.Host}), api.ErrForbidden)
	for _, bad := range []string{"nobody@example.com", "no address"} {
		if err := h.Found(host, beta.Tenant, bad, false); api.AsProblem(err).Status != 422 {
			t.Error(bad, err)
		}
	}
}

func TestACopyHasThePeopleOfItsOriginal(t *testing.T) {
	h := newGlassHouse(t)
	h.owner.want(201, "POST", rolesPath, `{"name":"guide","allow":["data.read"]}`)
	h.gives("eve", "guide")
	glass := h.ask(h.sam, `{"why":"x"}`)
	h.owner.want(200, "POST", requestsPath+"/"+glass.ID+"/approve", `{}`)
	must(t, h.Inherit(data.WithActor(bg, person(h.ids["ada"])), acme.Tenant, beta.Tenant))
	for who, want := range map[string]error{"olga": nil, "eve": nil, "ada": api.ErrForbidden, "sam": api.ErrForbidden} {
		if err := h.Authorize(bg, person(h.ids[who]), api.DataRead, api.StoreScope(beta)); !errors.Is(err, want) {
			t.Errorf("%s: %v", who, err)
		}
	}
}

// TestTenantsOfBeforeGetAnOwnerOnce: none is left out of reach, none is taken.
func TestTenantsOfBeforeGetAnOwnerOnce(t *testing.T) {
	h := newGlassHouse(t)
	tenants := func(context.Context) ([]string, error) { return []string{acme.Tenant, beta.Tenant}, nil }
	host := data.Actor{Kind: data.Host}
	must(t, h.OwnTheOwnerless(bg, tenants))
	must(t, h.Authorize(bg, host, api.DataRead, api.StoreScope(beta)))
	wantErr(t, h.Authorize(bg, host, api.DataRead, api.StoreScope(acme)), api.ErrForbidden)
	must(t, h.config.DB.Update(bg, func(tx *sqlx.Tx) error {
		_, err := tx.Exec(`UPDATE grants SET revoked = 1 WHERE scope = ?`, acme.Tenant)
		return err
	}))
	must(t, h.OwnTheOwnerless(bg, tenants))
	wantErr(t, h.Authorize(bg, host, api.DataRead, api.StoreScope(acme)), api.ErrForbidden)
}

// TestNoPairIsMadeForTheOccasion: not by way of others, though the one between them is
// gone, nor of an account that an operator opened anew.
func TestNoPairIsMadeForTheOccasion(t *testing.T) {
	h := newGlassHouse(t)
	h.owner.want(200, "PUT", accessPolicyPath, `{"emergency":true}`)
	make := func(b *browser, name string) *browser {
		h.ids[name] = decode[Operator](t, b.want(201, "POST", "/api/v1/operators", `{"email":"`+name+`@example.com","password":"`+goodPassword+`"}`)).ID
		return h.browser().signIn(name + "@example.com").ownPassword()
	}
	puppet := make(h.ada, "puppet")
	second, third := make(puppet, "second"), make(puppet, "third")
	h.ada.want(204, "DELETE", "/api/v1/operators/"+h.ids["puppet"], "")
	h.clock.add(time.Minute)
	r := h.ask(h.ada, `{"why":"x","emergency":true}`)
	for name, b := range map[string]*browser{"second": second, "third": third} {
		equal(t, name, codeOf(t, b.want(403, "POST", requestsPath+"/"+r.ID+"/emergency", `{}`)), "not-independent")
	}
	h.resetBy(h.ada, h.ids["sam"])
	sam := h.browser()
	sam.want(201, "POST", "/api/v1/session", credentials("sam@example.com", newPassword))
	equal(t, "opened anew", codeOf(t, sam.want(403, "POST", requestsPath+"/"+r.ID+"/emergency", `{}`)), "not-independent")
	eve := h.browser().signIn("eve@example.com")
	equal(t, "one of two", decode[AccessRequest](t, eve.want(200, "POST", requestsPath+"/"+r.ID+"/emergency", `{}`)).State, requestOpen)
	wantErr(t, h.reads("ada"), api.ErrForbidden)
	h.clock.add(RecoveredAlone)
	sam = h.browser()
	sam.want(201, "POST", "/api/v1/session", credentials("sam@example.com", newPassword))
	ada := h.browser().signIn("ada@example.com")
	again := h.ask(ada, `{"why":"x","emergency":true}`)
	h.browser().signIn("eve@example.com").want(200, "POST", requestsPath+"/"+again.ID+"/emergency", `{}`)
	equal(t, "later", decode[AccessRequest](t, sam.want(200, "POST", requestsPath+"/"+again.ID+"/emergency", `{}`)).State, requestApproved)
}
