package identity

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"holdfast/app/api"
	"holdfast/data"
)

// hourly is a tenant's admin for an hour.
func (h *glassHouse) hourly(who string) (*browser, time.Time) {
	h.t.Helper()
	until := h.clock.Now().Add(time.Hour).Truncate(time.Millisecond)
	_, err := h.Grant(bg, Grant{Person: h.ids[who], Role: "admin", Scope: acme.Tenant, Until: until})
	must(h.t, err)
	return h.browser().signIn(who + "@example.com"), until
}

// TestRolesForAWhileGiveNothingForLonger: an hour as admin is no way to stay.
func TestRolesForAWhileGiveNothingForLonger(t *testing.T) {
	h := newGlassHouse(t)
	sam, until := h.hourly("sam")
	got := decode[Member](t, sam.want(201, "POST", membersPath, `{"email":"sam@example.com","role":"developer"}`))
	equal(t, "a role of one's own giving", fmt.Sprint(got.Until.UTC()), fmt.Sprint(until.UTC()))
	later := until.Add(time.Minute).Format(time.RFC3339)
	sam.want(422, "POST", membersPath, `{"email":"sam@example.com","role":"viewer","until":"`+later+`"}`)
	h.gives("eve", "viewer")
	sam.want(200, "PATCH", membersPath+"/"+h.ids["eve"], `{"role":"analyst"}`)
	equal(t, "an invite", decode[Invite](t, sam.want(201, "POST", "/api/v1/tenants/acme/invites", `{"email":"p@example.com"}`)).Until.UTC(), until.UTC())
	k := decode[Key](t, sam.want(201, "POST", keysPath, `{"name":"k","scope":"admin","expires":"3650d"}`))
	equal(t, "a key", k.Expires.UTC(), until.UTC())
	next := decode[Key](t, sam.want(201, "POST", keysPath+"/"+k.ID+"/rotate", `{"expires":"3650d"}`))
	equal(t, "the next one", next.Expires.UTC(), until.UTC())
	r := h.ask(h.ada, `{"why":"x","role":"viewer","lasts":"90d"}`)
	equal(t, "access", decode[AccessRequest](t, sam.want(200, "POST", requestsPath+"/"+r.ID+"/approve", `{}`)).Until.UTC(), until.UTC())

	h.clock.add(time.Hour)
	for _, who := range []string{"sam", "ada", "eve"} {
		wantErr(t, h.reads(who), api.ErrForbidden)
	}
	refusedAs(t, h.house, next.Key, acme, "key-expired")
}

// TestRolesForAWhileSetNothingThatStays: no role, policy or provider outlives its maker's.
func TestRolesForAWhileSetNothingThatStays(t *testing.T) {
	h := newGlassHouse(t)
	h.owner.want(201, "POST", rolesPath, `{"name":"reader","allow":["data.read"]}`)
	sam, _ := h.hourly("sam")
	equal(t, "a role", codeOf(t, sam.want(403, "POST", rolesPath, `{"name":"mine","allow":["data.read"]}`)), "longer-than-own")
	equal(t, "another's", codeOf(t, sam.want(403, "PUT", rolesPath+"/reader", `{"allow":["data.read","data.write"]}`)), "longer-than-own")
	equal(t, "a policy", codeOf(t, sam.want(403, "PUT", accessPolicyPath, `{"emergency":true}`)), "longer-than-own")
	sam.want(200, "PUT", accessPolicyPath, `{"emergency":false}`)
	ctx := func(who string) context.Context { return data.WithActor(bg, person(h.ids[who])) }
	wantErr(t, h.MayGive(ctx("sam"), acme.Tenant, "viewer"), api.ErrForbidden)
	wantErr(t, h.MaySet(ctx("sam"), acme.Tenant), api.ErrForbidden)
	must(t, errors.Join(h.MayGive(ctx("olga"), acme.Tenant, Owner), h.MaySet(ctx("olga"), acme.Tenant)))
}

// TestAnEndIsThatOfThePermission: what one role has for good does not end with another.
func TestAnEndIsThatOfThePermission(t *testing.T) {
	now := time.Unix(1e9, 0)
	held := func(until time.Time, ps ...api.Permission) heldGrant {
		return heldGrant{Grant{Scope: "t", Until: until}, effect{allow: setOf(ps)}}
	}
	soon, later := now.Add(time.Hour), now.Add(2*time.Hour)
	st := standing{grants: []heldGrant{held(soon, api.DataRead, api.KeyManage), held(later, api.KeyManage), held(time.Time{}, api.DataRead)}}
	equal(t, "for good", st.lasts("t", api.DataRead, now), time.Time{})
	equal(t, "the longest", st.lasts("t", api.KeyManage, now), later)
	equal(t, "sooner", sooner(time.Time{}, soon), soon)
	equal(t, "sooner", sooner(soon, later), soon)
	equal(t, "none", sooner(time.Time{}, time.Time{}), time.Time{})
}
