package store

import (
	"encoding/json"
	"io"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pocketbase/pocketbase/core"
)

// heldBack is a body that comes only after something else happened.
type heldBack struct {
	before func()
	body   io.Reader
}

func (h *heldBack) Read(b []byte) (int, error) {
	if h.before != nil {
		h.before()
		h.before = nil
	}
	return h.body.Read(b)
}

func late(t testing.TB, before func(), body map[string]any) form {
	t.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	return form{&heldBack{before, strings.NewReader(string(text))}, "application/json"}
}

// changed saves the user with one thing changed.
func (p *townsman) changed(t testing.TB, change func(*core.Record)) {
	t.Helper()
	r, err := p.v.app.FindRecordById("users", p.id)
	if err != nil {
		t.Error(err)
		return
	}
	change(r)
	save(t, p.v.Store, r)
}

func (p *townsman) record(t testing.TB) *core.Record {
	t.Helper()
	r, err := p.v.app.FindRecordById("users", p.id)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func reachable(r *core.Record)     { r.SetEmailVisibility(true) }
func otherPassword(r *core.Record) { r.SetPassword(passphrase + "!") }

func (p *townsman) begin(t testing.TB) map[string]any {
	t.Helper()
	p.secret, _ = p.must(t, 200, "POST", ownPath+"/totp", map[string]any{}).object(t)["secret"].(string)
	return map[string]any{"code": p.code(t)}
}

// TestUsersRollNothingBack: what became of a user while its request was held back
// stays, and the answer tells of it.
func TestUsersRollNothingBack(t *testing.T) {
	notUnderRace(t)
	v := newTown(t, withTOTP())
	change := func(p *townsman) func() { return func() { p.changed(t, reachable) } }
	ada := v.join(t, "ada")
	r := ada.must(t, 200, "POST", ownPath+"/totp/confirm", late(t, change(ada), ada.begin(t)))
	if ada.token = tokenOf(t, r); !ada.record(t).EmailVisibility() || !strings.Contains(string(r.body), `"emailVisibility":true`) {
		t.Errorf("an app rolled it back: %s", r.body)
	}
	bob := v.join(t, "bob")
	key := newAuthenticator(t, "acme.example.com", tenantHost)
	options := bob.must(t, 200, "POST", ownPath+"/passkeys", map[string]any{})
	r = bob.must(t, 200, "POST", ownPath+"/passkeys/confirm", late(t, change(bob), map[string]any{"credential": key.make(options.body)}))
	if bob.token = tokenOf(t, r); !bob.record(t).EmailVisibility() {
		t.Error("a passkey rolled it back")
	}
	for i, p := range []*townsman{ada, bob} { // after the last look outside of the transaction
		p.changed(t, func(r *core.Record) { r.SetEmailVisibility(false) })
		items, _ := p.must(t, 200, "GET", ownPath+"/factors", nil).object(t)["items"].([]any)
		id, _ := items[0].(map[string]any)["id"].(string)
		if i == 0 {
			v.noted.during("user.factor.remove", change(p))
			p.must(t, 200, "DELETE", ownPath+"/factors/"+id, nil)
		} else {
			v.noted.during("user.factors.reset", change(p))
			adminOf(v.Store).must(t, 204, "DELETE", ownPath+"/records/"+p.id+"/factors", nil)
		}
		if !p.record(t).EmailVisibility() {
			t.Error(i, "taking a factor away rolled it back")
		}
	}
}

// TestUsersLateRequestsEnd: a token that ends while its request is held back changes
// no factors.
func TestUsersLateRequestsEnd(t *testing.T) {
	notUnderRace(t)
	v := newTown(t, withTOTP())
	ada := v.join(t, "ada")
	change := func() { ada.changed(t, otherPassword) }
	ada.must(t, 401, "POST", ownPath+"/totp/confirm", late(t, change, ada.begin(t)))
	again := func() {
		t.Helper()
		ada.changed(t, func(r *core.Record) { r.SetPassword(passphrase) })
		ada.signIn(t)
	}
	again()
	body := ada.begin(t)
	v.noted.during("user.factor.add", change)
	ada.must(t, 401, "POST", ownPath+"/totp/confirm", body)
	again()
	ada.enrolled(t, 0)
	ada.enrol(t)
	for action, call := range map[string]func(id string){
		"user.factor.remove":       func(id string) { ada.must(t, 401, "DELETE", ownPath+"/factors/"+id, nil) },
		"user.recovery-codes.make": func(string) { ada.must(t, 401, "POST", ownPath+"/recovery-codes", nil) },
	} {
		id := ada.enrolled(t, 1)
		v.noted.during(action, change)
		call(id)
		ada.changed(t, func(r *core.Record) { r.SetPassword(passphrase) })
		ada.token = tokenOf(t, v.guest().must(t, 200, "POST", usersPath+"/auth-with-totp", second(ada.step(t), ada.code(t))))
	}
	ada.enrolled(t, 1)
}

// enrolled checks how many factors the user has, and gives the first one's id.
func (p *townsman) enrolled(t testing.TB, want int) (id string) {
	t.Helper()
	items, _ := p.must(t, 200, "GET", ownPath+"/factors", nil).object(t)["items"].([]any)
	if len(items) != want {
		t.Fatalf("%d factors, want %d", len(items), want)
	}
	if want > 0 {
		id, _ = items[0].(map[string]any)["id"].(string)
	}
	return id
}

// TestUsersLongWaits: quiet time forgives no wait that is longer.
func TestUsersLongWaits(t *testing.T) {
	v := newTown(t, map[string]any{"attempts": map[string]any{"account": 1, "address": 0, "longestWait": 7200}})
	ada := v.join(t, "ada")
	wrong := map[string]any{"identity": ada.email, "password": "wrong"}
	for range 13 { // 1 s, 2 s, ... 4096 s
		v.guest().must(t, 400, "POST", usersPath+"/auth-with-password", wrong)
		r := v.guest().must(t, 429, "POST", usersPath+"/auth-with-password", wrong)
		seconds, err := strconv.Atoi(r.header.Get("Retry-After"))
		if err != nil {
			t.Fatal(err)
		}
		v.clock.add(time.Duration(seconds) * time.Second)
	}
	v.guest().must(t, 400, "POST", usersPath+"/auth-with-password", wrong)
	v.clock.add(90 * time.Minute)
	v.pool.users.Sweep()
	v.guest().must(t, 429, "POST", usersPath+"/auth-with-password", ada.password())
	v.clock.add(60 * time.Minute)
	v.guest().must(t, 200, "POST", usersPath+"/auth-with-password", ada.password())
}
