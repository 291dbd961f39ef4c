package identity

import (
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast/app/api"
	"holdfast/data"
)

const from = "192.0.2.1:4444"

func (h *house) works(raw string, store data.StoreID) {
	h.t.Helper()
	_, err := h.ResolveKey(bg, raw, store, from)
	must(h.t, err)
}

func (h *house) shownKey(store, id string) Key {
	h.t.Helper()
	row, err := h.keyOf(bg, store, id)
	must(h.t, err)
	k, err := h.shown(row)
	must(h.t, err)
	return k
}

func TestRotationOverlaps(t *testing.T) {
	h := newHouse(t)
	h.ownerOf("ada@example.com", acme.Tenant, beta.Tenant)
	b := h.browser().signIn("ada@example.com")
	old := h.key(acme, NewKey{Name: "ci", Scope: ScopeWrite, Collections: []string{"a"}, Addresses: []string{"192.0.2.0/24"}, Rate: 77})
	made := decode[Key](t, b.want(201, "POST", keysPath+"/"+old.ID+"/rotate", `{"overlap":"24h"}`))
	equal(t, "recorded", strings.Contains(h.log.last(), "key.rotate t-acme/prod ok"), true)
	equal(t, "name", made.Name, "ci")
	equal(t, "reach", strings.Join(made.Collections, ",")+" "+strings.Join(made.Addresses, ",")+" "+string(made.Scope), "a 192.0.2.0/24 write")
	equal(t, "rate", made.Rate, 77)
	equal(t, "life", made.Expires.Sub(made.Created), DefaultKeyLife)
	equal(t, "linked", made.Predecessor == old.ID && h.shownKey(acme.String(), old.ID).Successor == made.ID, true)
	equal(t, "end of the old", h.shownKey(acme.String(), old.ID).Expires.Sub(h.now()), 24*time.Hour)
	h.works(old.Key, acme)
	h.works(made.Key, acme)
	b.want(409, "POST", keysPath+"/"+old.ID+"/rotate", `{}`)
	b.want(404, "POST", keysPath+"/none/rotate", `{}`)
	b.want(404, "POST", "/api/v1/stores/beta/prod/keys/"+made.ID+"/rotate", `{}`)
	h.clock.add(24 * time.Hour)
	refusedAs(t, h, old.Key, acme, "key-expired")
	h.works(made.Key, acme)
}

func TestRotationNeverProlongsTheOldKey(t *testing.T) {
	h := newHouse(t)
	old := h.key(acme, NewKey{Life: time.Hour})
	_, err := h.RotateKey(bg, acme.String(), old.ID, 30*24*time.Hour, 0)
	must(t, err)
	h.clock.add(time.Hour)
	refusedAs(t, h, old.Key, acme, "key-expired")
	gone := h.key(acme, NewKey{})
	must(t, h.RevokeKey(bg, acme, gone.ID))
	_, err = h.RotateKey(bg, acme.String(), gone.ID, time.Hour, 0)
	equal(t, "revoked", api.AsProblem(err).Code, "key-ended")
}

func TestRotationThatCannotBeRecordedLeavesTheKeyAlone(t *testing.T) {
	h := newHouse(t)
	old := h.key(acme, NewKey{})
	h.log.fail = errNoLog
	if _, err := h.RotateKey(bg, acme.String(), old.ID, time.Hour, 0); err == nil {
		t.Fatal("rotated")
	}
	now := h.shownKey(acme.String(), old.ID)
	equal(t, "as before", now.Successor == "" && now.Expires.Equal(old.Expires), true)
	page, err := h.listKeys(bg, acme.String(), api.Paging{Page: 1, PerPage: 10})
	must(t, err)
	equal(t, "keys", page.Total, 1)
}

func TestWrongRotations(t *testing.T) {
	h := newHouse(t)
	h.ownerOf("ada@example.com", acme.Tenant)
	b := h.browser().signIn("ada@example.com")
	k := h.key(acme, NewKey{})
	for body, field := range map[string]string{
		`{"overlap":"31d"}`: "overlap", `{"overlap":"-1h"}`: "overlap", `{"overlap":"x"}`: "overlap", `{"expires":"never"}`: "expires", `{"scope":"admin"}`: "scope",
	} {
		p := decode[api.Problem](t, b.want(422, "POST", keysPath+"/"+k.ID+"/rotate", body))
		equal(t, body, p.Errors[0].Field, field)
	}
}

func TestRateOfAKey(t *testing.T) {
	h := newHouse(t)
	k, other := h.key(acme, NewKey{Rate: 3}), h.key(acme, NewKey{Rate: 3})
	for left := 2; left >= 0; left-- {
		got, err := h.ResolveKey(bg, k.Key, acme, from)
		must(t, err)
		equal(t, "left", got.Quota.Left, left)
		header := http.Header{}
		got.Headers(header)
		equal(t, "policy", header.Get("RateLimit-Policy"), `"minute";q=3;w=60`)
		equal(t, "expires", header.Get(ExpiresHeader), k.Expires.Format(time.RFC3339))
	}
	h.clock.add(15 * time.Second)
	_, err := h.ResolveKey(bg, k.Key, acme, from)
	p := api.AsProblem(err)
	equal(t, "status", p.Status, 429)
	equal(t, "code", p.Code, "key-rate")
	h.works(other.Key, acme)
	h.clock.add(44 * time.Second)
	if _, err := h.ResolveKey(bg, k.Key, acme, from); api.AsProblem(err).Status != 429 {
		t.Fatal("before the minute is over:", err)
	}
	h.clock.add(time.Second)
	h.works(k.Key, acme)
}

func TestRateCountsOnceEach(t *testing.T) {
	h := newHouse(t)
	k := h.key(acme, NewKey{Rate: 100})
	var mu sync.Mutex
	good := 0
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 50 {
				if _, err := h.ResolveKey(bg, k.Key, acme, from); err == nil {
					mu.Lock()
					good++
					mu.Unlock()
				}
			}
		})
	}
	all.Wait()
	equal(t, "let in", good, 100)
}

func TestRateOverHTTP(t *testing.T) {
	h := newHouse(t)
	k, err := h.CreateControlKey(bg, NewKey{Name: "ci", Permissions: []api.Permission{api.OperatorRead}, Rate: 2})
	must(t, err)
	keyed := h.Keyed(h.router)
	ask := func() (int, http.Header) {
		r, w := request("GET", "/api/v1/operators")
		r.Header.Set("Authorization", "Bearer "+k.Key)
		keyed.ServeHTTP(w, r)
		return w.Code, w.Header()
	}
	code, header := ask()
	equal(t, "first", code, 200)
	equal(t, "counted once", header.Get("RateLimit"), `"minute";r=1;t=60`)
	equal(t, "expires", header.Get(ExpiresHeader), k.Expires.Format(time.RFC3339))
	_, _ = ask()
	code, header = ask()
	equal(t, "over", code, 429)
	equal(t, "come again", header.Get("Retry-After"), "60")
	equal(t, "left", header.Get("RateLimit"), `"minute";r=0;t=60`)
}

func TestLastUseHasAnAddress(t *testing.T) {
	h := newHouse(t)
	k := h.key(acme, NewKey{})
	_, err := h.ResolveKey(bg, k.Key, acme, "[2001:db8::1]:4444")
	must(t, err)
	equal(t, "at once", h.shownKey(acme.String(), k.ID).LastAddress, "2001:db8::1")
	h.clock.add(2 * time.Minute)
	must(t, h.Sweep(bg))
	equal(t, "meters at rest are forgotten", len(h.keys.uses()), 0)
	h.open()
	equal(t, "after a restart", h.shownKey(acme.String(), k.ID).LastAddress, "2001:db8::1")
}

func TestKeysAreWarnedOf(t *testing.T) {
	h := newHouse(t)
	k := h.key(acme, NewKey{})
	h.key(acme, NewKey{Life: 7 * day}) // made for a week: warned of only at three days
	warnings := func() (found []string) {
		h.log.mu.Lock()
		defer h.log.mu.Unlock()
		for _, e := range h.log.events {
			if strings.Contains(e, "key.expires-soon") {
				found = append(found, e)
			}
		}
		return found
	}
	sweep := func(d time.Duration) int {
		h.clock.add(d)
		must(t, h.Sweep(bg))
		must(t, h.Sweep(bg))
		return len(warnings())
	}
	equal(t, "new", sweep(time.Minute), 0)
	equal(t, "the short one", sweep(5*day), 1)
	equal(t, "fourteen days", sweep(71*day), 2)
	ending, err := h.EndingKeys(bg)
	must(t, err)
	equal(t, "found", len(ending) == 1 && ending[0].ID == k.ID && ending[0].Warning == 14, true)
	equal(t, "once", sweep(day), 2)
	equal(t, "three days", sweep(10*day), 3)
	equal(t, "days", h.shownKey(acme.String(), k.ID).Warning, 3)
	_, err = h.RotateKey(bg, acme.String(), k.ID, time.Hour, 0)
	must(t, err)
	ending, err = h.EndingKeys(bg)
	must(t, err)
	equal(t, "a key that is followed", len(ending), 0)
}

func TestUnusedKeysAreDisabled(t *testing.T) {
	h := newHouse(t)
	h.ownerOf("ada@example.com", acme.Tenant)
	idle, busy := h.key(acme, NewKey{Life: 365 * day}), h.key(acme, NewKey{Life: 365 * day})
	h.clock.add(60 * day)
	h.works(busy.Key, acme)
	h.clock.add(40 * day)
	unused, err := h.UnusedKeys(bg, h.now().Add(-90*day))
	must(t, err)
	equal(t, "unused", len(unused) == 1 && unused[0].ID == idle.ID && unused[0].Store == acme.String(), true)
	must(t, h.DisableKey(bg, acme.String(), idle.ID, "unused"))
	refusedAs(t, h, idle.Key, acme, "key-disabled")
	equal(t, "state", h.shownKey(acme.String(), idle.ID).State, "disabled")
	wantErr(t, h.DisableKey(bg, acme.String(), idle.ID, "again"), data.ErrNotFound)
	b := h.browser().signIn("ada@example.com")
	b.want(404, "POST", keysPath+"/"+busy.ID+"/enable", "")
	b.want(204, "POST", keysPath+"/"+idle.ID+"/enable", "")
	h.works(idle.Key, acme)
	unused, err = h.UnusedKeys(bg, h.now().Add(-90*day))
	must(t, err)
	equal(t, "counts from being enabled", len(unused), 0)
}
