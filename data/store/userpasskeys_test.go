package store

import (
	"context"
	"testing"
	"time"
)

// addPasskey makes one for the user, at a page.
func (p *townsman) addPasskey(t testing.TB, host, origin string) *authenticator {
	t.Helper()
	key := newAuthenticator(t, host, origin)
	options := p.must(t, 200, "POST", ownPath+"/passkeys", map[string]any{})
	r := p.must(t, 200, "POST", ownPath+"/passkeys/confirm", map[string]any{"name": "Ada's phone", "credential": key.make(options.body)})
	p.token = tokenOf(t, r)
	return key
}

// show asks for a passkey, with an mfaId or alone, and shows one.
func show(t testing.TB, c caller, key *authenticator, mfaID string) (reply, map[string]any) {
	t.Helper()
	asked := c.must(t, 200, "POST", usersPath+"/request-passkey", map[string]any{"mfaId": mfaID})
	answer := map[string]any{"passkeyId": asked.object(t)["passkeyId"], "credential": key.show(asked.body)}
	return c.do("POST", usersPath+"/auth-with-passkey", answer), answer
}

func wantCode(t testing.TB, what string, r reply, code int) {
	t.Helper()
	if r.code != code {
		t.Errorf("%s: %d %s", what, r.code, r.body)
	}
}

func TestUsersPasskeys(t *testing.T) {
	notUnderRace(t)
	v := newTown(t, withTOTP())
	ada, bob := v.join(t, "ada"), v.join(t, "bob")
	key := ada.addPasskey(t, "acme.example.com", tenantHost)
	theirs := bob.addPasskey(t, "acme.example.com", tenantHost)
	r, answer := show(t, v.guest(), key, "")
	wantCode(t, "alone", r, 200)
	if r.object(t)["record"].(map[string]any)["id"] != ada.id {
		t.Errorf("somebody else: %s", r.body)
	}
	wantCode(t, "again", v.guest().do("POST", usersPath+"/auth-with-passkey", answer), 400)
	id := ada.step(t)
	r, _ = show(t, v.guest(), theirs, id)
	wantCode(t, "another's as the second factor", r, 400)
	r, _ = show(t, v.guest(), key, id)
	wantCode(t, "second factor", r, 200)
	r = v.guest().do("POST", usersPath+"/request-passkey", map[string]any{"mfaId": id})
	wantCode(t, "an mfaId that was used", r, 400)
	key.uv = false
	r, _ = show(t, v.guest(), key, "")
	wantCode(t, "alone, without its owner", r, 400)
	key.uv, key.counter = true, 0
	r, _ = show(t, v.guest(), key, "")
	wantCode(t, "a copy", r, 400)
	if !v.noted.has("user.factor.cloned users/" + ada.id) {
		t.Error(v.noted.all)
	}
	key.counter, key.origin = 10, "https://evil.example.com"
	r, _ = show(t, v.guest(), key, "")
	wantCode(t, "on another page", r, 400)
}

func TestUsersPasskeysKeepToTheirPage(t *testing.T) {
	notUnderRace(t)
	v := newTown(t, map[string]any{"passkeys": true, "origins": []string{"https://app.example.net"}})
	ada := v.join(t, "ada")
	ada.addPasskey(t, "acme.example.com", tenantHost)
	byPath := caller{s: v.Store, ctx: context.Background()} // below a path of the console's host
	byPath.must(t, 403, "POST", usersPath+"/request-passkey", map[string]any{})
	moved := caller{s: v.Store, ctx: WithOrigin(context.Background(), "https://copy.example.com")}
	// At another host the passkey is none, but it is not gone: the password is not enough.
	r := moved.must(t, 401, "POST", usersPath+"/auth-with-password", ada.password())
	id := r.object(t)["mfaId"]
	moved.must(t, 400, "POST", usersPath+"/request-passkey", map[string]any{"mfaId": id})
	adminOf(v.Store).must(t, 204, "DELETE", ownPath+"/records/"+ada.id+"/factors", nil)
	ada.signIn(t)
}

func TestUsersPasskeyChallengesEnd(t *testing.T) {
	v := newTown(t, withTOTP())
	ada := v.join(t, "ada")
	key := newAuthenticator(t, "acme.example.com", tenantHost)
	options := ada.must(t, 200, "POST", ownPath+"/passkeys", map[string]any{})
	made := map[string]any{"credential": key.make(options.body)}
	v.clock.add(9*time.Minute + 59*time.Second)
	bob := v.join(t, "bob")
	bob.must(t, 400, "POST", ownPath+"/passkeys/confirm", made)
	v.clock.add(2 * time.Second)
	ada.signIn(t)
	ada.must(t, 400, "POST", ownPath+"/passkeys/confirm", made)
	for _, junk := range []any{nil, "x", map[string]any{}, map[string]any{"id": "a", "rawId": "a", "type": "public-key", "response": map[string]any{}}} {
		ada.must(t, 200, "POST", ownPath+"/passkeys", map[string]any{})
		ada.must(t, 400, "POST", ownPath+"/passkeys/confirm", map[string]any{"credential": junk})
		asked := v.guest().must(t, 200, "POST", usersPath+"/request-passkey", map[string]any{}).object(t)
		v.guest().must(t, 400, "POST", usersPath+"/auth-with-passkey", map[string]any{"passkeyId": asked["passkeyId"], "credential": junk})
	}
}
