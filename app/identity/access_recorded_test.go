package identity

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"

	"holdfast/app/api"
	"holdfast/data"
)

// witness looks at the database at the moment of each entry.
type witness struct {
	*book
	mu  sync.Mutex
	see func(api.Event)
}

func (w *witness) Record(ctx context.Context, e api.Event) error {
	w.mu.Lock()
	see := w.see
	w.mu.Unlock()
	if see != nil {
		see(e)
	}
	return w.book.Record(ctx, e)
}

// held is all that says who may what, as the committed tables have it.
func (h *house) held() (text string) {
	h.t.Helper()
	must(h.t, h.config.DB.View(bg, func(tx *sqlx.Tx) error {
		return tx.Get(&text, `SELECT (SELECT coalesce(group_concat(id || role || revoked, ' '), '') FROM (SELECT * FROM grants ORDER BY id)) || ';' ||
			(SELECT coalesce(group_concat(id || state, ' '), '') FROM (SELECT * FROM access_requests ORDER BY id)) || ';' ||
			(SELECT count(*) FROM access_approvals) || ';' || (SELECT coalesce(group_concat(id || state, ' '), '') FROM (SELECT * FROM persons ORDER BY id)) || ';' ||
			(SELECT coalesce(group_concat(name || allow, ' '), '') FROM (SELECT * FROM roles ORDER BY name)) || ';' || (SELECT coalesce(sum(emergency), 0) FROM access_policies)`)
	}))
	return text
}

// TestNothingIsGivenBeforeItIsRecorded: the entry is durable while nobody has anything of
// it yet, so that no end of the process leaves access without its entry.
func TestNothingIsGivenBeforeItIsRecorded(t *testing.T) {
	h := newGlassHouse(t)
	w := &witness{book: h.log}
	h.config.Recorder = w
	h.open()
	step := func(action string, do func()) {
		t.Helper()
		before, entries := h.held(), 0
		w.mu.Lock()
		w.see = func(e api.Event) {
			if e.Action != action {
				return
			}
			if entries++; h.held() != before {
				t.Errorf("%s was done before it was recorded", action)
			}
		}
		w.mu.Unlock()
		do()
		w.mu.Lock()
		w.see = nil
		w.mu.Unlock()
		if entries == 0 || h.held() == before {
			t.Errorf("%s: %d entries", action, entries)
		}
	}
	b := func(email string) *browser { return h.browser().signIn(email + "@example.com") }
	olga, ada, sam, eve := b("olga"), b("ada"), b("sam"), b("eve")
	var r, e AccessRequest
	step("access-policy.set", func() { olga.want(200, "PUT", accessPolicyPath, `{"emergency":true}`) })
	step("access.request", func() { r = h.ask(ada, `{"why":"x"}`) })
	step("access.approve", func() { olga.want(200, "POST", requestsPath+"/"+r.ID+"/approve", `{}`) })
	step("access.request", func() { e = h.ask(ada, `{"why":"x","export":true,"emergency":true}`) })
	step("access.emergency", func() { sam.want(200, "POST", requestsPath+"/"+e.ID+"/emergency", `{}`) })
	step("access.approve", func() { eve.want(200, "POST", requestsPath+"/"+e.ID+"/emergency", `{}`) })
	step("access.request", func() { e = h.ask(sam, `{"why":"x"}`) })
	step("access.refuse", func() { olga.want(200, "POST", requestsPath+"/"+e.ID+"/refuse", `{}`) })
	step("role.create", func() { olga.want(201, "POST", rolesPath, `{"name":"guide","allow":["data.read"]}`) })
	step("grant.create", func() { h.gives("eve", "guide") })
	step("role.change", func() { olga.want(200, "PUT", rolesPath+"/guide", `{"allow":["member.read"]}`) })
	step("grant.change", func() { olga.want(200, "PATCH", membersPath+"/"+h.ids["eve"], `{"role":"viewer"}`) })
	step("role.delete", func() { olga.want(204, "DELETE", rolesPath+"/guide", "") })
	step("operator.create", func() { h.house.owner("zoe@example.com") })
	step("person.create", func() { h.member("mia@example.com") })
	step("grant.inherit", func() { must(t, h.Inherit(bg, acme.Tenant, "t-copy")) })
	step("person.lock", func() { must(t, h.setState(bg, "person.lock", h.ids["eve"], locked)) })
	step("person.unlock", func() { must(t, h.setState(bg, "person.unlock", h.ids["eve"], active)) })
	step("person.disable", func() { must(t, h.DisablePerson(bg, h.ids["eve"], "idle")) })
}

// TestEndsHoldAndAreToldLater: who may not any more may not because a log is down, and the
// log learns of it with the first Sweep that can tell it, as after a crash.
func TestEndsHoldAndAreToldLater(t *testing.T) {
	h := newGlassHouse(t)
	r := h.ask(h.ada, `{"why":"x"}`)
	h.owner.want(200, "POST", requestsPath+"/"+r.ID+"/approve", `{}`)
	h.gives("eve", "viewer")
	h.log.fail = errNoLog
	h.owner.want(500, "POST", requestsPath+"/"+r.ID+"/end", "")
	wantErr(t, h.reads("ada"), api.ErrForbidden)
	h.owner.want(500, "DELETE", membersPath+"/"+h.ids["eve"], "")
	wantErr(t, h.Authorize(bg, person(h.ids["eve"]), api.DataRead, api.StoreScope(acme)), api.ErrForbidden)
	if h.Sweep(bg) == nil {
		t.Error("a Sweep that cannot tell says nothing")
	}
	h.log.fail = nil
	h.clock.add(time.Hour)
	var mu sync.Mutex
	var removed []string // when the log was told that it was
	h.config.Recorder = &witness{book: h.log, see: func(e api.Event) {
		if e.Action == "member.remove" {
			mu.Lock()
			defer mu.Unlock()
			removed = append(removed, e.Detail["at"])
		}
	}}
	h.open() // the process began anew
	must(t, h.Sweep(bg))
	must(t, h.Sweep(bg))
	by := "person:" + h.ids["olga"]
	for _, entry := range []string{" access.end t-acme/prod ok", " access.end  ok", " member.remove  ok"} {
		equal(t, entry, h.log.has(by+entry), true)
	}
	mu.Lock()
	defer mu.Unlock()
	equal(t, "told once, and when it was", strings.Join(removed, " "), h.now().Add(-time.Hour).Format(time.RFC3339))
}

// TestEveryEndDisconnects: no stream and no studio outlives what it was opened with.
func TestEveryEndDisconnects(t *testing.T) {
	h := newGlassHouse(t)
	var mu sync.Mutex
	ended := map[data.Actor]int{}
	h.config.Revoked = func(_ data.StoreID, a data.Actor) { mu.Lock(); ended[a]++; mu.Unlock() }
	h.open()
	h.owner = h.browser().signIn("olga@example.com")
	h.owner.want(201, "POST", rolesPath, `{"name":"guide","allow":["studio.open"]}`)
	system := data.WithActor(bg, data.Actor{Kind: data.System})
	var g Grant
	for _, end := range []struct {
		name string
		do   func()
	}{
		{"RevokeGrant", func() { must(t, h.RevokeGrant(bg, g.ID)) }},
		{"EndGrant", func() { must(t, h.EndGrant(system, g.ID)) }},
		{"the route", func() { h.owner.want(204, "DELETE", "/api/v1/tenants/acme/grants/"+g.ID, "") }},
		{"the role changes", func() { h.owner.want(200, "PUT", rolesPath+"/guide", `{"allow":["member.read","studio.open"]}`) }},
		{"lock", func() { must(t, h.setState(bg, "person.lock", h.ids["eve"], locked)) }},
		{"disable", func() { must(t, h.DisablePerson(bg, h.ids["eve"], "idle")) }},
		{"the tenant ends", func() { must(t, h.endOwner(bg, acme.Tenant, h.ids["eve"])) }},
	} {
		must(t, h.setState(bg, "person.unlock", h.ids["eve"], active))
		var err error
		g, err = h.Grant(bg, Grant{Person: h.ids["eve"], Role: "guide", Scope: acme.Tenant})
		must(t, err)
		mu.Lock()
		clear(ended)
		mu.Unlock()
		end.do()
		mu.Lock()
		equal(t, end.name, ended[person(h.ids["eve"])], 3)
		equal(t, end.name+", of others", len(ended), 1)
		mu.Unlock()
	}
}

// TestStudiosEndWithTheSession: signed out, ended from elsewhere, or by a new password; a
// factor shown again ends none.
func TestStudiosEndWithTheSession(t *testing.T) {
	h := newGlassHouse(t)
	var mu sync.Mutex
	ended := 0
	h.config.Revoked = func(data.StoreID, data.Actor) { mu.Lock(); ended++; mu.Unlock() }
	h.open()
	in := func() *browser { return h.browser().signIn("olga@example.com") }
	step := func(what string, want bool, do func()) {
		t.Helper()
		mu.Lock()
		ended = 0
		mu.Unlock()
		do()
		mu.Lock()
		defer mu.Unlock()
		equal(t, what, ended > 0, want)
	}
	step("step-up", false, func() { in().want(204, "POST", "/api/v1/session/step-up", `{"password":"`+goodPassword+`"}`) })
	step("sign-out", true, func() { in().want(204, "DELETE", "/api/v1/session", "") })
	step("others", true, func() { b := in(); in(); b.want(204, "DELETE", "/api/v1/session/sessions", "") })
	step("lost roles", true, func() { in(); must(t, h.EndSessions(bg, h.ids["olga"])) })
	step("password", true, func() {
		b := in()
		in()
		b.want(204, "POST", "/api/v1/session/password", `{"current":"`+goodPassword+`","password":"`+newPassword+`"}`)
	})
}
